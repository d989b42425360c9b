"""An acknowledgement that says "I had it already": our own repetition, or something that an operator should hear of."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.config.loader import parse
from tests.workers.far_side import settings
from tests.workers.test_events_out import CONFIGURATION, World
from workers.context import install, open_context

RETRY = "retry: {waits: [0.01, 0.01, 0.01], jitter: 0}"


@pytest.fixture
async def w(redis: Redis, redis_server: EmbeddedRedis) -> AsyncIterator[World]:
    """One subscriber, at a stream of the Redis that the bridge itself works with."""
    await redis.flushall()
    sink = f"{{kind: redis-stream, url: '{redis_server.url}', stream: events}}"
    configuration = parse(CONFIGURATION.format(subscribers=f"  crm: {{sink: {sink}, {RETRY}}}"), {})
    async with open_context(settings(redis_server.url), configuration) as context:
        install(context)
        await context.announce()
        yield World(context, {})


async def test_an_event_that_was_there_before_its_first_attempt_is_told_of(w: World) -> None:
    await w.tell(("i-1", "STARTED"))
    await w.work()
    assert w.counted("dcbridge_deliveries_total", subscriber="crm", outcome="delivered") == 1
    await _forget_all_but_the_stream(w)  # as a second bridge with the same names would find it
    await w.tell(("i-1", "STARTED"))
    await w.work()
    assert w.counted("dcbridge_deliveries_total", subscriber="crm", outcome="duplicate") == 1
    assert (await w.books("crm")).delivered == 1
    assert await w.context.redis.xlen("events") == 1


async def test_our_own_repetition_is_no_news(w: World) -> None:
    await w.tell(("i-1", "STARTED"))
    await w.work()
    await _forget_all_but_the_stream(w)
    await w.context.redis.rename("events", "aside")
    await w.context.redis.set("events", "no stream")  # the first attempt fails
    await w.tell(("i-1", "STARTED"))
    seen = [key async for key in w.context.redis.scan_iter("{events}:seen:*")]
    kept = {key: await w.context.redis.dump(key) or b"" for key in seen}
    await w.context.redis.delete(*seen)
    await w.work()
    await w.context.redis.delete("events")
    for key, value in kept.items():  # it had arrived after all
        await w.context.redis.restore(key, 0, value)
    await w.until(lambda: w.counted("dcbridge_deliveries_total", subscriber="crm", outcome="repeated") == 1)
    assert w.counted("dcbridge_deliveries_total", subscriber="crm", outcome="duplicate") == 0


async def _forget_all_but_the_stream(w: World) -> None:
    keys = [key async for key in w.context.redis.scan_iter() if b"events}" not in key and key != b"events"]
    await w.context.redis.delete(*keys)
    await w.context.announce()
