"""Keys that callbacks are signed with and that a provider publishes: fetched when one is first named, and kept.

What a stranger can cause is bounded: bridge.yaml names the host, a key that cannot be had is not asked for again for a
while, and few are asked for in a minute. An old key is used where a new copy cannot be had.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import httpx
import structlog

from dcbridge.errors import SendError

if TYPE_CHECKING:
    from dcbridge.transport.sender import Sender

log = structlog.get_logger()

KEPT = 32
FRESH_FOR = 600.0  # seconds; a wrong page that was taken for a key is gone then
MOST_BYTES = 65536
WITHIN = 3.0  # seconds
FAILED_FOR = 10.0  # seconds that a key is not asked for again
A_MINUTE = 10  # requests


class NoKey(Exception):
    """It cannot be had now."""


class Keys:
    """Those of one process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._under_way: dict[str, asyncio.Task[bytes]] = {}
        self._failed: OrderedDict[str, float] = OrderedDict()
        self._begun: deque[float] = deque(maxlen=A_MINUTE)
        self._sender: Sender | None = None

    async def get(self, request: httpx.Request) -> bytes:
        """What this request is answered with. Raises NoKey."""
        url = str(request.url)
        key, until = self._kept.get(url, (b"", 0.0))
        if key and self._clock() < until:
            self._kept.move_to_end(url)
            return key
        try:
            if url not in self._under_way:
                self._may_ask(url)
                self._under_way[url] = asyncio.get_running_loop().create_task(self._fetch(url, request))
            return await asyncio.shield(self._under_way[url])  # who waits may be cancelled, and the others not
        except (SendError, NoKey):
            if key:
                return key
            raise NoKey from None

    def _may_ask(self, url: str) -> None:
        now = self._clock()
        if self._failed.get(url, now) > now:
            raise NoKey
        if len(self._begun) == A_MINUTE and now - self._begun[0] < 60:
            raise NoKey
        self._begun.append(now)

    async def _fetch(self, url: str, request: httpx.Request) -> bytes:
        try:
            answer = await self._opened().http(request)
            if answer.status_code != 200 or not answer.content:
                raise SendError(f"HTTP {answer.status_code}")
        except SendError as error:
            log.warning("key_not_fetched", host=request.url.host, outcome=error.outcome, code=error.code)
            self._failed[url] = self._clock() + FAILED_FOR
            if len(self._failed) > KEPT:
                self._failed.popitem(last=False)
            raise
        else:
            self._kept[url] = answer.content, self._clock() + FRESH_FOR
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return answer.content
        finally:
            del self._under_way[url]

    def _opened(self) -> Sender:
        if self._sender is None:
            from dcbridge.transport.sender import Sender  # aiohttp costs a process that needs no key

            self._sender = Sender(
                connect_timeout=WITHIN,
                read_timeout=WITHIN,
                whole_timeout=WITHIN,
                connections=4,
                answer_limit=MOST_BYTES,
            ).open()
        return self._sender

    async def close(self) -> None:
        for task in self._under_way.values():
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)
        if self._sender is not None:
            await self._sender.close()
