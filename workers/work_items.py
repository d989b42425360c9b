"""Asks Genesys what became of work items: one that an agent has finished ends its dead letter."""

from __future__ import annotations

import asyncio

import structlog
from redis.exceptions import RedisError

from dcbridge.errors import SendError
from dcbridge.events.sinks.openmedia import Openmedia, OpenmediaSink
from dcbridge.genesys.openmedia import Item
from dcbridge.ledger.work_items import DueItem
from dcbridge.tracing import switch
from workers.context import WorkerContext

log = structlog.get_logger()

AT_ONCE = 20  # items of one look
LEASE = 120.0  # seconds for which nobody else asks about an item, and until it is asked about again after a failure


async def keep_asking(ctx: WorkerContext) -> None:
    """Until cancelled. Where no subscriber makes work items, nothing is asked."""
    while True:
        if any(isinstance(one.sink, Openmedia) for one in ctx.sinks.subscribers.values()):
            try:
                while await ask(ctx) == AT_ONCE:
                    pass
            except (RedisError, OSError) as error:
                log.warning("work_items_postponed", error=type(error).__name__)
            except Exception:
                log.error("work_items_internal_error", exc_info=True)
        await asyncio.sleep(ctx.settings.reconcile_every * 5)


async def ask(ctx: WorkerContext) -> int:
    """Ask about those that are due; how many there were."""
    due = await ctx.ledger.work_items.due(AT_ONCE, LEASE)
    await asyncio.gather(*(_one(ctx, item) for item in due))
    return len(due)


async def _one(ctx: WorkerContext, item: DueItem) -> None:
    if item.subscriber not in ctx.sinks.subscribers:
        return  # another worker may know it
    async with ctx.sinks.sink(item.subscriber) as sink:
        if not isinstance(sink, OpenmediaSink):
            return
        tracing = switch.current()
        name, trace = (item.letter, "") if tracing is None else await ctx.ledger.dead_letters.origin(item.letter)
        try:
            with switch.about("work_item", name, trace, subscriber=item.subscriber):
                became = await sink.look(item.letter, item.at)
        except SendError as error:
            became = error
    if isinstance(became, SendError):
        log.warning("work_item_unknown", letter=item.letter, outcome=became.outcome, code=became.code)
        return
    state = await ctx.ledger.work_items.seen(item, became)
    if state == "handled":
        log.info("work_item_ended", letter=item.letter, gone=became is Item.GONE)
