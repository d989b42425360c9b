"""`dcbridge books`: the balance by channel, and every message that is out of place when it does not balance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from dcbridge.cli.terminal import out, print_block, print_json, progress
from dcbridge.ledger.reports.books import Books, read
from dcbridge.ledger.reports.out_of_place import OutOfPlace, out_of_place
from dcbridge.operations.session import Session
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


async def show(session: Session, limit: int, as_json: bool) -> int:
    """Print the table; 0 when it balances, 1 when it does not."""
    books = await read(session.ledger.redis)
    found: list[OutOfPlace] = []
    if books.difference:
        with progress() as bar:
            found = await out_of_place(session.ledger.redis, books, limit + 1, bar)
    if as_json:
        print_json(_as_json(books, found, limit))
    else:
        _print(books, found, limit)
    return 1 if books.difference else 0


def _print(books: Books, found: Sequence[OutOfPlace], limit: int) -> None:
    narrow = out.is_terminal and out.width < _ROOMY
    table = Table(box=None, pad_edge=False, padding=(0, 1 if narrow else 2, 0, 0))
    table.add_column("channel", overflow="fold")
    for name in _COLUMNS:
        table.add_column((_BROKEN if narrow else {}).get(name, name.replace("_", " ")), justify="right", no_wrap=True)
    for channel in books.channels:
        table.add_row(printable(channel.channel_id), *(str(getattr(channel, name)) for name in _COLUMNS))
    print_block(table)
    _print_providers(books)
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


_OF_PROVIDERS = ("accepted", "delivered", "removed", "failed", "unknown", "unconfirmed", "in_flight", "difference")
_BESIDE = ("left", "doubled")  # what the sum does not contain


def _print_providers(books: Books) -> None:
    """Of channels with several: a message is in the books of the one that has it now."""
    rows = [(channel, one) for channel in books.channels for one in channel.providers]
    if not rows:
        return
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("channel", "provider"):
        table.add_column(name, overflow="fold")
    for name in (*_OF_PROVIDERS, *_BESIDE):
        table.add_column(_BROKEN.get(name, name), justify="right", no_wrap=True)
    for channel, one in rows:
        figures = (str(getattr(one, name)) for name in (*_OF_PROVIDERS, *_BESIDE))
        table.add_row(printable(channel.channel_id), printable(one.name), *figures)
    print_block(table)


def _as_json(books: Books, found: Sequence[OutOfPlace], limit: int) -> dict[str, Any]:
    return {
        "balanced": not books.difference,
        "difference": books.difference,
        "channels": [
            asdict(channel)
            | {
                "difference": channel.difference,
                "providers": [asdict(one) | {"difference": one.difference} for one in channel.providers],
            }
            for channel in books.channels
        ],
        "queued_jobs": books.queued,
        "tasks": books.tasks,
        "counts": books.counts,
        "dead_letters": books.dead_letters,
        "interaction_batches": books.interaction_batches,
        "out_of_place": [asdict(one) for one in found[:limit]],
        "more_out_of_place": len(found) > limit,
    }
