"""Emails that answer each other: the headers of the next one, and how a quote of ours is recognised in an answer."""

from __future__ import annotations

import re
from dataclasses import replace

from dcbridge.config.models import Channel
from dcbridge.mail import shingles
from dcbridge.mail.html import to_text
from dcbridge.messages import Address, AgentMessage
from dcbridge.providers.base import MailRequest, Request
from dcbridge.providers.mail_message import alternatives
from workers.context import WorkerContext

_ID = re.compile(r"[!-;=?-~]{3,240}", re.ASCII)  # one that can stand in a header of ours


def thread_of(ctx: WorkerContext, channel_id: str, mailbox: str) -> str:
    """One channel and one consumer."""
    return ctx.consumer_tokens.of(f"mail\0{channel_id}\0{mailbox.strip().lower()}")


def with_reply_to(message: AgentMessage, channel: Channel) -> AgentMessage:
    """An answer comes to a mailbox whose mail is taken, where the message does not ask for another one."""
    inbound = channel.inbound
    if inbound is None or message.reply_to is not None or message.sender.id.strip().lower() in inbound.addresses:
        return message
    return replace(message, reply_to=Address(inbound.addresses[0], message.sender.name))


async def answered_by(ctx: WorkerContext, message: AgentMessage, channel: Channel) -> tuple[str, ...]:
    """Message-IDs that this email goes on from, the oldest first. One to several people begins a thread for each."""
    if channel.inbound is None or len(message.recipients) > 1:
        return ()
    ids = await ctx.ledger.threads.ids(thread_of(ctx, message.channel_id, message.to.id))
    return tuple(one for one in ids if not one.startswith(f"{message.ref}@"))


async def remember_ours(ctx: WorkerContext, message: AgentMessage, channel: Channel, request: Request) -> None:
    """Before it is sent, so that no answer comes earlier."""
    if channel.inbound is None or not isinstance(request, MailRequest):
        return
    text, html = alternatives(message)
    message_id = request.provider_id.partition(">")[0].removeprefix("<")
    thread = thread_of(ctx, message.channel_id, message.to.id)
    await ctx.ledger.threads.add(thread, message_id, shingles.of_text(text or to_text(html)))


async def remember_theirs(ctx: WorkerContext, channel_id: str, mailbox: str, message_id: str) -> None:
    if _ID.fullmatch(message_id):
        await ctx.ledger.threads.add(thread_of(ctx, channel_id, mailbox), message_id)
