"""Lines over an upgrade, beside older workers, and for channels that are not configured."""

from __future__ import annotations

import time

import pytest
from redis.asyncio import Redis

from tests.ledger.ledger_bench import CHANNEL
from tests.ledger.test_lines import LineBench
from tests.ledger.test_pacing import OTHER


@pytest.fixture
def bench(redis: Redis) -> LineBench:
    return LineBench(redis)


# ---------------------------------------------------------------- what an older version has left, and does meanwhile


async def test_those_who_wait_by_the_old_scheme_are_carried_on(bench: LineBench) -> None:
    await bench.limit(channel="0 1 2")
    refs = await bench.many(6)
    ms = int(time.time() * 1000)
    for ref in refs:  # as version 0.9 left them: in a list, and due every fifteen seconds
        await bench.redis.hdel(f"dcb:m:{ref}", "q", "sl", "qa")
        await bench.redis.hset(f"dcb:m:{ref}", "hd", 1)
        await bench.redis.rpush(f"dcb:hold:c-{CHANNEL}", f"m:{ref}")
        await bench.redis.zadd("dcb:due", {f"m:{ref}": ms + 15_000 + refs.index(ref)})
    await bench.redis.delete(f"dcb:line:c-{CHANNEL}", "dcb:lines", f"dcb:flight:c-{CHANNEL}")
    await bench.drop_jobs()
    await bench.pass_time(16.0)
    went = await bench.go()
    assert went == refs[:2]
    for _ in range(6):
        for ref in [one for one in went if await bench.state(one) == "sending"]:
            await bench.taken(ref, ref)
        went += await bench.go()
    assert went == refs
    assert await bench.keys("dcb:hold:*") == []


async def test_a_place_in_time_that_was_booked_is_kept(bench: LineBench) -> None:
    await bench.limit(channel="0.1 1 0")
    ref = await bench.put("m-1")
    ms = int(time.time() * 1000)
    await bench.redis.hset(f"dcb:m:{ref}", "sl", ms + 20_000)
    await bench.redis.hdel(f"dcb:m:{ref}", "qa")
    await bench.redis.zadd("dcb:due", {f"m:{ref}": ms + 20_000})
    await bench.drop_jobs()
    assert await bench.claim(ref) == "paced"
    assert await bench.go() == []
    await bench.pass_time(20.5)
    assert await bench.go() == [ref]


async def test_a_job_of_an_older_service_waits_in_the_line(bench: LineBench) -> None:
    """It queues a job for each message that it accepts, whatever the limits are."""
    await bench.limit(channel="0.001 1 0")
    refs = await bench.heads(3)
    for ref in refs:
        await bench.redis.hdel(f"dcb:m:{ref}", "q")
    await bench.redis.delete(f"dcb:line:c-{CHANNEL}", "dcb:lines")
    assert [await bench.claim(ref, ref) for ref in refs] == ["go", "paced", "paced"]
    await bench.pass_time(1001.0)
    assert await bench.go() == [refs[1]]


async def test_one_that_an_older_worker_took_out_of_the_line_is_sent_once(bench: LineBench) -> None:
    await bench.limit(channel="0 1 2")
    refs = await bench.many(4)
    assert await bench.go() == refs[:2]
    await bench.redis.hset(f"dcb:m:{refs[2]}", mapping={"s": "sending", "tok": "old"})  # it knows no line
    await bench.taken(refs[0], refs[0])
    assert await bench.go() == [refs[3]]
    assert await bench.redis.zcard(f"dcb:line:c-{CHANNEL}") == 0


# ---------------------------------------------------------------- a channel that is not configured


async def test_a_channel_without_configuration_waits_and_costs_nothing_until_it_is_back(bench: LineBench) -> None:
    refs = await bench.many(5)
    await bench.ledger.pacing.announce({OTHER: "acme 0 1 0 0 1 0"})
    for ref in refs:
        assert await bench.claim(ref, ref) == "go"
        assert await bench.ledger.unconfigured.strand(ref, ref) == "waits"
    late = await bench.many(3, "late")
    await bench.drop_jobs()
    await bench.pass_time(100.0)
    for _ in range(3):
        await bench.sweep()
    assert await bench.queued() == []
    entry = await bench.ledger.messages.entry(refs[0])
    assert (entry.state, entry.attempts, entry.total_attempts, entry.began_at) == ("accepted", 0, 0, None)
    await bench.limit()
    assert sorted(await bench.go()) == sorted([*refs, *late])
    assert await bench.keys("dcb:unconfigured") == []
    assert await bench.keys("dcb:line:*") == []


async def test_attempts_of_before_are_kept_while_the_channel_is_away(bench: LineBench) -> None:
    ref = await bench.sending()
    await bench.retry(ref, delay=1.0)
    await bench.pass_time(2.0)
    assert await bench.claim(ref, "b") == "go"
    assert await bench.ledger.unconfigured.strand(ref, "b") == "waits"
    entry = await bench.ledger.messages.entry(ref)
    assert (entry.state, entry.total_attempts, entry.began_at is not None) == ("retry", 1, True)
    assert await bench.ledger.unconfigured.strand(ref, "b") == "stale"


async def test_giving_up_fails_what_was_not_sent_and_leaves_the_rest(bench: LineBench) -> None:
    sent = await bench.sent("sent", to_id="a")
    under_way = await bench.sending("under-way", to_id="b")
    stranded = await bench.sending("stranded", to_id="c")
    await bench.ledger.unconfigured.strand(stranded, "mine")
    behind = await bench.put("behind", to_id="c")
    others = await bench.many(450, "more")
    elsewhere = await bench.put("elsewhere", channel_id=OTHER)
    assert await bench.ledger.unconfigured.give_up(CHANNEL) == 452
    assert await bench.states([sent, under_way, elsewhere]) == ["sent", "sending", "accepted"]
    assert set(await bench.states([stranded, behind, *others])) == {"failed"}
    entry = await bench.ledger.messages.entry(stranded)
    assert (entry.reason, entry.detail) == ("500", "channel is not configured")
    assert await bench.ledger.unconfigured.give_up(CHANNEL) == 0
    assert await bench.keys("dcb:unconfigured") == []
    assert await bench.difference() == 0


async def test_nothing_of_a_configured_channel_is_given_up(bench: LineBench) -> None:
    await bench.limit()
    ref = await bench.put()
    assert await bench.ledger.unconfigured.give_up(CHANNEL) is None
    assert await bench.state(ref) == "accepted"


async def test_one_worker_that_has_an_older_configuration_holds_nobody_up(bench: LineBench) -> None:
    await bench.limit()
    ref = await bench.sending()
    assert await bench.ledger.unconfigured.strand(ref, "mine") == "waits"
    await bench.drop_jobs()
    assert await bench.go() == []
    await bench.pass_time(5.1)
    assert await bench.go() == [ref]


async def test_a_probe_is_not_looked_for_among_those_without_configuration(bench: LineBench) -> None:
    await bench.limit()
    await bench.record_failure("x", at_once=True)
    gone = await bench.put("gone", channel_id=OTHER, to_id="1")
    await bench.pass_time(0.01)
    here = await bench.put("here", to_id="2")
    await bench.ledger.pacing.announce({CHANNEL: "acme 0 1 0 0 1 0"})
    await bench.pass_time(5.1)
    await bench.sweep()
    assert (await bench.queued())[-1] == here
    assert await bench.state(gone) == "accepted"
    assert (await bench.ledger.messages.entry(gone)).line != "b-acme"
