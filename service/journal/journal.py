"""Callbacks that arrive while Redis is away: kept in a folder of this computer, and handed over in order.

SMS providers mostly do not send a callback again. So what Redis does not take is fsynced here and
answered as if it had been taken; while anything waits here, what comes later waits behind it.
Handing over twice is harmless, since a task's id is what makes it new: after a crash a segment
begins again, and a write to Redis that timed out may have happened.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TypeVar

import structlog
from redis.exceptions import RedisError

from dcbridge.ledger import NewTask
from dcbridge.ledger.services import Journal as Seen
from dcbridge.runtime.metrics import Metrics
from dcbridge.settings.process import Settings
from service.journal.segments import JournalFiles

log = structlog.get_logger()
T = TypeVar("T")

BATCH = 64  # tasks to a script
BATCH_BYTES = 1 << 20
LAST = 2048  # records: what is handed over while new ones wait
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds between two tries to hand over


class Journal:
    """The folder, off the event loop. `waiting`: records that Redis does not hold yet."""

    def __init__(self, files: JournalFiles, metrics: Metrics) -> None:
        self._files, self._metrics = files, metrics
        # One thread: the files are only ever touched in the order in which that was asked for.
        self._thread = ThreadPoolExecutor(1, "journal")
        self._some, self._none = asyncio.Event(), asyncio.Event()
        self._waiting = self._handed = self._aside = 0
        self._left: deque[list[NewTask]] | None = None  # of the oldest segment
        self._answers = False  # Redis, to the last try
        self.gate = asyncio.Lock()  # held by whoever writes, and at the end of a drain
        self.takes_more = True  # until a write fails
        self._count(files.records)
        damage = files.damage
        log.info("journal_opened", waiting=self._waiting, segments=len(files.segments), size=files.size)
        if damage.cut:
            log.warning("journal_tail_cut", bytes=damage.cut)  # never answered 200
        self._tell_of_damage()

    @property
    def waiting(self) -> int:
        return self._waiting

    async def seen(self) -> Seen:
        """For `dcbridge status`."""
        files = self._files
        aside = await self._off_the_loop(lambda: len(list(files.folder.glob("*.bad"))))
        return Seen(True, self._waiting, files.size, files.limit, aside, full=not self.takes_more)

    async def write(self, tasks: Sequence[NewTask]) -> None:
        """On this computer's disk when it returns. Raises OSError: the disk or the journal is full, or broken."""
        try:
            await self._off_the_loop(lambda: self._files.append(tasks))
        except OSError as error:
            if self.takes_more:
                log.error("journal_takes_no_more", error=type(error).__name__, waiting=self._waiting)
            self.takes_more = False
            raise
        self.takes_more = True
        self._metrics.journal_written.inc(len(tasks))
        self._count(len(tasks))

    async def drain(self, put: Callable[[list[NewTask]], Awaitable[object]]) -> None:
        """Hand over what waits, oldest first, for as long as the process runs."""
        while True:
            await self._some.wait()
            began, before = time.monotonic(), self._handed
            while self._waiting:
                await _until_done(lambda: self._segment(put))
                self.takes_more = True
            log.info("journal_drained", records=self._handed - before, seconds=round(time.monotonic() - began, 1))

    async def _segment(self, put: Callable[[list[NewTask]], Awaitable[object]]) -> None:
        """Hand over the oldest segment, from where the last try ended, and remove it when Redis holds all of it."""
        # Whoever comes meanwhile is written behind it, and there would always be a little left. So once Redis
        # answers, the last of it goes with the gate closed: what comes then waits for milliseconds.
        async with self.gate if self._answers and self._waiting <= LAST else nullcontext():
            self._answers = False
            if self._left is None:
                tasks, unexpected = await self._oldest()
                self._left = deque(batches(tasks))
                self._count(unexpected)
                self._tell_of_damage()
            while self._left:
                await put(self._left[0])
                self._answers = True
                handed = len(self._left.popleft())
                self._handed += handed
                self._count(-handed)
            await self._off_the_loop(self._files.remove_oldest)
            self._left = None

    async def _oldest(self) -> tuple[list[NewTask], int]:
        """The first segment, and how many records it holds beyond those counted: a failed append may leave some."""

        def read() -> tuple[list[NewTask], int]:
            counted = self._files.segments[0].records
            tasks = self._files.oldest()
            return tasks, len(tasks) - counted

        return await self._off_the_loop(read)

    async def emptied(self, seconds: float) -> None:
        """Wait until nothing waits, `seconds` at most: the folder may go with the process, as in a pod."""
        if not self._waiting:
            return
        log.info("journal_waits_to_be_empty", waiting=self._waiting)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._none.wait()
        if self._waiting:
            log.warning("journal_left_behind", waiting=self._waiting)

    async def close(self) -> None:
        """After the last write; `drain` is cancelled by whoever started it."""
        await self._off_the_loop(self._files.close)
        self._thread.shutdown()

    async def _off_the_loop(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _count(self, more: int) -> None:
        self._waiting += more
        self._metrics.journal_waiting.set(self._waiting)
        now, other = (self._some, self._none) if self._waiting else (self._none, self._some)
        now.set()
        other.clear()

    def _tell_of_damage(self) -> None:
        """Bytes that were a record once: the disk, or somebody's hand. A person has to look."""
        if (aside := self._files.damage.aside) != self._aside:
            log.error("journal_damaged", bytes_set_aside=aside - self._aside, see="the .bad files of the journal")
            self._metrics.faults.labels("journal_damaged", "journal").inc()
            self._aside = aside


def batches(tasks: list[NewTask]) -> Iterator[list[NewTask]]:
    """In order, each small enough for one script."""
    batch: list[NewTask] = []
    size = 0
    for task in tasks:
        if batch and (len(batch) == BATCH or size + len(task.payload) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(task)
        size += len(task.payload)
    if batch:
        yield batch


async def _until_done(work: Callable[[], Awaitable[None]]) -> None:
    """Again and again, less and less often. Nothing may end this: what is behind it would wait for ever."""
    pause = 0.0
    while True:
        try:
            return await work()
        except (RedisError, OSError, TimeoutError) as error:
            if not pause:
                log.warning("journal_waits", error=type(error).__name__)
        except Exception:
            if not pause:
                log.error("journal_waits", exc_info=True)
        pause = min(LONGEST_PAUSE, pause * 2 or FIRST_PAUSE)
        await asyncio.sleep(pause)


def open_journal(settings: Settings, metrics: Metrics) -> Journal | None:
    """Raises ConfigurationError when the folder cannot be written or another service process uses it."""
    if not settings.journal:
        return None
    files = JournalFiles(Path(settings.journal), settings.journal_limit)
    files.open()
    return Journal(files, metrics)
