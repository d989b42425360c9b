"""Subscribers at the least cost, in one process: `python -m benchmarks.receivers PORT` serves until SIGTERM.

    POST /well/<name>       200 at once
    POST /slow/<name>       200 after 30 seconds
    POST /failing/<name>    500
    POST /throttling/<name> 429, Retry-After: 2
    GET  /heard/<name>      what came there: [[webhook-id, Unix time, milliseconds since the event was received], …]
    GET  /counts            requests by name

It checks nothing (tests/subscribers does that): here every microsecond it takes is one the worker does not get.
"""

from __future__ import annotations

import asyncio
import re
import signal
import sys
import time
from collections import defaultdict
from datetime import datetime

import orjson
import uvloop

SLOW = 30.0  # seconds
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_ANSWERS = {
    b"well": _OK,
    b"failing": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
    b"throttling": b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n",
}
_ID = re.compile(rb"\r\nwebhook-id: ([^\r]+)", re.IGNORECASE)
_RECEIVED = re.compile(rb'"(?:receivedAt|timestamp)":"([^"]+)"')


class Heard:
    """What came, by name: id, when, and how long after the batch had been accepted."""

    def __init__(self) -> None:
        self.by_name: dict[bytes, list[tuple[str, float, float]]] = defaultdict(list)

    def note(self, name: bytes, head: bytes, body: bytes) -> None:
        now = time.time()
        found, told = _ID.search(head), _RECEIVED.search(body)
        received = datetime.fromisoformat(told[1].decode()).timestamp() if told else now
        self.by_name[name].append((found[1].decode() if found else "", now, (now - received) * 1000))


class _Receiver(asyncio.Protocol):
    def __init__(self, heard: Heard) -> None:
        self._heard, self._buffer = heard, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

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
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        method, path, _ = head.split(b" ", 2)
        kind, _, name = path[1:].partition(b"/")
        if method == b"GET":
            counts = {key.decode(): len(value) for key, value in self._heard.by_name.items()}
            said = orjson.dumps(counts if kind == b"counts" else self._heard.by_name[name])
            self._write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said))
            return
        self._heard.note(name, head, body)
        if kind == b"slow":
            asyncio.get_running_loop().call_later(SLOW, self._write, _OK)
        else:
            self._write(_ANSWERS[kind])

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)  # type: ignore[attr-defined]  # uvloop's transport is one by shape


async def main(port: int) -> None:
    loop = asyncio.get_running_loop()
    heard = Heard()
    server = await loop.create_server(lambda: _Receiver(heard), "127.0.0.1", port, backlog=4096)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
