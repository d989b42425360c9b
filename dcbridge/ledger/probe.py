"""A small write that says whether Redis can be written."""

from __future__ import annotations

from redis.asyncio import Redis


async def write(redis: Redis) -> bool:
    """True once it is written. Raises RedisError or OSError."""
    return bool(await redis.set("dcb:probe", 1, ex=60))
