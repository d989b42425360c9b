"""One desk a test, on the Redis of the whole run."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis.asyncio import Redis

from dcbridge.embedded_redis import EmbeddedRedis
from tests.dcbridge.desk import Desk


@pytest.fixture
def desk(redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path) -> Desk:
    return Desk(redis, redis_server.url, tmp_path / "bridge")
