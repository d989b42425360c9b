"""How a process reaches Redis, and what about a Redis is not safe for messages."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from bridge.settings import Settings


def connect(settings: Settings, *, patience: float | None = None) -> Redis:
    """A client whose calls fail after `redis_timeout` (or `patience`) seconds and are not repeated behind our back."""
    timeout = patience if patience is not None else settings.redis_timeout
    return Redis.from_url(
        settings.redis_url.get_secret_value(),
        socket_timeout=timeout,
        socket_connect_timeout=settings.redis_timeout,
        socket_keepalive=True,
        health_check_interval=15,
        retry=Retry(NoBackoff(), 1),  # a connection that died while idle is opened again once
        decode_responses=False,
    )


async def unsafe(redis: Redis) -> list[str]:
    """What would lose messages, each with its mend. Raises RedisError when Redis does not answer."""
    found = []
    info: dict[str, Any] = await redis.info()
    version = str(info.get("redis_version", "0"))
    if tuple(int(n) for n in version.split(".")[:2] if n.isdigit()) < (6, 2):
        found.append(f"Redis {version} is too old; 6.2 is the oldest that works")
    if info.get("cluster_enabled"):
        found.append("Redis Cluster is not supported by RQ; use one server, or Sentinel")
    if info.get("role") == "slave":
        found.append("this Redis is a replica and cannot be written; give the address of the primary")
    if not info.get("aof_enabled"):
        found.append("the append-only file is off: a restart loses accepted messages; set `appendonly yes`")
    try:
        # One name a call: Redis 6.2 takes no more.
        config: dict[Any, Any] = await redis.config_get("maxmemory-policy") | await redis.config_get("appendfsync")
    except RedisError:
        return [*found, "CONFIG GET is not allowed: maxmemory-policy and appendfsync could not be checked"]
    policy = _text(config, "maxmemory-policy")
    if policy and policy != "noeviction":
        found.append(f"maxmemory-policy is {policy}: messages can be evicted; set `maxmemory-policy noeviction`")
    fsync = _text(config, "appendfsync")
    if info.get("aof_enabled") and fsync not in ("always", ""):
        found.append(f"appendfsync is {fsync}: a crash loses up to a second or two; set `appendfsync always`")
    return found


def _text(config: dict[Any, Any], name: str) -> str:
    value = config.get(name, config.get(name.encode(), ""))
    return value.decode() if isinstance(value, bytes) else str(value)
