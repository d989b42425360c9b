"""A running service and an empty Redis for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from tests.service.client import ServiceClient, open_service


@pytest.fixture
async def client(redis: Redis, redis_server: EmbeddedRedis) -> AsyncIterator[ServiceClient]:
    async with open_service(redis_server.url) as opened:
        yield opened
