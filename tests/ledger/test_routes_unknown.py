"""What may have been taken stays with its provider; what several say of one message."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from tests.ledger.route_bench import RouteBench, balanced


@pytest.fixture
def bench(redis: Redis) -> RouteBench:
    return RouteBench(redis)


# ---------------------------------------------------------------- an outcome that is unknown


async def _unknown(bench: RouteBench) -> str:
    ref = await bench.new()
    assert await bench.via(ref) == "a"
    assert await bench.ledger.messages.unknown(ref, "mine", 10.0, "timeout") == "unknown"
    await bench.pass_time(11)
    return ref


async def test_an_unknown_outcome_never_leaves_its_provider(bench: RouteBench) -> None:
    await bench.several("a", "b")
    ref = await _unknown(bench)
    await bench.open_breaker("a")
    assert await bench.ledger.messages.settle(ref, "resend", 5) == "retry"
    assert await bench.via(ref) == "parked"
    await bench.ledger.routes.steer("a", "drain", 60.0, "ann", "")
    await bench.close_breaker("a")
    await bench.sweep()
    assert await bench.via(ref) == "a"
    assert await bench.fails(ref, "unreachable", delay=5.0) == "retry"
    await bench.pass_time(6)
    assert await bench.via(ref) == "a"


async def test_what_the_list_does_not_have_may_leave(bench: RouteBench) -> None:
    await bench.several("a", "b")
    ref = await _unknown(bench)
    assert await bench.ledger.lookups.ask(ref, 1e6) == "asking"
    assert (await bench.ledger.lookups.claim(ref, "q", 15.0)).ours
    await bench.open_breaker("a")
    assert await bench.ledger.lookups.not_there(ref, "q", 1e6) == "retry"
    assert await bench.via(ref) == "b"


async def test_resend_elsewhere_is_counted(bench: RouteBench) -> None:
    await bench.several("a", "b")
    ref = await _unknown(bench)
    assert await bench.ledger.messages.settle(ref, "resend_elsewhere", 5) == "retry"
    assert await bench.via(ref) == "b"
    assert await bench.counts("doubled_possible", "unknown_resend_elsewhere") == [1, 1]


async def test_an_outcome_that_stays_unknown_is_no_failure_in_its_providers_books(bench: RouteBench) -> None:
    await bench.several("a", "b")
    ref = await _unknown(bench)
    assert await bench.ledger.messages.settle(ref, "fail") == "failed"
    assert await bench.book("a") == {"accepted": 1, "unknown": 1, "open": 0}
    await balanced(bench)


# ---------------------------------------------------------------- updates of another provider than the present one


async def _switched(bench: RouteBench, to: str = "retry") -> str:
    """A message that left `a`; then it is claimed for `b` ("sending"), or taken by it ("sent")."""
    ref = await bench.new()
    assert await bench.via(ref) == "a"
    assert await bench.fails(ref, "unreachable") == "retry"
    if to != "retry":
        assert await bench.via(ref) == "b"
    if to == "sent":
        assert await bench.takes(ref, "b") == "sent"
    return ref


async def test_an_update_of_a_provider_that_never_had_it_changes_nothing(bench: RouteBench) -> None:
    await bench.several("a", "b", "c")
    ref = await _switched(bench, "sent")
    assert await bench.says("c", ref, "delivered") == "other_provider"
    assert await bench.state(ref) == "sent"
    assert await bench.says("a", ref, "failed") == "left"
    assert await bench.says("b", ref, "delivered") == "delivered"


async def test_a_late_delivered_of_one_that_was_left_is_counted_once_as_doubled(bench: RouteBench) -> None:
    await bench.several("a", "b")
    ref = await _switched(bench, "sent")
    assert [await bench.says("a", ref, "delivered") for _ in range(2)] == ["doubled"] * 2
    assert await bench.says("b", ref, "delivered") == "delivered"
    assert await bench.says("a", ref, "delivered") == "doubled"
    assert await bench.counts("doubled") == [1]
    entry = await bench.ledger.messages.entry(ref)
    assert (entry.doubled_by, entry.state) == ("a", "delivered")


async def test_one_that_was_left_and_has_it_after_all_keeps_it(bench: RouteBench) -> None:
    await bench.several("a", "b")
    ref = await _switched(bench, "retry")
    assert await bench.says("a", ref, "sent") == "sent"
    assert await bench.book("a") == {"accepted": 1, "open": 1}
    assert await bench.says("a", ref, "delivered") == "delivered"
    assert await bench.counts("doubled") == [0]
    await balanced(bench)


async def test_what_it_says_while_the_other_one_is_asked_decides_if_that_one_fails(bench: RouteBench) -> None:
    await bench.several("a", "b")
    ref = await _switched(bench, "sending")
    assert await bench.says("a", ref, "delivered") == "parked"
    assert await bench.fails(ref, "unreachable") == "sent"
    entry = await bench.ledger.messages.entry(ref)
    assert (entry.provider, entry.booked_by) == ("a", "a")
    await balanced(bench)


async def test_and_is_doubled_if_that_one_takes_it(bench: RouteBench) -> None:
    await bench.several("a", "b")
    ref = await _switched(bench, "sending")
    assert await bench.says("a", ref, "sent") == "parked"
    assert await bench.takes(ref, "b") == "sent"
    assert await bench.counts("doubled") == [1]


async def test_an_older_process_may_have_sent_it_through_any(bench: RouteBench) -> None:
    """A process of version 0.1.0 claims without a choice, and sends through the first of its own bridge.yaml."""
    await bench.several("b", "a")
    ref = await bench.new()
    assert await bench.via(ref) == "b"
    assert await bench.fails(ref, "", delay=1.0) == "retry"
    await bench.redis.hset(f"dcb:m:{ref}", mapping={"s": "sending", "tok": "older"})
    await bench.redis.hincrby(f"dcb:m:{ref}", "ta", 1)
    assert await bench.taken(ref, "older") == "sent"
    assert await bench.says("a", ref, "delivered") == "delivered"
    await balanced(bench)
