"""Interaction events in the ledger: each stored once, and a delivery for each subscriber that wants it.

A delivery is a task: `waiting → running → delivered | dead | dropped`, claimed and fenced like every
other. When it has ended, one line beside the event says how.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from dcbridge.ledger import Ledger, TaskClaim
from dcbridge.ledger.fields import TaskEntry
from dcbridge.ledger.reports.books import SubscriberBooks, read_subscribers
from dcbridge.ledger.script import slices
from dcbridge.settings.process import DAY

ID_LENGTH = 28  # of an event's id, as in subscribers.lua
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


@dataclass(frozen=True, slots=True)
class Failure:
    """What follows from an attempt that failed. All times in seconds.

    `delay` until the next attempt, None where this was the last; `spends`: whether it counts as one.
    `means`: "event", it says nothing against the subscriber; "bug", that was not spoken to; "later", it is
    only to be waited for; "sick", for its breaker; "fault", which opens that at once. `disable_after`: 0 is
    never, -1 is now.
    """

    code: str
    delay: float | None
    means: str
    spends: bool
    threshold: int
    first: float
    most: float
    disable_after: float
    share: float = 0.5


def subscriber_of(delivery_id: str) -> str:
    return delivery_id[ID_LENGTH + 1 :]


def event_of(delivery_id: str) -> str:
    return delivery_id[:ID_LENGTH]


class Events:
    """The events of one ledger. All times in seconds unless a field says otherwise."""

    def __init__(self, ledger: Ledger, *, keep: float, partner_within: float) -> None:
        """`keep`: how long events are kept. After `partner_within` a missing STARTED or FINISHED is a gap."""
        self._ledger, self._do = ledger, ledger.script.call
        self._redis = ledger.redis
        self._keep, self._partner = int(keep * 1000), int(partner_within * 1000)
        # An interaction is remembered from its last event on: as long as its events, and until a gap is noticed.
        self._keep_interaction = max(self._keep, self._partner + int(DAY * 1000))

    # ------------------------------------------------------------ from batches to events

    async def take(self, token: str, lease: float, limit: int) -> list[Batch]:
        """The oldest entries, ours for `lease`; none where there are none, or somebody else splits."""
        rows = await self._do("split_take", token, int(lease * 1000), limit)
        return [Batch(row[0].decode(), dict(zip(row[1][::2], row[1][1::2], strict=True))) for row in rows]

    async def put(self, events: Sequence[NewEvent], entries: Sequence[str] = ()) -> int:
        """Each with its deliveries; how many were new. `entries` are those that are done with by this."""
        fresh, done = 0, 0
        for some in _slices(events) or [()]:
            done += len(some)
            ended = entries if done == len(events) else ()  # the last slice says that nothing is left of them
            flat: list[str | bytes | int] = [self._keep_interaction, self._partner, len(ended), *ended]
            for e in some:
                flat += [e.id, e.received_at, e.interaction, e.part, e.content, len(e.lanes)]
                for name, lane in e.lanes.items():
                    flat += [name, lane]
            fresh += int(await self._do("events_stored", *flat))
        return fresh

    async def bury(self, entry: str, letter_id: str, reason: str, raw: bytes) -> None:
        """A batch that cannot be split."""
        keep = self._ledger.keep_dead_ms
        await self._do("split_bury", entry, letter_id, "interaction batch", reason, raw, keep)

    # ------------------------------------------------------------ deliveries

    async def claim(self, delivery_id: str, token: str, lease: float) -> TaskClaim:
        """As any task; its payload is the event as it is stored."""
        return await self._ledger.claim_task(delivery_id, token, lease)

    async def delivered(self, delivery_id: str) -> str:
        """The subscriber has it, whoever says so: "delivered", or "stale" where that was known."""
        answer: bytes = await self._ledger.script.record("delivered", delivery_id)
        return answer.decode()

    async def failed(self, delivery_id: str, token: str, failure: Failure) -> str:
        """ "waiting", "dead" or "stale"."""
        delay = -1 if failure.delay is None else int(failure.delay * 1000)
        disable = int(failure.disable_after * 1000) if failure.disable_after > 0 else int(failure.disable_after)
        answer: bytes = await self._ledger.script.record(
            "delivery_failed", delivery_id, token, failure.code, delay, int(failure.spends), failure.means,
            failure.threshold, int(failure.first * 1000), int(failure.most * 1000), disable, self._ledger.keep_dead_ms,
            f"{failure.share:g}",
        )  # fmt: skip
        return answer.decode()

    async def replay(self, subscriber: str, lanes: Mapping[str, str]) -> list[str]:
        """Deliver these events (event -> lane) to one subscriber again: "new", "waiting" or "gone" for each."""
        flat = [word for pair in lanes.items() for word in pair]
        return [answer.decode() for answer in await self._do("events_replay", subscriber, *flat)]

    # ------------------------------------------------------------ subscribers

    async def subscribers(self, keep: Mapping[str, float]) -> None:
        """Name -> seconds that an event waits for it at most; 0 drops what waits."""
        flat: list[str | int] = []
        for name, seconds in keep.items():
            flat += [name, int(seconds * 1000)]
        await self._do("subscribers", *flat)

    async def disable(self, name: str, why: str) -> bool:
        """False where it was disabled already."""
        return bool(await self._do("subscriber_off", name, why))

    async def enable(self, name: str) -> bool:
        """False where it was not disabled."""
        return bool(await self._do("subscriber_on", name))

    async def sweep(self) -> None:
        """Give away places in flight that came free with time, forget what is too old, notice what is missing."""
        await self._do("events_sweep", self._keep)

    # ------------------------------------------------------------ looking

    async def ids(self, since: float | None = None, until: float | None = None) -> list[str]:
        """Events of this moment by when they were received, the oldest first."""
        low = "-inf" if since is None else int(since * 1000)
        high = "+inf" if until is None else int(until * 1000)
        return [one.decode() for one in cast(list[bytes], await self._redis.zrangebyscore("dcb:events", low, high))]

    async def stored(self, ids: Sequence[str]) -> AsyncIterator[tuple[str, bytes]]:
        """Each event as it is stored; one that is forgotten meanwhile is left out."""
        for start in range(0, len(ids), _CHUNK):
            chunk = ids[start : start + _CHUNK]
            values = cast(list[bytes | None], await self._redis.mget([f"dcb:e:{one}" for one in chunk]))
            for one, value in zip(chunk, values, strict=True):
                if value is not None:
                    yield one, value

    async def one(self, event_id: str) -> bytes | None:
        return cast(bytes | None, await self._redis.get(f"dcb:e:{event_id}"))

    async def ended(self, event_id: str) -> dict[str, Ended]:
        """Subscriber -> how the delivery of this event ended."""
        raw = await cast(Awaitable[dict[bytes, bytes]], self._redis.hgetall(f"dcb:ed:{event_id}"))
        return {name.decode(): _ended(value.decode()) for name, value in raw.items()}

    async def known(self) -> tuple[SubscriberBooks, ...]:
        """How it goes with each subscriber that a worker ever told of."""
        return await read_subscribers(self._redis)

    async def waiting(self, delivery_id: str) -> TaskEntry:
        """What is remembered of a delivery that has not ended; false where it has."""
        return await self._ledger.task(delivery_id)


def _slices(events: Sequence[NewEvent]) -> list[Sequence[NewEvent]]:
    """In their order, with so many deliveries to a slice that no script takes long."""
    most = max((1 + len(e.lanes) for e in events), default=1)
    return list(slices(events, max(1, DELIVERIES // most)))


def _ended(line: str) -> Ended:
    how, at, attempts = line.split(" ")
    return Ended(how, int(at) / 1000, int(attempts))
