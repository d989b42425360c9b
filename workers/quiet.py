"""Quiet hours and high statistics at work: what is claimed then waits, unless its consumer has just written."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from dcbridge.config.quiet_hours import Openings, QuietHours
from dcbridge.ledger import MessageClaim, lane_of
from dcbridge.messages import ConsumerMessage
from dcbridge.providers.zones import zones_of
from workers.context import WorkerContext

log = structlog.get_logger()

_SENT = {"begun": "begun", "answer": "answer", "send": "sent"}  # what a hold says of one that goes -> what is counted


def opens(quiet: QuietHours, consumer: str, now: float, openings: Openings) -> float:
    """Seconds since 1970 when a message may go to this consumer: `now`, or later. `consumer`: as `consumer_key`."""
    region, zones = zones_of(consumer)
    if not zones:
        zones = (quiet.zone,)
    elif len(zones) > 1 and region in quiet.zones:
        zones = (quiet.zones[region],)
    at = datetime.fromtimestamp(now, UTC)
    opening = openings.of(quiet, at, zones)
    return opening.timestamp() if opening > at else now


async def held(ctx: WorkerContext, ref: str, claim: str, claimed: MessageClaim) -> bool:
    """Whether a claimed message is not sent now: it waits, or it has failed."""
    channel_id = claimed.entry.channel_id
    channel = ctx.channel(channel_id)
    quiet = channel.quiet_hours if channel else None
    if quiet is None:
        return False
    now = time.time()
    consumer = ctx.configuration.consumer_key(channel_id, claimed.entry.to_id)
    at = opens(quiet, consumer, now, ctx.openings)
    if at <= now:
        return False
    until = f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%MZ}"
    outcome = await ctx.ledger.quiet.hold(
        ref, claim, at, now, fingerprint=quiet.fingerprint, how=quiet.then, detail=f"quiet hours until {until}"
    )
    ctx.metrics.quiet_hours.labels(channel_id, _SENT.get(outcome, outcome)).inc()
    if outcome in _SENT:
        return False
    log.info("message_in_quiet_hours", until=until, state=outcome)
    return True


async def held_while(ctx: WorkerContext, ref: str, claim: str, claimed: MessageClaim) -> bool:
    """The same for a channel that waits while a statistic is too high."""
    channel_id, genesys = claimed.entry.channel_id, ctx.configuration.genesys
    channel = ctx.channel(channel_id)
    hold = channel.hold_while if channel else None
    if hold is None or genesys is None or genesys.statistics is None:
        return False
    fingerprint = hold.fingerprint(genesys.statistics.fresh_for)
    detail = f"statistic {hold.statistic} above {hold.above:g}"
    outcome = await ctx.ledger.quiet.hold_while(ref, claim, fingerprint=fingerprint, detail=detail)
    if outcome == "send":
        return False
    ctx.metrics.holds.labels(channel_id, outcome).inc()
    if outcome in _SENT:
        return False
    log.info("message_held_while", statistic=hold.statistic, state=outcome)
    return True


async def hear(ctx: WorkerContext, provider: str, events: Sequence[object], accepted_at: int) -> None:
    """A consumer who has just written is awake: what waits for them is sent, and what is answered now."""
    for event in events:
        if not isinstance(event, ConsumerMessage):
            continue
        if (addressed := ctx.addressed(provider, event.to.id)) is None:
            continue
        channel_id, channel = addressed
        within = max((one.answers_within for one in (channel.quiet_hours, channel.hold_while) if one), default=0.0)
        if within <= 0:
            continue
        left = within - max(0.0, time.time() - accepted_at / 1000)
        consumer = channel.consumer(event.sender.id)
        if left > 0 and await ctx.ledger.quiet.consumer_wrote(lane_of(channel_id, consumer), left):
            ctx.metrics.quiet_hours.labels(channel_id, "woken").inc()
