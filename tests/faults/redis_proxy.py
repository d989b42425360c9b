"""A TCP proxy between one process and its Redis that loses replies: Redis did it, and nobody was told.

It runs in a thread of its own. Whoever tests asks it to lose the reply to the next command that holds certain
words; the connection is cut instead, as a broken network would do. A Redis that dies cuts them all.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, Self, TypeVar

T = TypeVar("T")
_BULK = re.compile(rb"\$\d+\r\n")
PIECE = 1 << 16  # bytes read at once


class RedisProxy:
    """`lost`: the commands whose replies were swallowed, named; `cut`: connections that Redis itself ended."""

    def __init__(self, redis_port: int) -> None:
        self._redis_port = redis_port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._wanted: tuple[bytes, ...] = ()
        self._left = 0
        self._links: set[asyncio.Task[None]] = set()
        self.lost: list[str] = []
        self.cut = 0
        self.port = 0

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> Self:
        self._thread.start()
        self.port = self._do(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def lose(self, words: Sequence[bytes] = (), times: int = 1) -> None:
        """Swallow the next `times` replies to commands that hold all of these words (none: to any command)."""
        self._do(self._arm(tuple(words), times))

    def forget(self) -> None:
        """Lose nothing any more."""
        self._do(self._arm((), 0))

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _arm(self, words: tuple[bytes, ...], times: int) -> None:
        self._wanted, self._left = words, times

    async def _listen(self) -> int:
        self._server = await asyncio.start_server(self._link, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _close(self) -> None:
        self._server.close()
        for task in self._links:
            task.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        task.add_done_callback(self._links.discard)
        try:
            redis_reader, redis_writer = await asyncio.open_connection("127.0.0.1", self._redis_port)
        except OSError:  # Redis is away: whoever connects is turned away
            writer.transport.abort()
            return
        asked = bytearray()  # since the last reply
        pumps = [
            asyncio.create_task(self._requests(reader, redis_writer, asked)),
            asyncio.create_task(self._replies(redis_reader, writer, asked)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            writer.transport.abort()
            redis_writer.transport.abort()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: bytearray) -> None:
        while data := await reader.read(PIECE):
            asked += data
            writer.write(data)
            await writer.drain()

    async def _replies(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: bytearray) -> None:
        while data := await _read(reader):
            if self._left and asked and all(word in asked for word in self._wanted):
                self._left -= 1
                self.lost.append(named(bytes(asked)))
                return
            asked.clear()
            writer.write(data)
            await writer.drain()
        self.cut += 1


async def _read(reader: asyncio.StreamReader) -> bytes:
    """b"" at the end, also where it comes as a reset."""
    try:
        return await reader.read(PIECE)
    except OSError:
        return b""


def named(asked: bytes) -> str:
    """What a request asks for: its command, and for a call of the ledger's script its verbs."""
    words = [part.removesuffix(b"\r\n") for part in _BULK.split(asked)[1:]]
    command = words[0].decode("latin-1").upper() if words else "?"
    if command != "EVALSHA":
        return command
    verbs, at = [], 4  # after the command: hash, number of keys, ISO time; then each verb after its length
    while at + 1 < len(words) and words[at].isdigit():
        verbs.append(words[at + 1].decode("latin-1"))
        at += int(words[at]) + 1
    return "+".join(sorted(set(verbs))) or "a script"
