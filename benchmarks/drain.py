"""How fast one worker goes on when very many messages wait, beside few; and what a waiting message takes in Redis.

What was relayed is put back at once in both, so that as many wait at the end of the time as at its
beginning, and both pay for the putting.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.relay import IN_FLIGHT, PATIENCE, PROVIDER_MS
from benchmarks.stage import Between, Launch, Sample, Stage, Wrong, cold
from benchmarks.table import Line, column

PAUSE = 0.1  # seconds between two looks


@dataclass(frozen=True, slots=True)
class Size:
    """`many` and `few` messages wait; `seconds` are counted, after `warm` seconds that are not."""

    many: int = 200_000
    few: int = 2_000
    seconds: float = 8.0
    warm: float = 2.0
    launch: Launch = cold


SMALL = Size(many=2_000, few=200, seconds=1.0, warm=0.2)


class Backlog:
    """One Redis where `waiting` messages wait, for several turns of a worker."""

    def __init__(self, stage: Stage, label: str, waiting: int) -> None:
        self.stage, self.label, self.waiting = stage, label, waiting
        stage.start_worlds(PROVIDER_MS)
        self.bytes = stage.fill_fast(label, waiting)
        self.filled = waiting

    async def turn(self, seconds: float, warm: float) -> dict[str, float]:
        """A worker for that long. Raises Wrong unless the books and the worlds agree when it has ended."""
        stage, begin = self.stage, self.stage.sample().delivered
        stage.start_worker("worker", in_flight=IN_FLIGHT)
        first = await self._look(begin)
        until = time.monotonic() + warm
        while time.monotonic() < until:
            first = await self._look(begin)
        last = first
        while last.seconds - first.seconds < seconds:
            last = await self._look(begin)
        if last.delivered == first.delivered:
            last = await self._look(first.delivered)
        await asyncio.to_thread(stage.end, "worker")
        await self._check(stage.sample())
        sends = Between(first, last, "taken")
        return {
            "rate": sends.rate,
            "receipts": Between(first, last).rate,
            "cpu": sends.cpu_ms("worker"),
            "redis": sends.cpu_ms("redis"),
        }

    async def _look(self, beyond: float) -> Sample:
        """A look at the worlds, once they have heard of more than that; what they took is put back."""
        deadline = time.monotonic() + PATIENCE
        while True:
            await asyncio.sleep(PAUSE)
            self.stage.must_run("worker")
            seen = self.stage.sample()
            gone = self.waiting - (self.filled - int(seen.worlds["asked"]))
            if gone > 0:
                await self.stage.fill(self.label, self.filled, gone)
                self.filled += gone
            if seen.delivered > beyond:
                return seen
            if time.monotonic() > deadline:
                raise Wrong(f"nothing was relayed in {PATIENCE:g} s")

    async def _check(self, end: Sample) -> None:
        books, told = await self.stage.books(), end.worlds
        agreed = (
            books.accepted == self.filled
            and books.difference == 0
            and books.delivered == told["requests"] == told["asked"] == told["taken"]
            and books.delivered == told["delivered"] + books.receipts_waiting
            and told["receipts"] == told["delivered"]
        )
        if not agreed:
            raise Wrong(f"{self.filled} put, {books}, {dict(told)}")


def measure(folder: Path, runs: int, size: Size = Size()) -> list[Line]:
    """Few and many in turn; the many stay where they are from one run to the next."""
    few, many = [], []
    with Stage(folder / "many", launch=size.launch) as big:
        heap = Backlog(big, "many", size.many)
        for run in range(runs):
            with Stage(folder / f"few-{run}", launch=size.launch) as small:
                few.append(asyncio.run(Backlog(small, f"few-{run}", size.few).turn(size.seconds, size.warm)))
            many.append(asyncio.run(heap.turn(size.seconds, size.warm)))

    def line(what: str, name: str, digits: int, aim: str = "") -> Line:
        return Line(what, column(many, name), digits, f"{size.few:,} waiting", column(few, name), aim)

    return [
        line(f"taken by the provider while {size.many:,} wait, one worker, /s", "rate", 0, "ratio ≥ 0.9"),
        line("… receipts posted meanwhile, /s", "receipts", 0),
        line("… processor time of the worker for each, ms", "cpu", 3),
        line("… processor time of Redis for each, ms", "redis", 3),
        Line("Redis memory for each waiting message, bytes", (heap.bytes,), 0, aim="≤ 2,000"),
    ]
