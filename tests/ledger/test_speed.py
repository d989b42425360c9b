"""Whose delivery updates are slow, and what a drill compares."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from tests.ledger.route_bench import RouteBench


@pytest.fixture
def bench(redis: Redis) -> RouteBench:
    return RouteBench(redis)


# ---------------------------------------------------------------- slow delivery updates


async def _sent(bench: RouteBench, count: int, begin: int = 0) -> list[str]:
    refs = []
    for n in range(begin, begin + count):
        ref = await bench.new(f"s-{n}", f"1650468{n:04d}")
        assert await bench.via(ref) == "a"
        assert await bench.takes(ref, "a") == "sent"
        refs.append(ref)
    return refs


async def _look(bench: RouteBench) -> Any:
    await bench.redis.delete("dcb:measured-at")  # it is looked at once in a second
    await bench.sweep()
    return (await bench.provider("a")).speed


async def test_one_whose_updates_do_not_come_is_slow_and_later_is_not(bench: RouteBench) -> None:
    await bench.several("a", "b")
    refs = await _sent(bench, 20)
    for ref in refs[:10]:
        assert await bench.says("a", ref, "sent") == "noted"
    assert (await _look(bench)).slow_since is None
    await bench.pass_time(241)
    speed = await _look(bench)
    assert (speed.slow, speed.messages) == (10, 20)
    assert speed.slow_since is not None
    assert await bench.via(await bench.new("m-1", "m1")) == "b"
    await bench.redis.delete("dcb:speed:a")  # ten minutes later
    assert (await _look(bench)).slow_since is not None
    await bench.pass_time(601)
    assert (await _look(bench)).slow_since is None
    assert await bench.via(await bench.new("m-2", "m2")) == "a"
    assert await bench.counts("provider_slow") == [1]


async def test_a_few_are_too_few_to_say_so(bench: RouteBench) -> None:
    await bench.several("a", "b")
    await _sent(bench, 9)
    await bench.pass_time(241)
    assert (await _look(bench)).slow_since is None


async def test_what_waits_for_its_update_is_bounded(bench: RouteBench) -> None:
    await bench.several("a", "b")
    await bench.redis.zadd("dcb:awaited:a", {f"r-{n}": 9e15 for n in range(500)})
    await _sent(bench, 3)
    assert await bench.redis.zcard("dcb:awaited:a") == 500


# ---------------------------------------------------------------- drills


async def test_a_drill_takes_its_share_of_new_conversations_and_counts_both_groups(bench: RouteBench) -> None:
    await bench.several("a", "b")
    await bench.ledger.routes.drill("b", 0.3, 3600.0, "ann", "")
    went: dict[str, int] = {"a": 0, "b": 0}
    for n in range(100):
        ref = await bench.new(f"m-{n}", f"1650467{n:04d}")
        provider = await bench.via(ref)
        went[provider] += 1
        assert await bench.takes(ref, provider) == "sent"
        assert await bench.says(provider, ref, "delivered" if n % 2 else "failed") in ("delivered", "failed")
    assert 10 < went["b"] < 55
    [drill] = (await bench.ledger.routes.drills(["a", "b"])).values()
    assert (drill.drilled.taken, drill.beside.taken) == (went["b"], went["a"])
    assert drill.drilled.delivered + drill.drilled.failed == went["b"]
    assert await bench.ledger.routes.end_drill("b")
    assert not await bench.ledger.routes.end_drill("b")
    assert await bench.via(await bench.new("m-x", "mx")) == "a"
