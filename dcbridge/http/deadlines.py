"""The time that requests may take, each as much as the other: one timer for all of them.

`asyncio.timeout` starts a timer for each request and stops it again, which costs more than to read the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")


class _Due:
    __slots__ = ("at", "over", "task")

    def __init__(self, at: float, task: asyncio.Task[Any]) -> None:
        self.at, self.task, self.over = at, task, False


class Deadlines:
    """For one event loop. `seconds` for each."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due: dict[_Due, None] = {}  # the oldest, which is due first, stands first
        self._timer: asyncio.TimerHandle | None = None

    async def within(self, work: Awaitable[T]) -> T:
        """What the work returns. Raises TimeoutError where it took too long: it is cancelled then."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        due = _Due(loop.time() + self._seconds, task)
        self._due[due] = None
        if self._timer is None:
            self._timer = loop.call_at(due.at, self._look, loop)
        try:
            return await work
        except asyncio.CancelledError:
            if due.over and not task.uncancel():
                raise TimeoutError from None
            raise
        finally:
            self._due.pop(due, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancel what is due, and come again for the next."""
        self._timer = None
        now = loop.time()
        for due in list(self._due):
            if due.at > now:
                self._timer = loop.call_at(due.at, self._look, loop)
                return
            del self._due[due]
            due.over = True
            due.task.cancel()
