"""An event on its way to one subscriber: claim, one attempt, write down what came of it."""

from __future__ import annotations

import time
from dataclasses import replace

import structlog
from redis.exceptions import RedisError

from dcbridge.config.accounts import Breaker
from dcbridge.errors import AccountFault, Gone, Refused, SendError, Throttled
from dcbridge.events.event import StoredEvent, read
from dcbridge.events.sinks import Event, MissingClient, Subscriber
from dcbridge.ledger import TaskClaim
from dcbridge.ledger.deliveries import Failure, subscriber_of
from dcbridge.ledger.jobs import EVENTS
from dcbridge.runtime.logs import info_line_in_context
from dcbridge.settings.process import LEASE_MARGIN
from dcbridge.tracing import switch
from workers import failures
from workers.context import WorkerContext
from workers.enrichment import shown_to

log = structlog.get_logger()

ELSEWHERE = 5.0  # seconds after which another worker, which may know the subscriber, is asked


async def deliver(ctx: WorkerContext, delivery_id: str) -> None:
    """Deliver one event to one subscriber, once. Does nothing when it is not this delivery's turn."""
    name = subscriber_of(delivery_id)
    subscriber = ctx.sinks.subscribers.get(name)
    claim = ctx.ledger.leases.token()
    lease = max(ctx.settings.lease, subscriber.sink.timeout + LEASE_MARGIN if subscriber else 0.0)
    claimed = await ctx.ledger.deliveries.claim(delivery_id, claim, lease)
    if not claimed.ours:
        log.debug("delivery_claim_skipped", delivery=delivery_id, why=claimed.why)
        return
    event_id = delivery_id[: -len(name) - 1]
    kept = read(event_id, claimed.entry.payload)
    # For all lines of this job, whose task has a context of its own.
    structlog.contextvars.bind_contextvars(event_id=event_id, trace=kept.trace_id, subscriber=name)
    with switch.processing(EVENTS, event_id, kept.trace_id, subscriber=name):
        await _delivered_to(ctx, delivery_id, claim, claimed, subscriber, kept)


async def _delivered_to(
    ctx: WorkerContext,
    delivery_id: str,
    claim: str,
    claimed: TaskClaim,
    subscriber: Subscriber | None,
    kept: StoredEvent,
) -> None:
    if subscriber is None:
        failure = _failure("not configured here", ELSEWHERE, "later", ctx.configuration.breaker, spends=False)
        await ctx.ledger.deliveries.failed(delivery_id, claim, failure)
        log.info("delivery_handed_over")
        return
    event = shown_to(subscriber, kept.event)
    event = replace(event, replayed=claimed.entry.accepted_at) if claimed.entry.replayed else event
    await _attempt(ctx, delivery_id, claim, claimed, subscriber, event)


async def _attempt(
    ctx: WorkerContext, delivery_id: str, claim: str, claimed: TaskClaim, subscriber: Subscriber, event: Event
) -> None:
    name, began = subscriber_of(delivery_id), time.monotonic()
    try:
        async with ctx.sinks.sink(name) as sink:
            known = await sink.deliver(event)
    except SendError as error:
        ctx.metrics.delivery_seconds.labels(name).observe(time.monotonic() - began)
        await _not_delivered(ctx, delivery_id, claim, claimed, subscriber, error)
        return
    except MissingClient:
        await _not_delivered(ctx, delivery_id, claim, claimed, subscriber, AccountFault("client not installed"))
        return
    except RedisError:  # of the ledger, which a sink may ask: the delivery comes back when its lease has ended
        raise
    except Exception:
        await _internal_error(ctx, delivery_id, claim)
        return
    seconds = time.monotonic() - began
    state = await ctx.ledger.deliveries.delivered(delivery_id)
    how = "delivered"
    if known:  # a repetition of our own after a lost answer, or somebody else's: another bridge with the same names
        tried_before = claimed.entry.attempts > 1 or bool(claimed.entry.last_code)
        how = "repeated" if tried_before else "duplicate"
    if how == "duplicate":
        log.warning("event_duplicate", name=event.name, sequence=event.sequence)
    switch.note(attempt=claimed.entry.attempts, outcome=how)
    ctx.metrics.deliveries.labels(name, how).inc()
    ctx.metrics.delivery_seconds.labels(name).observe(seconds)
    if not claimed.entry.replayed:
        ctx.metrics.event_seconds.labels(name).observe(max(0.0, time.time() - event.received_at.timestamp()))
    info_line_in_context(
        "event_delivered",
        name=event.name,
        sequence=event.sequence,
        attempt=claimed.entry.attempts,
        ms=round(seconds * 1000),
        state=state,
        outcome=how,
    )


async def _not_delivered(
    ctx: WorkerContext,
    delivery_id: str,
    claim: str,
    claimed: TaskClaim,
    subscriber: Subscriber,
    error: SendError,
) -> None:
    name, attempt = subscriber_of(delivery_id), claimed.entry.attempts
    ctx.metrics.deliveries.labels(name, error.outcome).inc()
    if error.page:
        ctx.metrics.faults.labels(error.outcome, name).inc()
    account = f"subscribers/{name}"
    failure = what_follows(subscriber, ctx.configuration.breaker, error, attempt, failures.kept_to(ctx, account, error))
    if isinstance(error, Throttled) and failure.delay:
        asked = error.retry_after or failure.delay
        if await ctx.ledger.pauses.begin(account, failure.delay or 0.0, asked, error.code):
            if asked > (failure.delay or 0.0):
                ctx.metrics.waits_cut.labels(account).inc()
            log.warning("subscriber_paused", code=error.code, asked=round(asked), seconds=round(failure.delay))
    state = await ctx.ledger.deliveries.failed(delivery_id, claim, failure)
    switch.failed(error.outcome, error.code)
    switch.note(attempt=attempt, state=state)
    tell = log.error if error.page or state == "dead" else log.warning
    tell("event_not_delivered", outcome=error.outcome, code=error.code, attempt=attempt, state=state)


async def _internal_error(ctx: WorkerContext, delivery_id: str, claim: str) -> None:
    """A dead letter, to be put back after the fix. It says nothing against the subscriber."""
    ctx.metrics.faults.labels("bug", subscriber_of(delivery_id)).inc()
    log.error("delivery_internal_error", exc_info=True)
    failure = _failure("internal error", None, "bug", ctx.configuration.breaker)
    await ctx.ledger.deliveries.failed(delivery_id, claim, failure)


def what_follows(
    subscriber: Subscriber, breaker: Breaker, error: SendError, attempt: int, kept: float | None
) -> Failure:
    """The consequence of an attempt that failed, for its event and for the subscriber. `kept`: of its Retry-After."""
    soon = subscriber.retry.wait(1) or 0.0
    disable = subscriber.disable_after
    match error:
        case Refused():
            return _failure(error.code, None, "event", breaker)
        case Gone():
            return _failure(error.code, 0.0, "later", breaker, spends=False, disable_after=-1.0)
        case Throttled():
            later = soon if kept is None else kept
            return _failure(error.code, later, "later", breaker, spends=False, disable_after=disable)
        case AccountFault():
            return _failure(error.code, soon, "fault", breaker, spends=False, disable_after=disable)
        case _:
            wait = subscriber.retry.wait(attempt, kept)
            return _failure(error.code, wait, "sick", breaker, disable_after=disable)


def _failure(
    code: str, delay: float | None, means: str, breaker: Breaker, *, spends: bool = True, disable_after: float = 0.0
) -> Failure:
    return Failure(
        code=code,
        delay=delay,
        means=means,
        spends=spends,
        threshold=breaker.failures,
        first=breaker.first,
        most=breaker.most,
        disable_after=disable_after,
        share=breaker.share,
    )
