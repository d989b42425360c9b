"""What a process of a service with several says of itself, and how the one with the operator's port hears it.

Each listens on a loopback port of its own, which the supervisor keeps open while a process is started again.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import orjson

from dcbridge.runtime.metrics import Metrics
from dcbridge.runtime.summed import counters, summed

PATIENCE = 2.0  # seconds for an answer
LONGEST = 32 << 20  # bytes of one


@dataclass(frozen=True, slots=True)
class Said:
    """`pid` tells one life of a process from the next; `metrics` is its text exposition."""

    pid: int
    ready: bool
    metrics: bytes


class Report:
    """Answers whoever connects, until `stop`."""

    def __init__(self, bound: socket.socket, ready: Callable[[], Awaitable[bool]], metrics: Metrics) -> None:
        self._bound, self._ready, self._metrics = bound, ready, metrics
        self.port: int = bound.getsockname()[1]
        self._stopped = asyncio.Event()

    async def serve(self) -> None:
        server = await asyncio.start_server(self._answer, sock=self._bound)
        async with server:
            await self._stopped.wait()

    def stop(self) -> None:
        self._stopped.set()

    async def _answer(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            said = {"pid": os.getpid(), "ready": await self._ready(), "metrics": self._metrics.text().decode()}
            writer.write(orjson.dumps(said))
            await writer.drain()
        except OSError:
            pass  # it did not wait
        finally:
            writer.close()


class Reports:
    """Asks all of them. What a process counted before it was started again stays in the sums."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports
        self._last: dict[int, Said] = {}
        self._past = b""

    async def alive(self) -> bool:
        """Whether each answers."""
        return all(one is not None for one in await self._ask())

    async def ready(self) -> bool:
        """Whether each is ready."""
        return all(one is not None and one.ready for one in await self._ask())

    async def metrics(self) -> list[bytes]:
        """An exposition for each process, and one of what those counted that have ended."""
        texts = []
        for port, said in zip(self._ports, await self._ask(), strict=True):
            before = self._last.get(port)
            if said is None:
                if before is not None:
                    texts.append(counters(before.metrics))
                continue
            if before is not None and before.pid != said.pid:
                self._past = summed([self._past, counters(before.metrics)])
            self._last[port] = said
            texts.append(said.metrics)
        return [*texts, self._past]

    async def _ask(self) -> list[Said | None]:
        return await asyncio.gather(*map(_ask_one, self._ports))


async def _ask_one(port: int) -> Said | None:
    """None where it does not answer."""
    writer = None
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            said = orjson.loads(await _all(reader))
            return Said(said["pid"], said["ready"], said["metrics"].encode())
    except (OSError, TimeoutError, ValueError):
        return None
    finally:
        if writer is not None:
            writer.close()


async def _all(reader: asyncio.StreamReader) -> bytes:
    found = bytearray()
    while piece := await reader.read(1 << 16):
        found += piece
        if len(found) > LONGEST:
            raise ValueError("too long")
    return bytes(found)
