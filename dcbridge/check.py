"""Is there a Redis, can it be written, and would it lose anything?"""

from __future__ import annotations

from redis.exceptions import RedisError

from bridge.redis_connection import connect, unsafe
from bridge.settings import Settings


async def redis_problems(settings: Settings) -> list[str]:
    """Each problem in words, with its mend; nothing when Redis is as it should be."""
    redis = connect(settings)
    try:
        await redis.set("dcb:probe", 1, ex=60)
        return await unsafe(redis)
    except (RedisError, OSError) as error:
        said = str(error).split(". ")[0]
        return [
            f"{settings.redis_place} cannot be written: {type(error).__name__}: {said}; is DCBRIDGE_REDIS_URL right?"
        ]
    finally:
        await redis.aclose()
