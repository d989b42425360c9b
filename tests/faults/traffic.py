"""Agents and consumers who write at a steady rate, from a thread of their own.

A conversation is written in short bursts, each message as soon as the one before it was taken, so that the
order of writing is the order of acceptance and a lane has something in it.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import deque
from typing import Any, Self

import aiohttp

from tests.stack import Stack

LONGEST = 5  # messages of a burst
LONG = 0.05  # share of the agents' messages that are too long for one SMS request, and travel in two parts


class Traffic:
    """A context: it writes inside. `rate` in agents' messages a second; `consumers`: messages of theirs for each."""

    def __init__(
        self, stack: Stack, *, conversations: int, rate: float, consumers: float = 0.25, seed: int = 1
    ) -> None:
        self._controls = f"http://127.0.0.1:{stack.ports.page}/sandbox/"
        self._numbers = [f"1650{2_000_000 + n}" for n in range(conversations)]
        self._rate, self._consumers = rate, consumers
        self._dice = random.Random(seed)
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self.written = 0  # agents' messages, those under way included
        self.trouble: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join(30)

    def stop(self, patience: float) -> None:
        """Begin nothing new, and wait until all that was begun is taken. AssertionError where it never is."""
        self._enough.set()
        self._thread.join(patience)
        assert not self._thread.is_alive(), f"messages that were written are not taken after {patience:g} s"

    def _write(self) -> None:
        try:
            asyncio.run(self._converse())
        except Exception as error:
            self.trouble.append(repr(error))

    async def _converse(self) -> None:
        order = list(range(len(self._numbers)))
        self._dice.shuffle(order)
        quiet, talks = deque(order), set[asyncio.Task[None]]()
        counts = [0] * len(order)
        began = time.monotonic()
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=2.0)  # the sandbox closes idle ones after five
        async with aiohttp.ClientSession(
            self._controls, connector=connector, timeout=aiohttp.ClientTimeout(None)
        ) as session:
            while not self._enough.is_set():
                if quiet:
                    place = quiet.popleft()
                    burst = self._dice.randint(1, LONGEST)
                    first, counts[place] = counts[place], counts[place] + burst
                    self.written += burst
                    talk = asyncio.create_task(self._talk(session, place, range(first, first + burst)))
                    talks.add(talk)
                    talk.add_done_callback(talks.discard)
                    talk.add_done_callback(lambda _, place=place: quiet.append(place))  # type: ignore[misc]
                await asyncio.sleep(max(0.01, began + self.written / self._rate - time.monotonic()))
            await asyncio.gather(*talks)

    async def _talk(self, session: aiohttp.ClientSession, place: int, numbers: range) -> None:
        """One burst of the agent's, and perhaps one of the consumer's beside it."""
        answers = [n for n in numbers if self._dice.random() < self._consumers]
        try:
            await asyncio.gather(self._agent(session, place, numbers), self._consumer(session, place, answers))
        except aiohttp.ClientError as error:
            self.trouble.append(f"the sandbox was not reached: {error!r}")

    async def _agent(self, session: aiohttp.ClientSession, place: int, numbers: range) -> None:
        for n in numbers:
            name = f"soak-{place}-{n}"
            text = f"agent {name} " * (120 if self._dice.random() < LONG else 1)
            asked = {"to": self._numbers[place], "text": text, "messageId": name, "wait": True}
            await self._ask(session, "agent/sms", asked)

    async def _consumer(self, session: aiohttp.ClientSession, place: int, numbers: list[int]) -> None:
        for n in numbers:
            text = f"consumer soak-{place}-{n}"
            await self._ask(session, "consumer/sms", {"from": "+" + self._numbers[place], "text": text, "wait": True})

    async def _ask(self, session: aiohttp.ClientSession, path: str, asked: dict[str, Any]) -> None:
        async with session.post(path, json=asked) as answer:
            if answer.status != 200:
                self.trouble.append(f"{path}: {answer.status} {await answer.text()}")
