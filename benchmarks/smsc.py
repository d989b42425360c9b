"""An SMSC that takes everything after a while, at the least cost: `python -m benchmarks.smsc PORT DELAY_MS`.

Until SIGTERM it writes a line of JSON ten times a second: what it has taken, and how many were open at one time.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import cast

import uvloop

from dcbridge.smpp import pdu
from dcbridge.smpp.pdu import Command

EVERY = 0.1  # seconds


class Smsc:
    """What came, in all sessions. `delay` in seconds."""

    def __init__(self, delay: float) -> None:
        self.delay, self.taken, self.open, self.most = delay, 0, 0, 0

    def view(self) -> dict[str, float]:
        return {
            "seconds": time.monotonic(),
            "cpu": time.process_time(),
            "delivered": self.taken,
            "most_in_flight": self.most,
        }

    async def run(self, port: int) -> None:
        """Serve until SIGTERM."""
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        await loop.create_server(lambda: _Connection(self), "127.0.0.1", port)
        while not stop.is_set():
            self._say()
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), EVERY)
        self._say()

    def _say(self) -> None:
        print(json.dumps(self.view()), flush=True)


class _Connection(asyncio.Protocol):
    def __init__(self, smsc: Smsc) -> None:
        self._smsc, self._rest = smsc, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        came, at = self._rest + data, 0
        while len(came) - at >= pdu.HEADER:
            header = pdu.read_header(came[at : at + pdu.HEADER])
            if len(came) - at < header.length:
                break
            at += header.length
            self._answer(header)
        self._rest = came[at:]

    def _answer(self, header: pdu.Header) -> None:
        smsc = self._smsc
        match header.command:
            case Command.SUBMIT_SM:
                smsc.taken += 1
                smsc.open += 1
                smsc.most = max(smsc.most, smsc.open)
                asyncio.get_running_loop().call_later(smsc.delay, self._take, header.sequence, smsc.taken)
            case Command.BIND_TRANSCEIVER:
                self._write(pdu.unit(Command.BIND_TRANSCEIVER_RESP, header.sequence, b"\0"))
            case Command.ENQUIRE_LINK | Command.UNBIND:
                self._write(pdu.unit(header.command | Command.GENERIC_NACK, header.sequence))

    def _take(self, sequence: int, number: int) -> None:
        self._smsc.open -= 1
        self._write(pdu.unit(Command.SUBMIT_SM_RESP, sequence, b"%d\0" % number))

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)


def last(said: str) -> Mapping[str, float]:
    """Its last whole line, of the last words of its log; empty where there is none."""
    for line in reversed(said.rpartition("\n")[0].splitlines()):
        if line.startswith("{") and line.endswith("}"):
            return cast(Mapping[str, float], json.loads(line))
    return {}


if __name__ == "__main__":
    uvloop.run(Smsc(int(sys.argv[2]) / 1000).run(int(sys.argv[1])))
