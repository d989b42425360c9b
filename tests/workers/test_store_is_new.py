"""Redis comes back empty, or older, while workers run: limits and workers are announced again, and it is said aloud."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.ledger import Ledger, Swept
from tests.ledger.ledger_bench import CHANNEL, Bench
from tests.workers.far_side import SMS, configuration, settings, worlds
from workers.announcing import Announcer
from workers.context import WorkerContext, open_context
from workers.reconciler import sweep


@pytest.fixture
async def context(redis: Redis, redis_server: EmbeddedRedis) -> AsyncIterator[WorkerContext]:
    async with (
        worlds() as (_, _, url),
        open_context(settings(redis_server.url), configuration(url), worker="mine") as ctx,
    ):
        yield ctx


def changes(ctx: WorkerContext, kind: str) -> float:
    return float(ctx.metrics.store_changes.labels(kind)._value.get())


@pytest.mark.parametrize("how", ["FLUSHALL", "the limits and workers alone"])
async def test_nothing_is_sent_before_the_limits_are_announced_again(context: WorkerContext, how: str) -> None:
    announcer, bench = Announcer(context), Bench(context.redis)
    await context.announce()
    await context.ledger.leases.heartbeat()
    await sweep(context, announcer)
    lines = await context.redis.hgetall("dcb:limits")
    assert lines
    await (context.redis.flushall() if how == "FLUSHALL" else context.redis.delete("dcb:limits", "dcb:alive:mine"))
    ref = await bench.put()
    claimed = await context.ledger.messages.claim(ref, context.ledger.leases.token(), 60.0)
    assert (claimed.ours, claimed.why) == (False, "not announced")
    announcer.announced.clear()
    await sweep(context, announcer)
    assert announcer.announced.is_set()  # RQ's registry is looked at too
    assert await context.redis.hgetall("dcb:limits") == lines
    assert changes(context, "new") == (1 if how == "FLUSHALL" else 0)
    await asyncio.sleep(0.3)
    await sweep(context, announcer)
    assert await bench.queued() == [ref, ref]  # its job, and the one after it was not given
    assert (await context.ledger.messages.claim(ref, context.ledger.leases.token(), 60.0)).ours


async def test_a_pace_holds_over_a_store_that_was_emptied(context: WorkerContext) -> None:
    """Two a second: of thirty messages that come right after, one or two go at once."""
    announcer, bench = Announcer(context), Bench(context.redis)
    await context.ledger.pacing.announce({CHANNEL: "acme 2 1 0 0 1 0"})
    await context.ledger.leases.heartbeat()
    await sweep(context, announcer)
    await context.redis.flushall()
    gone = 0
    for n in range(30):
        ref = await bench.put(f"m-{n}", to_id=str(n))
        gone += (await context.ledger.messages.claim(ref, context.ledger.leases.token(), 60.0)).ours
    assert gone == 0


async def test_a_store_that_is_the_same_is_no_news(context: WorkerContext) -> None:
    announcer = Announcer(context)
    await context.announce()
    await context.ledger.leases.heartbeat()
    for _ in range(3):
        await sweep(context, announcer)
    assert not announcer.announced.is_set()
    assert [changes(context, kind) for kind in ("new", "older", "clock")] == [0, 0, 0]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"store": "another 2"}, "new"),
        ({"latest": 990.0}, "older"),
        ({"ahead": 3600.0}, "clock"),
        ({"heard": False}, ""),
        ({"latest": 999.0}, ""),
        ({"ahead": 1.0}, ""),
    ],
)
async def test_what_a_sweep_sees_of_the_store_is_told(
    context: WorkerContext, change: dict[str, object], kind: str
) -> None:
    announcer = Announcer(context)
    seen = Swept(looked=0, decisions=[], ahead=0.0, store="one 1", latest=1000.0, heard=True)
    await announcer.follow(seen)
    assert not announcer.announced.is_set()
    await announcer.follow(replace(seen, **change))  # type: ignore[arg-type]
    assert [changes(context, one) for one in ("new", "older", "clock")] == [
        one == kind for one in ("new", "older", "clock")
    ]
    assert announcer.announced.is_set() == (kind in ("new", "older") or "heard" in change)


# ---------------------------------------------------------------- limits beside an older configuration

LINE = "acme 2 1 0 0 1 0"


async def named(redis: Redis, name: str) -> Ledger:
    ledger = Ledger(redis, keep=1000.0, keep_dead=1000.0, worker=name)
    await ledger.leases.heartbeat()
    return ledger


@pytest.mark.parametrize("last", ["it alone", "both, the older one last"])
async def test_a_channel_that_an_older_worker_does_not_know_keeps_its_pace(redis: Redis, last: str) -> None:
    new, old = await named(redis, "new"), await named(redis, "old")
    await old.pacing.announce({SMS: LINE})
    await new.pacing.announce({SMS: LINE, "added": LINE})
    if last == "both, the older one last":
        await old.pacing.announce({SMS: LINE})
    assert await redis.hexists("dcb:limits", "added")
    assert await redis.hexists("dcb:limits", SMS)


@pytest.mark.parametrize("gone", ["released", "silent", "forgotten", "of an older version", "it is the same worker"])
async def test_a_channel_that_no_living_worker_names_loses_its_limits(redis: Redis, gone: str) -> None:
    old, new = await named(redis, "old"), await named(redis, "new")
    if gone == "of an older version":
        await redis.hset("dcb:limits", "removed", LINE)
    else:
        await (new if gone == "it is the same worker" else old).pacing.announce({SMS: LINE, "removed": LINE})
    if gone == "released":
        await old.leases.release()
    elif gone == "silent":
        await redis.hincrby("dcb:watched", "clock", 60_000)
    elif gone == "forgotten":
        await redis.delete("dcb:alive:old")
    await new.pacing.announce({SMS: LINE})
    assert await redis.hkeys("dcb:limits") == [SMS.encode()]


async def test_limits_of_very_many_channels_are_written_in_pieces(redis: Redis) -> None:
    ledger = Ledger(redis, keep=1000.0, keep_dead=1000.0)
    await ledger.sweep.run()
    await redis.config_resetstat()
    await ledger.pacing.announce({f"channel-{n}": "acme 0 1 0 0 1 0" for n in range(1000)})
    assert await redis.hlen("dcb:limits") == 1000
    stats = await redis.info("commandstats")
    assert stats["cmdstat_evalsha"]["calls"] >= 4


# ---------------------------------------------------------------- an idle sweep


async def test_a_sweep_does_not_look_at_channels_that_owe_nothing(redis: Redis) -> None:
    """What Redis does for a sweep is the same with 30 channels and with 3,000."""
    ledger, asked = Ledger(redis, keep=1000.0, keep_dead=1000.0), []
    for count in (100, 3000):
        await redis.sadd("dcb:channels", *(f"channel-{n}" for n in range(count)))
        for _ in range(3):
            await ledger.sweep.run()
        await redis.config_resetstat()
        for _ in range(10):
            await ledger.sweep.run()
        stats = await redis.info("commandstats")
        asked.append(sum(one["calls"] for one in stats.values()))
    assert asked[1] < 2 * asked[0] + 100
