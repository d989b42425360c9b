"""A connection to a broker: opened by the first who needs it, kept, and opened anew when it broke."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

from dcbridge.errors import OutcomeUnknown, Unreachable

CLOSING_SECONDS = 1.0


class Connection(Protocol):
    """What a client's connection has to say of itself."""

    @property
    def alive(self) -> bool: ...

    async def close(self) -> None: ...


Kind = TypeVar("Kind", bound=Connection)
Said = TypeVar("Said")


class SharedConnection(Generic[Kind]):
    """One connection for all who deliver to one broker. `open_one` and what is sent raise SendErrors of their own."""

    def __init__(self, open_one: Callable[[], Awaitable[Kind]]) -> None:
        self._open_one = open_one
        self._lock = asyncio.Lock()
        self._found: Kind | None = None

    async def send(self, seconds: float, what: Callable[[Kind], Awaitable[Said]]) -> Said:
        """Do it on a living connection within so many seconds in all.

        Out of time before there was one is Unreachable; after that, nobody knows.
        """
        end = asyncio.get_running_loop().time() + seconds
        try:
            async with asyncio.timeout_at(end):
                connection = await self._living()
        except TimeoutError:
            raise Unreachable("connect timeout") from None
        try:
            async with asyncio.timeout_at(end):
                return await what(connection)
        except TimeoutError:
            raise OutcomeUnknown("timeout") from None

    async def close(self) -> None:
        """Leave; the next who sends opens a new one."""
        async with self._lock:
            await self._leave()

    async def _living(self) -> Kind:
        async with self._lock:
            if self._found is None or not self._found.alive:
                await self._leave()
                self._found = await self._open_one()
            return self._found

    async def _leave(self) -> None:
        found, self._found = self._found, None
        if found is not None:
            await leave(found.close)


async def leave(close: Callable[[], Awaitable[None]]) -> None:
    """A connection that is left has no say any more: not about how it ends, and not for long."""
    with suppress(Exception):
        async with asyncio.timeout(CLOSING_SECONDS):
            await close()
