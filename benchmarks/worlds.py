"""Both outside worlds at the least cost: a provider that answers after a delay, and Digital Channels.

`python -m benchmarks.worlds PORT DELAY_MS` serves until SIGTERM; GET /counts tells what it saw. It
remembers which messages it saw and checks nothing else (sandbox/ does that): here every microsecond
it takes is one the worker does not get.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Callable
from typing import cast

import orjson
import uvloop

_TAKEN = (
    b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    b'{"sid": "SM%032d", "status": "queued", "num_segments": "1", "error_code": null}'
)
_TAKEN_LENGTH = len(b'{"sid": "SM%032d", "status": "queued", "num_segments": "1", "error_code": null}' % 0)
_DONE = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 23\r\n\r\n{"status": {"code": 0}}'


class World:
    """What came. `delay` in seconds. `on_asked(message id)`, `on_taken(body, number)` and `on_receipts()` are told."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.asked: set[str] = set()  # messages whose request came
        self.delivered: set[str] = set()  # messages with a receipt that says Delivered
        self.requests = self.taken = self.receipts = self.posts = self.in_flight = self.most_in_flight = 0
        self.connected: set[asyncio.Transport] = set()
        self.on_asked: Callable[[str], None] | None = None
        self.on_taken: Callable[[bytes, int], None] | None = None
        self.on_receipts: Callable[[], None] | None = None

    def view(self) -> dict[str, float]:
        """`requests` and `receipts` count everything, `asked` and `delivered` each message once; `cpu` in seconds."""
        return {
            "seconds": time.monotonic(),
            "cpu": time.process_time(),
            "requests": self.requests,
            "asked": len(self.asked),
            "taken": self.taken,
            "receipts": self.receipts,
            "delivered": len(self.delivered),
            "posts": self.posts,
            "most_in_flight": self.most_in_flight,
        }

    async def serve(self, port: int) -> None:
        """Until `close`."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", port, backlog=4096)

    async def close(self) -> None:
        """Whoever is still connected is cut off."""
        self._server.close()
        for transport in self.connected:
            transport.abort()
        await asyncio.sleep(0)

    def sms(self, body: bytes) -> None:
        """A request to send one: its text begins with the message's id."""
        at = body.find(b"Body=") + 5
        message_id = body[at : body.find(b"+", at)].decode()
        self.asked.add(message_id)
        self.requests += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        if self.on_asked is not None:
            self.on_asked(message_id)

    def take(self, body: bytes) -> bytes:
        """The answer to it."""
        self.in_flight -= 1
        self.taken += 1
        if self.on_taken is not None:
            self.on_taken(body, self.taken)
        return _TAKEN % (_TAKEN_LENGTH, self.taken)

    def post(self, body: bytes) -> None:
        """Receipts."""
        messages = orjson.loads(body)["messages"]
        self.posts += 1
        self.receipts += len(messages)
        self.delivered.update(one["channel"]["messageId"] for one in messages if one.get("status") == "Delivered")
        if self.on_receipts is not None:
            self.on_receipts()


class _Connection(asyncio.Protocol):
    def __init__(self, world: World) -> None:
        self._world, self._buffer = world, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._world.connected.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._world.connected.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            low = head.lower()
            at = low.find(b"content-length:")
            length = int(low[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            body, self._buffer = self._buffer[end + 4 : end + 4 + length], self._buffer[end + 4 + length :]
            self._answer(head.split(b" ", 2)[1], body)

    def _answer(self, path: bytes, body: bytes) -> None:
        world = self._world
        if path.startswith(b"/2010-04-01/"):
            world.sms(body)
            asyncio.get_running_loop().call_later(world.delay, self._take, body)
        elif path == b"/counts":
            said = orjson.dumps(world.view())
            self._write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said))
        else:
            world.post(body)
            self._write(_DONE)

    def _take(self, body: bytes) -> None:
        self._write(self._world.take(body))

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)


async def main(port: int, delay: float) -> None:
    """Serve until SIGTERM."""
    world = World(delay)
    await world.serve(port)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await world.close()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]) / 1000))
