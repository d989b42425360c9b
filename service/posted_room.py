"""Memory for the mails that companies are posting, where it is short: who has shown a secret comes first.

Some companies prove themselves by their body alone. Their requests hold what has arrived, not what was declared, and
give it up to another request that needs it, the slowest first: who holds memory to keep others out has to be faster
than they are.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from service.answer import RETRY_AFTER, Refusal
from service.mail.wire import Held, Room

SPARED = 0.5  # seconds for which a request that has proven nothing is left alone by others like it


class PostedRoom:
    """For one process and its event loop. `most`: bytes."""

    def __init__(self, most: int) -> None:
        self._room = Room(most)
        self._unproven: dict[Posting, None] = {}

    def hold(self, *, proven: bool) -> Posting:
        """The memory of one request, until the end of its `async with`."""
        return Posting(self, self._room.hold(), proven)

    async def take(self, posting: Posting, held: Held, size: int) -> None:
        """Raises Refusal 503 where there is no room, and none can be made."""
        if held.take(size):
            return
        for other in self._to_end(posting, size - self._room.left):
            other.end()
        for _ in range(5):  # they end as soon as they run
            await asyncio.sleep(0)
            if held.take(size):
                return
        raise _no_room()

    def _to_end(self, posting: Posting, wanted: int) -> list[Posting]:
        """The slowest whose memory is enough together; none where all of them hold too little."""
        now = asyncio.get_running_loop().time()
        others = [
            one for one in self._unproven
            if one is not posting and one.size and (posting.proven or now - one.began > SPARED)
        ]  # fmt: skip
        found: list[Posting] = []
        for other in sorted(others, key=lambda one: one.size / (now - one.began + SPARED)):
            if wanted <= 0:
                break
            found.append(other)
            wanted -= other.size
        return found if wanted <= 0 else []

    def enter(self, posting: Posting) -> None:
        self._unproven[posting] = None

    def leave(self, posting: Posting) -> None:
        self._unproven.pop(posting, None)


class Posting:
    """One request. Others may end it until its body has come, and been believed."""

    def __init__(self, room: PostedRoom, held: Held, proven: bool) -> None:
        self._room, self._held, self.proven = room, held, proven
        self.began = asyncio.get_running_loop().time()
        self.size = 0
        self._until = asyncio.timeout(None)

    async def __aenter__(self) -> Self:
        await self._until.__aenter__()
        if not self.proven:
            self._room.enter(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._room.leave(self)
        self._held.give_back()
        try:
            await self._until.__aexit__(kind, error, trace)
        except TimeoutError:
            raise _no_room() from None

    async def take(self, size: int) -> None:
        """Raises Refusal 503."""
        await self._room.take(self, self._held, size)
        self.size += size

    def believed(self) -> None:
        """It has proven itself after all: from here on it is not ended for others."""
        self._room.leave(self)

    def end(self) -> None:
        """For another one. Called once at most: it leaves with that."""
        self._room.leave(self)
        self._until.reschedule(asyncio.get_running_loop().time())


def _no_room() -> Refusal:
    return Refusal(503, "no room", "too much mail at once; send it again", RETRY_AFTER)
