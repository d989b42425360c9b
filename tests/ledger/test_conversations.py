"""Which conversations wait, for whom, and why, from a bounded look."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from dcbridge.ledger import NewTask
from dcbridge.ledger.fields import MessageEntry, State, TaskEntry, TaskState
from dcbridge.ledger.reports import conversations, overview
from dcbridge.ledger.reports.conversations import OF_EACH, READ, Head, Lanes
from tests.ledger.ledger_bench import CHANNEL, new_message
from tests.ledger.test_pacing import OTHER, PacedBench

PROVIDER_OF = {CHANNEL: "acme", OTHER: "acme"}


@pytest.fixture
def bench(redis: Redis) -> PacedBench:
    return PacedBench(redis)


async def lanes(bench: PacedBench, heads: int = 10, only: set[str] | None = None) -> Lanes:
    now = (await overview.read(bench.redis)).at
    return await conversations.lanes_of(bench.redis, now, [CHANNEL, OTHER], PROVIDER_OF, heads, only)


async def head(bench: PacedBench) -> Head:
    [found] = (await lanes(bench)).heads
    return found


async def states(bench: PacedBench, count: int) -> dict[str, int]:
    return (await conversations.states_of(bench.redis, {CHANNEL: count}))[CHANNEL]


# ---------------------------------------------------------------- why a head waits


async def test_a_head_tells_who_waits_behind_it_and_its_age(bench: PacedBench) -> None:
    first = await bench.put("m-1")
    await bench.put("m-2")
    await bench.put("m-3")
    await bench.pass_time(20)
    found = await head(bench)
    assert (found.id, found.what, found.channel_id, found.behind, found.why) == (first, "message", CHANNEL, 2, "queued")
    assert 20 <= found.age < 60


async def test_a_request_under_way(bench: PacedBench) -> None:
    ref = await bench.sending()
    found = await head(bench)
    assert (found.id, found.state, found.why, found.attempts) == (ref, "sending", "under way", 1)


async def test_a_retry_says_when_and_after_what(bench: PacedBench) -> None:
    await bench.retry(await bench.sending(), delay=40.0)
    found = await head(bench)
    assert (found.why, found.code) == ("retry", "20429")
    assert 30 < found.due_in <= 40


async def test_an_unknown_outcome(bench: PacedBench) -> None:
    await bench.ledger.messages.unknown(await bench.sending(), "mine", 30.0, "read timeout")
    found = await head(bench)
    assert (found.why, found.code) == ("unknown", "read timeout")
    assert 20 < found.due_in <= 30


async def test_who_is_held_back_says_by_what(bench: PacedBench) -> None:
    await bench.limit(channel="0.01 1 0")
    paced = await bench.heads(2)
    assert [await bench.claim(ref) for ref in paced] == ["go", "paced"]
    assert {one.id: one.why for one in (await lanes(bench)).heads} == {paced[0]: "under way", paced[1]: "paced"}


async def test_who_has_no_place_in_flight_is_held(bench: PacedBench) -> None:
    await bench.limit(channel="0 1 1")
    refs = await bench.heads(2)
    assert [await bench.claim(ref, ref) for ref in refs] == ["go", "held"]
    assert {one.id: one.why for one in (await lanes(bench)).heads}[refs[1]] == "held"


async def test_who_waits_for_a_provider(bench: PacedBench) -> None:
    await bench.limit()
    [paused] = await bench.heads(1)
    await bench.ledger.pauses.begin("acme", 30)
    assert await bench.claim(paused) == "paused"
    assert (await head(bench)).why == "paused"
    await bench.redis.delete("dcb:pause:acme")
    await bench.record_failure(paused, at_once=True)
    await bench.redis.zadd("dcb:parked:acme", {"older": 1})
    assert await bench.claim(paused) == "parked"
    assert (await head(bench)).why == "parked"


async def test_a_retry_that_is_due_and_not_queued_waits_for_the_sweep(bench: PacedBench) -> None:
    await bench.retry(await bench.sending(), delay=5.0)
    await bench.pass_time(6)
    assert (await head(bench)).why == "due"
    await bench.sweep()
    assert (await head(bench)).why == "queued"


async def test_a_lane_that_nobody_will_look_at_says_so(bench: PacedBench) -> None:
    ref = await bench.put()
    await bench.redis.zrem("dcb:due", f"m:{ref}")
    assert (await head(bench)).why == "forgotten"


async def test_tasks_are_heads_too(bench: PacedBench) -> None:
    await bench.ledger.tasks.put(
        [NewTask("c-1", "consumer", "a", b"", "", CHANNEL), NewTask("b-1", "callback", "b", b"")]
    )
    found = {one.id: (one.what, one.channel_id, one.why) for one in (await lanes(bench)).heads}
    assert found == {"c-1": ("consumer", CHANNEL, "queued"), "b-1": ("callback", "", "queued")}
    await bench.ledger.tasks.claim("c-1", "mine", 60.0)
    assert {one.id: one.why for one in (await lanes(bench)).heads}["c-1"] == "under way"


async def test_every_reason_is_one_that_is_explained() -> None:
    facts: list[tuple[type[MessageEntry] | type[TaskEntry], dict[bytes, bytes], dict[str, bool]]] = [
        (kind, {b"s": state.encode(), **more}, {"parked": parked, "paused": paused})
        for kind, states in ((MessageEntry, State), (TaskEntry, TaskState))
        for state in states
        for more in (
            *({}, {b"qa": b"1"}, {b"hd": b"1"}, {b"sl": b"9"}, {b"nb": b"9"}),
            *({b"q": b"c-1"}, {b"q": b"u-1"}, {b"q": b"r-1"}, {b"q": b"n-1-f-1"}, {b"q": b"k-c/1"}, {b"q": b"w-1"}),
        )
        for parked in (False, True)
        for paused in (False, True)
    ]
    told: set[Any] = {conversations._why(kind(found), 5.0, **where) for kind, found, where in facts}
    assert told | {"forgotten"} == set(conversations.WHY)


# ---------------------------------------------------------------- which heads


async def test_the_oldest_come_first_and_no_more_than_asked_for(bench: PacedBench) -> None:
    refs = await bench.heads(6)
    assert [one.id for one in (await lanes(bench, heads=4)).heads] == refs[:4]
    assert (await lanes(bench, heads=0)).heads == ()


async def test_heads_of_other_channels_are_left_out(bench: PacedBench) -> None:
    await bench.put("m-1", to_id="1")
    there = await bench.put("m-2", to_id="2", channel_id=OTHER)
    assert [one.id for one in (await lanes(bench, only={OTHER})).heads] == [there]


async def test_what_only_waits_for_an_update_holds_nobody_up(bench: PacedBench) -> None:
    await bench.sent("m-1")
    found = await lanes(bench)
    assert (found.count, found.heads) == (0, ())


async def test_a_head_behind_many_that_only_wait_for_updates_is_found(bench: PacedBench) -> None:
    await asyncio.gather(*(bench.sent(f"m-{n}", to_id=str(n)) for n in range(OF_EACH + 50)))
    late = await bench.put("late", to_id="late")
    await bench.redis.zrem("dcb:due", f"m:{late}")  # not by the way of the due times
    assert [one.id for one in (await lanes(bench)).heads] == [late]


async def test_heads_beside_one_conversation_of_many_are_found(bench: PacedBench) -> None:
    await bench.ledger.messages.accept([new_message(f"m-{n}") for n in range(OF_EACH + 50)])
    others = {await bench.put(f"other-{n}", to_id=str(n)) for n in range(5)}
    found = await lanes(bench)
    assert {one.id for one in found.heads[1:]} == others
    assert (found.heads[0].behind, found.longest) == (OF_EACH + 49, OF_EACH + 50)


async def test_how_many_lanes_there_are_is_exact_while_they_are_few(bench: PacedBench) -> None:
    await bench.heads(7)
    await bench.put("more", to_id="16504660000")
    found = await lanes(bench)
    assert (found.count, found.exact, found.longest) == (7, True, 2)


async def test_how_many_lanes_there_are_is_told_about_when_they_are_many(bench: PacedBench) -> None:
    async with bench.redis.pipeline() as pipe:
        for n in range(8000):
            pipe.rpush(f"dcb:lane:{n}", "m:x")
        for n in range(16_000):
            pipe.set(f"something:{n}", 1)
        await pipe.execute()
    found = await lanes(bench)
    assert not found.exact
    assert 7000 < found.count < 9000


# ---------------------------------------------------------------- states


async def test_states_of_a_few_are_exact(bench: PacedBench) -> None:
    await bench.put("m-1", to_id="1")
    await bench.put("m-2", to_id="2")
    await bench.sending("m-3", to_id="3")
    await bench.sent("m-4", to_id="4")
    assert await states(bench, 4) == {"accepted": 2, "sending": 1, "sent": 1}


async def test_states_of_many_are_an_estimate_that_adds_up(bench: PacedBench) -> None:
    async with bench.redis.pipeline() as pipe:
        for n in range(READ * 4):
            pipe.zadd(f"dcb:open:{CHANNEL}", {f"r{n}": n})
            pipe.hset(f"dcb:m:r{n}", "s", "sent" if n % 4 else "retry")
        await pipe.execute()
    found = await states(bench, READ * 4)
    assert set(found) == {"sent", "retry"}
    assert sum(found.values()) == READ * 4
    assert READ * 0.5 < found["retry"] < READ * 1.6


async def test_the_look_is_bounded(bench: PacedBench) -> None:
    """As many commands for 6,000 as for 3,000 that wait."""

    async def cost() -> int:
        before: Any = await bench.redis.info("stats")
        await lanes(bench)
        await states(bench, await bench.redis.zcard(f"dcb:open:{CHANNEL}"))
        after: Any = await bench.redis.info("stats")
        return int(after["total_commands_processed"] - before["total_commands_processed"])

    async def more(count: int, name: str) -> None:
        for start in range(0, count, 500):
            await bench.ledger.messages.accept(
                [new_message(f"{name}-{n}", to_id=f"{name}{n}") for n in range(start, start + 500)]
            )

    await more(3000, "a")
    few = await cost()
    await more(3000, "b")
    assert await cost() <= few * 1.1  # which lanes are in the random part is left to chance
