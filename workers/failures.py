"""The one place that acts on how a send ended (the table in docs/architecture.md, "Failures")."""

from __future__ import annotations

import random
import time

import structlog

from dcbridge.config.accounts import Retry
from dcbridge.config.models import Channel
from dcbridge.errors import AccountFault, OutcomeUnknown, SendError, Unreachable, Unreadable
from dcbridge.ledger import MessageClaim
from dcbridge.platform import Platform
from dcbridge.tracing import switch
from workers.context import WorkerContext

log = structlog.get_logger()

GRACE = 10.0  # seconds that an unknown outcome waits where its channel is not configured any more


def wait(retry: Retry, attempt: int, at_least: float | None = None) -> float:
    """Seconds before the next attempt; `attempt` counts from 1. Never less than a Retry-After."""
    steady = min(retry.most, retry.first * retry.factor ** min(attempt - 1, 60))
    return max(steady * (1 - retry.jitter * random.random()), at_least or 0.0)


def kept_to(ctx: WorkerContext, provider: str, error: SendError) -> float | None:
    """Seconds of a Retry-After that are waited for: what was asked for, up to the longest pause of whoever asked.

    `provider` as in `Configuration.longest_pauses`.
    """
    if error.retry_after is None:
        return None
    configuration = ctx.configuration
    if provider.startswith("subscribers/") and (name := provider.partition("/")[2]) in ctx.sinks.subscribers:
        most = ctx.sinks.subscribers[name].longest_pause
    else:
        most = configuration.longest_pauses().get(provider, 0.0)
    return _kept_to(ctx, provider, most, error, error.retry_after)


def kept_by(ctx: WorkerContext, platform: Platform, error: SendError) -> float | None:
    """The same of what a platform asked for."""
    if error.retry_after is None:
        return None
    return _kept_to(ctx, platform.name, platform.longest_pause, error, error.retry_after)


def _kept_to(ctx: WorkerContext, provider: str, most: float, error: SendError, asked: float) -> float:
    if asked > most and not error.whole_account:  # for that one, it counts where the pause begins
        ctx.metrics.waits_cut.labels(provider).inc()
    return min(asked, most)


async def pause(ctx: WorkerContext, provider: str, error: SendError) -> None:
    """Leave the whole account alone, where its Retry-After speaks for all of it."""
    seconds = kept_to(ctx, provider, error)
    if not seconds:
        return
    asked = error.retry_after or seconds
    if await ctx.ledger.pauses.begin(provider, seconds, asked, error.code):
        if asked > seconds:
            ctx.metrics.waits_cut.labels(provider).inc()
        log.warning("provider_paused", provider=provider, code=error.code, asked=round(asked), seconds=round(seconds))


def response_unreadable(ctx: WorkerContext, provider: str, error: Unreadable) -> None:
    """Something was taken, and whoever took it said so in words that make no sense."""
    ctx.metrics.faults.labels(error.outcome, provider).inc()
    log.error("response_unreadable", provider=provider, code=error.code)


async def record_failure(
    ctx: WorkerContext, ref: str, claim: str, claimed: MessageClaim, error: SendError, *, answered: bool = True
) -> str:
    """Write down a send that ended in an error; the state that follows. `answered`: the provider may have said so."""
    channel_id, attempt = claimed.entry.channel_id, claimed.entry.attempts
    channel = ctx.channel(channel_id)
    retry = ctx.configuration.retry_of(channel_id) if channel else ctx.configuration.retry
    known = ctx.provider_of(channel, claimed.entry) if channel else None
    provider = known.name if known else ""
    if error.page:
        ctx.metrics.faults.labels(error.outcome, provider).inc()
    if provider:
        await update_breaker(ctx, provider, ref, error, answered=answered)
    delay = 0.0
    if error.taken is None:
        grace = _grace(ctx, channel, claimed)
        state = await ctx.ledger.messages.unknown(ref, claim, grace, error.code)
    elif error.again:
        delay = wait(retry, attempt, kept_to(ctx, provider, error))
        # A fault of the account is not the message's: only the time to live ends its wait.
        limit = 0.0 if error.page or channel is None else channel.lane_limit
        # Nobody was spoken to, or the account was refused: that many attempts say nothing about the message.
        attempts = channel.attempts if channel and not isinstance(error, Unreachable | AccountFault) else 0
        state = await ctx.ledger.messages.retry(
            ref, claim, delay, lane_limit=limit, reason=error.reason, code=error.code, attempts=attempts,
            switch=error.switch,
        )  # fmt: skip
    else:
        state = await ctx.ledger.messages.fail(ref, claim, error.reason, error.code, error.switch)
    tell = log.error if error.page else log.warning
    switch.failed(error.outcome, error.code)
    switch.note(provider=provider, attempt=attempt, state=state)
    asked = {} if error.retry_after is None else {"asked_to_wait": round(error.retry_after), "waits": round(delay)}
    tell("send_failed", outcome=error.outcome, code=error.code, attempt=attempt, state=state, **asked)
    return state


def _grace(ctx: WorkerContext, channel: Channel | None, claimed: MessageClaim) -> float:
    """Seconds until the ledger settles an unknown outcome. Where the same key makes a second request harmless, it is
    not waited for what the provider says of the first.
    """
    if channel is None:
        return GRACE
    provider = ctx.provider_of(channel, claimed.entry)
    entry, same_key = claimed.entry, provider.can.idempotent_for if provider else 0.0
    began_at = entry.unknown_since or entry.attempt_began_at or entry.began_at or 0
    if time.time() - began_at / 1000 >= same_key:
        return channel.unknown_grace
    before = entry.unknown_requests
    return wait(ctx.configuration.retry_of(entry.channel_id), before) if before else 0.0


async def update_breaker(
    ctx: WorkerContext, provider: str, ref: str, error: SendError, *, answered: bool = True
) -> None:
    """Failures of the way or the account count against the provider; anything that it said about a message does not.
    What was decided here, before a request, says nothing of it.
    """
    breaker = ctx.configuration.breaker
    if error.whole_account:
        await pause(ctx, provider, error)
    if isinstance(error, Unreachable | OutcomeUnknown | AccountFault):
        state = await ctx.ledger.pacing.record_failure(
            provider,
            ref,
            error.code,
            at_once=isinstance(error, AccountFault),
            threshold=breaker.failures,
            first=breaker.first,
            most=breaker.most,
            share=breaker.share,
        )
        if state == "opened":
            ctx.metrics.faults.labels("breaker_opened", provider).inc()
            log.error("breaker_opened", provider=provider, outcome=error.outcome, code=error.code)
    elif answered:
        await ctx.ledger.pacing.record_success(provider, ref)
