"""Group commit: the webhooks that wait at one moment go to Redis in one script, and so in one fsync.

Each is answered when its own write is durable. What one of them holds cannot fail the others: the
script looks at no content, and a Redis that cannot be written fails them all alike.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from bridge.ledger import Ledger, NewMessage

BATCH = 64  # webhooks to a script: enough to share an fsync, few enough to keep Redis answering others


class GroupCommit:
    """One writer for one event loop."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiting: list[tuple[Sequence[NewMessage], asyncio.Future[list[bool]]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def accept(self, copies: Sequence[NewMessage]) -> list[bool]:
        """True for each that is new. Raises what Redis raised; whoever stops waiting may have been written."""
        done: asyncio.Future[list[bool]] = asyncio.get_running_loop().create_future()
        self._waiting.append((copies, done))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        return await done

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            try:
                answers = await self._ledger.accept([copy for copies, _ in batch for copy in copies])
            except BaseException as error:
                for _, done in batch:
                    if not done.done():
                        done.set_exception(error if isinstance(error, Exception) else ConnectionError("stopped"))
                if not isinstance(error, Exception):
                    raise
                continue
            for copies, done in batch:
                mine, answers = answers[: len(copies)], answers[len(copies) :]
                if not done.done():
                    done.set_result(mine)
