"""What becomes of a call that was booked: asked at doubling distances until it has been made, or is gone."""

from __future__ import annotations

import time

import orjson
import structlog

from dcbridge.errors import SendError
from dcbridge.genesys import engagement
from dcbridge.genesys.engagement import State
from dcbridge.ledger.jobs import EVENTS
from dcbridge.settings.process import DAY
from dcbridge.tracing import switch
from workers.bookings import REMEMBERED, book_of
from workers.context import WorkerContext
from workers.engagement import Calls
from workers.own_messages import say

log = structlog.get_logger()

FIRST, LATEST = 30.0, 900.0  # seconds between two questions
NEXT = 2  # at this place in the queue, or before, a consumer is the next one


async def watch(ctx: WorkerContext, task_id: str) -> None:
    """Ask once."""
    claim = ctx.ledger.leases.token()
    claimed = await ctx.ledger.tasks.claim(task_id, claim, ctx.settings.lease)
    if not claimed.ours:
        return
    told, channel_id = orjson.loads(claimed.entry.payload), claimed.entry.channel_id
    calls = Calls(ctx, task_id, claimed.entry.trace_id)
    with (
        structlog.contextvars.bound_contextvars(message=task_id, trace=claimed.entry.trace_id, channel=channel_id),
        switch.processing(EVENTS, task_id, claimed.entry.trace_id, channel=channel_id),
    ):
        state, result = "unreachable", ""
        if await calls.may():
            try:
                found = await calls.read("retrieve", lambda api: api.retrieve(told["id"]), engagement.read_callback)
            except SendError as error:
                state = error.code or error.outcome
            else:
                state = found.state
                result = {State.COMPLETED: "completed", State.GONE: "gone"}.get(found.state, "")
                if found.state is State.QUEUED and found.position is not None and found.position <= NEXT:
                    await _next(ctx, task_id, channel_id, told, claimed.entry.trace_id)
        if not result and time.time() - max(told["at"], claimed.entry.accepted_at or 0) / 1000 > REMEMBERED:
            result = "lost"
        if not result:
            delay = min(LATEST, FIRST * 2 ** min(claimed.entry.attempts - 1, 10))
            await ctx.ledger.tasks.retry(task_id, claim, delay, state)
            return
        ours = await ctx.ledger.bookings.over(told["key"], told["id"])
        await ctx.ledger.tasks.done(task_id, claim, ctx.settings.callback_dedupe_days * DAY)
        if ours or result != "gone":  # one that was cancelled is counted as that
            ctx.metrics.bookings.labels(channel_id, result).inc()
        log.info("booking_ended", outcome=result)


async def _next(ctx: WorkerContext, task_id: str, channel_id: str, told: dict[str, str], trace: str) -> None:
    book = book_of(ctx, channel_id, "start")
    if book is not None and book.notices and told.get("from"):
        text = book.texts.next
        await say(ctx, channel=channel_id, consumer=told["from"], text=text, cause=f"{task_id} next", trace=trace)
