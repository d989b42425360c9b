"""Subscribers of events: what the configuration says of them, and who is disabled."""

from __future__ import annotations

from collections.abc import Mapping

from dcbridge.ledger.reports.books import SubscriberBooks, read_subscribers
from dcbridge.ledger.script import Script


class Subscribers:
    """The subscribers that one ledger knows."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def announce(self, keep: Mapping[str, float]) -> None:
        """Name -> seconds that an event waits for it at most; 0 drops what waits."""
        flat: list[str | int] = []
        for name, seconds in keep.items():
            flat += [name, int(seconds * 1000)]
        await self._script.call("subscribers", *flat)

    async def disable(self, name: str, why: str) -> bool:
        """False where it was disabled already."""
        return bool(await self._script.call("subscriber_off", name, why))

    async def enable(self, name: str) -> bool:
        """False where it was not disabled."""
        return bool(await self._script.call("subscriber_on", name))

    async def all(self) -> tuple[SubscriberBooks, ...]:
        """How it goes with each subscriber that a worker has ever announced."""
        return await read_subscribers(self._script.redis)
