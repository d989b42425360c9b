"""Opt-outs at work: heard in what consumers write, learnt from what providers refuse, kept to before each request."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from dcbridge.config.models import Channel
from dcbridge.ledger import MessageClaim, NewTask
from dcbridge.ledger.consent import NOW, By, order_of
from dcbridge.messages import AgentMessage, ConsumerMessage, DeliveryUpdate, Reason, is_piece
from dcbridge.settings.process import DAY
from workers import confirmations
from workers.context import WorkerContext

log = structlog.get_logger()


def token_of(ctx: WorkerContext, address: str, channel_id: str) -> str:
    """What stands for a consumer, in whatever spelling."""
    return ctx.consumer_tokens.of(ctx.configuration.consumer_key(channel_id, address))


async def refused(ctx: WorkerContext, ref: str, claim: str, claimed: MessageClaim, scope: str) -> bool:
    """Whether the consumer opted out; then the message has failed with 350 and the date."""
    found = await ctx.ledger.consent.find(scope, token_of(ctx, claimed.entry.to_id, claimed.entry.channel_id))
    if found is None:
        return False
    state = await ctx.ledger.messages.fail(ref, claim, Reason.NOT_ALLOWED, found.detail)
    ctx.metrics.consent.labels(claimed.entry.channel_id, "refused").inc()
    log.info("message_refused_by_consent", scope=scope, by=found.by, state=state)
    return True


async def hear(ctx: WorkerContext, events: Sequence[object], accepted_at: int, trace: str = "") -> list[NewTask]:
    """Keep what the consumers of one callback say of it; the answers to it. To be done before the callback is: it may
    be read again.
    """
    answers: list[NewTask] = []
    for place, event in enumerate(events):
        if not isinstance(event, ConsumerMessage) or is_piece(event):
            continue
        channel_id = ctx.configuration.channel_of(event.provider, event.to.id)
        if channel_id is None or channel_id not in ctx.configuration.consent_scopes:
            continue
        said = event.consent or ctx.consent_word(event.text)
        if not said or (event.media_urls and not event.consent):
            continue
        by: By = "provider" if event.consent else "keyword"
        order = order_of(accepted_at, place)
        outcome = await record(ctx, channel_id, event.sender.id, said, order, by, event.provider_id)
        if by == "keyword" and outcome in ("stopped", "started", "help", "again"):
            answer = confirmations.answer_to(ctx, channel_id, event, said, trace)
            answers += [answer] if answer else []
    return answers


async def learn(ctx: WorkerContext, channel_id: str, provider: str, to_id: str, code: str, order: int = NOW) -> None:
    """The provider refused a message with a code that says: this consumer opted out there. `order`: of the callback
    that says so, which may be read again after a START.
    """
    channel = ctx.channel(channel_id)
    if channel is None or not to_id or channel_id not in ctx.configuration.consent_scopes:
        return
    if code in ctx.providers[provider].can.opt_out_codes:
        await record(ctx, channel_id, to_id, "stop", order, "provider", code)


def unsubscribe_link(ctx: WorkerContext, message: AgentMessage, channel: Channel) -> str:
    """For the List-Unsubscribe field of an email to this recipient; "" where the channel wants none."""
    if channel.suppress is None or not channel.suppress.link or ctx.unsubscribe_links is None:
        return ""
    return ctx.unsubscribe_links.url(message.channel_id, token_of(ctx, message.to.id, message.channel_id))


async def suppress(ctx: WorkerContext, channel_id: str, to_id: str, update: DeliveryUpdate, order: int) -> None:
    """An email company says why a consumer should get no more emails: kept, where that is a reason of the channel's."""
    channel, address = ctx.channel(channel_id), to_id or next(iter(update.recipients), "")
    if channel is None or channel.suppress is None or update.suppress is None or not address:
        return
    if channel_id in ctx.configuration.consent_scopes and channel.suppress.counts(update.suppress):
        await record(ctx, channel_id, address, "stop", order, update.suppress, update.detail)


async def record(ctx: WorkerContext, channel_id: str, address: str, said: str, order: int, by: By, proof: str) -> str:
    """Write it down; the same twice is one. "again": this very message was written down before."""
    scope, token = ctx.configuration.consent_scopes[channel_id], token_of(ctx, address, channel_id)
    outcome = said
    if said == "stop":
        outcome = await ctx.ledger.consent.stop(scope, token, order, by, proof, channel_id)
        found = await ctx.ledger.consent.find(scope, token) if outcome == "same" else None
        outcome = "again" if found and proof and found.proof == proof else outcome
    elif said == "start":
        # A callback is remembered that long, and may be read again from a dead letter for longer: both are bounded.
        remember = max(ctx.settings.callback_dedupe_days, ctx.settings.dead_letter_days) * DAY
        outcome = await ctx.ledger.consent.start(scope, token, order, by, channel=channel_id, remember=remember)
    ctx.metrics.consent.labels(channel_id, outcome).inc()
    log.info(
        "consent_word", said=said, outcome=outcome, by=by, scope=scope, channel=channel_id,
        consumer=ctx.tokens.of(address),
    )  # fmt: skip
    return outcome
