"""Receipts on their way to the platform: those of one channel travel together where it takes several."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

import structlog
from redis.exceptions import RedisError

from dcbridge.errors import SendError, Undecodable
from dcbridge.genesys import payloads
from dcbridge.ledger import OwedReceipt
from dcbridge.ledger.jobs import RECEIPTS
from dcbridge.messages import Reason, Receipt, ReceiptStatus
from dcbridge.platform import Platform
from dcbridge.runtime.logs import info_line
from dcbridge.tracing import switch
from workers import bookings, failures
from workers.context import WorkerContext

log = structlog.get_logger()

BATCHES = 50  # that one job posts, one after another; what is left then has a job of its own
HOLD = 12.0  # seconds that taken receipts are nobody else's, renewed while they are being posted


async def post(ctx: WorkerContext, channel_id: str) -> None:
    """Post what is due, a batch to a request. A batch that is refused is tried again one by one."""
    if ctx.settings.receipt_linger:
        await asyncio.sleep(ctx.settings.receipt_linger)
    to = await _platform(ctx, channel_id)
    most = min(ctx.settings.receipt_batch, to[0].receipts_at_once)
    # A batch that was full has others behind it: lingering before each would be the most that a channel can have.
    for _ in range(BATCHES):
        owed = await ctx.ledger.receipts.take(channel_id, most, HOLD)
        if not owed:
            return
        await bookings.after_failures(ctx, channel_id, owed)
        holding = asyncio.create_task(_hold(ctx, channel_id, [o.ref for o in owed]))
        try:
            posted = await _post_and_note(ctx, to, channel_id, owed)
        finally:
            holding.cancel()
        if not posted or len(owed) < most:
            return


async def _hold(ctx: WorkerContext, channel_id: str, refs: Sequence[str]) -> None:
    """Keep them ours while the request is under way. A worker that is killed stops, and another takes them."""
    while True:
        await asyncio.sleep(HOLD / 3)
        with suppress(RedisError, OSError):
            await ctx.ledger.receipts.hold(channel_id, refs, HOLD)


async def _platform(ctx: WorkerContext, channel_id: str) -> tuple[Platform, str]:
    """Where its receipts go to; and the endpoint that a channel was named at which is not configured."""
    endpoint = "" if ctx.channel(channel_id) else await ctx.ledger.unconfigured.endpoint_of(channel_id)
    return ctx.platforms.of(channel_id, endpoint), endpoint


async def _post_and_note(
    ctx: WorkerContext, to: tuple[Platform, str], channel_id: str, owed: Sequence[OwedReceipt]
) -> bool:
    """True when all were taken at once, or what was refused says nothing of the next ones."""
    error = await _post(ctx, to, channel_id, owed)
    if error is None:
        return True
    if error.again or error.taken is not False or len(owed) == 1:
        await _record_failure(ctx, to[0], channel_id, owed, error)
        return to[0].receipts_at_once == 1 and not error.again and error.taken is False
    log.warning("receipt_batch_refused", channel=channel_id, receipts=len(owed), code=error.code)
    for one in owed:
        alone = await _post(ctx, to, channel_id, [one])
        if alone is not None:
            await _record_failure(ctx, to[0], channel_id, [one], alone)
    return False


async def _post(
    ctx: WorkerContext, to: tuple[Platform, str], channel_id: str, owed: Sequence[OwedReceipt]
) -> SendError | None:
    """None when they were taken and that is written down."""
    platform, endpoint = to
    try:
        with switch.together(RECEIPTS, [(o.ref, o.trace_id) for o in owed], channel=_label(ctx, channel_id)):
            await platform.post_receipts(
                channel_id, [_receipt(channel_id, o) for o in owed], owed[0].trace_id, endpoint
            )
    except Undecodable as error:
        failures.response_unreadable(ctx, platform.name, error)
    except SendError as error:
        return error
    await ctx.ledger.receipts.done(channel_id, [o.ref for o in owed])
    now = time.time()
    for o in owed:
        seconds = max(0.0, now - o.accepted_at / 1000)
        ctx.metrics.receipts.labels(_label(ctx, channel_id), o.status, "posted").inc()
        ctx.metrics.receipt_seconds.labels(_label(ctx, channel_id)).observe(seconds)
        info_line(
            "receipt_posted",
            message=o.ref,
            trace=o.trace_id,
            channel=channel_id,
            status=o.status,
            reason=o.reason or None,
            seconds_since_accepted=round(seconds, 3),
        )
    return None


async def _record_failure(
    ctx: WorkerContext, platform: Platform, channel_id: str, owed: Sequence[OwedReceipt], error: SendError
) -> None:
    """A receipt says the same however often it is said, so what was perhaps or probably taken is simply tried again."""
    if error.page:
        ctx.metrics.faults.labels(error.outcome, platform.name).inc()
    if error.again or error.taken is not False:
        retry = ctx.configuration.retry
        later = failures.kept_by(ctx, platform, error)
        delays = {o.ref: failures.wait(retry, o.tries + 1, later) for o in owed}
        await ctx.ledger.receipts.again(channel_id, delays, error.code)
        for o in owed:
            ctx.metrics.receipts.labels(_label(ctx, channel_id), o.status, error.outcome).inc()
        log.warning(
            "receipts_postponed",
            channel=channel_id,
            receipts=len(owed),
            outcome=error.outcome,
            code=error.code,
            seconds=round(max(delays.values())),
            **({} if error.retry_after is None else {"asked_to_wait": round(error.retry_after)}),
        )
        return
    for o in owed:
        raw = payloads.write_receipts([_receipt(channel_id, o)])
        await ctx.ledger.receipts.refused(channel_id, o.ref, error.code, raw)
        ctx.metrics.receipts.labels(_label(ctx, channel_id), o.status, error.outcome).inc()
        ctx.metrics.faults.labels("receipt_refused", _label(ctx, channel_id)).inc()
        log.error("receipt_refused", message=o.ref, trace=o.trace_id, channel=channel_id, code=error.code)


def _label(ctx: WorkerContext, channel_id: str) -> str:
    """A channel that is not configured is one that a webhook named: data, and no label."""
    return channel_id if ctx.channel(channel_id) else "(unknown)"


def _receipt(channel_id: str, owed: OwedReceipt) -> Receipt:
    return Receipt(
        channel_id=channel_id,
        message_id=owed.message_id,
        sender_id=owed.sender_id,
        to_id=owed.to_id,
        status=ReceiptStatus(owed.status),
        reason=Reason(int(owed.reason)) if owed.reason else None,
        detail=owed.detail,
    )
