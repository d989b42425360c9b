"""One session a test, on the Redis of the whole run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from tests.cli.session import Session


@pytest.fixture
def session(redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path) -> Session:
    return Session(redis, redis_server.url, tmp_path / "bridge")


@pytest.fixture
async def own_session(own_redis: EmbeddedRedis, tmp_path: Path) -> AsyncIterator[Session]:
    """A session whose Redis this test alone may kill."""
    async with Redis.from_url(own_redis.url) as client:
        yield Session(client, own_redis.url, tmp_path / "bridge")
