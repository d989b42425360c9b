"""A mail that was taken: read, and then a consumer's message, a delivery report, or nothing for an agent."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson
import structlog

from dcbridge.config.inbound import Inbound
from dcbridge.config.models import Channel
from dcbridge.errors import Deferred, UnreadableEvent
from dcbridge.ledger import NewTask, TaskClaim
from dcbridge.ledger.blobs import NoRoom
from dcbridge.ledger.jobs import INBOUND
from dcbridge.mail.clean import cleaned
from dcbridge.mail.for_agent import marks_of, text_for_agent
from dcbridge.mail.quotes import reply_of
from dcbridge.mail.reader import Kind, Mail, read
from dcbridge.messages import Address
from dcbridge.providers.base import Callback
from dcbridge.providers.callback import consumer_lane, consumer_task_id, pack
from dcbridge.providers.smtp import NAMED
from dcbridge.runtime.logs import info_line_in_context
from dcbridge.settings.process import DAY
from dcbridge.tracing import switch
from workers import failures, threads
from workers.context import WorkerContext
from workers.files import SMALL_MAIL
from workers.media_in import BLOB, MOST, ORIGINAL

log = structlog.get_logger()

FLOOD = 600.0  # seconds in which mails of one consumer are counted
NOT_VERIFIED = "the sender is not verified"
LONGEST_REPORT = 1 << 20  # bytes of a bounce that are read as a report; what it is about stands at its beginning


@dataclass(frozen=True, slots=True)
class Known:
    """A mail, and what an address of it refers to: the copy of an email of ours, and the mailbox that this went to."""

    raw: bytes
    ref: str
    mailbox: str
    html: str = ""  # of the mail itself, cleaned, where it goes on as an email


async def read_mail(ctx: WorkerContext, task_id: str) -> None:
    """Read one mail, and hand on what it is: nothing is posted here."""
    claim = ctx.ledger.leases.token()
    claimed = await ctx.ledger.tasks.claim(task_id, claim, ctx.settings.lease)
    if not claimed.ours:
        return
    channel_id = claimed.entry.channel_id
    with (
        structlog.contextvars.bound_contextvars(message=task_id, trace=claimed.entry.trace_id, channel=channel_id),
        switch.processing(INBOUND, task_id, claimed.entry.trace_id, channel=channel_id),
    ):
        try:
            stored = orjson.loads(claimed.entry.payload)
            small = stored.get("size", SMALL_MAIL + 1) <= SMALL_MAIL  # one that an earlier version stored says nothing
            async with ctx.files.room("small mails" if small else "mails"):
                await _read(ctx, task_id, claim, claimed, channel_id, stored)
        except Deferred as error:  # many large ones at once would take all memory
            delay = failures.wait(ctx.configuration.retry, claimed.entry.attempts)
            await ctx.ledger.tasks.retry(task_id, claim, delay, error.code)
        except (ValueError, LookupError, TypeError, ArithmeticError, RecursionError):
            ctx.metrics.faults.labels("bug", "").inc()
            log.error("mail_internal_error", exc_info=True)
            await _dead(ctx, task_id, claim, claimed, "internal error")


async def _read(
    ctx: WorkerContext, task_id: str, claim: str, claimed: TaskClaim, channel_id: str, stored: Mapping[str, Any]
) -> None:
    channel = ctx.channel(channel_id)
    if channel is None or channel.inbound is None:
        return await _dead(ctx, task_id, claim, claimed, "the channel takes no mail")
    try:
        raw = await ctx.ledger.blobs.get(stored["blob"])
    except OSError as error:  # the folder or the bucket is away
        log.warning("blob_not_read", error=type(error).__name__, attempt=claimed.entry.attempts)
        raise Deferred("blob not read") from None
    if raw is None:
        return await _dead(ctx, task_id, claim, claimed, "the mail is not kept any more")
    # In a thread: the worst mail takes a second, and other jobs of this process go on meanwhile.
    mail = await asyncio.to_thread(
        read,
        raw,
        envelope_from=stored["from"],
        trusted=channel.inbound.authserv_id,
        own_domains=ctx.mail_domains,
    )
    ref, mailbox = await threads.answered_copy(ctx, channel_id, [stored.get("to") or "", *mail.delivered_to])
    if mail.kind is Kind.MESSAGE and mail.sender is not None:
        mail = await _in_its_thread(ctx, channel_id, mail, mailbox or mail.sender.id)
    html = await asyncio.to_thread(cleaned, mail.html) if channel.inbound.to == "email" else ""
    known = Known(raw, ref, mailbox, html)
    if why := await _why_held(ctx, channel_id, channel.inbound, mail, known, stored, task_id):
        return await _hold(ctx, task_id, claim, claimed, stored, why)
    outcome, task, why = _what_follows(ctx, channel_id, channel, channel.inbound, mail, claimed, task_id, known)
    if task is not None:
        if outcome == "message":
            await _keep_files(ctx, task.id, mail, original=_has_original(channel.inbound, mail))
        await ctx.ledger.tasks.put([task])
    if outcome == "unreadable":
        return await _dead(ctx, task_id, claim, claimed, why)
    await ctx.ledger.tasks.done(task_id, claim, ctx.settings.callback_dedupe_days * DAY, why)
    ctx.metrics.mails.labels(channel_id, outcome).inc()
    info_line_in_context(
        "mail_read",
        outcome=outcome,
        why=why or None,
        consumer=ctx.tokens.of(mail.sender.id) if mail.sender else None,
        bytes=len(raw),
        files=len(mail.files),
        task=task.id if task else None,
    )
    return None


def _what_follows(
    ctx: WorkerContext,
    channel_id: str,
    channel: Channel,
    inbound: Inbound,
    mail: Mail,
    claimed: TaskClaim,
    task_id: str,
    known: Known,
) -> tuple[str, NewTask | None, str]:
    """What became of it, the task that goes on with it, and why nothing does."""
    trace = claimed.entry.trace_id
    if mail.kind is Kind.LOOP:
        return "loop", None, mail.why
    if mail.kind is Kind.BOUNCE:
        if mail.why == "disposition notification":
            return "read receipt", None, mail.why
        report = _report(ctx, channel, known, trace)
        return ("bounce", report, "") if report else ("unreadable", None, f"bounce {mail.why}")
    if mail.kind is Kind.AUTOMATIC and inbound.automatic == "hide":
        return "automatic", None, mail.why
    if mail.sender is None:
        return "unreadable", None, "no sender"
    if mail.dmarc == "fail" and inbound.unverified == "refuse" and not known.ref:
        return "refused", None, NOT_VERIFIED
    consumer, writer = mailbox_key(Address(known.mailbox) if known.mailbox else mail.sender), mailbox_key(mail.sender)
    elsewhere = "" if writer.lower() == consumer.lower() else writer
    marks = marks_of(mail, unverified=inbound.unverified != "ignore", written_from=elsewhere)
    new_id = consumer_task_id(channel_id, task_id)
    names = {f"{BLOB}{file_id(new_id, place)}": file.name for place, file in enumerate(mail.files)}
    original = _has_original(inbound, mail)
    if original:
        names[f"{BLOB}{new_id}{ORIGINAL}"] = "original.txt"
    as_email = inbound.to == "email"
    apart = as_email or inbound.to == "securemail"  # the subject has a field of its own
    text = text_for_agent(mail, marks, subject=not apart, original=original)
    payload = {"from": consumer, "text": text, "media": [*names], "names": names, "provider": channel.provider}
    if as_email:
        name = "" if elsewhere else mail.sender.name
        payload["email"] = {"subject": mail.subject, "html": known.html, "name": name, "to": inbound.addresses[0]}
    about = {"subject": mail.subject, "name": "" if elsewhere else mail.sender.name, "to": inbound.addresses[0]}
    if inbound.to == "openmedia":
        payload["item"] = {"service": inbound.service, **about}
    if inbound.to == "securemail":
        payload["secure"] = about
    lane = consumer_lane(channel_id, consumer)
    return "message", NewTask(new_id, "consumer", lane, orjson.dumps(payload), trace, channel_id, consumer), ""


async def _why_held(
    ctx: WorkerContext,
    channel_id: str,
    inbound: Inbound,
    mail: Mail,
    known: Known,
    stored: Mapping[str, Any],
    task_id: str,
) -> str:
    """Why somebody should look before an agent does; "" for nothing. A mail that was released is not held again."""
    if stored.get("released") or mail.sender is None or mail.kind in (Kind.LOOP, Kind.BOUNCE):
        return ""
    if mail.dmarc == "fail" and inbound.unverified == "hold" and not known.ref:
        return NOT_VERIFIED
    if mail.kind is Kind.AUTOMATIC and inbound.automatic == "hide":
        return ""
    thread = threads.thread_of(ctx, channel_id, known.mailbox or mail.sender.id)
    count = await ctx.ledger.threads.mails_of(thread, task_id, FLOOD)
    return f"more than {inbound.hold_over} mails in 10 minutes" if count > inbound.hold_over else ""


async def _hold(
    ctx: WorkerContext, task_id: str, claim: str, claimed: TaskClaim, stored: Mapping[str, Any], why: str
) -> None:
    """A dead letter whose replay releases it."""
    ctx.metrics.mails.labels(claimed.entry.channel_id, "held").inc()
    log.warning("mail_held", why=why)
    released = orjson.dumps({**stored, "released": True})
    keep = ctx.settings.callback_dedupe_days * DAY
    await ctx.ledger.tasks.dead(task_id, claim, f"held: {why}", released, keep)


async def _in_its_thread(ctx: WorkerContext, channel_id: str, mail: Mail, mailbox: str) -> Mail:
    """Without what it quotes of our own words; and known, so that the next email of ours goes on from it."""
    ours = await ctx.ledger.threads.shingles(threads.thread_of(ctx, channel_id, mailbox))
    await threads.remember_theirs(ctx, channel_id, mailbox, mail.message_id)
    if not ours:
        return mail
    return replace(mail, reply=await asyncio.to_thread(reply_of, mail.whole, mail.subject, ours))


def file_id(task_id: str, place: int) -> str:
    """The blob of one file of a mail."""
    return f"{task_id}-{place}"


def _has_original(inbound: Inbound, mail: Mail) -> bool:
    """Whether the agent gets the text as it was; a message has a bounded number of files."""
    return inbound.original and mail.whole.strip() != mail.reply.strip() and len(mail.files) < MOST


async def _keep_files(ctx: WorkerContext, task_id: str, mail: Mail, *, original: bool) -> None:
    """The files of a mail, for the task that uploads them, one after the other."""
    for place, file in enumerate(mail.files[:MOST]):
        await _keep_file(ctx, task_id, file_id(task_id, place), await asyncio.to_thread(file.part.content))
    if original:
        await _keep_file(ctx, task_id, f"{task_id}{ORIGINAL}", mail.whole.encode("utf-8", "replace"))


async def _keep_file(ctx: WorkerContext, task_id: str, blob_id: str, data: bytes) -> None:
    keep = ctx.settings.dead_letter_days * DAY
    try:
        await ctx.ledger.blobs.put(data, keep=keep, task=task_id, blob_id=blob_id)
    except (NoRoom, ValueError):
        ctx.metrics.faults.labels("no_room", "").inc()
        log.error("mail_file_not_kept", bytes=len(data))
    except OSError as error:  # all of the mail is read again
        log.warning("blob_not_written", error=type(error).__name__)
        raise Deferred("blob not written") from None


def mailbox_key(sender: Address) -> str:
    """A consumer's mailbox as Digital Channels gets it: one spelling of the domain, the rest as she writes it."""
    local, _, domain = sender.id.rpartition("@")
    return f"{local}@{domain.lower()}"


def _report(ctx: WorkerContext, channel: Channel, known: Known, trace: str) -> NewTask | None:
    """The task that reads a bounce as a status callback's report; None where it says nothing."""
    provider = ctx.providers[channel.provider]
    headers = {NAMED: (known.ref,)} if known.ref else {}
    callback = Callback("status", "POST", "", b"", headers, known.raw[:LONGEST_REPORT])
    if provider.kind != "smtp":
        return None
    try:
        provider.parse_callback(callback)
    except UnreadableEvent:
        return None
    digest = hashlib.blake2b(f"{provider.name}\0{provider.event_id(callback)}".encode(), digest_size=12).hexdigest()
    return NewTask(f"b-{digest}", "callback", "", pack(provider.name, callback), trace)


async def _dead(ctx: WorkerContext, task_id: str, claim: str, claimed: TaskClaim, why: str) -> None:
    """A dead letter, which keeps the mail itself."""
    ctx.metrics.mails.labels(claimed.entry.channel_id, "dead").inc()
    log.error("mail_dead", why=why)
    keep = ctx.settings.callback_dedupe_days * DAY
    await ctx.ledger.tasks.dead(task_id, claim, why, claimed.entry.payload, keep)
