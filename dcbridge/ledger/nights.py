"""What came of comparing our messages with Genesys', day by day."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import cast

import orjson

from dcbridge.ledger.script import Script

KEPT = 40  # days


@dataclass(frozen=True, slots=True)
class Compared:
    """One day, as "2026-11-25"."""

    day: str
    differs: bool
    counts: Mapping[str, int]


class Nights:
    """Those of one ledger."""

    def __init__(self, script: Script) -> None:
        self._redis = script.redis

    async def is_done(self, day: str) -> bool:
        return bool(await self._redis.hexists("dcb:reconciled", day))

    async def done(self, day: str, *, differs: bool, counts: Mapping[str, int]) -> None:
        """The newest KEPT days stay."""
        value = orjson.dumps({"differs": differs, "counts": dict(counts)})
        await self._redis.hset("dcb:reconciled", day, value)
        days = sorted(await cast(Awaitable[list[bytes]], self._redis.hkeys("dcb:reconciled")))
        if old := days[:-KEPT]:
            await self._redis.hdel("dcb:reconciled", *(one.decode() for one in old))

    async def last(self) -> Compared | None:
        """The newest day; None for none."""
        days = sorted(await cast(Awaitable[list[bytes]], self._redis.hkeys("dcb:reconciled")))
        value = (
            await cast(Awaitable[bytes | None], self._redis.hget("dcb:reconciled", days[-1].decode())) if days else None
        )
        if value is None:
            return None
        found = orjson.loads(value)
        return Compared(days[-1].decode(), found["differs"], found["counts"])
