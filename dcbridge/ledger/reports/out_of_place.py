"""Messages whose entry contradicts its place among the open ones: why the books do not balance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from redis.asyncio import Redis

from dcbridge.ledger.fields import MessageEntry
from dcbridge.ledger.reports.books import TERMINAL, Books

_CHUNK = 500  # messages looked at in one round trip


class Bar(Protocol):
    """What is told how far the search has come, as rich's Progress is."""

    def add_task(self, description: str, *, total: float | None) -> Any: ...
    def advance(self, task_id: Any, advance: float) -> None: ...


@dataclass(frozen=True, slots=True)
class OutOfPlace:
    """A message whose entry contradicts its place among the open ones, or the lack of it."""

    ref: str
    channel: str
    state: str  # "gone" without an entry
    what: str


async def out_of_place(redis: Redis, books: Books, limit: int, bar: Bar) -> list[OutOfPlace]:
    """Up to `limit` of them. What moves meanwhile is not reported: both places are read in one step."""
    found: dict[str, OutOfPlace] = {}
    task = bar.add_task("open messages", total=books.in_flight)
    for channel in books.channels:
        members = cast(list[bytes], await redis.zrange(f"dcb:open:{channel.channel_id}", 0, -1))
        refs = [member.decode() for member in members]
        for start in range(0, len(refs), _CHUNK):
            await _look(redis, [(ref, channel.channel_id) for ref in refs[start : start + _CHUNK]], found)
            bar.advance(task, _CHUNK)
            if len(found) >= limit:
                return list(found.values())[:limit]
    task = bar.add_task("all entries", total=await redis.dbsize())
    cursor = 0
    while True:
        cursor, keys = await redis.scan(cursor, match="dcb:m:*", count=_CHUNK)
        await _look(redis, await _in_flight(redis, cast(list[bytes], keys)), found)
        bar.advance(task, _CHUNK)
        if not cursor or len(found) >= limit:
            return list(found.values())[:limit]


async def _in_flight(redis: Redis, keys: Sequence[bytes]) -> list[tuple[str, str]]:
    """(ref, channel) of the entries that have not ended."""
    async with redis.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.hmget(key, MessageEntry.state.wire, MessageEntry.channel_id.wire)
        rows: list[Any] = await pipe.execute()
    return [
        (key.decode().removeprefix("dcb:m:"), channel.decode())
        for key, (state, channel) in zip(keys, rows, strict=True)
        if state is not None and channel is not None and state.decode() not in TERMINAL
    ]


async def _look(redis: Redis, refs: Sequence[tuple[str, str]], found: dict[str, OutOfPlace]) -> None:
    """Add to `found` those whose two places contradict each other."""
    async with redis.pipeline(transaction=True) as pipe:
        for ref, channel in refs:
            pipe.hget(f"dcb:m:{ref}", MessageEntry.state.wire)
            pipe.zscore(f"dcb:open:{channel}", ref)
        rows: list[Any] = await pipe.execute()
    for (ref, channel), raw, opened in zip(refs, rows[::2], rows[1::2], strict=True):
        state = cast(bytes, raw).decode() if raw is not None else "gone"
        if opened is None and state not in (*TERMINAL, "gone"):
            found[ref] = OutOfPlace(ref, channel, state, "in flight, but not in the index of open messages")
        elif opened is not None and state == "gone":
            found[ref] = OutOfPlace(ref, channel, state, "in the index of open messages, but has no entry")
        elif opened is not None and state in TERMINAL:
            found[ref] = OutOfPlace(ref, channel, state, "has ended, but is still in the index of open messages")
