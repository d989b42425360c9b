"""What comes from a provider: read a callback, and hand what a consumer wrote to Digital Channels."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace

import orjson
import structlog

from dcbridge.errors import OutcomeUnknown, SendError, Undecodable, UnreadableEvent
from dcbridge.ledger import NewTask, TaskClaim
from dcbridge.ledger.dead_letters import NO_CHANNEL
from dcbridge.ledger.fields import MessageEntry
from dcbridge.messages import ConsumerMessage, DeliveryUpdate
from dcbridge.providers.base import Callback, Unread
from dcbridge.providers.callback import consumer_lane, consumer_task_id, pack, unpack
from dcbridge.providers.phone import consumer_id, is_blank
from dcbridge.settings.process import DAY
from workers import failures, locating
from workers.context import WorkerContext

log = structlog.get_logger()

CONSUMER_TIME_TO_LIVE = DAY  # seconds a consumer's message is tried before it becomes a dead letter


async def read_callback(ctx: WorkerContext, task_id: str) -> None:
    """Name every event of a callback: updates move the ledger, messages become tasks of their own."""
    claim = ctx.ledger.token()
    claimed = await ctx.ledger.claim_task(task_id, claim, ctx.settings.lease)
    if not claimed.ours:
        return
    keep = ctx.settings.callback_dedupe_days * DAY
    name = "?"
    with structlog.contextvars.bound_contextvars(callback=task_id, trace=claimed.entry.trace_id):
        try:
            name, callback = unpack(claimed.entry.payload)
            events = ctx.providers[name].parse_callback(callback)
            tasks, unread = _tasks(ctx, name, events, claimed.entry.trace_id)
            if unread and len(unread) == len(events):
                raise UnreadableEvent(unread[0].kind)
        except UnreadableEvent as error:
            await _dead(ctx, task_id, claim, claimed, error.kind, name, keep)
            return
        except Exception:
            log.error("callback_internal_error", provider=name, exc_info=True)
            await _dead(ctx, task_id, claim, claimed, "internal error", name, keep)
            return
        await ctx.ledger.put_tasks(tasks)
        for one in unread:
            await _aside(ctx, name, callback, one)
        settled = [await _apply(ctx, event, claimed) for event in events if isinstance(event, DeliveryUpdate)]
        if all(settled):
            await ctx.ledger.task_done(task_id, claim, keep)
        else:
            wait = locating.WAITS[claimed.entry.attempts - 1]
            await ctx.ledger.task_retry(task_id, claim, wait, "id not known yet")


def _tasks(
    ctx: WorkerContext, name: str, events: Sequence[ConsumerMessage | DeliveryUpdate | Unread], trace: str
) -> tuple[list[NewTask], list[Unread]]:
    """One task for each consumer message; and what cannot be read, or is for an address of none of our channels."""
    tasks, unread = [], []
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
        payload = {"from": consumer, "text": event.text, "media": event.media_urls, "provider": name}
        tasks.append(
            NewTask(
                consumer_task_id(name, event.provider_id),
                "consumer",
                consumer_lane(channel_id, consumer),
                orjson.dumps(payload),
                trace,
                channel_id,
            )
        )
    return tasks, unread


async def _aside(ctx: WorkerContext, provider: str, callback: Callback, one: Unread) -> None:
    """A dead letter of one event's own, beside others of the same callback that were acted upon."""
    raw = pack(provider, replace(callback, body=one.body) if one.body else callback)
    letter = f"u-{hashlib.blake2b(raw, digest_size=12).hexdigest()}"
    ctx.metrics.faults.labels("callback_unreadable", provider).inc()
    log.error("callback_unreadable", provider=provider, why=one.kind)
    await ctx.ledger.bury(letter, "delivery update", "", one.kind, raw)


async def _apply(ctx: WorkerContext, update: DeliveryUpdate, claimed: TaskClaim) -> bool:
    """False where the update is to be looked at again: the id that it goes by may be written in a moment."""
    update = await locating.located(ctx, update)
    if locating.may_be_known_soon(ctx, update) and claimed.entry.attempts <= len(locating.WAITS):
        return False
    entry = await ctx.ledger.entry(update.ref) if update.ref else MessageEntry({})
    channel = ctx.channel(entry.channel_id)
    result = "gone"
    if entry:
        result = await ctx.ledger.update(
            update.ref,
            update.part,
            update.status.value,
            update.provider_id,
            str(int(update.reason)) if update.reason else "",
            update.detail,
            ctx.look_after(channel) if channel else DAY,
        )
    ctx.metrics.updates.labels(update.provider, result).inc()
    log.info(
        "delivery_update",
        provider=update.provider,
        message=update.ref,
        trace=entry.trace_id or claimed.entry.trace_id,
        part=update.part + 1,
        status=update.status.value,
        code=update.detail or None,
        outcome=result,
    )
    if result == "gone":  # a message we never sent, or one so old that it is forgotten
        raw = claimed.entry.payload
        letter = f"u-{hashlib.blake2b(raw, digest_size=12).hexdigest()}"
        await ctx.ledger.bury(letter, "delivery update", "", locating.why_unknown(update), raw)
    return True


async def _dead(
    ctx: WorkerContext, task_id: str, claim: str, claimed: TaskClaim, why: str, provider: str, keep: float
) -> None:
    ctx.metrics.faults.labels("callback_unreadable", provider).inc()
    log.error("callback_unreadable", provider=provider, why=why)
    await ctx.ledger.task_dead(task_id, claim, why, claimed.entry.payload, keep)


async def post_consumer_message(ctx: WorkerContext, task_id: str) -> None:
    """Hand one consumer message to the agent. Digital Channels documents no idempotency for this call, so a
    timeout is tried once more and said in the log; a connection that never was, 429 and 5xx are tried for a day.
    """
    claim = ctx.ledger.token()
    while not await _post_consumer_message(ctx, task_id, claim):
        log.warning("lease_lost_before_send", message=task_id)


async def _post_consumer_message(ctx: WorkerContext, task_id: str, claim: str) -> bool:
    """False when nothing was posted, because the process stood still after the claim."""
    since = time.monotonic()
    claimed = await ctx.ledger.claim_task(task_id, claim, ctx.settings.lease)
    if not claimed.ours:
        return True
    channel_id = claimed.entry.channel_id
    stored = orjson.loads(claimed.entry.payload)
    consumer = ctx.tokens.of(stored["from"])
    keep = ctx.settings.callback_dedupe_days * DAY
    with structlog.contextvars.bound_contextvars(
        message=task_id, trace=claimed.entry.trace_id, channel=channel_id, consumer=consumer
    ):
        text = text_for_the_agent(stored["text"], stored["media"])
        if not text:
            # An empty text is an invalid message to Digital Channels, and there is nothing that an agent could read.
            await ctx.ledger.task_done(task_id, claim, keep, "blank text, not posted")
            ctx.metrics.consumer_messages.labels(channel_id, "blank").inc()
            log.info("consumer_message_blank", attempt=claimed.entry.attempts)
            return True
        try:
            if ctx.claim_may_be_lost(since):
                return False
            ids = await ctx.digital_channels.post_consumer_message(
                channel_id, stored["from"], text, claimed.entry.trace_id
            )
        except Undecodable as error:
            failures.response_unreadable(ctx, "digital-channels", error)
            ids = []
        except SendError as error:
            await _not_posted(ctx, task_id, claim, claimed, error, keep)
            return True
        await ctx.ledger.task_done(task_id, claim, keep)
        ctx.metrics.consumer_messages.labels(channel_id, "posted").inc()
        log.info("consumer_message_posted", attempt=claimed.entry.attempts, ids=ids)
        return True


def text_for_the_agent(text: str, media: Sequence[str]) -> str:
    """What a consumer wrote, and where the files are that came with it; "" where nothing can be seen."""
    links = [url for url in media if url]
    if not is_blank(text):
        return "\n".join([text, *links])
    if len(links) == 1:
        return f"The consumer sent a file: {links[0]}"
    return "\n".join([f"The consumer sent {len(links)} files:", *links]) if links else ""


async def _not_posted(
    ctx: WorkerContext, task_id: str, claim: str, claimed: TaskClaim, error: SendError, keep: float
) -> None:
    channel_id, attempt = claimed.entry.channel_id, claimed.entry.attempts
    ctx.metrics.consumer_messages.labels(channel_id, error.outcome).inc()
    if error.page:
        ctx.metrics.faults.labels(error.outcome, "digital-channels").inc()
    unanswered = isinstance(error, OutcomeUnknown) and not error.code.startswith("http ")
    again = (error.again or error.taken is None) and not (unanswered and attempt > 1)
    age = time.time() - claimed.entry.accepted_at / 1000
    if again and age < CONSUMER_TIME_TO_LIVE:
        if unanswered:
            log.warning("possible_duplicate", outcome=error.outcome, code=error.code, attempt=attempt)
        retry = ctx.configuration.retry_of(channel_id) if ctx.channel(channel_id) else ctx.configuration.retry
        delay = failures.wait(retry, attempt, failures.kept_to(ctx, "digital-channels", error))
        await ctx.ledger.task_retry(task_id, claim, delay, error.code)
        log.warning("consumer_message_postponed", outcome=error.outcome, code=error.code, attempt=attempt)
        return
    log.error("consumer_message_dead", outcome=error.outcome, code=error.code, attempt=attempt)
    await ctx.ledger.task_dead(task_id, claim, error.code, claimed.entry.payload, keep)
