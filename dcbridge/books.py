"""`dcbridge books`: the balance by channel."""

from __future__ import annotations

from redis.exceptions import RedisError
from rich.console import Console
from rich.table import Table

from bridge.ledger.books import read
from bridge.redis_connection import connect
from bridge.settings import Settings

_COLUMNS = ("accepted", "delivered", "removed", "failed", "unconfirmed", "in_flight", "difference", "receipts_waiting")


async def show(settings: Settings, out: Console) -> int:
    """Print the table; 0 when it balances, 1 when it does not, 2 without Redis."""
    redis = connect(settings)
    try:
        books = await read(redis)
    except (RedisError, OSError) as error:
        out.print(f"error: {settings.redis_place} cannot be read: {type(error).__name__}", style="red", markup=False)
        return 2
    finally:
        await redis.aclose()
    table = Table(box=None, pad_edge=False)
    table.add_column("channel")
    for name in _COLUMNS:
        table.add_column(name.replace("_", " "), justify="right")
    for channel in books.channels:
        table.add_row(channel.channel_id, *(str(getattr(channel, name)) for name in _COLUMNS))
    out.print(table)
    queued = ", ".join(f"{name} {depth}" for name, depth in books.queued.items())
    out.print(
        f"queued jobs: {queued}; dead letters: {books.dead_letters}; interaction batches: {books.interaction_batches}"
    )
    if books.difference:
        out.print(f"The books do not balance: {books.difference} unaccounted for.", style="red")
        return 1
    out.print("The books balance.")
    return 0
