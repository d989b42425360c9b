"""Interaction events in the ledger: batches as they came, and each event stored once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from dcbridge.ledger import paging
from dcbridge.ledger.fields import Kind
from dcbridge.ledger.messages import lane_of
from dcbridge.ledger.script import Retention, Script, slices, word
from dcbridge.settings.process import DAY

DELIVERIES = 100  # that one script puts
_CHUNK = 500  # events looked at in one round trip


@dataclass(frozen=True, slots=True)
class NewEvent:
    """One event. `received_at` in ms since 1970; `interaction` a digest; `part` "s", "f" or ""."""

    id: str
    received_at: int
    interaction: str
    part: str
    content: bytes = field(repr=False)
    lanes: Mapping[str, str]  # subscriber -> lane, "" for none


@dataclass(frozen=True, slots=True)
class Batch:
    """One entry of the stream: a batch as it came, or what an event of our `own` has to say."""

    id: str
    fields: Mapping[bytes, bytes] = field(repr=False)

    @property
    def received_at(self) -> int:
        """Milliseconds since 1970."""
        return int(self.id.partition("-")[0])

    @property
    def endpoint(self) -> str:
        return self._text(b"endpoint")

    @property
    def trace_id(self) -> str:
        return self._text(b"trace")

    @property
    def body(self) -> bytes:
        return self.fields.get(b"body", b"")

    @property
    def own(self) -> str:
        """The name of an event of ours, or ""."""
        return self._text(b"own")

    @property
    def facts(self) -> dict[str, str]:
        """What an event of ours has to say."""
        return {name.decode(): value.decode() for name, value in self.fields.items() if name != b"own"}

    def _text(self, name: bytes) -> str:
        return self.fields.get(name, b"").decode()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a delivery ended: "delivered", "dead" or "dropped", when (seconds since 1970), after how many attempts."""

    how: str
    at: float
    attempts: int


class Events:
    """The events of one ledger. All times in seconds unless a field says otherwise."""

    def __init__(self, script: Script, keep: Retention) -> None:
        self._script, self._keep = script, keep
        # An interaction is remembered from its last event on: as long as its events, and until a gap is noticed.
        self._keep_interaction = max(keep.events_ms, keep.partner_ms + int(DAY * 1000))

    async def put_batch(self, batch_id: str, endpoint: str, trace_id: str, body: bytes) -> bool:
        """Keep an interactions webhook as it came; False for one that is here already."""
        answer = await self._script.call("batch_put", batch_id, endpoint, trace_id, body, self._keep.ended_ms)
        return word(answer) == "new"

    async def has_batch(self, batch_id: str) -> bool:
        """Whether it came before, and is remembered."""
        return bool(await self._script.redis.exists(f"dcb:batch:{batch_id}"))

    async def take(self, token: str, lease: float, limit: int) -> list[Batch]:
        """The oldest entries, ours for `lease`; none where there are none, or somebody else splits."""
        rows = await self._script.call("split_take", token, int(lease * 1000), limit)
        return [Batch(row[0].decode(), dict(zip(row[1][::2], row[1][1::2], strict=True))) for row in rows]

    async def put(self, events: Sequence[NewEvent], entries: Sequence[str] = ()) -> int:
        """Each with its deliveries; how many were new. `entries` are those that are done with by this."""
        fresh, done = 0, 0
        for some in _slices(events) or [()]:
            done += len(some)
            ended = entries if done == len(events) else ()  # the last slice says that nothing is left of them
            flat: list[str | bytes | int] = [self._keep_interaction, self._keep.partner_ms, len(ended), *ended]
            for e in some:
                flat += [e.id, e.received_at, e.interaction, e.part, e.content, len(e.lanes)]
                for name, lane in e.lanes.items():
                    flat += [name, lane]
            fresh += int(await self._script.call("events_stored", *flat))
        return fresh

    async def known_of(self, names: Sequence[str]) -> bytes | None:
        """What `keep_known` kept under these names."""
        return cast(bytes | None, await self._script.redis.get(_known(names)))

    async def keep_known(self, names: Sequence[str], value: bytes, keep: float) -> None:
        """What Genesys knows of an interaction, for `keep` seconds."""
        await self._script.redis.set(_known(names), value, px=int(keep * 1000))

    async def dead_letter(self, entry: str, letter_id: str, reason: str, raw: bytes) -> None:
        """A batch that cannot be split."""
        keep = self._keep.dead_ms
        await self._script.call("split_dead_letter", entry, letter_id, Kind.INTERACTION_BATCH, reason, raw, keep)

    async def sweep(self) -> None:
        """Give away places in flight that came free with time, forget what is too old, notice what is missing."""
        await self._script.call("events_sweep", self._keep.events_ms)

    async def ids(self, since: float | None = None, until: float | None = None) -> list[str]:
        """Events of this moment by when they were received, the oldest first."""
        low = "-inf" if since is None else int(since * 1000)
        high = "+inf" if until is None else int(until * 1000)
        found = cast(list[bytes], await self._script.redis.zrangebyscore("dcb:events", low, high))
        return [one.decode() for one in found]

    async def page(self, cursor: str, count: int, since: float | None = None) -> paging.Page:
        """At most `count` events, the newest first."""
        return await paging.newest(self._script.redis, "dcb:events", cursor, count, since)

    async def stored(self, ids: Sequence[str]) -> AsyncIterator[tuple[str, bytes]]:
        """Each event as it is stored; one that is forgotten meanwhile is left out."""
        for start in range(0, len(ids), _CHUNK):
            chunk = ids[start : start + _CHUNK]
            values = cast(list[bytes | None], await self._script.redis.mget([f"dcb:e:{one}" for one in chunk]))
            for one, value in zip(chunk, values, strict=True):
                if value is not None:
                    yield one, value

    async def one(self, event_id: str) -> bytes | None:
        return cast(bytes | None, await self._script.redis.get(f"dcb:e:{event_id}"))

    async def ended(self, event_id: str) -> dict[str, Ended]:
        """Subscriber -> how the delivery of this event ended."""
        return (await self.all_ended([event_id]))[0]

    async def all_ended(self, event_ids: Sequence[str]) -> list[dict[str, Ended]]:
        """The same of each of several events, in one round trip."""
        async with self._script.redis.pipeline(transaction=False) as pipe:
            for event_id in event_ids:
                pipe.hgetall(f"dcb:ed:{event_id}")
            rows = await cast(Awaitable[list[dict[bytes, bytes]]], pipe.execute())
        return [{name.decode(): _ended(value.decode()) for name, value in raw.items()} for raw in rows]


def _known(names: Sequence[str]) -> str:
    return f"dcb:enriched:{lane_of(*names)}"


def _slices(events: Sequence[NewEvent]) -> list[Sequence[NewEvent]]:
    """In their order, with so many deliveries to a slice that no script takes long."""
    most = max((1 + len(e.lanes) for e in events), default=1)
    return list(slices(events, max(1, DELIVERIES // most)))


def _ended(line: str) -> Ended:
    how, at, attempts = line.split(" ")
    return Ended(how, int(at) / 1000, int(attempts))
