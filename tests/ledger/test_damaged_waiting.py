"""An entry that cannot be read, in a line, behind an open breaker or in a subscriber's queue, does not stop a sweep."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from redis.asyncio import Redis

from dcbridge.ledger.reports.books import read
from tests.ledger.events_bench import CRM, EventsBench
from tests.ledger.ledger_bench import CHANNEL
from tests.ledger.test_aside import ENTRY, TYPES, Damage, asides, field, without
from tests.ledger.test_lines import LineBench
from tests.ledger.test_pacing import OTHER


async def missing(redis: Redis, key: str) -> None:
    await redis.delete(key)


WAITING: dict[str, Damage] = {
    **ENTRY,
    **TYPES,
    "no entry": missing,
    "no time": without("at"),
    "no part": without("pt"),
    "no attempts": without("a"),
    "a counter of jobs that is no number": field("w", "several"),
    "a place in time that is no number": field("sl", "soon"),
    "half of it": without("at", "exp", "ch", "ln"),
}
GONE = "no entry"  # nothing is left to set aside


@pytest.fixture
def bench(redis: Redis) -> LineBench:
    return LineBench(redis)


async def held_by_the_channel(bench: LineBench) -> list[str]:
    await bench.limit(channel="0 1 1")
    return (await bench.many(4))[1:]


async def held_by_the_provider(bench: LineBench) -> list[str]:
    await bench.limit(provider="0 1 1")
    return (await bench.many(4))[1:]


async def paused(bench: LineBench) -> list[str]:
    await bench.limit()
    await bench.ledger.pauses.begin("acme", 600.0)
    return await bench.many(3)


async def parked(bench: LineBench) -> list[str]:
    await bench.limit()
    await bench.record_failure("x", at_once=True)
    return await bench.heads(3)


async def unconfigured(bench: LineBench) -> list[str]:
    refs = await bench.many(3)
    for ref in refs:
        assert (await bench.ledger.messages.claim(ref, "mine", 60.0)).ours
        assert await bench.ledger.unconfigured.strand(ref, "mine") == "waits"
    return refs


async def set_free(bench: LineBench) -> None:
    """Whatever held them back is over."""
    await bench.drop_jobs()
    for key in [
        *await bench.keys("dcb:flight:*"),
        *await bench.keys("dcb:pause:*"),
        *await bench.keys("dcb:breaker:*"),
    ]:
        await bench.redis.delete(key)
    await bench.limit()


WAITS: list[Callable[[LineBench], Awaitable[list[str]]]] = [
    held_by_the_channel, held_by_the_provider, paused, parked, unconfigured,
]  # fmt: skip


@pytest.mark.parametrize("way", WAITS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("damage", WAITING)
async def test_whoever_waits_behind_one_that_cannot_be_read_goes(
    bench: LineBench, way: Callable[[LineBench], Awaitable[list[str]]], damage: str
) -> None:
    bad, *good = await way(bench)
    other = await bench.sending("other", to_id="other", channel_id="1111111111", lease=0.0)
    await WAITING[damage](bench.redis, f"dcb:m:{bad}")
    await set_free(bench)
    assert other in [decision.id for decision in await bench.sweep()]
    await bench.sweep()
    queued = await bench.queued()
    assert set(good) <= set(queued)
    claimed = {ref: (await bench.ledger.messages.claim(ref, "t", 60.0)).ours for ref in queued}
    assert all(claimed[ref] for ref in good)
    if claimed.get(bad):  # what is damaged is not in the way of a claim
        return
    if damage != GONE:
        await bench.redis.zadd("dcb:due", {f"m:{bad}": 1}, xx=True)
        await bench.sweep()
        assert await asides(bench) == [f"m:{bad}"]
    for key in [*await bench.keys("dcb:line:*"), *await bench.keys("dcb:parked:*"), *await bench.keys("dcb:flight:*")]:
        assert await bench.redis.zscore(key, bad) is None, key


@pytest.mark.parametrize("damage", WAITING)
async def test_an_open_breaker_is_probed_by_a_message_that_can_be_read(bench: LineBench, damage: str) -> None:
    bad, *good = await parked(bench)
    other = await bench.sending("other", to_id="other", channel_id="1111111111", lease=0.0)
    await WAITING[damage](bench.redis, f"dcb:m:{bad}")
    await bench.drop_jobs()
    for _ in range(4):
        await bench.redis.hset("dcb:breaker:acme", "probe", 1)
        decisions = [decision.id for decision in await bench.sweep()]
        assert other in decisions or await bench.state(other) != "sending"
        while (ref := await bench.pop_job()) is not None:
            if await bench.claim(ref) == "go" and ref != bad:
                assert ref == good[0]
                return
    pytest.fail("nobody probed")


@pytest.mark.parametrize("damage", ["no lane", "a list", "an end that is no number"])
async def test_the_answer_about_a_neighbour_is_written_down(bench: LineBench, damage: str) -> None:
    """A place in flight that comes free is given on in the very step that ends a message."""
    await bench.limit(provider="0 1 1")
    first, bad, good = await bench.many(3)
    assert await bench.claim(first) == "go"
    await WAITING[damage](bench.redis, f"dcb:m:{bad}")
    assert await bench.taken(first) == "sent"
    await bench.sweep()
    for ref in await bench.queued():
        await bench.claim(ref)
    await bench.redis.delete("dcb:flight:p-acme")
    await bench.sweep()
    assert good in await bench.queued()


@pytest.mark.parametrize("damage", ["no lane", *TYPES])
@pytest.mark.parametrize("place", ["first", "second"])
async def test_a_conversation_goes_on_although_it_cannot_be_read_which_it_is(
    bench: LineBench, damage: str, place: str
) -> None:
    """Nobody writes to it any more: the sweep finds out."""
    first = await bench.put("first") if place == "second" else ""
    bad, behind = await bench.put("bad"), await bench.put("behind")
    for n in range(1000):
        await bench.redis.rpush(f"dcb:lane:{n:x}", "m:another")
    await WAITING[damage](bench.redis, f"dcb:m:{bad}")
    if first:
        assert await bench.claim(first) == "go"
        assert await bench.taken(first) == "sent"
    await bench.drop_jobs()
    await bench.claim(bad)
    for _ in range(10):
        await bench.sweep()
    assert await asides(bench) == [f"m:{bad}"]
    assert await bench.queued() == [behind]
    assert await bench.redis.hexists("dcb:watched", "lanes") == 0  # and looks no further


# ---------------------------------------------------------------- what belongs to no entry


async def set_aside_nothing(bench: LineBench) -> None:
    assert await asides(bench) == []
    await read(bench.redis)


SHARED: dict[str, Callable[[Redis], Awaitable[object]]] = {
    "a line of a newer version": lambda redis: redis.zadd("dcb:lines", {"z-2": 1, "": 1, "c": 1, "-": 1}),
    "a line of another type": lambda redis: redis.set("dcb:line:c-another", "x"),
    "a breaker of another type": lambda redis: redis.set("dcb:breaker:another", "x"),
    "half a breaker": lambda redis: redis.hset("dcb:breaker:another", "why", "401"),
    "a breaker whose next probe is no number": lambda redis: redis.hset("dcb:breaker:another", "probe", "soon"),
    "a subscriber's breaker of another type": lambda redis: redis.set("dcb:breaker:subscribers/x", "x"),
    "the parked ones of another type": lambda redis: redis.set("dcb:parked:another", "x"),
    "a line of limits that is damaged": lambda redis: redis.hset("dcb:limits", "another", "broken x 1"),
    "an empty line of limits": lambda redis: redis.hset("dcb:limits", "another", ""),
    "names of breakers of another type": lambda redis: redis.delete("dcb:breakers"),
}


@pytest.mark.parametrize("damage", SHARED)
async def test_the_other_lines_and_breakers_are_looked_at(bench: LineBench, damage: str) -> None:
    refs = await held_by_the_channel(bench)
    await bench.redis.sadd("dcb:breakers", "another", "subscribers/x")
    await bench.redis.zadd("dcb:lines", {"c-another": 1})
    ref = await bench.put("another", channel_id="another", to_id="another")
    await bench.redis.zadd("dcb:line:c-another", {ref: 1})
    await bench.redis.hset(f"dcb:m:{ref}", "q", "c-another")
    if "line of another type" in damage:
        await bench.redis.delete("dcb:line:c-another")
    await SHARED[damage](bench.redis)
    if damage == "names of breakers of another type":
        await bench.redis.set("dcb:breakers", "x")
    await set_free_lines(bench)
    await bench.sweep()
    assert set(refs) <= set(await bench.queued())
    await set_aside_nothing(bench)


async def set_free_lines(bench: LineBench) -> None:
    await bench.drop_jobs()
    await bench.redis.delete(f"dcb:flight:c-{CHANNEL}")
    await bench.ledger.pacing.announce({CHANNEL: "acme 0 1 0 0 1 0", OTHER: "acme 0 1 0 0 1 0"})
    await bench.redis.zadd("dcb:lines", {f"c-{CHANNEL}": 1})


STORED: dict[str, str | dict[str, Any]] = {
    "dcb:tat:p-acme": "soon",
    "dcb:pause:acme": "until tomorrow",
    "dcb:pause-most": {"acme": "long"},
    "dcb:took:acme": {"k": "x", "c": "x", "p": "x", "at": "x", "closed": "x"},
    "dcb:breaker:acme": {"wait": "long", "ref": "x", "probe": "soon"},
}


@pytest.mark.parametrize("key", STORED)
async def test_a_figure_of_a_provider_that_is_no_number_counts_as_none(bench: LineBench, key: str) -> None:
    await bench.limit(provider="100 10 0")
    value = STORED[key]
    if isinstance(value, dict):
        await bench.redis.hset(key, mapping=cast(Any, value))
    else:
        await bench.redis.set(key, value)
    await bench.record_failure("x")
    await bench.ledger.pauses.begin("other", 1.0)
    await bench.ledger.pacing.record_success("acme", "x")
    ref = await bench.put()
    await bench.sweep()
    assert await bench.claim(ref) == "go"
    assert await bench.taken(ref) == "sent"


# ---------------------------------------------------------------- deliveries of events

DELIVERY: dict[str, Damage] = {
    **TYPES,
    "a newer state": field("s", "paused"),
    "a newer job": field("j", "digest"),
    "no job": without("j"),
    "a counter of jobs that is no number": field("w", "several"),
    "no entry": missing,
}


@pytest.mark.parametrize("damage", DELIVERY)
@pytest.mark.parametrize("why", ["a place is free", "a probe", "too old"])
async def test_a_delivery_that_cannot_be_read_does_not_stop_its_subscriber(redis: Redis, damage: str, why: str) -> None:
    bench = EventsBench(redis)
    await bench.subscribers(CRM, in_flight=1)
    await bench.redis.zadd(f"dcb:flight:p-subscribers/{CRM}", {"held": 1e15})
    bad, good = [await bench.put_event(CRM, age=100.0 - n) for n in range(2)]
    assert await bench.turn() == [f"{bad}-{CRM}", f"{good}-{CRM}"]
    await DELIVERY[damage](bench.redis, f"dcb:t:{bad}-{CRM}")
    if why == "a probe":
        await bench.redis.sadd("dcb:breakers", f"subscribers/{CRM}")
        await bench.redis.hset(f"dcb:breaker:subscribers/{CRM}", mapping={"probe": 1, "wait": 1})
    elif why == "a place is free":
        await bench.redis.delete(f"dcb:flight:p-subscribers/{CRM}")
    else:
        await bench.ledger.subscribers.announce({CRM: 99.5})
    for _ in range(4):
        await bench.sweep_all()
        for job in await bench.jobs():
            if job == f"{bad}-{CRM}":
                await bench.claim(bad)
                await bench.redis.zadd("dcb:due", {f"t:{job}": 1}, xx=True)
        if why == "a probe":
            await bench.redis.hset(f"dcb:breaker:subscribers/{CRM}", "probe", 1)
        if why == "too old":
            await bench.redis.delete(f"dcb:flight:p-subscribers/{CRM}")
        elif why == "a place is free":
            await bench.redis.zrem(f"dcb:flight:p-subscribers/{CRM}", f"{bad}-{CRM}")
    assert f"{good}-{CRM}" in await bench.jobs()
    for key in (f"dcb:turn:{CRM}", f"dcb:backlog:{CRM}"):
        if key.startswith("dcb:turn") or damage != "no entry":
            assert await bench.redis.zscore(key, f"{bad}-{CRM}") is None, key
