"""A claim belongs to a worker, and ends early when that worker falls silent."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from redis.asyncio import Redis

from bridge.ledger import Decision, Ledger, NewTask
from tests.bridge.ledger_bench import Bench

SILENCE = 1.0  # seconds


@pytest.fixture
def bench(redis: Redis) -> Bench:
    return Bench(redis)


def worker(redis: Redis, name: str) -> Ledger:
    return Ledger(redis, keep=1000.0, keep_dead=1000.0, worker=name, silence=SILENCE)


async def be_watched(redis: Redis) -> None:
    """As if somebody had swept without a pause for an hour."""
    await redis.set("dcb:watched-since", 0)
    now, _ = await redis.time()
    await redis.set("dcb:watched", now * 1000)


async def look_now(redis: Redis) -> None:
    for member in cast(list[bytes], await redis.zrange("dcb:due", 0, -1)):
        await redis.zadd("dcb:due", {member: 1})


async def held(bench: Bench, ledger: Ledger, kind: str, lease: float = 60.0) -> str:
    """A message or a task in the hands of that worker."""
    await ledger.alive()
    if kind == "m":
        ref = await bench.put()
        assert (await ledger.claim(ref, ledger.token(), lease)).ours
        return ref
    await ledger.put_tasks([NewTask("a", "callback", "", b"x")])
    assert (await ledger.claim_task("a", ledger.token(), lease)).ours
    return "a"


@pytest.mark.parametrize("kind", ["m", "t"])
async def test_what_a_living_worker_holds_is_left_alone_and_what_a_dead_one_held_is_found(
    bench: Bench, kind: str
) -> None:
    mine, other = worker(bench.redis, "mine"), worker(bench.redis, "other")
    ref = await held(bench, mine, kind)
    await be_watched(bench.redis)
    await look_now(bench.redis)
    assert await other.sweep() == []
    first_look = await bench.redis.zscore("dcb:due", f"{kind}:{ref}")
    assert first_look is not None
    await bench.redis.delete("dcb:alive:mine")
    await look_now(bench.redis)
    state = "sending" if kind == "m" else "running"
    assert [(d.kind, d.id, d.state) for d in await other.sweep()] == [(kind, ref, state)]


async def test_a_claim_is_looked_at_long_before_its_lease_ends_and_at_its_end_at_the_latest(bench: Bench) -> None:
    ledger = worker(bench.redis, "mine")
    ref = await held(bench, ledger, "m", lease=60.0)
    seconds, micros = await bench.redis.time()
    due = await bench.redis.zscore("dcb:due", f"m:{ref}")
    assert due is not None
    assert due - (seconds * 1000 + micros / 1000) < 5000
    await bench.redis.hset(f"dcb:m:{ref}", "le", 1)  # the worker lives, and has held it too long
    await look_now(bench.redis)
    assert [d.id for d in await ledger.sweep()] == [ref]


async def test_a_worker_that_says_nothing_for_its_silence_is_dead(bench: Bench) -> None:
    mine, other = worker(bench.redis, "mine"), worker(bench.redis, "other")
    ref = await held(bench, mine, "m")
    await other.sweep()
    found: list[Decision] = []
    for _ in range(100):
        await look_now(bench.redis)
        if found := await other.sweep():
            break
        await asyncio.sleep(0.05)
    assert [d.id for d in found] == [ref]
    assert not await bench.redis.exists("dcb:alive:mine")


async def test_a_sweep_says_that_its_own_worker_lives(bench: Bench) -> None:
    mine, other = worker(bench.redis, "mine"), worker(bench.redis, "other")
    await held(bench, mine, "m")
    for _ in range(15):
        await asyncio.sleep(0.1)
        await mine.sweep()
        await look_now(bench.redis)
        assert await other.sweep() == []


@pytest.mark.parametrize("pause", ["nobody swept", "redis was new"])
async def test_after_a_time_in_which_nobody_could_be_heard_nobody_is_dead(bench: Bench, pause: str) -> None:
    """Redis hung for half a minute: every worker's word has run out, and every one of them lives."""
    mine, other = worker(bench.redis, "mine"), worker(bench.redis, "other")
    await held(bench, mine, "m")
    await bench.redis.delete("dcb:alive:mine")
    if pause == "nobody swept":
        await be_watched(bench.redis)
        now, _ = await bench.redis.time()
        await bench.redis.set("dcb:watched", (now - 30) * 1000)
    await look_now(bench.redis)
    assert await other.sweep() == []
    await mine.sweep()  # it says so, well within its silence
    await be_watched(bench.redis)
    await look_now(bench.redis)
    assert await other.sweep() == []


async def test_who_says_farewell_is_not_waited_for(bench: Bench) -> None:
    mine, other = worker(bench.redis, "mine"), worker(bench.redis, "other")
    ref = await held(bench, mine, "m")
    await be_watched(bench.redis)
    await mine.farewell()
    await look_now(bench.redis)
    assert [d.id for d in await other.sweep()] == [ref]
