"""What the bridge itself says of the messages on the page, beside what the sandbox knows of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from sandbox.bridge import Bridge
from sandbox.world import World

MOST = 100  # messages that are asked about at once
LONGEST = 300  # characters of an id that is asked about; the bridge takes no longer one
AGAIN = 0.5  # seconds between two looks for a moment in which nothing is under way
COUNTED = {"accepted": "copies", "delivered": "receipts.Delivered", "failed": "receipts.Failed"}  # books -> ours


class Beside:
    """The bridge's books beside the sandbox's counts, both since the sandbox began."""

    def __init__(self, world: World, bridge: Bridge | None) -> None:
        self._world, self._bridge = world, bridge
        self._since: dict[str, int] | None = None  # what the books had more than we, when nothing was under way
        self._epoch = world.epoch

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The books are read before anything is sent, where they can be."""
        begin = asyncio.create_task(self._begin())
        try:
            yield
        finally:
            begin.cancel()
            if self._bridge is not None:
                await self._bridge.close()

    async def _begin(self) -> None:
        while self._bridge is not None and self._since is None:
            with suppress(ConnectionError):
                self._compared(await self._bridge.books())
            await asyncio.sleep(AGAIN)

    async def ask(self, asked: dict[str, Any]) -> object:
        """Our counts, and of a bridge that can be asked the states of these messages, and its counts."""
        here = {**self._ours(), **{name: self._world.counts[name] for name in ("seen", "violations")}}
        if self._bridge is None:
            return {"here": here}
        given = asked.get("messages")
        wanted = given if isinstance(given, list) else []
        pairs = [
            (str(one[0]), str(one[1]))
            for one in wanted[:MOST]
            if isinstance(one, list) and len(one) == 2 and max(len(str(word)) for word in one) <= LONGEST
        ]
        try:
            books = await self._bridge.books()
            states = await self._bridge.states(pairs)
        except ConnectionError as error:
            return {"here": here, "console": self._bridge.console, "away": str(error)}
        return {
            "here": here,
            "console": self._bridge.console,
            "still": not books["under_way"],
            "under_way": books["under_way"],
            "counts": self._compared(books),
            "messages": [[*pair, state] for pair, state in zip(pairs, states, strict=True)],
        }

    def _ours(self) -> dict[str, int]:
        return {name: self._world.counts[count] for name, count in COUNTED.items()}

    def _compared(self, books: Mapping[str, int]) -> dict[str, dict[str, int]]:
        """Both counts of each; none while it is not known where to begin."""
        if self._epoch != self._world.epoch:  # it was told to begin afresh
            self._epoch, self._since = self._world.epoch, None
        ours = self._ours()
        if self._since is None and not books["under_way"] and not self._world.tasks:
            self._since = {name: books[name] - ours[name] for name in COUNTED}
        if self._since is None:
            return {}
        since = self._since
        return {name: {"here": ours[name], "bridge": books[name] - since[name]} for name in COUNTED}
