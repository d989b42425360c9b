"""Says that this process lives, and what it sees of signatures: `dcbridge status` reads it, wherever it runs."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from redis.exceptions import RedisError

from dcbridge.ledger import Ledger
from dcbridge.ledger.services import EVERY, Service, Signatures
from dcbridge.runtime.metrics import VERSION
from service.refusals import RefusalCounts


@dataclass(slots=True)
class Presence:
    """One process. Cheap to be told of every request."""

    name: str = field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}")
    started: float = field(default_factory=time.time)
    seen: dict[str, Signatures] = field(default_factory=dict)
    clock: Callable[[], float] = time.time
    refusals: RefusalCounts = field(default_factory=RefusalCounts)

    def signed(self, endpoint: str) -> None:
        """A signature was right."""
        self.seen[endpoint] = Signatures(valid_at=self.clock())

    def refused(self, endpoint: str, why: str) -> None:
        now, before = self.clock(), self.seen.get(endpoint, Signatures())
        self.seen[endpoint] = replace(
            before, refused=before.refused + 1, refused_since=before.refused_since or now, refused_at=now, why=why
        )
        self.refusals.note(endpoint, why)

    def service(self) -> Service:
        return Service(self.name, VERSION, self.started, signatures=dict(self.seen))


async def keep_telling(presence: Presence, ledger: Ledger) -> None:
    """Every few seconds, until cancelled. A Redis that is away is told when it is back."""
    while True:
        try:
            await ledger.once.services.here(presence.service())
            await report_refusals(presence, ledger)
        except (RedisError, OSError):
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
