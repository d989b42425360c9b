"""Callers of a phone line who were written to lately."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import cast

from dcbridge.ledger.messages import lane_of
from dcbridge.ledger.script import Script


class Calls:
    """Those of one ledger."""

    def __init__(self, script: Script) -> None:
        self._redis = script.redis

    async def is_first(self, line: str, number: str, call: str, within: float) -> bool:
        """Whether this call is the first of its caller `within` seconds; the same call is it again and again."""
        key = f"dcb:texted-back:{lane_of(line, number)}"
        if await self._redis.set(key, call, nx=True, px=int(within * 1000)):
            return True
        found = await cast(Awaitable[bytes | None], self._redis.get(key))
        return found == call.encode()
