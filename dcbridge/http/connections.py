"""The connections of one listener: how many there may be, and how long each may keep us waiting.

No timer is started for a request: each connection has a deadline, and one task looks at all of them. Where there
are as many as there may be, a new one takes the place of the one that has kept us waiting longest; a request that
has come whole is never given up for it.
"""

from __future__ import annotations

import asyncio
import itertools
import resource
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

LOOK_EVERY = 0.25  # seconds
LOOKED_AT = 64  # connections that are asked whether they can be given up, before a new one is refused

# Descriptors.
RESERVED = 128  # for Redis, the journal, logs and the loop
OPERATORS = 64  # for the operator's listener
USUAL = 1000  # for the public one

BODIES = 16 << 20  # bytes of all bodies of a listener that are not whole yet


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one listener. Times in seconds."""

    head: float = 10.0  # from the connect, or from the first byte of a request, to the end of its head
    body: float = 7.0  # from the end of the head to the end of the body; and to take an answer
    idle: float = 30.0  # between two requests
    connections: int = USUAL
    bodies: int = BODIES  # bytes of all bodies that are not whole yet


class Connection(Protocol):
    """What is asked of a connection here."""

    @property
    def waits(self) -> bool:
        """Whether the other side has to speak next, so that it can be given up without losing a request."""

    @property
    def holds(self) -> int:
        """Bytes of a body that is not whole yet."""

    def look(self, now: float) -> None:
        """End it when its time is over."""

    def give_up(self) -> None:
        """End it at once."""


class Connections:
    """All of one listener. `ended` is told why one was ended by us."""

    def __init__(self, limits: Limits, ended: Callable[[str], None] = lambda _: None) -> None:
        self.limits = limits
        self.ended = ended
        self.bodies = 0  # bytes; whoever holds them keeps count
        # Longest waiting first. Whoever has had an answer before is given up after those who never had one.
        self._new: OrderedDict[Connection, None] = OrderedDict()
        self._answered: OrderedDict[Connection, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._new) + len(self._answered)

    def add(self, connection: Connection) -> bool:
        """False where there is no place, and none can be made."""
        if len(self) >= self.limits.connections and not self._make_room():
            self.ended("full")
            return False
        self._new[connection] = None
        return True

    def answered(self, connection: Connection) -> None:
        """It has had an answer just now."""
        if connection in self._answered:
            self._answered.move_to_end(connection)
        elif self._new.pop(connection, self) is None:
            self._answered[connection] = None

    def remove(self, connection: Connection) -> None:
        self._new.pop(connection, None)
        self._answered.pop(connection, None)

    def make_memory(self) -> None:
        """Where bodies that are not whole yet hold too much, the largest gives way."""
        while self.bodies > self.limits.bodies:
            largest = max([*self._new, *self._answered], key=lambda one: one.holds)
            self.remove(largest)
            largest.give_up()
            self.ended("body gave way")

    async def keep_looking(self) -> None:
        """Look at all of them for ever, several times a second."""
        loop = asyncio.get_running_loop()
        pause = min(LOOK_EVERY, self.limits.head / 4, self.limits.body / 4, self.limits.idle / 4)
        while True:
            await asyncio.sleep(pause)
            now = loop.time()
            for connection in [*self._new, *self._answered]:
                connection.look(now)

    def _make_room(self) -> bool:
        for some in (self._new, self._answered):
            for connection in itertools.islice(some, LOOKED_AT):
                if connection.waits:
                    self.remove(connection)
                    connection.give_up()
                    self.ended("gave way")
                    return True
        return False


def public_connections(wanted: int) -> int:
    """How many the public listener may hold: `wanted`, or 1000 for 0, and no more than there are descriptors for."""
    return max(16, min(wanted or USUAL, descriptors() - RESERVED - OPERATORS))


def descriptors() -> int:
    """How many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if 0 < soft < 1 << 20 else 1 << 20
