"""Pauses that a provider asked for (Retry-After): bounded, and ended before their time (pauses.lua)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from dcbridge.ledger.script import Script, ms

SLICE = 200  # waiting messages that are woken by one call
LONGEST_WAIT = 2 * 86400.0  # seconds; receipts and tasks wait for less


class Pauses:
    """The pauses of one ledger."""

    def __init__(self, script: Script) -> None:
        self._script, self._redis = script, cast(Any, script.redis)

    async def begin(self, provider: str, seconds: float, asked: float = 0.0, code: str = "") -> bool:
        """The provider asked the whole account to wait, for `asked` seconds; False where it is waiting already."""
        return bool(await self._script.record("pause", provider, max(1, ms(seconds)), ms(asked or seconds), code))

    async def bound(self, most: Mapping[str, float]) -> list[str]:
        """Seconds that each may have at most. The providers whose pause was longer, and was cut."""
        flat: list[str | int] = []
        for provider, seconds in most.items():
            flat += [provider, round(seconds * 1000)]
        cut = [name.decode() for name in await self._script.call("pause_limits", *flat)]
        for provider in cut:
            await self._wake(provider)
        await self._script.call("waits_bound", round(LONGEST_WAIT * 1000))
        return cut

    async def end(self, provider: str) -> tuple[bool, int]:
        """Speak to it again: was it paused, and how many messages do no longer wait for their time."""
        channels = await self._channels(provider)
        was = bool(await self._script.call("pause_ends", provider, *channels))
        return was, await self._wake(provider)

    async def _channels(self, provider: str) -> list[str]:
        lines: dict[bytes, bytes] = await self._redis.hgetall("dcb:limits")
        return [channel.decode() for channel, line in lines.items() if line.split(b" ")[0].decode() == provider]

    async def _wake(self, provider: str) -> int:
        """In slices, so that nobody else waits for it."""
        subscriber = provider.removeprefix("subscribers/")
        if subscriber != provider:
            return await self._wake_all("wake_deliveries", f"dcb:backlog:{subscriber}", subscriber)
        return sum([
            await self._wake_all("wake_waiting", f"dcb:open:{channel}") for channel in await self._channels(provider)
        ])  # fmt: skip

    async def _wake_all(self, verb: str, key: str, *first: str) -> int:
        cursor, woken = 0, 0
        while True:
            cursor, found = await self._redis.zscan(key, cursor, count=SLICE)
            names = [name.decode() for name, _ in found]
            for start in range(0, len(names), SLICE):
                woken += await self._script.call(verb, *first, *names[start : start + SLICE])
            if not cursor:
                return woken
