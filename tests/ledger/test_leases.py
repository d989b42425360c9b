"""A claim belongs to a worker, and ends early when that worker falls silent."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from redis.asyncio import Redis

from dcbridge.ledger import Decision, Ledger, NewTask
from tests.ledger.ledger_bench import Bench

SILENCE = 1.0  # seconds


@pytest.fixture
def bench(redis: Redis) -> Bench:
    return Bench(redis)


def worker(redis: Redis, name: str) -> Ledger:
    return Ledger(redis, keep=1000.0, keep_dead=1000.0, worker=name, silence=SILENCE)


async def hear_nothing(redis: Redis, seconds: float) -> None:
    """As if somebody had swept all the time, and no worker had said a word."""
    await redis.hincrby("dcb:watched", "clock", int(seconds * 1000))


async def pause(redis: Redis, seconds: float = 30.0) -> None:
    """As if nobody had swept for so long."""
    now, _ = await redis.time()
    await redis.hset("dcb:watched", "at", str(int((now - seconds) * 1000)))


async def look_now(redis: Redis) -> None:
    for member in cast(list[bytes], await redis.zrange("dcb:due", 0, -1)):
        await redis.zadd("dcb:due", {member: 1})


async def held(bench: Bench, ledger: Ledger, kind: str, lease: float = 60.0) -> str:
    """A message or a task that this worker has claimed."""
    await ledger.leases.heartbeat()
    if kind == "m":
        ref = await bench.put()
        assert (await ledger.messages.claim(ref, ledger.leases.token(), lease)).ours
        return ref
    await ledger.tasks.put([NewTask("a", "callback", "", b"x")])
    assert (await ledger.tasks.claim("a", ledger.leases.token(), lease)).ours
    return "a"


@pytest.mark.parametrize("kind", ["m", "t"])
async def test_what_a_living_worker_holds_is_left_alone_and_what_a_dead_one_held_is_found(
    bench: Bench, kind: str
) -> None:
    mine, other = worker(bench.redis, "mine"), worker(bench.redis, "other")
    ref = await held(bench, mine, kind)
    await hear_nothing(bench.redis, SILENCE * 0.5)
    await look_now(bench.redis)
    assert await other.sweep.run() == []
    first_look = await bench.redis.zscore("dcb:due", f"{kind}:{ref}")
    assert first_look is not None
    await hear_nothing(bench.redis, SILENCE * 0.5)
    await look_now(bench.redis)
    state = "sending" if kind == "m" else "running"
    assert [(d.kind, d.id, d.state) for d in await other.sweep.run()] == [(kind, ref, state)]


async def test_a_claim_is_looked_at_long_before_its_lease_ends_and_at_its_end_at_the_latest(bench: Bench) -> None:
    ledger = worker(bench.redis, "mine")
    ref = await held(bench, ledger, "m", lease=60.0)
    seconds, micros = await bench.redis.time()
    due = await bench.redis.zscore("dcb:due", f"m:{ref}")
    assert due is not None
    assert due - (seconds * 1000 + micros / 1000) < 5000
    await bench.redis.hset(f"dcb:m:{ref}", "le", 1)  # the worker lives, and has held it too long
    await look_now(bench.redis)
    assert [d.id for d in await ledger.sweep.run()] == [ref]


async def test_a_worker_that_says_nothing_for_its_silence_is_dead(bench: Bench) -> None:
    mine, other = worker(bench.redis, "mine"), worker(bench.redis, "other")
    ref = await held(bench, mine, "m")
    await other.sweep.run()
    found: list[Decision] = []
    for _ in range(100):
        await look_now(bench.redis)
        if found := await other.sweep.run():
            break
        await asyncio.sleep(0.05)
    assert [d.id for d in found] == [ref]


async def test_a_sweep_says_that_its_own_worker_lives(bench: Bench) -> None:
    mine, other = worker(bench.redis, "mine"), worker(bench.redis, "other")
    await held(bench, mine, "m")
    for _ in range(15):
        await asyncio.sleep(0.1)
        await mine.sweep.run()
        await look_now(bench.redis)
        assert await other.sweep.run() == []


@pytest.mark.parametrize("what", ["nobody swept", "redis was new"])
async def test_after_a_time_in_which_nobody_could_be_heard_nobody_is_dead(bench: Bench, what: str) -> None:
    """Redis hung for half a minute: every worker's word is old, and every one of them lives."""
    mine, other = worker(bench.redis, "mine"), worker(bench.redis, "other")
    await held(bench, mine, "m")
    if what == "nobody swept":
        await pause(bench.redis)
    else:
        await bench.redis.delete("dcb:alive:mine", "dcb:watched")
    await look_now(bench.redis)
    assert await other.sweep.run() == []
    await mine.sweep.run()  # it says so, well within its silence
    await hear_nothing(bench.redis, SILENCE * 0.9)
    await look_now(bench.redis)
    assert await other.sweep.run() == []


async def test_a_dead_worker_is_found_also_where_those_who_look_for_it_die_again_and_again(bench: Bench) -> None:
    """Each pause counts for a little, and all of them for a silence."""
    mine = worker(bench.redis, "mine")
    ref = await held(bench, mine, "m")
    looks = 0
    found: list[Decision] = []
    while not found and looks < 10:
        await pause(bench.redis)
        await look_now(bench.redis)
        found = await worker(bench.redis, f"another-{looks}").sweep.run()
        looks += 1
    assert [d.id for d in found] == [ref]
    assert looks > 2


async def test_a_worker_that_has_released_its_claims_is_not_waited_for(bench: Bench) -> None:
    mine, other = worker(bench.redis, "mine"), worker(bench.redis, "other")
    ref = await held(bench, mine, "m")
    await mine.leases.release()
    await look_now(bench.redis)
    assert [d.id for d in await other.sweep.run()] == [ref]
