"""Pauses, holds and drains beside what else the ledger keeps: lane limits, breakers, routes, our own messages."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from dcbridge.ledger.controls import Target, What
from dcbridge.operations.controls import stopping
from tests.ledger.ledger_bench import CHANNEL, new_own
from tests.ledger.route_bench import balanced
from tests.ledger.test_controls import STOPS, ControlBench, quiet


@pytest.fixture
def bench(redis: Redis) -> ControlBench:
    return ControlBench(redis)


async def test_no_job_tries_a_sick_provider_that_is_paused(bench: ControlBench) -> None:
    """Of a channel of whose providers none may be spoken to."""
    await bench.several()
    await bench.open_breaker("a")
    await bench.stop(Target(What.PROVIDER, "a"))
    await bench.stop(Target(What.PROVIDER, "b"))
    ref = await bench.new()
    await bench.pass_time(10)
    assert await bench.goes() == []
    await bench.resume(Target(What.PROVIDER, "a"))
    assert await bench.goes() == [ref]


@pytest.mark.parametrize("target", STOPS, ids=lambda one: one.what.value)
async def test_what_is_stopped_does_not_hold_up_its_conversation(bench: ControlBench, target: Target) -> None:
    await bench.limit()
    ref = await bench.sending()
    assert await bench.retry(ref, delay=1.0) == "retry"
    await bench.stop(target)
    await bench.drop_jobs()
    await bench.pass_time(1000)  # longer than lane_limit
    assert await bench.goes() == []
    await bench.resume(target)
    assert await bench.goes() == [ref]
    assert await bench.claim(ref) == "go"
    assert await bench.retry(ref, lane_limit=900.0) == "retry"


async def test_an_unknown_outcome_is_asked_about_after_the_pause_before_it_is_sent_again(
    bench: ControlBench,
) -> None:
    """Its provider cannot be asked meanwhile, and the time for that runs out."""
    await bench.limit()
    messages, lookups = bench.ledger.messages, bench.ledger.lookups
    ref, other = await bench.sending(time_to_live=7200.0), await bench.sending("m-2", to_id="1", time_to_live=7200.0)
    for one in (ref, other):
        await messages.unknown(one, "mine", 1.0, "timeout")
    await bench.stop(STOPS[0])
    await bench.pass_time(1000)
    assert [await lookups.ask(one, 900.0) for one in (ref, other)] == ["over"] * 2
    assert await messages.settle(other, "fail") == "failed"  # the policy needs no provider
    assert await messages.settle(ref, "resend") == "waiting"
    await bench.resume(STOPS[0])
    await bench.pass_time(61)
    assert [one.id for one in await bench.sweep()] == [ref]
    assert await lookups.ask(ref, 900.0) == "asking"
    assert await bench.difference() == 0


async def test_an_unknown_outcome_waits_no_longer_than_its_time_to_live(bench: ControlBench) -> None:
    await bench.limit()
    ref = await bench.sending(time_to_live=7200.0)
    await bench.ledger.messages.unknown(ref, "mine", 1.0, "timeout")
    await bench.stop(STOPS[0])
    await bench.pass_time(7201)
    assert await bench.ledger.messages.settle(ref, "resend") == "retry"
    await bench.sweep()
    assert await bench.owed() == [("m-1", "Failed", "305")]


async def test_a_worker_that_has_gone_is_not_drained_for_good(bench: ControlBench) -> None:
    gone, there = Target(What.WORKER, "gone"), Target(What.WORKER, "there")
    await bench.stop(gone)
    await bench.stop(there)
    await bench.redis.hset("rq:worker:there", "hostname", "h")
    await bench.pass_time(590)
    await bench.sweep()
    assert len(await bench.ledger.controls.all()) == 2
    await bench.pass_time(20)
    await bench.sweep()
    assert [one.target for one in await bench.ledger.controls.all()] == [there]
    [newest] = await bench.ledger.controls.audit(1)
    assert (newest.action, newest.what, newest.result) == ("ended", "w/gone", "the worker has gone")


async def test_of_so_many_it_is_remembered_that_time_stood_still(bench: ControlBench) -> None:
    rows: dict[Any, Any] = {f"l/{n:018x}": f"{n}-{n + 1} 1-2" for n in range(1000, 2000)}
    await bench.redis.hset("dcb:stood-still", mapping=rows)
    for _ in range(2):
        await bench.stop(STOPS[1], stands_still=True)
        await bench.resume(STOPS[1])
    assert set(await bench.redis.hkeys("dcb:stood-still")) == {
        *(name.encode() for name in [*rows][1:]),
        f"c/{CHANNEL}".encode(),
    }


async def test_what_dcbridge_says_itself_does_not_wait_for_a_review(bench: ControlBench) -> None:
    await bench.limit()
    await bench.stop(Target(What.HOLD, CHANNEL))
    assert await bench.ledger.own.put(new_own()) == "new"
    [ref] = await bench.queued()
    entry = await bench.ledger.messages.entry(ref)
    assert await stopping(bench.ledger, entry, "acme") == []
    await bench.stop(Target(What.CHANNEL, CHANNEL))
    assert [one.target.what for one in await stopping(bench.ledger, entry, "acme")] == [What.CHANNEL]


@pytest.mark.parametrize("how", ["paused", "quiet hours", "not configured", "another worker's session"])
async def test_a_provider_that_was_left_is_not_believed_after_a_claim_is_given_back(
    bench: ControlBench, how: str
) -> None:
    await bench.several()
    ref = await bench.new()
    assert await bench.via(ref) == "a"
    assert await bench.fails(ref, "unreachable") == "retry"
    assert await bench.via(ref) == "b"
    match how:
        case "paused":
            await bench.stop(STOPS[1])
            assert await bench.claim(ref) == "paused"
        case "quiet hours":
            assert await quiet(bench, ref) == "waits"
        case "not configured":
            assert await bench.ledger.unconfigured.strand(ref, "mine") == "waits"
        case _:
            assert await bench.ledger.sessions.pass_on(ref, "mine", "b") == "accepted"
    assert await bench.says("a", ref, "failed") == "left"
    await balanced(bench)
