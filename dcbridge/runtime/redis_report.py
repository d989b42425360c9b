"""What a process says of Redis as it starts: what would lose messages, refuse them or show them to others."""

from __future__ import annotations

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from dcbridge.settings.process import Settings
from dcbridge.store.connection import redis_problems, redis_warnings

log = structlog.get_logger()


async def log_redis_problems(redis: Redis, settings: Settings) -> None:
    """One warning for each; one alone where Redis does not answer. Raises nothing."""
    try:
        for what in [*redis_warnings(settings), *await redis_problems(redis, settings)]:
            log.warning("redis_is_not_safe", what=what)
    except (RedisError, OSError) as error:
        log.warning("redis_does_not_answer", error=type(error).__name__)
