"""The books: one look at Redis that says whether every message is accounted for.

    accepted = delivered + removed + failed + unconfirmed + in flight

`in flight` is counted apart from the other figures (the set of open messages), so that the
difference can be other than 0, and is an alarm when it is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

from redis.asyncio import Redis

from dcbridge.ledger import moment
from dcbridge.ledger.jobs import QUEUES
from dcbridge.ledger.lua import read_lua
from dcbridge.ledger.script import slices

CHUNK = 250  # channels that one script reads
TERMINAL = ("delivered", "removed", "failed", "unconfirmed")
OWED = 20  # receipts of a channel that are looked at for the oldest: those due first, and those due last


@dataclass(frozen=True, slots=True)
class ProviderBooks:
    """Messages of one channel that one of its several providers has; a switch moves one from these books to others."""

    name: str
    accepted: int
    delivered: int
    removed: int
    failed: int
    unconfirmed: int
    unknown: int  # failed, and it may have been sent
    left: int  # that went on through another provider
    doubled: int  # of these, delivered by both
    in_flight: int

    @property
    def ended(self) -> int:
        return self.delivered + self.removed + self.failed + self.unconfirmed + self.unknown

    @property
    def difference(self) -> int:
        """0, or something was lost or counted twice."""
        return self.accepted - self.ended - self.in_flight


@dataclass(frozen=True, slots=True)
class ChannelBooks:
    """Messages of one channel, one a recipient. Ages in seconds, 0 when nothing waits."""

    channel_id: str
    accepted: int
    delivered: int
    removed: int
    failed: int
    unconfirmed: int
    in_flight: int
    redelivered: int
    oldest_age: float
    receipts_waiting: int
    oldest_receipt_age: float
    providers: tuple[ProviderBooks, ...] = ()  # of a channel that has, or had, several

    @property
    def difference(self) -> int:
        """0, or something was lost or counted twice."""
        return self.accepted - self.delivered - self.removed - self.failed - self.unconfirmed - self.in_flight

    @property
    def provider_difference(self) -> int:
        """0, or the books of its providers do not add up: by themselves, or to more than the channel has.

        They may add up to less: what has not been given to any provider yet, or never was.
        """
        mine = self.providers
        if not mine:
            return 0
        sums = (
            (sum(one.in_flight for one in mine), self.in_flight),
            (sum(one.delivered for one in mine), self.delivered),
            (sum(one.removed for one in mine), self.removed),
            (sum(one.failed + one.unknown for one in mine), self.failed),
            (sum(one.unconfirmed for one in mine), self.unconfirmed),
        )
        return sum(abs(one.difference) for one in mine) + sum(max(0, part - whole) for part, whole in sums)


@dataclass(frozen=True, slots=True)
class SubscriberBooks:
    """Deliveries of events to one subscriber. Ages in seconds, 0 when nothing waits."""

    name: str
    accepted: int
    delivered: int
    dead: int
    dropped: int
    waiting: int  # in flight ones included
    in_flight: int
    oldest_age: float
    failing_for: float  # seconds of nothing but failures
    breaker_open: bool
    disabled_for: float  # seconds; 0 where it is not disabled
    why: str  # it is disabled

    @property
    def difference(self) -> int:
        """0, or something was lost or counted twice."""
        return self.accepted - self.delivered - self.dead - self.dropped - self.waiting


@dataclass(frozen=True, slots=True)
class Books:
    """All channels, and what waits outside of them."""

    channels: tuple[ChannelBooks, ...]
    queued: dict[str, int]  # jobs in each RQ queue
    tasks: dict[str, int]  # callbacks and consumer messages that wait
    counts: dict[str, int]
    dead_letters: int
    interaction_batches: int  # that wait to be split
    work_items: int = 0  # dead letters that an agent has as a task
    set_aside: int = 0  # entries and receipts that this version cannot read
    subscribers: tuple[SubscriberBooks, ...] = ()
    costs: Mapping[tuple[str, str], Decimal] = field(default_factory=dict)  # by provider and currency

    @property
    def difference(self) -> int:
        return sum(abs(c.difference) + c.provider_difference for c in self.channels)

    @property
    def in_flight(self) -> int:
        return sum(c.in_flight for c in self.channels)


def together(name: str, channels: Sequence[ChannelBooks]) -> ChannelBooks:
    """Several channels as one: figures added, ages the oldest."""
    figures: dict[str, Any] = {
        f.name: max(found, default=0.0) if f.name.endswith("_age") else sum(found)
        for f in fields(ChannelBooks)
        if f.name not in ("channel_id", "providers")
        for found in [[getattr(c, f.name) for c in channels]]
    }
    return ChannelBooks(name, **figures)


async def read_subscribers(redis: Redis) -> tuple[SubscriberBooks, ...]:
    """Those that were ever told to the ledger, at one moment."""
    names = sorted(n.decode() for n in cast(set[bytes], await redis.smembers("dcb:subscribers")))
    async with redis.pipeline(transaction=True) as pipe:
        for name in names:
            pipe.hgetall(f"dcb:s:{name}")
            pipe.zcard(f"dcb:backlog:{name}")
            pipe.zrange(f"dcb:backlog:{name}", 0, 0, withscores=True)
            pipe.zcard(f"dcb:flight:p-subscribers/{name}")
            pipe.exists(f"dcb:breaker:subscribers/{name}")
        rows: list[Any] = await pipe.execute()
    now = (await moment.read(redis)).at
    return tuple(_subscriber(name, now, *rows[5 * n : 5 * n + 5]) for n, name in enumerate(names))


async def read(redis: Redis) -> Books:
    """Each channel at one moment, some hundred of them in one script: Redis does others' work in between."""
    names = cast(set[bytes], await redis.smembers("dcb:channels"))
    async with redis.pipeline(transaction=True) as pipe:
        for queue in QUEUES:
            pipe.llen(f"rq:queue:{queue}")
        for task in ("callback", "consumer"):
            pipe.zcard(f"dcb:tasks:{task}")
        pipe.hgetall("dcb:costs")
        pipe.hgetall("dcb:counts")
        pipe.zcard("dcb:work-items")
        pipe.zcard("dcb:dead")
        pipe.xlen("dcb:interactions")
        pipe.zcard("dcb:aside")
        rows: list[Any] = await pipe.execute()
    now = await moment.read(redis)
    waits = len(QUEUES)
    return Books(
        channels=tuple([one async for one in _channels(redis, sorted(names), now.at)]),
        queued=dict(zip(QUEUES, rows[:waits], strict=True)),
        tasks={"callback": rows[waits], "consumer": rows[waits + 1]},
        counts={k.decode(): _number(v) for k, v in rows[-5].items()},
        dead_letters=rows[-3],
        work_items=rows[-4],
        interaction_batches=rows[-2],
        set_aside=rows[-1],
        subscribers=await read_subscribers(redis),
        costs=_costs(rows[-6]),
    )


def _costs(found: Mapping[bytes, bytes]) -> dict[tuple[str, str], Decimal]:
    sums = {}
    for name, units in found.items():
        provider, _, currency = name.decode(errors="replace").rpartition(" ")
        sums[provider, currency] = Decimal(_number(units)).scaleb(-8)
    return sums


async def _channels(redis: Redis, names: Sequence[bytes], now: float) -> AsyncIterator[ChannelBooks]:
    script = redis.register_script(read_lua(Path(__file__).parent / "books.lua"))
    for some in slices(names, CHUNK):
        for name, row in zip(some, await cast(Any, script(args=[OWED, *some])), strict=True):
            accepted, delivered, removed, failed, unconfirmed, again, in_flight, oldest, receipts, owed, by = row
            yield ChannelBooks(
                channel_id=name.decode(errors="replace"),
                accepted=accepted,
                delivered=delivered,
                removed=removed,
                failed=failed,
                unconfirmed=unconfirmed,
                in_flight=in_flight,
                redelivered=again,
                oldest_age=_since(oldest, now),
                receipts_waiting=receipts,
                oldest_receipt_age=_since(owed, now),
                providers=tuple(ProviderBooks(one[0].decode(errors="replace"), *one[1:]) for one in sorted(by)),
            )


def _subscriber(
    name: str,
    now: float,
    fields: dict[bytes, bytes],
    waiting: int,
    oldest: list[tuple[bytes, float]],
    in_flight: int,
    is_open: int,
) -> SubscriberBooks:
    known = {k.decode(errors="replace"): v for k, v in fields.items()}

    def number(field: str) -> int:
        return _number(known.get(field, b"0"))

    def since(field: str) -> float:
        return max(0.001, now - number(field) / 1000) if field in known else 0.0

    return SubscriberBooks(
        name=name,
        accepted=number("accepted"),
        delivered=number("delivered"),
        dead=number("dead"),
        dropped=number("dropped"),
        waiting=waiting,
        in_flight=in_flight,
        oldest_age=max(0.0, now - oldest[0][1] / 1000) if oldest else 0.0,
        failing_for=since("bad"),
        breaker_open=bool(is_open),
        disabled_for=since("off"),
        why=known.get("why", b"").decode(errors="replace"),
    )


def _since(ms: int, now: float) -> float:
    return max(0.0, now - ms / 1000) if ms else 0.0


def _number(value: bytes) -> int:
    """0 for what cannot be read."""
    return int(value) if value.removeprefix(b"-").isdigit() else 0
