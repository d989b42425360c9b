"""A load generator that costs little: raw HTTP/1.1 over a fixed number of connections, prepared bytes.

Closed loop: each connection asks again as soon as it was answered. Open loop: requests are due at
fixed times whatever the answers do, and an answer's time counts from when its request was due.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import cast

Answered = Callable[[int, float], None]  # status (0: the connection was lost), seconds since it was due


@dataclass
class Result:
    """What one run saw. Latencies in seconds."""

    seconds: float = 0.0
    cpu: float = 0.0  # seconds that this process spent meanwhile
    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Answers of 200 per second."""
        return self.statuses[200] / self.seconds if self.seconds else 0.0

    def note(self, status: int, seconds: float) -> None:
        self.statuses[status] += 1
        self.latencies.append(seconds)


def percentile(values: Iterable[float], share: float) -> float:
    """The value that `share` of all are at or below; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


class _Connection(asyncio.Protocol):
    def __init__(self, pool: Connections) -> None:
        self._pool = pool
        self._buffer = b""
        self._due = 0.0
        self._answered: Answered | None = None
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def ask(self, request: bytes, due: float, answered: Answered) -> None:
        self._due, self._answered = due, answered
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = self._buffer[:head_end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self._buffer) < head_end + 4 + length:
            return
        self._buffer = b""
        answered, seconds = self._answered, time.perf_counter() - self._due
        self._answered = None
        self._pool.is_free(self)
        if answered is not None:
            answered(int(head[9:12]), seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.lost(self)
        if self._answered is not None:
            self._answered(0, time.perf_counter() - self._due)


class Connections:
    """To one port. A request that finds none free waits for one, first come, first served."""

    def __init__(self, port: int, count: int) -> None:
        self._port, self._count = port, count
        self._all: list[_Connection] = []
        self._free: deque[_Connection] = deque()
        self._waiting: deque[tuple[bytes, float, Answered]] = deque()
        self._closed = False
        self._nobody = asyncio.Event()  # no connection is left

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(self._count):
            _, made = await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._port)
            self._all.append(made)
        self._free.extend(self._all)
        self._nobody.clear()

    @property
    def free(self) -> int:
        return len(self._free)

    def post(self, request: bytes, answered: Answered, due: float = 0.0) -> None:
        """`due`: when the request should have left, by time.perf_counter(); now where it is not given."""
        due = due or time.perf_counter()
        if not self._all:
            answered(0, 0.0)
        elif self._free:
            self._free.popleft().ask(request, due, answered)  # the one that has rested longest: none grows old
        else:
            self._waiting.append((request, due, answered))

    def is_free(self, connection: _Connection) -> None:
        if self._waiting:
            connection.ask(*self._waiting.popleft())
        elif not self._closed:
            self._free.append(connection)

    def lost(self, connection: _Connection) -> None:
        self._all.remove(connection)
        if connection in self._free:
            self._free.remove(connection)
        if not self._all:
            self._nobody.set()
            while self._waiting:
                self._waiting.popleft()[2](0, 0.0)

    async def close(self) -> None:
        """Requests that wait or are under way end with the status 0."""
        self._closed = True
        for connection in list(self._all):
            connection.transport.close()
        await self._nobody.wait()


async def drive(port: int, requests: Iterator[bytes], connections: int) -> Result:
    """All of them, closed loop."""
    pool, result = Connections(port, connections), Result()
    await pool.open()
    over = asyncio.get_running_loop().create_future()
    under_way = 0

    def answered(status: int, seconds: float) -> None:
        nonlocal under_way
        result.note(status, seconds)
        under_way -= 1
        more()

    def more() -> None:
        nonlocal under_way
        while pool.free and (request := next(requests, None)) is not None:
            under_way += 1
            pool.post(request, answered)
        if not under_way and not over.done():
            over.set_result(None)

    began, cpu = time.perf_counter(), time.process_time()
    more()
    await over
    result.seconds, result.cpu = time.perf_counter() - began, time.process_time() - cpu
    await pool.close()
    return result


async def at_rate(pool: Connections, request_due: Callable[[float], bytes], rate: float, count: int) -> Result:
    """`count` requests, `rate` of them due each second, open loop. Returns when all are answered.

    `request_due` makes the next one; it is told when that is due.
    """
    result, loop = Result(), asyncio.get_running_loop()
    over = loop.create_future()
    began, cpu = time.perf_counter(), time.process_time()

    def answered(status: int, seconds: float) -> None:
        result.note(status, seconds)
        if len(result.latencies) == count:
            over.set_result(None)

    def tick(n: int) -> None:
        while n < count and (due := began + n / rate) <= time.perf_counter():
            pool.post(request_due(due), answered, due)
            n += 1
        if n < count:
            loop.call_later(max(0.0, began + n / rate - time.perf_counter()), tick, n)

    tick(0)
    await over
    result.seconds, result.cpu = time.perf_counter() - began, time.process_time() - cpu
    return result
