"""A load generator that costs little: raw HTTP/1.1 over a fixed number of connections, prepared bytes."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast


@dataclass
class Result:
    """What one run saw. Latencies in seconds."""

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Answers of 200 per second."""
        return self.statuses[200] / self.seconds if self.seconds else 0.0

    def percentile(self, share: float) -> float:
        """A latency in milliseconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 if ordered else 0.0


class _Connection(asyncio.Protocol):
    def __init__(self, next_request: Callable[[], bytes | None], result: Result, done: asyncio.Future[None]) -> None:
        self._next, self._result, self._done = next_request, result, done
        self._buffer = b""
        self._began = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._send()

    def _send(self) -> None:
        assert self._transport is not None
        request = self._next()
        if request is None:
            self._transport.close()
            return
        self._began = time.perf_counter()
        self._transport.write(request)

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
        self._result.latencies.append(time.perf_counter() - self._began)
        self._result.statuses[int(head[9:12])] += 1
        self._buffer = b""
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_result(None)


async def drive(port: int, next_request: Callable[[], bytes | None], connections: int = 64) -> Result:
    """Send until `next_request` gives None on every connection; one request at a time on each."""
    loop = asyncio.get_running_loop()
    result = Result()
    began = time.perf_counter()
    waiting = []
    for _ in range(connections):
        done: asyncio.Future[None] = loop.create_future()
        await loop.create_connection(
            lambda done=done: _Connection(next_request, result, done),  # type: ignore[misc]
            "127.0.0.1",
            port,
        )
        waiting.append(done)
    await asyncio.gather(*waiting)
    result.seconds = time.perf_counter() - began
    return result


def http_post(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """The bytes of one request on a connection that stays open."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += ["Content-Type: application/json", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
