"""How long consumers wait, in words: only while that is known, and never an old value."""

from __future__ import annotations

import math

from dcbridge.config.statistics import DAY, wait_name
from dcbridge.ledger.signals import Signal
from workers.context import WorkerContext

MINUTE, HOUR = 60, 60  # seconds of the one, minutes of the other


async def of_statistic(ctx: WorkerContext, heard: object, watch: str) -> str | None:
    """Of a watch whose value is in seconds; None where it is not known at this moment."""
    return await _of(ctx, watch)


async def of_queue(ctx: WorkerContext, heard: object, queue: str) -> str | None:
    """As estimated for a virtual queue."""
    return await _of(ctx, wait_name(queue))


async def _of(ctx: WorkerContext, watch: str) -> str | None:
    genesys = ctx.configuration.genesys
    if genesys is None or genesys.statistics is None:
        return None
    found = await ctx.ledger.signals.read(watch)
    return in_words(found[watch], genesys.statistics.fresh_for)


def in_words(signal: Signal, fresh_for: float) -> str | None:
    """Whole minutes, rounded up, in symbols that most languages have; None for what is not fresh, and for no wait."""
    seconds = signal.fresh(fresh_for)
    if seconds is None or not 0 <= seconds <= DAY - MINUTE:
        return None
    hours, minutes = divmod(max(1, math.ceil(seconds / MINUTE)), HOUR)
    return " ".join([f"{hours} h"] * (hours > 0) + [f"{minutes} min"] * (minutes > 0))
