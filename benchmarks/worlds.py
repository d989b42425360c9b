"""Both outside worlds at the least cost: a provider that answers after a delay, and Digital Channels.

`python -m benchmarks.worlds PORT DELAY_MS` serves until SIGTERM; GET /counts tells what it saw. It
checks nothing (sandbox/ does that): here every microsecond it takes is one the worker does not get.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time

import orjson
import uvloop

_TAKEN = b'{"sid": "SM%032d", "status": "queued", "num_segments": "1", "error_code": null}'
_DONE = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 23\r\n\r\n{"status": {"code": 0}}'


class Counts:
    """Sends and receipts, with the times (Unix, seconds) of the first and the last receipt."""

    def __init__(self) -> None:
        self.sends = self.receipts = self.in_flight = self.most_in_flight = 0
        self.receipt_times: list[tuple[float, int]] = []

    def view(self) -> dict[str, object]:
        return {
            "sends": self.sends,
            "receipts": self.receipts,
            "most_in_flight": self.most_in_flight,
            "receipt_times": self.receipt_times,
        }


class _World(asyncio.Protocol):
    def __init__(self, counts: Counts, delay: float) -> None:
        self._counts, self._delay, self._buffer = counts, delay, b""

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
            self._answer(head.split(b" ", 2)[1], body)

    def _answer(self, path: bytes, body: bytes) -> None:
        counts = self._counts
        if path.startswith(b"/2010-04-01/"):
            counts.in_flight += 1
            counts.most_in_flight = max(counts.most_in_flight, counts.in_flight)
            asyncio.get_running_loop().call_later(self._delay, self._taken)
        elif path == b"/counts":
            said = orjson.dumps(counts.view())
            self._write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said))
        else:
            receipts = body.count(b'"Receipt"')
            counts.receipts += receipts
            counts.receipt_times.append((time.time(), receipts))
            self._write(_DONE)

    def _taken(self) -> None:
        self._counts.in_flight -= 1
        self._counts.sends += 1
        said = _TAKEN % self._counts.sends
        self._write(
            b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (len(said), said)
        )

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)  # type: ignore[attr-defined]  # uvloop's transport is one by shape


async def main(port: int, delay: float) -> None:
    loop = asyncio.get_running_loop()
    counts = Counts()
    server = await loop.create_server(lambda: _World(counts, delay), "127.0.0.1", port, backlog=4096)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]) / 1000))
