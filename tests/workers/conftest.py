"""A worker between the two sides for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from tests.workers.far_side import FarSide, far_side


@pytest.fixture
async def side(redis: Redis, redis_server: EmbeddedRedis) -> AsyncIterator[FarSide]:
    async with far_side(redis, redis_server.url) as opened:
        yield opened
