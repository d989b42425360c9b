"""Consumers' mail that a company posts: verified, stored as a blob, and only then answered 200.

It goes the way of a mail that comes by LMTP (`service.mail.taker`), and not through Redis or the journal: whoever posts
it keeps it, and posts it again for hours.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import cast

import structlog

from dcbridge.errors import BadCallback, UnreadableEvent
from dcbridge.providers.base import BringsMail, Callback, CallbackKind, PostedMail, Provider
from service.answer import RETRY_AFTER, Answer, Refusal
from service.callbacks import callback_of, refused, stored, with_key
from service.endpoint import Outcome, ServiceContext
from service.mail.taker import LedgerTaker
from service.posted_room import PostedRoom, Posting
from service.request import Request

log = structlog.get_logger()

MAIL_WITHIN = 40.0  # seconds; whoever posts a mail waits that long
FORM = 1 << 16  # bytes of a request beside its mail
IN_MEMORY = 2  # times that a request is there while its mail is taken out of it


class PostedMails:
    """For one process. Memory for requests under way is bounded, and who shows no secret gets it last."""

    def __init__(self, ctx: ServiceContext) -> None:
        self._room = PostedRoom(ctx.settings.mail_memory)
        self._taker = LedgerTaker(ctx.settings, ctx.configuration, ctx.ledger, ctx.metrics)

    async def take(self, ctx: ServiceContext, request: Request) -> Outcome:
        """POST /callbacks/{provider}/inbound, and the same with a secret behind it."""
        provider = ctx.providers[request.names["provider"]]
        secret = request.names.get("secret", "")
        if secret and not provider.can.secret_in_path:
            raise Refusal(404, "unknown provider", "no such provider or callback")
        if request.encodings:
            raise Refusal(415, "encoded", "a mail is posted without Content-Encoding")
        limit = int(ctx.settings.mail_limit * provider.can.mail) + FORM
        length = int(request.length) if request.length.isascii() and request.length.isdigit() else limit
        kind = cast(CallbackKind, request.names["kind"])
        head = callback_of(ctx, request, kind, b"", secret)
        assert isinstance(provider, BringsMail)
        try:
            proven = provider.proven_by_head(head)
        except BadCallback as error:
            await request.body(limit, keep=False)  # or the sender would not read the answer
            raise refused(ctx, provider, error) from None
        async with self._room.hold(proven=proven) as posting:
            if proven:
                await posting.take(min(length, limit) * IN_MEMORY)
            raw = await request.body(limit, room=None if proven else lambda size: posting.take(size * IN_MEMORY))
            called = await with_key(ctx, provider, replace(head, body=raw))
            return await self._taken(ctx, request, provider, called, secret, posting)

    async def _taken(
        self, ctx: ServiceContext, request: Request, provider: Provider, called: Callback, secret: str, posting: Posting
    ) -> Outcome:
        assert isinstance(provider, BringsMail)
        try:
            proof = await asyncio.to_thread(provider.verify, called)
        except BadCallback as error:
            raise refused(ctx, provider, error) from None
        posting.believed()
        ctx.metrics.signatures.labels("callback", provider.name, "valid").inc()
        try:
            mails = await asyncio.to_thread(provider.mails, called)
        except UnreadableEvent as error:
            # It is posted again for hours: time to set the webhook up as it has to be.
            ctx.metrics.faults.labels("callback_unreadable", provider.name).inc()
            log.error("posted_mail_unreadable", provider=provider.name, why=error.kind)
            raise Refusal(503, "unreadable", "no mail in it; send it again", RETRY_AFTER) from None
        if mails is None:
            return await stored(ctx, request, provider, called, proof, secret, len(called.body))
        words = [await self._store(ctx, provider, mail, posting) for mail in mails]
        return Outcome(Answer(200, b""), ", ".join(words) or "none", {"kind": "inbound", "bytes": len(called.body)})

    async def _store(self, ctx: ServiceContext, provider: Provider, mail: PostedMail, posting: Posting) -> str:
        """ "accepted"; "unknown mailbox" where it is for none of ours, "repeated" where it has left its bucket.

        Raises Refusal 503, or 413 for what lies in a bucket and is too large.
        """
        assert isinstance(provider, BringsMail)
        refusals = {to: self._taker.refusal(to, mail.sender or "") for to in dict.fromkeys(mail.recipients)}
        ours = [to for to, why in refusals.items() if not why]
        if any(why.startswith("4") for why in refusals.values()):
            raise Refusal(503, "too many", "too many mails at once; send it again", RETRY_AFTER)
        if not ours:
            return "unknown mailbox"
        raw, buckets, store = mail.raw, ctx.mail_buckets, provider.mail_store
        if mail.stored and store is not None:
            most = ctx.settings.mail_limit

            async def room(size: int) -> None:
                await posting.take(size * IN_MEMORY)

            found = await buckets.fetch(ctx.metrics, provider.name, store, mail.stored, most, room)
            if found is None:
                return "repeated"
            raw = found
        answers = await self._taker.take(raw, mail.sender, ours)
        if not all(answer.startswith("250") for answer in answers):
            raise Refusal(503, "unavailable", "not stored; send it again", RETRY_AFTER)
        if mail.stored and store is not None and store.delete:
            await buckets.delete(provider.name, store, mail.stored)
        return "accepted"
