"""An agent message on its way out: claim, one request, write down what came of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace

import structlog
from redis.exceptions import RedisError

from dcbridge.config.models import Channel
from dcbridge.config.senders import Choice, choose
from dcbridge.errors import Refused, SendError, Unreadable
from dcbridge.genesys import payloads
from dcbridge.ledger import MessageClaim
from dcbridge.ledger.jobs import OUTBOUND
from dcbridge.messages import Address, AgentMessage, Cost, Reason
from dcbridge.providers import segmentation
from dcbridge.providers.base import MediaFile, Part, Provider, Request, Submission, Turn
from dcbridge.runtime.logs import info_line_in_context
from dcbridge.tracing import switch
from workers import consent, failures, quiet, threads
from workers.context import WorkerContext
from workers.media_out import with_media

log = structlog.get_logger()
_WAITED = 0.1  # seconds after a claim until it is worth a look whether an operator has stopped anything since


async def send(ctx: WorkerContext, ref: str) -> None:
    """Hand the next part of a message to its provider. Does nothing when it is not this message's turn."""
    claim = ctx.ledger.leases.token()
    while True:
        async with AsyncExitStack() as held:
            if await _send(ctx, ref, claim, held):
                return
        log.warning("lease_lost_before_send", message=ref)


async def _send(ctx: WorkerContext, ref: str, claim: str, held: AsyncExitStack) -> bool:
    """False when nothing was sent, because the process stood still after the claim. `held`: until it has ended."""
    since = time.monotonic()
    claimed = await ctx.ledger.messages.claim(ref, claim, ctx.settings.lease)
    if not claimed.ours:
        log.debug("claim_skipped", message=ref, why=claimed.why)
        return True
    channel_id = claimed.entry.channel_id
    # For all lines of this job, whose task has a context of its own.
    structlog.contextvars.bind_contextvars(
        message=ref, trace=claimed.entry.trace_id, channel=channel_id, consumer=ctx.tokens.of(claimed.entry.to_id)
    )
    held.enter_context(switch.processing(OUTBOUND, ref, claimed.entry.trace_id, channel=channel_id))
    channel = ctx.channel(channel_id)
    if channel is None:
        await _strand(ctx, ref, claim)
        return True
    scope = ctx.configuration.consent_scopes.get(channel_id)
    if scope is not None and await consent.refused(ctx, ref, claim, claimed, scope):
        return True
    if await quiet.held(ctx, ref, claim, claimed) or await quiet.held_while(ctx, ref, claim, claimed):
        return True
    provider = ctx.provider_of(channel, claimed.entry)
    if provider is None:  # a newer bridge.yaml has it: some other worker knows it
        await _strand(ctx, ref, claim)
        return True
    try:
        if await ctx.binds.is_elsewhere(provider):
            await ctx.ledger.sessions.pass_on(ref, claim, provider.name)
            return True
        await ctx.accounts.ready(provider)
        since = await _kept(ctx, ref, claim, claimed, since)  # a login may take a while, and files as long again
        part, request, media, choice = await _prepare(ctx, ref, claim, claimed, channel, provider, held)
        if media:  # a message that is read anew would read them again, and take as long
            since = await _kept(ctx, ref, claim, claimed, since)
    except SendError as error:
        if isinstance(error, Refused) and error.reason == Reason.UNSUPPORTED:
            error.switch = "route"  # another one may carry it
        await failures.record_failure(ctx, ref, claim, claimed, error, answered=False)
        return True
    except _ClaimLost:
        return False
    except Exception:
        await _internal_error(ctx, ref, claim)
        return True
    if ctx.claim_may_be_lost(since):
        return False
    sms = channel.type == "sms" and not media
    try:
        await _send_part(
            ctx, ref, claim, claimed, channel, provider, part, request, since, sms=sms, sender=choice.words
        )
    except _ClaimLost:
        return False
    return True


class _ClaimLost(Exception):
    """Nothing was written, and the message may have moved on: it has to be claimed and read again."""


async def _kept(
    ctx: WorkerContext, ref: str, claim: str, claimed: MessageClaim, since: float, *, ask: bool = False
) -> float:
    """When the message was claimed last: now, where it was long ago, or with `ask`. Raises _ClaimLost."""
    if not (ask or ctx.claim_may_be_lost(since)):
        return since
    since = time.monotonic()
    try:
        again = await ctx.ledger.messages.claim(ref, claim, ctx.settings.lease)
    except (RedisError, OSError):
        raise _ClaimLost from None
    if not again.ours or again.entry.total_attempts != claimed.entry.total_attempts:
        raise _ClaimLost
    return since


async def _prepare(
    ctx: WorkerContext,
    ref: str,
    claim: str,
    claimed: MessageClaim,
    channel: Channel,
    provider: Provider,
    held: AsyncExitStack,
) -> tuple[Part, Request, tuple[MediaFile, ...], Choice]:
    """Everything before the request is on the wire. Raises a SendError where it cannot be built."""
    shared = await ctx.payloads.shared(ref, claimed)
    message, choice = stored_message(ref, claimed, channel, provider.name, shared.copies if shared else ())
    message, media = await with_media(ctx, channel, provider, message, claimed, held)
    message, return_path = threads.with_reply_to(ctx, message, channel, claimed.entry.accepted_at or 0)
    thread = await threads.answered_by(ctx, message, channel)
    mail = threads.Threading(thread, return_path, consent.unsubscribe_link(ctx, message, channel))
    attached = any(file.data for file in media)
    if shared is not None and (shared.large or attached):
        async with shared.turn:  # the first writes it, and the others find it written
            parts, request = await asyncio.to_thread(_written, provider, message, claimed, media, mail, choice)
    elif attached:
        parts, request = await asyncio.to_thread(_written, provider, message, claimed, media, mail, choice)
    else:
        parts, request = _written(provider, message, claimed, media, mail, choice)
    await threads.remember_ours(ctx, message, channel, request)
    number = claimed.entry.part
    if len(parts) > 1 and number == 0:
        await ctx.ledger.messages.parts(ref, claim, len(parts))
    return parts[number], request, media, choice


def _written(
    provider: Provider,
    message: AgentMessage,
    claimed: MessageClaim,
    media: tuple[MediaFile, ...],
    mail: threads.Threading,
    choice: Choice,
) -> tuple[Sequence[Part], Request]:
    """All parts, and the request for the one whose turn it is."""
    parts, number = provider.parts(message), claimed.entry.part
    if number >= len(parts):
        raise Refused("no such part")
    turn = turn_of(message, parts[number], claimed, media, mail)
    return parts, provider.build_request(replace(turn, template=choice.template) if choice.template else turn)


def turn_of(
    message: AgentMessage,
    part: Part,
    claimed: MessageClaim,
    media: tuple[MediaFile, ...] = (),
    mail: threads.Threading = threads.NO_THREAD,
) -> Turn:
    """The turn of one part of a message that is claimed, for sending it or a status lookup."""
    entry = claimed.entry
    began_at = entry.unknown_since or entry.attempt_began_at or entry.began_at or 0
    return Turn(
        message,
        part,
        (entry.accepted_at or 0) / 1000,
        began_at / 1000,
        media,
        mail.thread,
        mail.return_path,
        unsubscribe=mail.unsubscribe,
    )


def stored_message(
    ref: str, claimed: MessageClaim, channel: Channel, provider: str, copies: Sequence[AgentMessage] = ()
) -> tuple[AgentMessage, Choice]:
    """The message that an entry holds, from our number as the provider knows it, and why from this one. `copies`: what
    is read already. Raises Refused (350).
    """
    index = int(ref.partition("-")[2] or "0")
    if index < len(copies):
        message = copies[index]
    else:
        message = payloads.read_stored(claimed.entry.payload, index, claimed.entry.message_id, claimed.entry.trace_id)
    choice = Choice(channel.number_at(provider))
    if channel.senders or channel.by_country:
        choice = choose(
            channel.senders,
            channel.by_country,
            usual=choice.number,
            provider=provider,
            to=message.to.id,
            region=channel.default_region,
            kept=claimed.entry.sender_kept,
            text=message.text,
        )
    number = choice.number
    if number is None and channel.default_region is None:
        return message, choice
    sender = Address(number, message.sender.name) if number is not None else message.sender
    return replace(message, sender=sender, region=channel.default_region), choice


async def _send_part(
    ctx: WorkerContext,
    ref: str,
    claim: str,
    claimed: MessageClaim,
    channel: Channel,
    provider: Provider,
    part: Part,
    request: Request,
    since: float,
    *,
    sms: bool,
    sender: str,
) -> None:
    """`since`: when it was claimed. Raises _ClaimLost where that may be too long ago, and nothing was written."""
    began = time.monotonic()
    understood = True

    async def turn() -> None:
        nonlocal began
        waited = time.monotonic() - since > _WAITED
        await _kept(ctx, ref, claim, claimed, since, ask=waited and await ctx.ledger.controls.any())
        began = time.monotonic()

    try:
        answer = await ctx.accounts.send(provider, request, turn)
        taken = provider.parse_response(answer)
    except SendError as error:
        ctx.metrics.sends.labels(provider.name, error.outcome).inc()
        ctx.metrics.send_seconds.labels(provider.name).observe(time.monotonic() - began)
        if not isinstance(error, Unreadable):
            if isinstance(error, Refused):
                await consent.learn(ctx, claimed.entry.channel_id, provider.name, claimed.entry.to_id, error.code)
            await failures.record_failure(ctx, ref, claim, claimed, error)
            return
        failures.response_unreadable(ctx, provider.name, error)
        taken, understood = Submission(""), False
    except _ClaimLost:
        raise
    except Exception as error:  # the adapter tripped over an answer: the provider probably has the message
        ctx.metrics.faults.labels("bug", provider.name).inc()
        log.error("response_not_understood", provider=provider.name, bug=type(error).__name__, exc_info=True)
        taken, understood = Submission(""), False
    else:
        ctx.metrics.sends.labels(provider.name, "taken").inc()
        ctx.metrics.send_seconds.labels(provider.name).observe(time.monotonic() - began)
    if taken.message_id and claimed.entry.to_id:
        await threads.remember_renamed(ctx, channel, claimed.entry.channel_id, claimed.entry.to_id, taken.message_id)
    cost = _count(ctx, claimed.entry.channel_id, provider.name, part.text, taken.cost) if sms else taken.cost
    delivered = understood and channel.delivered_when == "taken" and part.number + 1 == part.count
    state = await ctx.ledger.messages.submitted(
        ref,
        claim,
        part.number,
        part.count,
        taken.provider_id,
        delivered=delivered,
        confirm_within=ctx.look_after(channel, provider.name),
        provider=provider.name,
        cost=cost,
        sender=sender,
    )
    switch.note(provider=provider.name, part=part.number + 1, attempt=claimed.entry.attempts, state=state)
    info_line_in_context(
        "message_sent",
        provider=provider.name,
        part=part.number + 1,
        parts=part.count,
        provider_id=taken.provider_id,
        attempt=claimed.entry.attempts,
        ms=round((time.monotonic() - began) * 1000),
        state=state,
    )


def _count(ctx: WorkerContext, channel_id: str, provider: str, text: str, cost: Cost | None) -> Cost | None:
    """Count the SMS of a part that was taken; its cost, with their number."""
    count = segmentation.segments(text)
    encoding = "gsm7" if segmentation.is_gsm7(text) else "ucs2"
    ctx.metrics.segments.labels(channel_id, provider, encoding).inc(count)
    return replace(cost, segments=count) if cost and not cost.segments else cost


async def _strand(ctx: WorkerContext, ref: str, claim: str) -> None:
    """The channel was taken out of bridge.yaml, or this worker has not read it yet: an operator decides."""
    state = await ctx.ledger.unconfigured.strand(ref, claim)
    ctx.metrics.faults.labels("unconfigured", "").inc()
    log.error("channel_not_configured", state=state)


async def _internal_error(ctx: WorkerContext, ref: str, claim: str) -> None:
    """A fault of ours before anything was sent: the agent is told, an operator is called."""
    ctx.metrics.faults.labels("bug", "").inc()
    log.error("message_internal_error", exc_info=True)
    await ctx.ledger.messages.fail(ref, claim, 500, "internal error")
