"""One worker writes down each day, in eight bytes a message, what `dcbridge reconcile` needs of forgotten ones."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict

import structlog

from dcbridge.ledger import Ledger
from dcbridge.ledger.digests import day_of, days_between, entry
from dcbridge.ledger.reports.kept import our_messages
from dcbridge.ledger.signals import Lead
from dcbridge.settings.process import DAY
from workers.context import WorkerContext
from workers.leader import keep_leading

log = structlog.get_logger()

NAME = "digests"
LOOK = 600.0  # seconds between two looks at the clock
AFTER = 900.0  # seconds after the end of a day
LEAST = 1.5 * DAY  # seconds that the ledger has to remember, so that all of a day is there when it has ended


async def keep_digests(ctx: WorkerContext) -> None:
    """Until cancelled. Without `digest_days` in bridge.yaml, nothing is done."""
    genesys = ctx.configuration.genesys
    if genesys is None or not genesys.digest_days:
        return
    remembered = min(ctx.settings.retention_days, ctx.settings.callback_dedupe_days) * DAY
    if remembered < LEAST:
        log.error("digests_not_written", why="DCBRIDGE_RETENTION_DAYS or DCBRIDGE_CALLBACK_DEDUPE_DAYS is below 1.5")
        return
    days = genesys.digest_days

    async def watch(_: Lead) -> None:
        while True:
            await write_due(ctx.ledger, time.time(), remembered, days)
            await asyncio.sleep(LOOK)

    await keep_leading(ctx.ledger, NAME, watch)


async def write_due(ledger: Ledger, now: float, remembered: float, keep_days: int) -> list[str]:
    """All days that have ended, are remembered whole, and have none yet; which that were."""
    known = await ledger.digests.counts()
    first, last = day_of(now - remembered + DAY), day_of(now - AFTER - DAY)
    due = [day for day in days_between(first, last) if day not in known] if first <= last else []
    if not due:
        return []
    found: dict[str, dict[str, bytearray]] = {day: defaultdict(bytearray) for day in due}
    async for _, messages in our_messages(ledger.redis):
        for one in messages:
            if one.id and (of_day := found.get(day_of(one.at))) is not None:
                of_day[one.channel] += entry(one.id, one.state)
    for day, by_channel in found.items():
        count = await ledger.digests.write(day, by_channel, keep_days * DAY)
        log.info("digest_written", day=day, messages=count)
    await ledger.digests.forget_before(day_of(now - (keep_days + 1) * DAY))
    return due
