"""The books: one look at Redis that says whether every message is accounted for.

    accepted = delivered + removed + failed + unconfirmed + in flight

`in flight` is counted apart from the other figures (the set of open messages), so that the
difference can be other than 0, and is an alarm when it is.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

from redis.asyncio import Redis

from bridge.jobs import QUEUES

TERMINAL = ("delivered", "removed", "failed", "unconfirmed")
OWED = 20  # receipts of a channel that are looked at for the oldest: those due first, and those due last


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

    @property
    def difference(self) -> int:
        """0, or something was lost or counted twice."""
        return self.accepted - self.delivered - self.removed - self.failed - self.unconfirmed - self.in_flight


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
    subscribers: tuple[SubscriberBooks, ...] = ()

    @property
    def difference(self) -> int:
        return sum(abs(c.difference) for c in self.channels)

    @property
    def in_flight(self) -> int:
        return sum(c.in_flight for c in self.channels)


def together(name: str, channels: Sequence[ChannelBooks]) -> ChannelBooks:
    """Several channels as one: figures added, ages the oldest."""
    figures = {
        f.name: (max if f.name.endswith("_age") else sum)(getattr(c, f.name) for c in channels)
        for f in fields(ChannelBooks)
        if f.name != "channel_id"
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
    return tuple(_subscriber(name, *rows[5 * n : 5 * n + 5]) for n, name in enumerate(names))


async def read(redis: Redis) -> Books:
    """Everything at one moment: one transaction after the list of channels is known."""
    names = cast(set[bytes], await redis.smembers("dcb:channels"))
    channels = sorted(name.decode() for name in names)
    async with redis.pipeline(transaction=True) as pipe:
        for channel in channels:
            pipe.hgetall(f"dcb:books:{channel}")
            pipe.zcard(f"dcb:open:{channel}")
            pipe.zrange(f"dcb:open:{channel}", 0, 0, withscores=True)
            pipe.zcard(f"dcb:receipts:{channel}")
            pipe.zrange(f"dcb:receipts:{channel}", 0, OWED // 2 - 1)
            pipe.zrange(f"dcb:receipts:{channel}", -(OWED // 2), -1)
        for queue in QUEUES:
            pipe.llen(f"rq:queue:{queue}")
        for task in ("callback", "consumer"):
            pipe.zcard(f"dcb:tasks:{task}")
        pipe.hgetall("dcb:counts")
        pipe.zcard("dcb:dead")
        pipe.xlen("dcb:interactions")
        rows: list[Any] = await pipe.execute()
    owed_for = await _owed_for(redis, [set(rows[n * 6 + 4] + rows[n * 6 + 5]) for n in range(len(channels))])
    found = []
    for channel, longest in zip(channels, owed_for, strict=True):
        counted, open_count, oldest, waiting = rows[:4]
        rows = rows[6:]
        numbers = {k.decode(): int(v) for k, v in counted.items()}
        found.append(
            ChannelBooks(
                channel_id=channel,
                accepted=numbers.get("accepted", 0),
                delivered=numbers.get("delivered", 0),
                removed=numbers.get("removed", 0),
                failed=numbers.get("failed", 0),
                unconfirmed=numbers.get("unconfirmed", 0),
                in_flight=open_count,
                redelivered=numbers.get("again", 0),
                oldest_age=_age(oldest),
                receipts_waiting=waiting,
                oldest_receipt_age=longest,
            )
        )
    queued = dict(zip(QUEUES, rows[: len(QUEUES)], strict=True))
    rows = rows[len(QUEUES) :]
    return Books(
        channels=tuple(found),
        queued=queued,
        tasks={"callback": rows[0], "consumer": rows[1]},
        counts={k.decode(): int(v) for k, v in rows[-3].items()},
        dead_letters=rows[-2],
        interaction_batches=rows[-1],
        subscribers=await read_subscribers(redis),
    )


def _subscriber(
    name: str, fields: dict[bytes, bytes], waiting: int, oldest: list[tuple[bytes, float]], in_flight: int, is_open: int
) -> SubscriberBooks:
    known = {k.decode(): v.decode() for k, v in fields.items()}

    def number(field: str) -> int:
        return int(known.get(field, "0"))

    def since(field: str) -> float:
        return max(0.001, time.time() - number(field) / 1000) if field in known else 0.0

    return SubscriberBooks(
        name=name,
        accepted=number("accepted"),
        delivered=number("delivered"),
        dead=number("dead"),
        dropped=number("dropped"),
        waiting=waiting,
        in_flight=in_flight,
        oldest_age=_age(oldest),
        failing_for=since("bad"),
        breaker_open=bool(is_open),
        disabled_for=since("off"),
        why=known.get("why", ""),
    )


async def _owed_for(redis: Redis, owed: Sequence[set[bytes]]) -> list[float]:
    """How long the oldest of each of these has been owed; 0 where there is none.

    When a receipt is due says nothing of that: each try puts it off. The longest waits are those of the oldest, so
    with a backlog of any size both ends of the order are near enough.
    """
    refs = [ref.decode() for some in owed for ref in some]
    async with redis.pipeline(transaction=False) as pipe:
        for ref in refs:
            pipe.hmget(f"dcb:m:{ref}", "ro", "end")
        rows: list[list[bytes | None]] = await pipe.execute()
    since = dict(zip(refs, (int(again or end or 0) for again, end in rows), strict=True))
    firsts = [min((since[ref.decode()] for ref in some if since[ref.decode()]), default=0) for some in owed]
    return [max(0.0, time.time() - first / 1000) if first else 0.0 for first in firsts]


def _age(first: list[tuple[bytes, float]]) -> float:
    return max(0.0, time.time() - first[0][1] / 1000) if first else 0.0
