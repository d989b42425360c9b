"""Receipts, tasks and the sweep."""

from __future__ import annotations

import time
from typing import cast

import pytest
from redis.asyncio import Redis

from dcbridge.ledger import Decision, NewTask
from dcbridge.ledger.reports.books import read
from tests.ledger.ledger_bench import CHANNEL, Bench


@pytest.fixture
def bench(redis: Redis) -> Bench:
    return Bench(redis)


async def failed(bench: Bench, *message_ids: str) -> list[str]:
    refs = []
    for message_id in message_ids:
        ref = await bench.sending(message_id, to_id=message_id)
        await bench.ledger.messages.fail(ref, "mine", 530, "21211")
        refs.append(ref)
    return refs


# ---------------------------------------------------------------- receipts


async def test_a_receipt_carries_what_the_post_needs(bench: Bench) -> None:
    [ref] = await failed(bench, "m-1")
    [owed] = await bench.ledger.receipts.take(CHANNEL, 10, 60.0)
    assert (owed.ref, owed.message_id, owed.sender_id, owed.to_id) == (ref, "m-1", CHANNEL, "m-1")
    assert (owed.status, owed.reason, owed.detail, owed.tries, owed.trace_id) == ("Failed", "530", "21211", 0, "trace")


async def test_what_is_taken_is_nobody_elses_until_the_lease_ends(bench: Bench) -> None:
    refs = await failed(bench, "m-1", "m-2", "m-3")
    assert [o.ref for o in await bench.ledger.receipts.take(CHANNEL, 2, 60.0)] == refs[:2]
    assert [o.ref for o in await bench.ledger.receipts.take(CHANNEL, 2, 60.0)] == refs[2:]
    assert await bench.ledger.receipts.take(CHANNEL, 2, 60.0) == []
    await bench.pass_time(61)
    assert len(await bench.ledger.receipts.take(CHANNEL, 10, 60.0)) == 3


async def test_one_job_is_queued_for_many_receipts_and_another_for_what_is_left_over(bench: Bench) -> None:
    await failed(bench, "m-1", "m-2", "m-3")
    assert await bench.queued("receipts") == [CHANNEL]
    await bench.ledger.receipts.take(CHANNEL, 2, 60.0)
    assert await bench.queued("receipts") == [CHANNEL] * 2
    await bench.ledger.receipts.take(CHANNEL, 2, 60.0)
    assert await bench.queued("receipts") == [CHANNEL] * 2


async def test_done_is_done_and_may_be_said_twice(bench: Bench) -> None:
    [ref] = await failed(bench, "m-1")
    await bench.ledger.receipts.done(CHANNEL, [ref])
    entry = await bench.ledger.messages.entry(ref)
    await bench.ledger.receipts.done(CHANNEL, [ref])
    assert (await bench.ledger.messages.entry(ref)).hash.keys() == entry.hash.keys()
    await bench.ledger.receipts.again(CHANNEL, {ref: 0.0})  # by somebody who took longer than the lease
    assert await bench.owed() == []
    assert await bench.ledger.receipts.refused(CHANNEL, ref, "404", b"x") == "stale"


async def test_again_comes_back_after_its_own_delay_and_counts_its_tries(bench: Bench) -> None:
    first, second = await failed(bench, "m-1", "m-2")
    await bench.ledger.receipts.take(CHANNEL, 10, 60.0)
    await bench.ledger.receipts.again(CHANNEL, {first: 5.0, second: 500.0})
    await bench.pass_time(6)
    [owed] = await bench.ledger.receipts.take(CHANNEL, 10, 60.0)
    assert (owed.ref, owed.tries) == (first, 1)


async def test_a_refused_receipt_becomes_a_dead_letter(bench: Bench) -> None:
    [ref] = await failed(bench, "m-1")
    assert await bench.ledger.receipts.refused(CHANNEL, ref, "http 404", b"what we said") == "refused"
    assert await bench.owed() == []
    books = await read(bench.redis)
    assert (books.dead_letters, books.difference, books.channels[0].receipts_waiting) == (1, 0, 0)
    assert await bench.redis.pttl(f"dcb:m:{ref}") > 0


async def test_a_lost_receipts_job_is_queued_again_once(bench: Bench) -> None:
    await failed(bench, "m-1")
    await bench.drop_jobs()
    await bench.sweep()
    assert await bench.queued("receipts") == []  # it was woken a moment ago
    await bench.pass_time(16)
    await bench.sweep()
    await bench.sweep()
    assert await bench.queued("receipts") == [CHANNEL]


# ---------------------------------------------------------------- tasks


TASK = NewTask("c-1", "consumer", "lane-a", b'{"text":"private"}', "trace", CHANNEL)
BEHIND = NewTask("c-2", "consumer", "lane-a", b"{}", "trace", CHANNEL)


async def test_a_task_is_put_once_claimed_fenced_and_done(bench: Bench) -> None:
    ledger = bench.ledger
    assert await ledger.tasks.put([TASK, TASK]) == [True, False]
    assert await ledger.tasks.put([]) == []
    claimed = await ledger.tasks.claim("c-1", "mine", 60.0)
    assert (claimed.why, claimed.entry.trace_id, claimed.entry.payload) == ("go", "trace", TASK.payload)
    assert (await ledger.tasks.claim("c-1", "mine", 60.0)).entry.attempts == 1
    assert (await ledger.tasks.claim("c-1", "another's", 60.0)).why == "busy"
    assert await ledger.tasks.dead("c-1", "another's", "http 404", b"raw", 50.0) == "stale"
    assert await ledger.tasks.done("c-1", "mine", 50.0) == "done"
    assert await ledger.tasks.done("c-1", "mine", 50.0) == "stale"
    assert (await ledger.tasks.claim("c-1", "mine", 60.0)).why == "done"
    assert await ledger.tasks.put([TASK]) == [False]
    assert b"private" not in await bench.whole_database()
    await bench.pass_time(51)
    assert await ledger.tasks.put([TASK]) == [True]


@pytest.mark.parametrize("end", ["done", "dead"])
async def test_a_task_that_is_remembered_takes_little_room(bench: Bench, end: str) -> None:
    """Callbacks are remembered for days, each of them; Redis keeps what once was long in six times the room."""
    await bench.ledger.tasks.put([NewTask("b-1", "callback", "", b"x" * 2000, "trace", CHANNEL)])
    claim = await bench.ledger.tasks.claim("b-1", "mine", 60.0)
    assert claim.entry.payload == b"x" * 2000
    if end == "done":
        assert await bench.ledger.tasks.done("b-1", "mine", 600.0, "nothing to do") == "done"
    else:
        assert await bench.ledger.tasks.dead("b-1", "mine", "unreadable", b"raw", 600.0) == "dead"
    entry = await bench.ledger.tasks.entry("b-1")
    assert (entry.state, entry.job, entry.trace_id, entry.channel_id) == (end, "callback", "trace", CHANNEL)
    assert 0 < await bench.redis.pttl("dcb:t:b-1") <= 600_000
    assert await bench.redis.object("encoding", "dcb:t:b-1") in (b"listpack", b"ziplist")
    assert cast(int, await bench.redis.memory_usage("dcb:t:b-1")) < 350


async def test_tasks_of_a_lane_keep_their_order_over_a_retry(bench: Bench) -> None:
    ledger = bench.ledger
    second = NewTask("c-2", "consumer", "lane-a", b"{}", "", CHANNEL)
    await ledger.tasks.put([TASK, second])
    assert await bench.queued("inbound") == ["c-1"]
    assert (await ledger.tasks.claim("c-2", "x", 60.0)).why == "not its turn"
    await ledger.tasks.claim("c-1", "mine", 60.0)
    assert await ledger.tasks.retry("c-1", "mine", 5.0, "http 500") == "waiting"
    assert await ledger.tasks.retry("c-1", "mine", 5.0, "http 500") == "stale"
    assert (await ledger.tasks.claim("c-1", "mine", 60.0)).why == "not yet"
    assert (await ledger.tasks.claim("c-2", "x", 60.0)).why == "not its turn"
    await bench.pass_time(6)
    assert (await ledger.tasks.claim("c-1", "mine", 60.0)).entry.attempts == 2
    assert await ledger.tasks.dead("c-1", "mine", "http 404", b"raw", 50.0) == "dead"
    assert await ledger.tasks.dead("c-1", "mine", "http 404", b"raw", 50.0) == "stale"
    assert (await ledger.tasks.claim("c-2", "x", 60.0)).ours


async def test_a_task_without_a_lane_waits_for_nobody(bench: Bench) -> None:
    await bench.ledger.tasks.put([NewTask("b-1", "callback", "", b"1"), NewTask("b-2", "callback", "", b"2")])
    assert await bench.queued("inbound") == ["b-1", "b-2"]
    assert (await bench.ledger.tasks.claim("b-2", "x", 60.0)).ours
    assert await bench.lanes() == {}


async def test_nobody_knows_this_task(bench: Bench) -> None:
    assert (await bench.ledger.tasks.claim("b-9", "x", 60.0)).why == "gone"
    assert await bench.ledger.tasks.done("b-9", "x", 1.0) == "stale"
    assert await bench.ledger.tasks.retry("b-9", "", 1.0, "") == "stale"
    assert await bench.ledger.tasks.dead("b-9", "x", "", b"", 1.0) == "stale"
    assert await bench.keys("dcb:*") == []


async def test_a_task_that_was_done_by_a_worker_given_up_is_not_done_again(bench: Bench) -> None:
    await bench.ledger.tasks.put([TASK, BEHIND])
    assert (await bench.ledger.tasks.claim("c-1", "old", 60.0)).ours
    await bench.pass_time(61)
    assert await bench.ledger.tasks.retry("c-1", "", 0.0, "lease ended") == "waiting"
    assert await bench.ledger.tasks.done("c-1", "old", 60.0) == "done"
    assert (await bench.ledger.tasks.claim("c-1", "new", 60.0)).why == "done"
    assert (await bench.ledger.tasks.claim("c-2", "new", 60.0)).ours
    assert await bench.ledger.tasks.done("c-1", "old", 60.0) == "stale"


# ---------------------------------------------------------------- the sweep


async def test_a_due_retry_is_queued_once(bench: Bench) -> None:
    ref = await bench.sending()
    await bench.drop_jobs()
    await bench.retry(ref, delay=5.0)
    await bench.sweep()
    assert await bench.queued() == []
    await bench.pass_time(6)
    assert await bench.sweep() == []
    await bench.sweep()
    assert await bench.queued() == [ref]


async def test_a_lost_job_is_queued_again_and_one_that_waits_is_not_doubled(bench: Bench) -> None:
    lost = await bench.put("m-1", to_id="a")
    await bench.drop_jobs()
    waits = await bench.put("m-2", to_id="b")
    await bench.pass_time(16)
    for _ in range(3):
        await bench.sweep()
        await bench.pass_time(16)
    assert await bench.queued() == [waits, lost]


async def test_a_queue_that_lost_everything_is_filled_again(bench: Bench) -> None:
    refs = [await bench.put(f"m-{n}", to_id=str(n)) for n in range(5)]
    await bench.ledger.tasks.put([TASK])
    await bench.drop_jobs()
    await bench.pass_time(16)
    await bench.sweep()
    assert sorted(await bench.queued()) == sorted(refs)
    assert await bench.queued("inbound") == ["c-1"]


async def test_only_heads_are_woken(bench: Bench) -> None:
    head = await bench.put("m-1")
    behind = await bench.put("m-2")
    await bench.redis.zadd("dcb:due", {f"m:{behind}": 0})
    await bench.drop_jobs()
    await bench.pass_time(16)
    await bench.sweep()
    assert await bench.queued() == [head]
    assert cast(float, await bench.redis.zscore("dcb:due", f"m:{behind}")) > time.time() * 1000 + 3_000_000  # its end


async def test_what_needs_a_decision_is_told_until_it_is_decided(bench: Bench) -> None:
    sending = await bench.sending("m-1", to_id="a")
    unknown = await bench.sending("m-2", to_id="b")
    await bench.ledger.messages.unknown(unknown, "mine", 30.0, "timeout")
    sent = await bench.sent("m-3", to_id="c")
    await bench.ledger.tasks.put([TASK])
    await bench.ledger.tasks.claim("c-1", "mine", 60.0)
    assert await bench.sweep() == []
    await bench.pass_time(101)
    expected = {
        Decision("m", sending, "sending", CHANNEL),
        Decision("m", unknown, "unknown", CHANNEL),
        Decision("m", sent, "sent", CHANNEL),
        Decision("t", "c-1", "running", CHANNEL),
    }
    assert set(await bench.sweep()) == expected
    assert set(await bench.sweep()) == expected
    assert await bench.ledger.messages.unknown(sending, "", 30.0, "lease ended") == "unknown"
    assert await bench.ledger.messages.settle(unknown, "fail") == "failed"
    assert await bench.ledger.messages.confirm_over(sent, "500", "Failed") == "unconfirmed"
    assert await bench.ledger.tasks.retry("c-1", "", 0.0, "lease ended") == "waiting"
    assert await bench.sweep() == []
    assert await bench.queued("inbound") == ["c-1", "c-1"]
    assert sorted(await bench.owed()) == [("m-2", "Failed", "500"), ("m-3", "Failed", "500")]
    assert await bench.difference() == 0


async def test_nothing_is_found_twice_and_nothing_that_ended_is_looked_at(bench: Bench) -> None:
    [ref] = await failed(bench, "m-1")
    await bench.redis.zadd("dcb:due", {f"m:{ref}": 0, "m:gone": 0, "t:gone": 0})
    assert await bench.sweep() == []
    assert await bench.redis.zcard("dcb:due") == 0


async def test_the_limit_of_a_sweep_leaves_the_rest_for_the_next(bench: Bench) -> None:
    for n in range(5):
        await bench.sending(f"m-{n}", to_id=str(n))
    await bench.pass_time(61)
    found = [decision.id for _ in range(3) for decision in await bench.ledger.sweep.run(2)]
    assert len(set(found)) == 5
