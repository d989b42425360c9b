"""Says that this process lives, and what it sees of signatures: `dcbridge status` reads it, wherever it runs."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from redis.exceptions import RedisError

from dcbridge.ledger import Ledger
from dcbridge.ledger.services import EVERY, Journal, Service, Signatures, secret_mark
from dcbridge.runtime.metrics import VERSION
from service.refusals import RefusalCounts

LOOK_WITHIN = 2.0  # seconds


@dataclass(slots=True)
class Presence:
    """One process. Cheap to be told of every request."""

    name: str = field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}")
    started: float = field(default_factory=time.time)
    seen: dict[str, Signatures] = field(default_factory=dict)
    journal: Journal = field(default_factory=Journal)
    look_at_journal: Callable[[], Awaitable[Journal]] | None = None
    # When each secret was used last, by endpoint and mark; what was not told yet of them.
    used: dict[tuple[str, str], float] = field(default_factory=dict)
    untold: dict[tuple[str, str], float] = field(default_factory=dict)
    _marks: dict[bytes, str] = field(default_factory=dict)
    clock: Callable[[], float] = time.time
    refusals: RefusalCounts = field(default_factory=RefusalCounts)

    def knows(self, secrets: Iterable[tuple[str, bytes]]) -> None:
        """All that are configured, live and retired, each with its endpoint."""
        for endpoint, secret in secrets:
            self.used.setdefault((endpoint, self._mark(secret)), 0.0)
        self.untold |= self.used

    def signed(self, endpoint: str, secrets: Iterable[bytes] = ()) -> None:
        """A signature was right."""
        self.seen[endpoint] = Signatures(valid_at=self.clock())
        self.signed_with(endpoint, secrets)

    def signed_with(self, endpoint: str, secrets: Iterable[bytes]) -> None:
        """Somebody uses these secrets, live or retired. What is not configured is not noted."""
        for secret in secrets:
            place = (endpoint, self._mark(secret))
            if place in self.used:
                self.used[place] = self.untold[place] = self.clock()

    def _mark(self, secret: bytes) -> str:
        mark = self._marks.get(secret)
        if mark is None:
            mark = self._marks[secret] = secret_mark(secret)
        return mark

    def refused(self, endpoint: str, why: str) -> None:
        now, before = self.clock(), self.seen.get(endpoint, Signatures())
        self.seen[endpoint] = replace(
            before, refused=before.refused + 1, refused_since=before.refused_since or now, refused_at=now, why=why
        )
        self.refusals.note(endpoint, why)

    def service(self) -> Service:
        return Service(self.name, VERSION, self.started, signatures=dict(self.seen), journal=self.journal)


async def keep_telling(presence: Presence, ledger: Ledger) -> None:
    """Every few seconds, until cancelled. A Redis that is away is told when it is back."""
    while True:
        if presence.look_at_journal:
            with suppress(TimeoutError, OSError):  # of a disk that hangs, the last look is told
                async with asyncio.timeout(LOOK_WITHIN):
                    presence.journal = await presence.look_at_journal()
        secrets, presence.untold = presence.untold, {}
        try:
            await ledger.once.services.here(presence.service(), secrets)
            await report_refusals(presence, ledger)
        except (RedisError, OSError):
            presence.untold = secrets | presence.untold
            await asyncio.sleep(1.0)
            continue
        await asyncio.sleep(EVERY)


async def report_refusals(presence: Presence, ledger: Ledger) -> None:
    """Signatures that were refused since the last report, if any were."""
    number, found = presence.refusals.report()
    if found:
        await ledger.once.signatures.report(presence.name, number, found)
        presence.refusals.stored()


async def say_goodbye(presence: Presence, ledger: Ledger) -> None:
    """A process that stops by itself is not missed. A Redis that is away forgets it in an hour."""
    try:
        async with asyncio.timeout(2.0):
            await report_refusals(presence, ledger)
            await ledger.once.services.gone(presence.name)
    except (RedisError, OSError, TimeoutError):
        pass
