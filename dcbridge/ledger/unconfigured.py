"""Channels that are not configured: their messages wait until they are, or until an operator gives them up."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import cast

from dcbridge.ledger.script import Retention, Script, word

GIVEN_UP = 200  # messages that one call looks at to fail them


class Unconfigured:
    """The channels that a webhook has named, and that no worker is configured for."""

    def __init__(self, script: Script, keep: Retention) -> None:
        self._script, self._keep = script, keep

    async def strand(self, ref: str, token: str) -> str:
        """This worker knows no such channel: "waits" until one does or its time to live ends, or "stale"."""
        return word(await self._script.record("strand", ref, token, self._keep.ended_ms))

    async def give_up(self, channel_id: str) -> int | None:
        """Fail what was not sent yet of a channel that is not configured; how many, None where it is configured."""
        ended, start = 0, 0
        while start >= 0:
            count, start = await self._script.call("give_up", channel_id, start, GIVEN_UP)
            if count < 0:
                return None
            ended += count
        return ended

    async def remember(self, channel_ids: Iterable[str], endpoint: str) -> None:
        """Channels that are not configured were named at this endpoint: their receipts are signed as it does.

        Of many, those that were not named for the longest time and wait for nothing are forgotten.
        """
        await self._script.call("unconfigured", endpoint, *channel_ids)

    async def endpoint_of(self, channel_id: str) -> str:
        found = await cast(Awaitable[bytes | None], self._script.redis.hget("dcb:strays", channel_id))
        return found.decode() if found else ""
