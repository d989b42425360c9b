"""Finds what was left behind: every few seconds, in every worker, each step safe to repeat."""

from __future__ import annotations

import asyncio

import structlog
from redis.exceptions import RedisError

from dcbridge.ledger import Decision
from dcbridge.ledger.sweep import SWEEP
from workers import failures, lookups
from workers.announcing import Announcer
from workers.context import WorkerContext

log = structlog.get_logger()


async def keep_sweeping(ctx: WorkerContext, announcer: Announcer) -> None:
    """Sweep until cancelled. A Redis that is away is waited for."""
    while True:
        try:
            for _ in range(100):  # a long queue must not keep what is due behind it waiting for the next look
                if await sweep(ctx, announcer) < SWEEP:
                    break
        except (RedisError, OSError) as error:
            log.warning("sweep_postponed", error=type(error).__name__)
        except Exception:
            log.error("sweep_internal_error", exc_info=True)
        await asyncio.sleep(ctx.settings.reconcile_every)


async def sweep(ctx: WorkerContext, announcer: Announcer | None = None) -> int:
    """One look: what is due gets its job, the rest is decided here; how many there were to look at."""
    swept, _ = await asyncio.gather(ctx.ledger.sweep.report(), ctx.ledger.events.sweep())  # one script
    if announcer is not None:
        await announcer.follow(swept)
    decisions = swept.decisions
    # At once, and so in few scripts: one by one they would take so long that this worker seemed dead meanwhile.
    states = await asyncio.gather(*(_decide(ctx, decision) for decision in decisions))
    for decision, state in zip(decisions, states, strict=True):
        if state not in ("stale", "aside", *lookups.UNDECIDED):
            log.warning(
                "message_rescued",
                message=decision.id,
                channel=decision.channel_id,
                was=decision.state,
                state=state,
            )
    return swept.looked


async def _decide(ctx: WorkerContext, found: Decision) -> str:
    channel = ctx.channel(found.channel_id)
    match found.kind, found.state:
        case "m", "sending":
            return await ctx.ledger.once.messages.unknown(
                found.id, "", channel.unknown_grace if channel else failures.GRACE, "lease ended"
            )
        case "m", "unknown" | "sent":
            return await lookups.ask_or_decide(ctx, found.id, found.state, channel, found.provider)
        case "t", "running":
            return await ctx.ledger.once.tasks.retry(found.id, "", 0.0, "lease ended")
        case _:
            return "stale"
