"""A secure message waits: the consumer is told so by a text, once for each email that an agent sent."""

from __future__ import annotations

import time
from collections.abc import Sequence
from hashlib import blake2b

import orjson
import structlog

from dcbridge.config.secure_messages import COUNT, SecureMessages
from dcbridge.errors import Refused, SendError
from dcbridge.events.event import StoredEvent
from dcbridge.genesys import secure_email
from dcbridge.genesys.envelope import Reading
from dcbridge.json_values import a_text
from dcbridge.ledger import NewTask
from dcbridge.ledger.jobs import EVENTS
from dcbridge.providers.phone import to_e164
from dcbridge.settings.process import DAY
from dcbridge.tracing import switch
from workers import failures
from workers.context import WorkerContext
from workers.own_messages import say

log = structlog.get_logger()

NAME = "genesys/secure-email"
GIVEN_UP = 6 * 3600.0  # seconds after which a text that says "new" would not be true any more


async def noticed(ctx: WorkerContext, found: Sequence[StoredEvent]) -> None:
    """A task for each outbound email among these events."""
    wanted = ctx.configuration.genesys.secure_messages if ctx.configuration.genesys else None
    if wanted is None:
        return
    tasks = [
        _task(one, wanted.channel)
        for one in found
        if one.event.name.upper() == wanted.event
        and one.event.media.casefold() == "email"
        and one.event.subtype.casefold() == "outbound"
        and one.event.interaction
    ]
    if tasks:
        await ctx.ledger.tasks.put(tasks)


def _task(one: StoredEvent, channel: str) -> NewTask:
    name = f"{one.event.endpoint}\0{one.event.interaction}".encode()
    task_id = f"n-{blake2b(name, digest_size=12, person=b'dcbridge-notice').hexdigest()}"
    return NewTask(task_id, "notice", "", orjson.dumps({"mail": one.event.interaction}), one.trace_id, channel)


async def notice(ctx: WorkerContext, task_id: str) -> None:
    """Ask whom the email is for, and write to them."""
    claim = ctx.ledger.leases.token()
    claimed = await ctx.ledger.tasks.claim(task_id, claim, ctx.settings.lease)
    if not claimed.ours:
        return
    genesys, interfaces = ctx.configuration.genesys, ctx.interfaces
    wanted = genesys.secure_messages if genesys else None
    keep = ctx.settings.callback_dedupe_days * DAY
    with (
        structlog.contextvars.bound_contextvars(task=task_id, trace=claimed.entry.trace_id),
        switch.processing(EVENTS, task_id, claimed.entry.trace_id),
    ):
        if genesys is None or wanted is None or interfaces is None:
            await ctx.ledger.tasks.done(task_id, claim, keep, "not configured")
            return
        mail = a_text(orjson.loads(claimed.entry.payload).get("mail"))
        try:
            outcome = await _told(ctx, wanted, genesys.url(wanted.base_url, "/nexus/v3"), mail, claimed.entry.trace_id)
        except SendError as error:
            if error.page:
                ctx.metrics.faults.labels(error.outcome, NAME).inc()
            if time.time() - claimed.entry.accepted_at / 1000 < GIVEN_UP:
                kept = failures.kept_to(ctx, NAME, error)
                delay = failures.wait(ctx.configuration.retry, claimed.entry.attempts, kept)
                await ctx.ledger.tasks.retry(task_id, claim, delay, error.code)
                log.warning("secure_message_postponed", outcome=error.outcome, code=error.code)
                return
            outcome = "given_up"
        await ctx.ledger.tasks.done(task_id, claim, keep, "" if outcome == "queued" else outcome.replace("_", " "))
        ctx.metrics.secure_messages.labels(outcome).inc()
        log.info("secure_message", outcome=outcome)


async def _told(ctx: WorkerContext, wanted: SecureMessages, base_url: str, mail: str, trace: str) -> str:
    """What became of it, in a word. Raises a SendError where Genesys cannot be asked now."""
    assert ctx.interfaces is not None
    request = secure_email.user_data(base_url, mail)
    if request is None:
        return "no_address"
    reading = await ctx.interfaces.send(secure_email.USER_DATA, request, trace)
    if reading.http == 404:
        return "gone"
    if not reading.good:
        error = reading.error()
        if isinstance(error, Refused):
            return "refused"
        raise error
    channel = ctx.channel(wanted.channel)
    try:
        number = to_e164(a_text(reading.data.get(wanted.number_key)), channel.default_region if channel else None)
    except (SendError, ValueError):
        return "no_number"
    text = await _text(ctx, wanted, base_url, reading, trace)
    said = await say(
        ctx,
        channel=wanted.channel,
        consumer=number.removeprefix("+"),
        text=text,
        cause=f"secure message {mail}",
        trace=trace,
    )
    return said.outcome


async def _text(ctx: WorkerContext, wanted: SecureMessages, base_url: str, told: Reading, trace: str) -> str:
    """With the number of unread emails, where it is known at once: a text does not wait for it."""
    assert ctx.interfaces is not None
    if COUNT not in wanted.text:
        return wanted.text
    address = a_text(told.data.get(wanted.address_key))
    number = None
    if 0 < len(address) <= secure_email.LONGEST_ADDRESS:
        try:
            reading = await ctx.interfaces.send(secure_email.COUNT, secure_email.count(base_url, address), trace)
            number = secure_email.count_of(reading) if reading.good else None
        except SendError as error:
            log.info("secure_message_not_counted", outcome=error.outcome, code=error.code)
    return wanted.text.replace(COUNT, str(number)) if number else wanted.without_count or ""
