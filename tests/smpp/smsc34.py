"""An SMSC made of smpp34: python -m tests.smpp.smsc34 PORT DELAY_MS. It speaks as npm/smsc.js does."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Coroutine
from typing import Any

import smpp34

from dcbridge import gsm7


def say(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


class Smsc:
    def __init__(self, delay: float) -> None:
        self.delay, self.last = delay, 0
        self.bound: dict[str, smpp34.Esme] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def take(self, event: smpp34.SubmitSmEvent) -> None:
        self.last += 1
        number, raw = str(1_000_000 + self.last), bytes(event.short_message)
        piece = [raw[5], raw[4]] if event.esm_class & 0x40 else None
        body = raw[6:] if piece else raw
        text = body.decode("utf-16-be") if event.data_coding == 8 else gsm7.decode(body)
        say(id=number, **{"from": event.source_addr}, to=event.destination_addr, text=text, coding=event.data_coding,
            piece=piece)  # fmt: skip
        if text.startswith("early"):
            self.spawn(self.receipt(event, number))
            await asyncio.sleep(0.2)
            event.accept(number)
            return
        await asyncio.sleep(self.delay)
        event.accept(number)
        await self.receipt(event, number)

    async def receipt(self, event: smpp34.SubmitSmEvent, number: str) -> None:
        dates = "submit date:2611261200 done date:2611261200"
        written = f"id:{int(number):x} sub:001 dlvrd:001 {dates} stat:DELIVRD err:000 text:"
        await self.bound[event.session_id].deliver_sm(
            event.source_addr, written.encode(), source_addr=event.destination_addr, esm_class=4
        )
        say(answered=0)

    async def consumers(self) -> None:
        """Lines on stdin."""
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            told = json.loads(line)
            esme = next(reversed(self.bound.values()))
            await esme.deliver_sm(told["to"], gsm7.encode(told["text"]), source_addr=told["from"])
            say(answered=0)

    async def run(self, port: int) -> None:
        server = smpp34.Server("127.0.0.1", port)
        await server.start()
        say(ready=True)
        self.spawn(self.consumers())
        while True:
            event = await server.next()
            if isinstance(event, smpp34.Esme):
                self.bound[event.session_id] = event
                say(bound=event.system_id)
            elif isinstance(event, smpp34.SubmitSmEvent):
                self.spawn(self.take(event))
            elif isinstance(event, smpp34.Unbound):
                self.bound.pop(event.session_id, None)
                say(unbound=True)


if __name__ == "__main__":
    asyncio.run(Smsc(int(sys.argv[2]) / 1000).run(int(sys.argv[1])))
