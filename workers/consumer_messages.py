"""What a consumer wrote, posted to the platform for the agent."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import structlog

from dcbridge.errors import OutcomeUnknown, Refused, SendError, Undecodable
from dcbridge.ledger import TaskClaim
from dcbridge.ledger.fields import TaskEntry
from dcbridge.ledger.jobs import INBOUND
from dcbridge.platform import Origin
from dcbridge.runtime.logs import info_line_in_context
from dcbridge.settings.process import DAY
from dcbridge.tracing import switch
from workers import failures, mail_items, media_in, secure_email
from workers.context import WorkerContext
from workers.secure_email import Came

log = structlog.get_logger()

LONGEST_ID, MOST_IDS = 100, 20  # of a message's ids that are kept
CONSUMER_TIME_TO_LIVE = DAY  # seconds a consumer's message is tried before it becomes a dead letter


async def post_consumer_message(ctx: WorkerContext, task_id: str) -> None:
    """Hand one consumer message to the agent. No platform documents an idempotency key for this call, so a
    timeout is tried once more and said in the log; a connection that never was, 429 and 5xx are tried for a day.
    """
    claim = ctx.ledger.leases.token()
    while not await _post_consumer_message(ctx, task_id, claim):
        log.warning("lease_lost_before_send", message=task_id)


async def _post_consumer_message(ctx: WorkerContext, task_id: str, claim: str) -> bool:
    """False when nothing was posted, because the process stood still after the claim."""
    since = time.monotonic()
    claimed = await ctx.ledger.tasks.claim(task_id, claim, ctx.settings.lease)
    if not claimed.ours:
        return True
    channel_id = claimed.entry.channel_id
    stored = _read(claimed.entry)
    consumer = ctx.tokens.of(stored["from"])
    keep = ctx.settings.callback_dedupe_days * DAY
    with (
        structlog.contextvars.bound_contextvars(
            message=task_id, trace=claimed.entry.trace_id, channel=channel_id, consumer=consumer
        ),
        switch.processing(INBOUND, task_id, claimed.entry.trace_id, channel=channel_id),
    ):
        shown = stored
        try:
            if mail := stored.get("secure"):
                if await _submitted(ctx, task_id, claim, claimed, stored, keep):
                    return True
                shown = {**stored, "text": "\n\n".join(filter(None, (mail["subject"], stored["text"])))}
            found = await media_in.for_agent(ctx, task_id, claimed, shown)
        except SendError as error:
            await _not_posted(ctx, task_id, claim, claimed, orjson.dumps(stored), error, keep)
            return True
        if found is None:
            return True
        email = stored.get("email")
        if not found.text and not found.others and not (email and email["subject"]):
            # An empty text is an invalid message to a platform, and there is nothing that an agent could read.
            await ctx.ledger.tasks.done(task_id, claim, keep, "blank text, not posted")
            ctx.metrics.consumer_messages.labels(channel_id, "blank").inc()
            log.info("consumer_message_blank", attempt=claimed.entry.attempts)
            return True
        try:
            if ctx.claim_may_be_lost(since):
                return False
            as_item = bool(stored.get("item")) and await mail_items.make(ctx, task_id, claimed, stored, found.text)
            ids = [] if as_item else await _post(ctx, task_id, claimed.entry, stored, found)
        except Undecodable as error:
            failures.response_unreadable(ctx, ctx.platforms.of(channel_id).name, error)
            ids, as_item = [], False
        except SendError as error:
            await _not_posted(ctx, task_id, claim, claimed, orjson.dumps(stored), error, keep)
            return True
        genesys = ctx.configuration.genesys
        kept = _kept(ids) if genesys and genesys.keep_message_ids and not as_item else ""
        await ctx.ledger.tasks.done(task_id, claim, keep, ids=kept)
        ctx.metrics.consumer_messages.labels(channel_id, "posted").inc()
        info_line_in_context("consumer_message_posted", attempt=claimed.entry.attempts, ids=ids)
        return True


async def _submitted(
    ctx: WorkerContext, task_id: str, claim: str, claimed: TaskClaim, stored: Mapping[str, Any], keep: float
) -> bool:
    """Whether nothing more is to be done with an email for Secure Email. Raises Deferred."""
    channel_id, attempt = claimed.entry.channel_id, claimed.entry.attempts
    came = await secure_email.submit(ctx, task_id, claim, claimed, stored)
    if came is Came.TAKEN:
        await ctx.ledger.tasks.done(task_id, claim, keep)
        ctx.metrics.consumer_messages.labels(channel_id, "posted").inc()
        info_line_in_context("secure_email_posted", attempt=attempt)
    elif came is Came.UNKNOWN:
        ctx.metrics.consumer_messages.labels(channel_id, "secure_email_unknown").inc()
        log.error("consumer_message_dead", outcome="outcome_unknown", code=secure_email.UNKNOWN, attempt=attempt)
        await ctx.ledger.tasks.dead(task_id, claim, secure_email.UNKNOWN, orjson.dumps(stored), keep)
    return came is not Came.NOT_TAKEN


async def _post(
    ctx: WorkerContext, task_id: str, entry: TaskEntry, stored: Mapping[str, Any], found: media_in.ForAgent
) -> list[str]:
    """As an email where the channel says so; as a text where it does not, or where Genesys takes no such email."""
    channel_id, trace = entry.channel_id, entry.trace_id
    platform, origin = ctx.platforms.of(channel_id), Origin(task_id, (entry.accepted_at or 0) / 1000)
    email, text = stored.get("email"), found.text
    if email is not None:
        if text:
            try:
                return await platform.post_consumer_email(
                    channel_id, stored["from"], email, text, trace, found.others, origin
                )
            except Refused as error:
                log.warning("consumer_email_refused", code=error.code)
                ctx.metrics.consumer_messages.labels(channel_id, "email_refused").inc()
        text = "\n\n".join(filter(None, (email["subject"], text)))
    return await platform.post_consumer_message(channel_id, stored["from"], text, trace, found.others, origin)


def _kept(ids: Sequence[str]) -> str:
    """As `posted_ids` has them; an id that could not be told from others there is as good as none."""
    fit = [one for one in ids if len(one) <= LONGEST_ID and one.isprintable() and " " not in one]
    return " ".join(fit[:MOST_IDS]) or "-"


def _read(entry: TaskEntry) -> dict[str, Any]:
    """What is stored of a message; of a long one that came in pieces, with a note where some are missing."""
    try:
        stored: dict[str, Any] = orjson.loads(entry.payload)
    except orjson.JSONDecodeError:  # a piece ended within a UTF-16 pair, and the other half never came
        stored = json.loads(entry.payload)
        stored["text"] = stored["text"].encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    missing = entry.piece_count - entry.pieces_here
    if missing > 0:
        parts = "1 part" if missing == 1 else f"{missing} parts"
        stored["text"] += f"\n[{parts} of {entry.piece_count} of this message did not arrive.]"
    return stored


async def _not_posted(
    ctx: WorkerContext, task_id: str, claim: str, claimed: TaskClaim, content: bytes, error: SendError, keep: float
) -> None:
    """`content`: what becomes a dead letter."""
    channel_id, attempt = claimed.entry.channel_id, claimed.entry.attempts
    platform = ctx.platforms.of(channel_id)
    switch.failed(error.outcome, error.code)
    ctx.metrics.consumer_messages.labels(channel_id, error.outcome).inc()
    if error.page:
        ctx.metrics.faults.labels(error.outcome, platform.name).inc()
    unanswered = isinstance(error, OutcomeUnknown) and not error.code.startswith("http ")
    again = (error.again or error.taken is None) and not (unanswered and attempt > 1)
    age = time.time() - claimed.entry.accepted_at / 1000
    if again and age < CONSUMER_TIME_TO_LIVE:
        if unanswered:
            log.warning("possible_duplicate", outcome=error.outcome, code=error.code, attempt=attempt)
        retry = ctx.configuration.retry_of(channel_id) if ctx.channel(channel_id) else ctx.configuration.retry
        delay = failures.wait(retry, attempt, failures.kept_by(ctx, platform, error))
        await ctx.ledger.tasks.retry(task_id, claim, delay, error.code)
        log.warning("consumer_message_postponed", outcome=error.outcome, code=error.code, attempt=attempt)
        return
    log.error("consumer_message_dead", outcome=error.outcome, code=error.code, attempt=attempt)
    await ctx.ledger.tasks.dead(task_id, claim, error.code, content, keep)
