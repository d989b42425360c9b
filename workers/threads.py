"""Emails that answer each other: the headers of the next one, and how a quote of ours is recognised in an answer."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

import httpx

from dcbridge.config.models import Channel
from dcbridge.ledger.threads import KEEP
from dcbridge.mail import shingles
from dcbridge.mail.html import to_text
from dcbridge.messages import Address, AgentMessage
from dcbridge.providers.base import MailRequest, Request
from dcbridge.providers.email_fields import MESSAGE_ID
from dcbridge.providers.mail_message import alternatives
from workers.context import WorkerContext

_ID = re.compile(r"[!-;=?-~]{3,240}", re.ASCII)  # one that can stand in a header of ours


def thread_of(ctx: WorkerContext, channel_id: str, mailbox: str) -> str:
    """One channel and one consumer."""
    return ctx.consumer_tokens.of(f"mail\0{channel_id}\0{mailbox.strip().lower()}")


@dataclass(frozen=True, slots=True)
class Threading:
    """How an email and what answers it find each other. `thread`, `return_path`, `unsubscribe`: as in a Turn."""

    thread: tuple[str, ...] = ()
    return_path: str = ""
    unsubscribe: str = ""


NO_THREAD = Threading()


def with_reply_to(
    ctx: WorkerContext, message: AgentMessage, channel: Channel, accepted_at: int
) -> tuple[AgentMessage, str]:
    """An answer comes to a mailbox whose mail is taken, where the message does not ask for another one; and where a
    report of it comes to, "" for where the provider says. `accepted_at` in ms: the same message has the same addresses.
    """
    inbound = channel.inbound
    if inbound is None:
        return message, ""
    own = next((one for one in inbound.addresses if one.lower() == message.sender.id.strip().lower()), "")
    base = own or inbound.addresses[0]
    if inbound.reply_reference == "off":
        wanted = message.reply_to is None and not own
        return (replace(message, reply_to=Address(base, message.sender.name)) if wanted else message), ""
    until, whole = accepted_at / 1000 + KEEP, inbound.reply_reference == "local_part"
    reply_to = ctx.reply_tokens.mailbox("r", message.ref, until, base, whole_local_part=whole)
    return_path = ctx.reply_tokens.mailbox("b", message.ref, until, base, whole_local_part=whole)
    if message.reply_to is None:
        message = replace(message, reply_to=Address(reply_to, message.sender.name))
    return message, return_path


async def answered_by(ctx: WorkerContext, message: AgentMessage, channel: Channel) -> tuple[str, ...]:
    """Message-IDs that this email goes on from, the oldest first. One to several people begins a thread for each."""
    if channel.inbound is None or len(message.recipients) > 1:
        return ()
    ids = await ctx.ledger.threads.ids(thread_of(ctx, message.channel_id, message.to.id))
    return tuple(one for one in ids if not one.startswith(f"{message.ref}@"))


async def remember_ours(ctx: WorkerContext, message: AgentMessage, channel: Channel, request: Request) -> None:
    """Before it is sent, so that no answer comes earlier."""
    if channel.inbound is None:
        return
    if isinstance(request, MailRequest):
        message_id = request.provider_id.partition(">")[0].removeprefix("<")
    else:
        message_id = request.extensions.get(MESSAGE_ID, "") if isinstance(request, httpx.Request) else ""
    if not message_id:
        return
    text, html = alternatives(message)
    thread = thread_of(ctx, message.channel_id, message.to.id)
    await ctx.ledger.threads.add(thread, message_id, shingles.of_text(text or to_text(html)))
    if channel.inbound.reply_reference != "off":
        await ctx.ledger.threads.remember_sent(
            message.ref, ctx.reply_tokens.seal(message.ref, f"{message.channel_id}\0{message.to.id.strip()}")
        )


async def answered_copy(ctx: WorkerContext, channel_id: str, mailboxes: Iterable[str]) -> tuple[str, str]:
    """The copy that one of these addresses refers to, and the mailbox that it went to; "" for what is not known, or is
    another channel's.
    """
    now = time.time()
    for ref in filter(None, (ctx.reply_tokens.ref_of(one, now) for one in mailboxes)):
        sealed = await ctx.ledger.threads.sent_to(ref)
        said = ctx.reply_tokens.open(ref, sealed) if sealed else ""
        channel, _, mailbox = said.partition("\0")
        return ref, mailbox if channel == channel_id else ""
    return "", ""


async def remember_renamed(
    ctx: WorkerContext, channel: Channel, channel_id: str, mailbox: str, message_id: str
) -> None:
    """The Message-ID under which a company sends our email, where that is one of its own."""
    if channel.inbound is not None and _ID.fullmatch(message_id):
        await ctx.ledger.threads.add(thread_of(ctx, channel_id, mailbox), message_id)


async def remember_theirs(ctx: WorkerContext, channel_id: str, mailbox: str, message_id: str) -> None:
    if _ID.fullmatch(message_id):
        await ctx.ledger.threads.add(thread_of(ctx, channel_id, mailbox), message_id)
