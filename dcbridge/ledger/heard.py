"""When each provider's delivery updates were heard of last, to a few seconds."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Iterable
from contextlib import suppress
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from dcbridge.ledger.script import Script, ms

EVERY = 10.0  # seconds between two notes of one process


class Heard:
    """Those of one ledger. A note that is lost is written with the next update."""

    def __init__(self, script: Script) -> None:
        self._redis = script.redis
        self._noted: dict[str, float] = {}

    async def note(self, providers: Iterable[str]) -> None:
        """Updates of these have come."""
        now = time.monotonic()
        due = [one for one in dict.fromkeys(providers) if now - self._noted.get(one, -EVERY) >= EVERY]
        if not due:
            return
        self._noted.update(dict.fromkeys(due, now))
        with suppress(RedisError, OSError):
            await self._redis.hset("dcb:heard", mapping=dict.fromkeys(due, ms(time.time())))

    async def listen(self, providers: Iterable[str]) -> None:
        """From now on a silence of these is noticed."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for one in providers:
                pipe.hsetnx("dcb:heard", one, str(ms(time.time())))
            await pipe.execute()


async def last_heard(redis: Redis) -> dict[str, float]:
    """Provider -> seconds since 1970: its last delivery update, or when a worker began to listen to it."""
    found = await cast(Awaitable[dict[bytes, bytes]], redis.hgetall("dcb:heard"))
    return {
        name.decode(errors="replace"): int(at) / 1000 for name, at in found.items() if at.isdigit() and len(at) < 15
    }
