"""What a worker announces, and whether the store still knows it.

A store that was replaced or emptied while processes run knows neither the limits nor the workers; one that came back
from an older copy may know old ones. Each sweep tells: by the store's name, by the latest time written in it, and by
whether it has heard of this worker. Until all is announced again the ledger gives this worker no message to send.
"""

from __future__ import annotations

import asyncio
import time

import structlog

from dcbridge.ledger import Swept
from workers.context import WorkerContext

log = structlog.get_logger()

AGAIN = (
    600.0  # seconds after which all is announced once more: another worker may have announced an older configuration
)
OLDER = 5.0  # seconds that a store may be behind what this worker has seen in it: an older copy took over
STEP = 5.0  # seconds of a step back of Redis' clock that are worth a word


class Announcer:
    """Follows what one worker's sweeps see. `announced` is set each time: RQ's registry may need this worker too."""

    def __init__(self, ctx: WorkerContext) -> None:
        self._ctx = ctx
        self._store, self._latest, self._ahead = "", 0.0, 0.0
        self._next = time.monotonic() + AGAIN
        self.announced = asyncio.Event()

    async def follow(self, swept: Swept) -> None:
        """Announce again where the store does not know this worker, or is not the one that it was."""
        if self._is_another(swept) or not swept.heard:
            self._next = 0.0
        self._watch_the_clock(swept)
        if time.monotonic() < self._next:
            return
        await self._ctx.announce()
        await self._ctx.ledger.leases.heartbeat()  # last: from now on this worker's claims are granted
        self._next = time.monotonic() + AGAIN
        self.announced.set()

    def _is_another(self, swept: Swept) -> bool:
        known, latest = self._store, self._latest
        self._store, self._latest = swept.store, swept.latest
        if known and swept.store != known:
            self._ctx.metrics.store_changes.labels("new").inc()
            log.error("store_is_new", what="messages accepted before are lost", workers="announced again")
            return True
        if swept.latest < latest - OLDER:
            self._ctx.metrics.store_changes.labels("older").inc()
            log.error("store_is_older", seconds=round(latest - swept.latest, 1), what="later messages are lost")
            return True
        return False

    def _watch_the_clock(self, swept: Swept) -> None:
        if swept.ahead > self._ahead + STEP:
            self._ctx.metrics.store_changes.labels("clock").inc()
            log.error("redis_clock_stepped_back", seconds=round(swept.ahead, 1), what="the ledger's time continues")
        self._ahead = swept.ahead
