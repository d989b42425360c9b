"""Messages of dcbridge's own in the ledger: limits are those of their channel, books and decisions are apart."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from dcbridge.messages import own_books
from tests.ledger.ledger_bench import CHANNEL, Bench, new_message, new_own


@pytest.fixture
def bench(redis: Redis) -> Bench:
    return Bench(redis)


async def test_they_share_the_pace_of_their_channel(bench: Bench) -> None:
    line = "acme 0 1 0 1 1 0"
    await bench.ledger.pacing.announce({CHANNEL: line, own_books(CHANNEL): line})
    mine = new_own(to_id="16504661148", lane="another")
    assert await bench.ledger.own.put(mine) == "new"
    assert (await bench.ledger.messages.claim(mine.ref, bench.ledger.leases.token(), 60.0)).ours
    [_] = await bench.ledger.messages.accept([new_message()])
    assert (await bench.ledger.messages.claim(new_message().ref, bench.ledger.leases.token(), 60.0)).why == "paced"


async def test_what_needs_a_decision_is_named_by_its_channel(bench: Bench) -> None:
    mine = new_own()
    await bench.ledger.own.put(mine)
    token = bench.ledger.leases.token()
    await bench.ledger.messages.claim(mine.ref, token, 60.0)
    await bench.ledger.messages.submitted(mine.ref, token, 0, 1, "SM", delivered=False, confirm_within=10.0)
    await bench.pass_time(11)
    [decision] = await bench.sweep()
    assert (decision.state, decision.channel_id) == ("sent", CHANNEL)
    assert await bench.ledger.messages.confirm_over(mine.ref, "500", "Failed", 1.0) == "unconfirmed"
    entry = await bench.ledger.messages.entry(mine.ref)
    assert (entry.receipt_status, await bench.owed(own_books(CHANNEL))) == ("", [])
    assert 0 < await bench.redis.pttl(f"dcb:m:{mine.ref}") <= 1_000_000
    assert await bench.difference() == 0


async def test_the_same_cause_is_one_message_and_another_content_is_refused(bench: Bench) -> None:
    assert await bench.ledger.own.put(new_own(content_mark="a")) == "new"
    assert await bench.ledger.own.put(new_own(content_mark="a")) == "again"
    assert await bench.ledger.own.put(new_own(content_mark="b")) == "other"
    assert await bench.redis.hget(f"dcb:books:{own_books(CHANNEL)}", "accepted") == b"1"


async def test_a_trigger_is_let_in_again_when_its_minute_is_over(bench: Bench) -> None:
    assert [await bench.ledger.own.admit("t", 2) for _ in range(2)] == [0, 0]
    assert 59 < await bench.ledger.own.admit("t", 2) <= 60
    await bench.redis.pexpire("dcb:trigger:t", 1)
    while await bench.redis.exists("dcb:trigger:t"):
        pass
    assert await bench.ledger.own.admit("t", 2) == 0


async def test_all_consumers_of_a_channel_share_what_it_may_send_in_an_hour(bench: Bench) -> None:
    some = [new_own(f"own-{n}", token=f"{n}" * 32, same=f"s{n}", an_hour=2) for n in range(3)]
    assert [await bench.ledger.own.put(one) for one in some] == ["new", "new", "hour_cap"]
    assert await bench.ledger.own.put(some[0]) == "again"
    key = f"dcb:own-hour:{CHANNEL}"
    assert 3_590_000 < await bench.redis.pttl(key) <= 3_600_000
    assert await bench.ledger.own.put(new_own("own-3", token="3" * 32, same="s3", an_hour=0)) == "new"
    assert await bench.redis.get(key) == b"2"  # what has no such limit does not count
    await bench.redis.delete(key)
    assert await bench.ledger.own.put(some[2]) == "new"
