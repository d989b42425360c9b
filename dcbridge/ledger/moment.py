"""The ledger's time, for whoever reads from outside of its scripts (clock.lua)."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import cast

from redis.asyncio import Redis

_JUMP = 60.0  # seconds, as in clock.lua


@dataclass(frozen=True, slots=True)
class Moment:
    """Seconds since 1970; `ahead`: how far the ledger's time is ahead of Redis' clock, which stepped back."""

    at: float
    ahead: float
    latest: float  # of the last sweep


async def read(redis: Redis) -> Moment:
    """What the ledger's scripts take for now."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.time()
        pipe.hmget("dcb:watched", "time", "offset", "at")
        (seconds, micros), fields = await cast(Awaitable[list[list[bytes | None]]], pipe.execute(raise_on_error=False))
    known = [_number(one) / 1000 for one in fields] if isinstance(fields, list) else [0.0, 0.0, 0.0]
    return moment(int(seconds or 0) + int(micros or 0) / 1e6, max(known[0], known[2]), known[1])


def moment(real: float, latest: float, offset: float) -> Moment:
    """As clock.lua reckons it, in seconds."""
    if offset > 0 and real + offset > latest + _JUMP:
        offset = max(0.0, latest - real)
    offset = max(offset, latest - real)
    return Moment(real + offset, max(0.0, offset), latest)


def _number(value: bytes | None) -> float:
    try:
        return float(value or b"0")
    except ValueError:
        return 0.0
