"""Through which of its providers a message goes: the choice, what a conversation stays with, and when one is left."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from dcbridge.ledger import lane_of
from tests.ledger.ledger_bench import CHANNEL, CONSUMER
from tests.ledger.route_bench import RouteBench, balanced

OTHER_CONSUMER = "16504661150"


@pytest.fixture
def bench(redis: Redis) -> RouteBench:
    return RouteBench(redis)


# ---------------------------------------------------------------- the choice


async def test_a_new_conversation_goes_through_the_first(bench: RouteBench) -> None:
    await bench.several("a", "b")
    ref = await bench.new()
    assert await bench.via(ref) == "a"
    assert await bench.book("a") == {"accepted": 1, "open": 1}
    entry = await bench.ledger.messages.entry(ref)
    assert (entry.provider, entry.provider_why, entry.booked_by) == ("a", "first", "a")


async def test_one_whose_breaker_is_open_is_passed_over(bench: RouteBench) -> None:
    await bench.several("a", "b")
    await bench.open_breaker("a")
    assert await bench.via(await bench.new()) == "b"


async def test_one_that_asked_for_a_pause_is_passed_over(bench: RouteBench) -> None:
    await bench.several("a", "b")
    await bench.ledger.pauses.begin("a", 60.0, 60.0, "429")
    assert await bench.via(await bench.new()) == "b"


async def test_a_channel_with_one_provider_is_held_by_its_breaker_and_keeps_no_books_of_it(bench: RouteBench) -> None:
    await bench.several("a")
    assert await bench.via(await bench.new()) == "a"
    assert await bench.keys("dcb:with:*") == await bench.keys("dcb:sticky:*") == []
    await bench.open_breaker("a")
    assert await bench.via(await bench.new("m-2", OTHER_CONSUMER)) == "parked"


async def test_one_waits_only_while_every_provider_is_blocked_and_goes_when_any_is_back(bench: RouteBench) -> None:
    await bench.several("a", "b")
    await bench.open_breaker("a")
    await bench.open_breaker("b")
    ref = await bench.new()
    await bench.drop_jobs()
    assert await bench.via(ref) == "parked"
    await bench.sweep()
    assert await bench.queued() == []
    await bench.close_breaker("b")
    await bench.pass_time(1.5)
    await bench.sweep()
    assert await bench.queued() == [ref]
    assert await bench.via(ref) == "b"


async def test_what_waits_in_the_line_of_one_leaves_it_when_its_breaker_opens(bench: RouteBench) -> None:
    await bench.several("a", "b", paces={"a": "0.01 1 0"})
    refs = [await bench.new(f"m-{n}", f"1650466{n:04d}") for n in range(4)]
    assert [await bench.via(ref) for ref in refs] == ["a", "paced", "paced", "paced"]
    await bench.drop_jobs()
    await bench.open_breaker("a")
    await bench.pass_time(2)  # and the probe is not due
    await bench.sweep()
    assert sorted(await bench.queued()) == sorted(refs[1:])
    assert [await bench.via(ref) for ref in refs[1:]] == ["b", "b", "b"]


async def test_the_probe_of_one_that_is_away_is_a_new_conversation_and_no_other(bench: RouteBench) -> None:
    await bench.several("a", "b")
    await bench.open_breaker("a")
    old = await bench.new("m-1")
    assert await bench.via(old) == "b"
    assert await bench.takes(old, "b") == "sent"
    await bench.pass_time(6)  # the probe is due
    assert await bench.via(await bench.new("m-2")) == "b"  # it stays
    probe, another = await bench.new("m-3", "m3"), await bench.new("m-4", "m4")
    assert await bench.via(probe) == "a"
    assert await bench.via(another) == "b"
    assert await bench.open_breaker("a", "connect", probe) == "open"
    assert await bench.fails(probe, "unreachable") == "retry"
    assert await bench.via(probe) == "b"
    await bench.pass_time(11)
    last = await bench.new("m-5", "m5")
    assert await bench.via(last) == "a"
    assert await bench.takes(last, "a") == "sent"
    assert await bench.keys("dcb:breaker:*") == []


async def test_a_slow_one_is_the_last_choice_where_that_is_a_reason(bench: RouteBench) -> None:
    await bench.several("a", "b")
    await bench.redis.hset("dcb:slow:a", mapping={"since": 1, "share": "0.5"})
    assert await bench.via(await bench.new()) == "b"
    await bench.open_breaker("b")
    assert await bench.via(await bench.new("m-2", "m2")) == "a"
    await bench.several("a", "b", on="utab")
    assert await bench.via(await bench.new("m-3", "m3")) == "a"


# ---------------------------------------------------------------- what a conversation stays with


async def test_a_conversation_stays_with_its_provider_until_it_is_over(bench: RouteBench) -> None:
    await bench.several("a", "b")
    await bench.open_breaker("a")
    first = await bench.new("m-1")
    assert await bench.via(first) == "b"
    await bench.takes(first, "b")
    await bench.close_breaker("a")
    second = await bench.new("m-2")
    assert await bench.via(second) == "b"
    await bench.takes(second, "b")
    assert await bench.finished()
    assert await bench.via(await bench.new("m-3")) == "a"


async def test_a_conversation_is_free_after_its_time(bench: RouteBench) -> None:
    await bench.several("a", "b", stay=3600.0)
    await bench.open_breaker("a")
    first = await bench.new("m-1")
    assert await bench.via(first) == "b"
    await bench.takes(first, "b")
    await bench.close_breaker("a")
    await bench.pass_time(3601)
    assert await bench.via(await bench.new("m-2")) == "a"


async def test_the_answer_goes_the_way_that_the_consumer_wrote(bench: RouteBench) -> None:
    await bench.several("a", "b")
    assert await bench.ledger.routes.stick(CHANNEL, lane_of(CHANNEL, CONSUMER), "b")
    assert not await bench.ledger.routes.stick(CHANNEL, lane_of(CHANNEL, "m2"), "another")
    assert [await bench.via(await bench.new("m-1")), await bench.via(await bench.new("m-2", "m2"))] == ["b", "a"]


@pytest.mark.parametrize(("on", "goes"), [("utabs", "b"), ("utas", "parked")])
async def test_a_conversation_leaves_an_open_breaker_where_that_is_a_reason(
    bench: RouteBench, on: str, goes: str
) -> None:
    await bench.several("a", "b", on=on)
    first = await bench.new("m-1")
    assert await bench.via(first) == "a"
    await bench.takes(first, "a")
    await bench.open_breaker("a")
    assert await bench.via(await bench.new("m-2")) == goes


@pytest.mark.parametrize(("pause", "goes"), [(20.0, "paused"), (40.0, "b")])
async def test_a_conversation_leaves_a_pause_that_is_longer_than_it_waits(
    bench: RouteBench, pause: float, goes: str
) -> None:
    await bench.several("a", "b", after=30.0)
    first = await bench.new("m-1")
    assert await bench.via(first) == "a"
    await bench.takes(first, "a")
    await bench.ledger.pauses.begin("a", pause, pause, "429")
    assert await bench.via(await bench.new("m-2")) == goes


# ---------------------------------------------------------------- another one, after an attempt


@pytest.mark.parametrize("why", ["unreachable", "account", "route"])
async def test_what_certainly_was_not_taken_goes_through_another_one_at_once(bench: RouteBench, why: str) -> None:
    await bench.several("a", "b")
    ref = await bench.new()
    assert await bench.via(ref) == "a"
    await bench.drop_jobs()
    if why == "route":
        assert await bench.ledger.messages.fail(ref, "mine", 350, "21612", why) == "retry"
    else:
        assert await bench.fails(ref, why, delay=300.0) == "retry"
    assert await bench.queued() == [ref]
    assert await bench.via(ref) == "b"
    assert await bench.takes(ref, "b") == "sent"
    assert await bench.book("a") == {"left": 1, "open": 0}
    assert await bench.book("b") == {"accepted": 1, "open": 1}
    assert await bench.counts("switched", f"switched_{why}") == [1, 1]
    await balanced(bench)
    assert await bench.says("b", ref, "delivered") == "delivered"
    assert await bench.book("b") == {"accepted": 1, "delivered": 1, "open": 0}
    await balanced(bench)


async def test_when_each_was_tried_the_waits_of_retries_apply(bench: RouteBench) -> None:
    await bench.several("a", "b")
    ref = await bench.new()
    assert await bench.via(ref) == "a"
    assert await bench.fails(ref, "unreachable", delay=50.0) == "retry"
    assert await bench.via(ref) == "b"
    assert await bench.fails(ref, "unreachable", delay=50.0) == "retry"
    assert await bench.via(ref) == "not yet"
    await bench.pass_time(51)
    assert await bench.via(ref) == "b"
    assert await bench.fails(ref, "unreachable", delay=50.0) == "retry"
    assert await bench.via(ref) == "a"


async def test_a_throttled_one_is_left_after_its_time(bench: RouteBench) -> None:
    await bench.several("a", "b", after=30.0)
    ref = await bench.new()
    for _ in range(3):
        assert await bench.via(ref) == "a"
        assert await bench.fails(ref, "throttled", delay=8.0) == "retry"
        await bench.pass_time(9)
    assert await bench.via(ref) == "a"
    assert await bench.fails(ref, "throttled", delay=8.0) == "retry"
    assert await bench.via(ref) == "b"


@pytest.mark.parametrize(
    ("why", "on"), [("unreachable", "tabs"), ("throttled", "uabs"), ("account", "utbs"), ("", "utabs")]
)
async def test_what_is_no_reason_is_tried_at_the_same_one(bench: RouteBench, why: str, on: str) -> None:
    await bench.several("a", "b", on=on, after=0.0)
    ref = await bench.new()
    assert await bench.via(ref) == "a"
    assert await bench.fails(ref, why, delay=5.0) == "retry"
    await bench.pass_time(6)
    assert await bench.via(ref) == "a"


async def test_a_refusal_that_is_not_the_routes_is_final(bench: RouteBench) -> None:
    await bench.several("a", "b")
    ref = await bench.new()
    assert await bench.via(ref) == "a"
    assert await bench.ledger.messages.fail(ref, "mine", 530, "21211") == "failed"
    assert await bench.book("a") == {"accepted": 1, "failed": 1, "open": 0}


async def test_a_route_refused_by_all_is_final(bench: RouteBench) -> None:
    await bench.several("a", "b")
    ref = await bench.new()
    assert await bench.via(ref) == "a"
    assert await bench.ledger.messages.fail(ref, "mine", 350, "x", "route") == "retry"
    assert await bench.via(ref) == "b"
    assert await bench.ledger.messages.fail(ref, "mine", 350, "x", "route") == "failed"
    await balanced(bench)


async def test_a_message_with_one_part_taken_stays(bench: RouteBench) -> None:
    await bench.several("a", "b")
    ref = await bench.new()
    assert await bench.via(ref) == "a"
    assert await bench.taken(ref, part=0, count=2) == "next"
    await bench.open_breaker("a")
    assert await bench.via(ref) == "parked"
    await bench.close_breaker("a")
    await bench.sweep()
    assert await bench.via(ref) == "a"
    assert await bench.fails(ref, "unreachable", delay=5.0) == "retry"
    await bench.pass_time(6)
    assert await bench.via(ref) == "a"


async def test_a_message_with_one_part_taken_is_no_probe_of_another_provider(bench: RouteBench) -> None:
    await bench.several("a", "b")
    ref = await bench.new()
    assert await bench.via(ref) == "a"
    assert await bench.taken(ref, part=0, count=2) == "next"
    assert await bench.finished()  # nothing but the part keeps it with its provider
    await bench.open_breaker("b")
    await bench.pass_time(6)  # the probe is due
    assert await bench.via(ref) == "a"


# ---------------------------------------------------------------- what an operator wants


async def test_a_conversation_whose_provider_is_away_does_not_go_to_a_drained_one(bench: RouteBench) -> None:
    await bench.several("a", "b")
    ref = await bench.new("m-1")
    assert await bench.via(ref) == "a"
    assert await bench.takes(ref, "a") == "sent"
    await bench.ledger.routes.steer("b", "drain", 7200.0, "ann", "")
    await bench.open_breaker("a")
    assert await bench.via(await bench.new("m-2")) == "parked"


async def test_a_drained_one_gets_nothing_while_another_can_be_spoken_to(bench: RouteBench) -> None:
    await bench.several("a", "b")
    first = await bench.new("m-1")
    assert await bench.via(first) == "a"
    await bench.takes(first, "a")
    await bench.ledger.routes.steer("a", "drain", 3600.0, "ann", "works")
    second = await bench.new("m-2")
    assert await bench.via(second) == "b"
    await bench.takes(second, "b")
    await bench.open_breaker("b")
    assert await bench.via(await bench.new("m-3", "m3")) == "a"
    order = (await bench.provider("a")).order
    assert order is not None
    assert (order.how, order.by, order.why) == ("drain", "ann", "works")


async def test_a_preferred_one_gets_what_is_new_until_its_time_is_over(bench: RouteBench) -> None:
    await bench.several("a", "b")
    first = await bench.new("m-1")
    assert await bench.via(first) == "a"
    await bench.takes(first, "a")
    await bench.ledger.routes.steer("b", "prefer", 3600.0, "ann", "")
    assert [await bench.via(await bench.new("m-2")), await bench.via(await bench.new("m-3", "m3"))] == ["a", "b"]
    await bench.pass_time(3601)
    assert await bench.via(await bench.new("m-4", "m4")) == "a"
    await bench.ledger.routes.steer("b", "prefer", 3600.0, "ann", "")
    assert await bench.ledger.routes.clear("b")
    assert not await bench.ledger.routes.clear("b")
    assert await bench.via(await bench.new("m-5", "m5")) == "a"
