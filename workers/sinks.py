"""The subscribers of now, and their sinks: opened at the first delivery, kept, and left when bridge.yaml says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from dcbridge.events.sinks import Letters, OpenClient, Sink, Subscriber, open_sink


@dataclass(slots=True)
class _Open:
    """One sink. `idle` is set while nothing is under way."""

    sink: Sink
    idle: asyncio.Event
    under_way: int = 0


class Sinks:
    """For one event loop."""

    def __init__(
        self, subscribers: Mapping[str, Subscriber], public_url: str, letters: Letters, client: OpenClient
    ) -> None:
        self.subscribers: Mapping[str, Subscriber] = dict(subscribers)
        self._public_url, self._letters, self._client = public_url, letters, client
        self._open: dict[str, _Open] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def sink(self, name: str) -> AsyncIterator[Sink]:
        """The subscriber's sink, for one delivery. Raises KeyError for a name that is not configured."""
        found = self._open.get(name)
        if found is None:
            sink = open_sink(name, self.subscribers[name], self._public_url, self._letters, self._client)
            found = _Open(sink, asyncio.Event())
            self._open[name] = found
        found.under_way += 1
        found.idle.clear()
        try:
            yield found.sink
        finally:
            found.under_way -= 1
            if not found.under_way:
                found.idle.set()

    def change(self, subscribers: Mapping[str, Subscriber]) -> None:
        """From now on these. What is under way to a sink that changed ends as it began."""
        for name in list(self._open):
            if subscribers.get(name) != self.subscribers.get(name):
                leaving = asyncio.create_task(_leave(self._open.pop(name)))
                self._leaving.add(leaving)
                leaving.add_done_callback(self._leaving.discard)
        self.subscribers = dict(subscribers)

    async def close(self) -> None:
        """Leave all of them, at once."""
        for leaving in self._leaving:
            leaving.cancel()
        opened, self._open = list(self._open.values()), {}
        await asyncio.gather(*self._leaving, *(one.sink.close() for one in opened), return_exceptions=True)


async def _leave(one: _Open) -> None:
    try:
        if one.under_way:
            await one.idle.wait()
    finally:
        await one.sink.close()
