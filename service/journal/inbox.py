"""Where callbacks go: to Redis, or to the journal while Redis is away.

One writer stands before both, so that order holds; what waits at one moment shares a script or an fsync.
"""

from __future__ import annotations

import asyncio
from collections import deque

import structlog
from redis.exceptions import RedisError

from dcbridge.ledger import Ledger, NewTask
from dcbridge.settings.process import Settings
from service.journal.journal import BATCH, Journal, batches

log = structlog.get_logger()


class Inbox:
    """For one event loop. Without a journal a Redis that is away is the sender's affair."""

    def __init__(self, ledger: Ledger, settings: Settings, journal: Journal | None = None) -> None:
        self._ledger, self._journal = ledger, journal
        # Two batches may have to wait for a Redis that hangs before a sender is answered.
        self._patience = min(settings.redis_timeout, settings.answer_within / 3)
        self._waiting: deque[tuple[NewTask, asyncio.Future[str]]] = deque()
        self._writer: asyncio.Task[None] | None = None

    async def put(self, task: NewTask) -> str:
        """ "new", "repeated" or "journalled", on a disk in each case. Raises RedisError or OSError: stored nowhere.

        Whoever stops waiting may still have been written.
        """
        done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.append((task, done))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        return await done

    async def drain(self) -> None:
        """Hand over what the journal holds, for as long as the process runs."""
        if self._journal is not None:
            await self._journal.drain(self._to_redis)

    async def _write(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            try:
                words = await self._store([task for task, _ in batch])
            except Exception as error:
                for _, done in batch:
                    if not done.done():
                        done.set_exception(error)
            else:
                for (_, done), word in zip(batch, words, strict=True):
                    if not done.done():
                        done.set_result(word)

    async def _store(self, tasks: list[NewTask]) -> list[str]:
        if self._journal is None:
            return await self._to_redis(tasks)
        async with self._journal.gate:
            if not self._journal.waiting:
                try:
                    return await self._to_redis(tasks)
                except (RedisError, OSError, TimeoutError) as error:
                    log.warning("journal_takes_over", error=type(error).__name__)
            await self._journal.write(tasks)
        return ["journalled"] * len(tasks)

    async def _to_redis(self, tasks: list[NewTask]) -> list[str]:
        async with asyncio.timeout(self._patience):
            fresh = [new for batch in batches(tasks) for new in await self._ledger.tasks.put(batch)]
        return ["new" if new else "repeated" for new in fresh]
