"""The one answer to STOP, START or HELP, where the provider leaves that to us: at most once, within minutes, or not."""

from __future__ import annotations

import time

import orjson
import structlog

from dcbridge.config.models import Channel
from dcbridge.errors import SendError, Unreadable
from dcbridge.ledger import NewTask, TaskClaim
from dcbridge.ledger.jobs import OUTBOUND
from dcbridge.messages import Address, AgentMessage, ConsumerMessage, message_ref
from dcbridge.providers.base import Turn
from dcbridge.settings.process import DAY
from dcbridge.tracing import switch
from workers import failures
from workers.context import WorkerContext

log = structlog.get_logger()

WITHIN = 300.0  # seconds after the word; a later answer would come out of nowhere


def task_id_of(ref: str) -> str:
    """The task of a confirmation, by the reference that a provider sends back."""
    return f"a-{ref}"


def _named(said: ConsumerMessage) -> str:
    return f"consent {said.provider} {said.provider_id}"


def answer_to(ctx: WorkerContext, channel_id: str, said: ConsumerMessage, word: str, trace: str) -> NewTask | None:
    """The task that answers one word; None where there is nothing to say, or the provider says it."""
    text = getattr(ctx.configuration.consent.answers, word)
    if not text or ctx.providers[said.provider].can.opt_out == "theirs":
        return None
    payload = orjson.dumps(
        {"to": said.sender.id, "from": said.to.id, "text": text, "named": _named(said), "provider": said.provider}
    )
    return NewTask(task_id_of(message_ref(channel_id, _named(said))), "confirm", "", payload, trace, channel_id)


async def confirm(ctx: WorkerContext, task_id: str) -> None:
    """Send it. What may have been sent is never sent again: a second confirmation is worse than none."""
    claim, since = ctx.ledger.leases.token(), time.monotonic()
    claimed = await ctx.ledger.tasks.claim(task_id, claim, ctx.settings.lease)
    if not claimed.ours:
        return
    channel_id = claimed.entry.channel_id
    channel = ctx.channel(channel_id)
    late = time.time() - (claimed.entry.accepted_at or 0) / 1000 > WITHIN
    with (
        structlog.contextvars.bound_contextvars(message=task_id, trace=claimed.entry.trace_id, channel=channel_id),
        switch.processing(OUTBOUND, task_id, claimed.entry.trace_id, channel=channel_id),
    ):
        if channel is None or late or (claimed.entry.attempts > 1 and claimed.entry.last_code == "lease ended"):
            await _done(ctx, task_id, claim, "not sent")
        elif not ctx.claim_may_be_lost(since):
            await _send(ctx, task_id, claim, claimed, channel)


async def _send(ctx: WorkerContext, task_id: str, claim: str, claimed: TaskClaim, channel: Channel) -> None:
    provider = ctx.providers.get(orjson.loads(claimed.entry.payload).get("provider")) or ctx.providers[channel.provider]
    try:
        message = _message(claimed, channel, provider.name)
        [part] = provider.parts(message)
        request = provider.build_request(Turn(message, part, (claimed.entry.accepted_at or 0) / 1000))
        provider.parse_response(await ctx.accounts.send(provider, request))
    except Unreadable:  # it was taken, in words that make no sense
        await _done(ctx, task_id, claim, "")
    except SendError as error:
        if error.again:
            delay = failures.wait(ctx.configuration.retry_of(claimed.entry.channel_id), claimed.entry.attempts)
            await ctx.ledger.tasks.retry(task_id, claim, delay, error.code)
            return
        await _done(ctx, task_id, claim, error.code or error.outcome)
    except Exception:
        log.error("confirmation_internal_error", exc_info=True)
        ctx.metrics.faults.labels("bug", provider.name).inc()
        await _done(ctx, task_id, claim, "internal error")
    else:
        await _done(ctx, task_id, claim, "")


def _message(claimed: TaskClaim, channel: Channel, provider: str) -> AgentMessage:
    stored = orjson.loads(claimed.entry.payload)
    channel_id = claimed.entry.channel_id
    to = Address(stored["to"])
    number = stored.get("from") if channel.senders else channel.number_at(provider)
    return AgentMessage(
        channel_id=channel_id,
        message_id=stored["named"],
        sender=Address(number or channel_id),
        to=to,
        recipients=(to,),
        type="Text",
        text=stored["text"],
        trace_id=claimed.entry.trace_id,
        region=channel.default_region,
    )


async def _done(ctx: WorkerContext, task_id: str, claim: str, why_not: str) -> None:
    await ctx.ledger.tasks.done(task_id, claim, ctx.settings.callback_dedupe_days * DAY, why_not)
    log.info("consent_confirmed" if not why_not else "consent_not_confirmed", why=why_not or None)
