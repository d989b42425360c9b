"""What a provider tells: each event of a stored callback moves the ledger, or becomes a task of its own."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import orjson
import structlog

from dcbridge.config.senders import mark_of
from dcbridge.errors import SendError, UnreadableEvent
from dcbridge.ledger import NewPiece, NewTask, TaskClaim, lane_of
from dcbridge.ledger.consent import order_of
from dcbridge.ledger.dead_letters import NO_CHANNEL
from dcbridge.ledger.fields import Kind, MessageEntry
from dcbridge.ledger.jobs import INBOUND
from dcbridge.ledger.script import slices
from dcbridge.messages import ConsumerMessage, DeliveryUpdate, is_piece
from dcbridge.providers.base import Callback, Unread
from dcbridge.providers.callback import consumer_lane, consumer_task_id, pack, piece_set_id, unpack
from dcbridge.providers.phone import consumer_id
from dcbridge.runtime.logs import info_line_in_context
from dcbridge.settings.process import DAY
from dcbridge.tracing import switch
from workers import answers, consent, locating, quiet
from workers.confirmations import task_id_of
from workers.context import WorkerContext

log = structlog.get_logger()

FOLLOW_WAITS = (1.0, 5.0, 30.0, 300.0, 1800.0)  # seconds between the attempts to confirm a callback
_NOBODYS = MessageEntry({})
TOGETHER = 100  # messages of one callback whose updates are applied at the same time


async def read_callback(ctx: WorkerContext, task_id: str) -> None:
    """Name every event of a callback: updates move the ledger, messages become tasks of their own."""
    claim = ctx.ledger.leases.token()
    claimed = await ctx.ledger.tasks.claim(task_id, claim, ctx.settings.lease)
    if not claimed.ours:
        return
    keep = ctx.settings.callback_dedupe_days * DAY
    name = "?"
    with (
        structlog.contextvars.bound_contextvars(callback=task_id, trace=claimed.entry.trace_id),
        switch.processing(INBOUND, task_id, claimed.entry.trace_id),
    ):
        try:
            name, callback = unpack(claimed.entry.payload)
            events = ctx.providers[name].parse_callback(callback)
            tasks, pieces, unread = _tasks(ctx, name, events, claimed.entry.trace_id)
            if unread and len(unread) == len(events):
                raise UnreadableEvent(unread[0].kind)
        except UnreadableEvent as error:
            await _dead(ctx, task_id, claim, claimed, error.kind, name, keep)
            return
        except Exception:
            log.error("callback_internal_error", provider=name, exc_info=True)
            await _dead(ctx, task_id, claim, claimed, "internal error", name, keep)
            return
        if (why := await _followed(ctx, name, callback)) is not None:
            if claimed.entry.attempts <= len(FOLLOW_WAITS):
                await ctx.ledger.tasks.retry(task_id, claim, FOLLOW_WAITS[claimed.entry.attempts - 1], why)
            else:
                await _dead(ctx, task_id, claim, claimed, "its confirmation was not accepted", name, keep)
            return
        confirmations = await consent.hear(ctx, events, claimed.entry.accepted_at or 0, claimed.entry.trace_id)
        await _stay(ctx, name, events)
        await quiet.hear(ctx, name, events, claimed.entry.accepted_at or 0)
        answered = await _after_answers(ctx, name, events, claimed.entry.trace_id)
        await ctx.ledger.tasks.put([*(task for task in tasks if task.id not in answered), *confirmations])
        for piece in pieces:
            await ctx.ledger.tasks.put_piece(piece, ctx.settings.piece_wait, keep)
        for one in unread:
            await _aside(ctx, name, callback, one)
        if await _apply_all(ctx, [event for event in events if isinstance(event, DeliveryUpdate)], claimed):
            await ctx.ledger.tasks.done(task_id, claim, keep)
        else:
            wait = locating.WAITS[claimed.entry.attempts - 1]
            await ctx.ledger.tasks.retry(task_id, claim, wait, "id not known yet")


async def _after_answers(ctx: WorkerContext, name: str, events: Sequence[object], trace: str) -> frozenset[str]:
    """Answer what a rule fits; ids of the consumers' messages that are not for the agent.

    All of it is queued before the callback is done: what a crash leaves undone is done when it is read again, and what
    was queued is queued once.
    """
    if not ctx.configuration.own_channels:
        return frozenset()
    heard = [event for event in events if isinstance(event, ConsumerMessage)]
    return frozenset(
        [consumer_task_id(name, one.provider_id) for one in heard if not await answers.answer(ctx, name, one, trace)]
    )


async def _followed(ctx: WorkerContext, name: str, callback: Callback) -> str | None:
    """Send what the callback asks to be sent. None, or why that has to be tried again."""
    request = ctx.providers[name].follow(callback)
    if request is None:
        return None
    try:
        answer = await ctx.sender.http(request)
    except SendError as error:
        why = error.code or error.outcome
    else:
        why = "" if answer.is_success else f"HTTP {answer.status_code}"
    if why:
        log.warning("callback_not_confirmed", provider=name, code=why)
        return why
    log.info("callback_confirmed", provider=name)
    return None


def _tasks(
    ctx: WorkerContext, name: str, events: Sequence[ConsumerMessage | DeliveryUpdate | Unread], trace: str
) -> tuple[list[NewTask], list[NewPiece], list[Unread]]:
    """Tasks for consumer messages; the pieces of long ones; what cannot be read, or is for an address of no channel."""
    tasks, pieces, unread = [], [], []
    for event in events:
        if isinstance(event, Unread):
            unread.append(event)
            continue
        if not isinstance(event, ConsumerMessage):
            continue
        channel_id = ctx.configuration.channel_of(name, event.to.id)
        if channel_id is None:
            unread.append(Unread(NO_CHANNEL))
            continue
        consumer = consumer_id(event.sender.id, ctx.configuration.channels[channel_id].default_region)
        lane = consumer_lane(channel_id, consumer)
        if is_piece(event):
            pieces.append(_piece(name, event, channel_id, consumer, lane, trace))
            continue
        payload = {"from": consumer, "text": event.text, "media": event.media_urls, "provider": name}
        tasks.append(
            NewTask(
                consumer_task_id(name, event.provider_id),
                "consumer",
                lane,
                _json(payload),
                trace,
                channel_id,
                consumer,
            )
        )
    return tasks, pieces, unread


def _json(payload: Mapping[str, object]) -> bytes:
    """Also of a text with a half of a UTF-16 pair, as a phone can send it; it is mended when it is read."""
    try:
        return orjson.dumps(payload)
    except orjson.JSONEncodeError:
        return json.dumps(payload).encode()


def _piece(name: str, event: ConsumerMessage, channel_id: str, consumer: str, lane: str, trace: str) -> NewPiece:
    assert event.piece is not None
    head = orjson.dumps({"from": consumer, "media": (), "provider": name})[:-1] + b',"text":'
    return NewPiece(
        consumer_task_id(name, event.provider_id),
        piece_set_id(name, consumer, event.to.id, event.piece),
        event.piece.number,
        event.piece.count,
        channel_id,
        lane,
        head,
        json.dumps(event.text)[1:-1],  # a half of a UTF-16 pair, of which the next piece has the other one, is kept
        trace,
        consumer,
    )


async def _stay(ctx: WorkerContext, provider: str, events: Sequence[object]) -> None:
    """What agents answer goes through the provider that the consumers of these messages wrote through, and comes from
    the number that they wrote to.
    """
    for event in events:
        if not isinstance(event, ConsumerMessage):
            continue
        if (addressed := ctx.addressed(provider, event.to.id)) is None:
            continue
        channel_id, channel = addressed
        if len(channel.providers) > 1 or channel.senders:
            consumer = channel.consumer(event.sender.id)
            mark = mark_of(event.to.id) if channel.senders else ""
            await ctx.ledger.routes.stick(channel_id, lane_of(channel_id, consumer), provider, mark)


async def _aside(ctx: WorkerContext, provider: str, callback: Callback, one: Unread) -> None:
    """A dead letter of one event's own, beside others of the same callback that were acted upon."""
    _unreadable(ctx, provider, one.kind)
    await _bury(ctx, pack(provider, replace(callback, body=one.body) if one.body else callback), one.kind)


async def _apply_all(ctx: WorkerContext, updates: Sequence[DeliveryUpdate], claimed: TaskClaim) -> bool:
    """Those about one message in their order; those about others side by side, which then share calls of the script.

    False where one of them is to be looked at again.
    """
    settled = True
    for some in slices(updates, TOGETHER):
        settled = await _apply_together(ctx, await locating.located(ctx, some), claimed) and settled
    return settled


async def _apply_together(ctx: WorkerContext, updates: Sequence[DeliveryUpdate], claimed: TaskClaim) -> bool:
    about: dict[str, list[DeliveryUpdate]] = {}
    soon = [one for one in updates if locating.may_be_known_soon(ctx, one)]
    wait = bool(soon) and claimed.entry.attempts <= len(locating.WAITS)
    for update in updates:
        if not (wait and update in soon):
            about.setdefault(update.ref or update.provider_id or update.first_ref, []).append(update)
    refs = [ref for ref, group in about.items() if group[0].ref]
    entries = dict(zip(refs, await ctx.ledger.messages.entries(refs), strict=True))
    applied = [_apply_in_order(ctx, group, entries.get(ref, _NOBODYS), claimed) for ref, group in about.items()]
    gone: list[DeliveryUpdate] = []
    for result in await asyncio.gather(*applied, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
        gone += result
    await ctx.ledger.heard.note(one.provider for one in updates)
    await _bury_unknown(ctx, gone, claimed)
    return not wait


async def _apply_in_order(
    ctx: WorkerContext, updates: Sequence[DeliveryUpdate], entry: MessageEntry, claimed: TaskClaim
) -> list[DeliveryUpdate]:
    """Those that are about nothing that is known."""
    gone = []
    for one in updates:
        trace = entry.trace_id if entry else claimed.entry.trace_id
        with switch.about("delivery_update", one.ref if entry else "unknown", trace, provider=one.provider):
            result = await _apply(ctx, one, entry, claimed)
            switch.note(part=one.part + 1, status=one.status.value, code=one.detail, outcome=result)
        if result == "gone":
            gone.append(one)
    return gone


async def _bury_unknown(ctx: WorkerContext, gone: Sequence[DeliveryUpdate], claimed: TaskClaim) -> None:
    """About messages we never sent, or so old that they are forgotten; of our answer to a STOP nothing more is kept."""
    named = [task_id_of(one.ref) for one in gone if one.ref]
    answers = {task for task, found in zip(named, await ctx.ledger.tasks.entries(named), strict=True) if found}
    for why in sorted({locating.why_unknown(one) for one in gone if task_id_of(one.ref) not in answers}):
        await _bury(ctx, claimed.entry.payload, why)


async def _apply(ctx: WorkerContext, update: DeliveryUpdate, entry: MessageEntry, claimed: TaskClaim) -> str:
    """What it changed."""
    channel = ctx.channel(entry.channel_id)
    result = "gone"
    if entry:
        result = await ctx.ledger.messages.update(
            update.ref,
            update.part,
            update.status.value,
            update.provider_id,
            str(int(update.reason)) if update.reason else "",
            update.detail,
            ctx.look_after(channel, entry.provider) if channel else DAY,
            update.pieces,
            locating.says_so(ctx, update, entry),
            update.cost,
        )
    if entry and update.suppress:
        order = order_of(claimed.entry.accepted_at or 0)
        await consent.suppress(ctx, entry.channel_id, entry.to_id, update, order)
    if entry.to_id:
        order = order_of(claimed.entry.accepted_at or 0)
        await consent.learn(ctx, entry.channel_id, update.provider, entry.to_id, update.detail, order)
    ctx.metrics.updates.labels(update.provider, result).inc()
    info_line_in_context(
        "delivery_update",
        provider=update.provider,
        message=update.ref,
        trace=entry.trace_id or claimed.entry.trace_id,
        part=update.part + 1,
        status=update.status.value,
        code=update.detail or None,
        outcome=result,
    )
    return result


async def _bury(ctx: WorkerContext, raw: bytes, why: str) -> None:
    """A dead letter of a callback that is done but for this; the same bytes are one."""
    letter = f"u-{hashlib.blake2b(raw, digest_size=12).hexdigest()}"
    await ctx.ledger.dead_letters.add(letter, Kind.DELIVERY_UPDATE, "", why, raw)


async def _dead(
    ctx: WorkerContext, task_id: str, claim: str, claimed: TaskClaim, why: str, provider: str, keep: float
) -> None:
    _unreadable(ctx, provider, why)
    await ctx.ledger.tasks.dead(task_id, claim, why, claimed.entry.payload, keep)


def _unreadable(ctx: WorkerContext, provider: str, why: str) -> None:
    ctx.metrics.faults.labels("callback_unreadable", provider).inc()
    log.error("callback_unreadable", provider=provider, why=why)
