"""One Redis for all tests, started by us on a free port and emptied before each test that asks for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis, free_port

# No test measures time, and a shared machine has none to spare.
settings.register_profile("dcbridge", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("dcbridge")


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """The server of the whole run: append-only and fsynced, as in production."""
    server = EmbeddedRedis(tmp_path_factory.mktemp("redis"), free_port())
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def redis(redis_server: EmbeddedRedis) -> AsyncIterator[Redis]:
    """A client of that server, which is empty."""
    async with Redis.from_url(redis_server.url) as client:
        await client.flushall()
        yield client


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    """A server that one test alone may stop, kill and start again."""
    server = EmbeddedRedis(tmp_path / "own-redis", free_port())
    server.start()
    yield server
    server.kill()
