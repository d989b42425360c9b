"""An open door and an empty Redis for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from tests.service.open_door import OpenDoor, open_door


@pytest.fixture
async def door(redis: Redis, redis_server: EmbeddedRedis) -> AsyncIterator[OpenDoor]:
    async with open_door(redis_server.url) as opened:
        yield opened
