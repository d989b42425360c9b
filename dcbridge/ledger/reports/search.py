"""What lies in the ledger by something else than its own id: a lane, a prefix, any field of an entry."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio import Redis

from dcbridge.ledger.fields import MessageEntry

_PAGE = 1000  # keys looked at in one round trip


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message waits. Times in seconds since 1970; None where it does not wait for that."""

    due: float | None
    receipt_due: float | None
    in_lane: int | None  # how many are before it
    is_parked: bool  # behind its provider's open breaker
    breaker_why: bytes | None


async def channels(redis: Redis) -> set[str]:
    """Those that were ever named."""
    found = await cast(Awaitable[set[bytes]], redis.smembers("dcb:channels"))
    return {name.decode() for name in found}


async def in_lane(redis: Redis, lane: str, limit: int) -> list[str]:
    """Members ("m:…", "t:…") that wait in a lane, in order."""
    found = await cast(Awaitable[list[bytes]], redis.lrange(f"dcb:lane:{lane}", 0, limit - 1))
    return [member.decode() for member in found]


async def around(redis: Redis, lane: str, place: int, near: int) -> list[str]:
    """Members that wait in a lane beside one at this place, itself included: up to `near` before and behind it."""
    first = max(0, place - near)
    found = await cast(Awaitable[list[bytes]], redis.lrange(f"dcb:lane:{lane}", first, place + near))
    return [member.decode() for member in found]


async def length(redis: Redis, lane: str) -> int:
    """How many wait in a lane."""
    return await redis.llen(f"dcb:lane:{lane}")


async def messages(redis: Redis, refs: Sequence[str]) -> list[str]:
    """Those that are remembered, in their order."""
    return await _existing(redis, "dcb:m:", refs)


async def tasks(redis: Redis, ids: Sequence[str]) -> list[str]:
    """As `messages`."""
    return await _existing(redis, "dcb:t:", ids)


async def dead_letters(redis: Redis, ids: Sequence[str]) -> list[str]:
    """As `messages`."""
    return await _existing(redis, "dcb:dead:", ids)


async def _existing(redis: Redis, prefix: str, ids: Sequence[str]) -> list[str]:
    async with redis.pipeline(transaction=False) as pipe:
        for one in ids:
            pipe.exists(f"{prefix}{one}")
        return [one for one, there in zip(ids, await pipe.execute(), strict=True) if there]


async def place_of(redis: Redis, ref: str, entry: MessageEntry, provider: str) -> Place:
    """Where one message waits."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.zscore("dcb:due", f"m:{ref}")
        pipe.zscore(f"dcb:receipts:{entry.channel_id}", ref)
        pipe.lpos(f"dcb:lane:{entry.lane}", f"m:{ref}")
        pipe.zscore(f"dcb:parked:{provider}", ref)
        pipe.hget(f"dcb:breaker:{provider}", "why")
        due, receipt_due, place, parked, why = await pipe.execute()
    return Place(_seconds(due), _seconds(receipt_due), place, parked is not None, why)


async def everything(redis: Redis, names: Sequence[str]) -> AsyncIterator[tuple[int, dict[str, Mapping[str, str]]]]:
    """How many keys were looked at, and of each message and task among them the fields of these names; page by page,
    so that others have their turn.
    """
    cursor = 0
    while True:
        cursor, keys = await redis.scan(cursor, count=_PAGE)
        entries = [key.decode() for key in cast(list[bytes], keys) if key.startswith((b"dcb:m:", b"dcb:t:"))]
        async with redis.pipeline(transaction=False) as pipe:
            for key in entries:
                pipe.hmget(key, names)
            rows: list[Any] = await pipe.execute()
        yield (
            len(keys),
            {
                key.removeprefix("dcb:"): {
                    name: value.decode(errors="replace") for name, value in zip(names, row, strict=True) if value
                }
                for key, row in zip(entries, rows, strict=True)
            },
        )
        if not cursor:
            return


async def by_age(redis: Redis, members: Sequence[str]) -> list[str]:
    """The oldest first."""
    async with redis.pipeline(transaction=False) as pipe:
        for member in members:
            pipe.hget(f"dcb:{member}", MessageEntry.accepted_at.wire)
        at = await pipe.execute()
    return [member for _, member in sorted(zip((int(one or 0) for one in at), members, strict=True))]


def _seconds(score: float | None) -> float | None:
    return None if score is None else score / 1000
