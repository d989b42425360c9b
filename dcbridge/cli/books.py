"""`dcbridge books`: the balance by channel, and every message that is out of place when it does not balance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

from redis.asyncio import Redis
from rich.table import Table
from rich.text import Text

from dcbridge.cli.terminal import Session, out, print_block, print_json, progress
from dcbridge.ledger.fields import MessageEntry
from dcbridge.ledger.reports.books import TERMINAL, Books, read
from dcbridge.printable import printable

_COLUMNS = ("accepted", "delivered", "removed", "failed", "unconfirmed", "in_flight", "difference", "receipts_waiting")
# For a screen of 80 columns.
_ROOMY = 110
_BROKEN = {
    "delivered": "deliv-\nered",
    "unconfirmed": "uncon-\nfirmed",
    "in_flight": "in\nflight",
    "difference": "differ-\nence",
    "receipts_waiting": "receipts\nwaiting",
}
_CHUNK = 500  # messages looked at in one round trip


@dataclass(frozen=True, slots=True)
class OutOfPlace:
    """A message whose entry contradicts its place among the open ones, or the lack of it."""

    ref: str
    channel: str
    state: str  # "gone" without an entry
    what: str


async def show(session: Session, limit: int, as_json: bool) -> int:
    """Print the table; 0 when it balances, 1 when it does not."""
    books = await read(session.ledger.redis)
    found = await _out_of_place(session.ledger.redis, books, limit + 1) if books.difference else []
    if as_json:
        print_json(_as_json(books, found, limit))
    else:
        _print(books, found, limit)
    return 1 if books.difference else 0


async def _out_of_place(redis: Redis, books: Books, limit: int) -> list[OutOfPlace]:
    """Up to `limit` of them. What moves meanwhile is not reported: both places are read in one step."""
    found: dict[str, OutOfPlace] = {}
    with progress() as bar:
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


def _print(books: Books, found: Sequence[OutOfPlace], limit: int) -> None:
    narrow = out.is_terminal and out.width < _ROOMY
    table = Table(box=None, pad_edge=False, padding=(0, 1 if narrow else 2, 0, 0))
    table.add_column("channel", overflow="fold")
    for name in _COLUMNS:
        table.add_column((_BROKEN if narrow else {}).get(name, name.replace("_", " ")), justify="right", no_wrap=True)
    for channel in books.channels:
        table.add_row(printable(channel.channel_id), *(str(getattr(channel, name)) for name in _COLUMNS))
    print_block(table)
    queued = ", ".join(f"{name} {depth}" for name, depth in books.queued.items())
    out.print(
        f"queued jobs: {queued}; dead letters: {books.dead_letters}; interaction batches: {books.interaction_batches}"
    )
    if not books.difference:
        out.print("The books balance.")
        return
    out.print(f"The books do not balance: {books.difference} unaccounted for.", style="red")
    if not found:
        out.print("No single message is wrong: a counter is wrong, or an entry and its index were lost together.")
        return
    listed = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("message", "channel", "state", "what is wrong"):
        listed.add_column(name, overflow="fold")
    for one in found[:limit]:
        listed.add_row(*(Text(printable(cell)) for cell in (one.ref, one.channel, one.state, one.what)))
    print_block(listed)
    if len(found) > limit:
        out.print(f"These are the first {limit}; use --limit to see more.")


def _as_json(books: Books, found: Sequence[OutOfPlace], limit: int) -> dict[str, Any]:
    return {
        "balanced": not books.difference,
        "difference": books.difference,
        "channels": [asdict(channel) | {"difference": channel.difference} for channel in books.channels],
        "queued_jobs": books.queued,
        "tasks": books.tasks,
        "counts": books.counts,
        "dead_letters": books.dead_letters,
        "interaction_batches": books.interaction_batches,
        "out_of_place": [asdict(one) for one in found[:limit]],
        "more_out_of_place": len(found) > limit,
    }
