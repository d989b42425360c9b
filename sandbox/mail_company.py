"""One account at an email company: what happens to an email, whatever the company's wire looks like.

What stands before the @ of a recipient decides; the wire reads the requests and writes answers and callbacks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.calls import deliver
from sandbox.connection import reset
from sandbox.magic import Behaviour, Refusal
from sandbox.mailbox import Mail, Recipient
from sandbox.wires.base import RefusedError
from sandbox.wires.mail_base import MailWire, Posted
from sandbox.wires.replies import note
from sandbox.world import World

DELIVERED = ("processed", "delivered")
BEHAVIOURS: Mapping[str, Behaviour] = {
    "bounce": Behaviour(("processed", "bounce")),
    "later-bounce": Behaviour(("processed", "bounce")),
    "policy": Behaviour(("processed", "blocked")),
    "suppressed": Behaviour(("suppressed",)),
    "greylist": Behaviour(("processed", "deferred", "delivered")),
    "complains": Behaviour(("processed", "delivered", "complaint")),
    "leaves": Behaviour(("processed", "delivered", "unsubscribe")),
    "slow": Behaviour(DELIVERED, answer="slow"),
    "early": Behaviour(DELIVERED, answer="early"),
    "twice": Behaviour(("processed", "processed", "delivered", "delivered")),
    "reversed": Behaviour(("delivered", "processed")),
    "reset": Behaviour(DELIVERED, answer="reset"),
    "drop": Behaviour(answer="lost"),
    "busy": Behaviour(DELIVERED, refusal=Refusal(429, 20429, "Too Many Requests", tries=2, retry_after=True)),
    "sick": Behaviour(DELIVERED, refusal=Refusal(500, 20500, "Internal Server Error", tries=2)),
    "toobig": Behaviour(refusal=Refusal(413, 413, "Too large")),
}
_FINAL = {"delivered": "delivered", "bounce": "failed", "blocked": "failed", "suppressed": "failed"}


class MailCompany:
    def __init__(self, world: World, name: str, wire: MailWire) -> None:
        """`name` is the account's in bridge.yaml."""
        self.world, self.name, self.wire = world, name, wire

    def routes(self) -> list[Route]:
        return [Route(self.wire.send_path, self.send, methods=["POST"]), *self.wire.routes()]

    async def send(self, request: Request) -> Response:
        started, body = time.perf_counter(), await request.body()
        self.world.counts["mail.requests"] += 1
        try:
            posted = self.wire.submitted(request, body)
            behaviour = BEHAVIOURS.get(posted.to.partition("@")[0], Behaviour(DELIVERED))
            self._refuse(behaviour.refusal, posted.to)
        except RefusedError as refused:
            return note(self.world, self.wire, request, started, body, self.wire.refused(refused), refused)
        if behaviour.answer == "lost":
            return await self._broken(request, started, body)
        mail = self._kept(posted)
        if behaviour.answer == "slow":
            await asyncio.sleep(self.world.config.slow_answer)
        elif behaviour.answer == "early":
            await self._tell(mail, behaviour.statuses[-1])
            behaviour = replace(behaviour, statuses=())
        self.world.spawn(self._follow(mail, behaviour.statuses))
        if behaviour.answer == "reset":
            return await self._broken(request, started, body)
        return note(self.world, self.wire, request, started, body, self.wire.taken(mail))

    async def _broken(self, request: Request, started: float, body: bytes) -> Response:
        """No answer: the connection breaks."""
        note(self.world, self.wire, request, started, body, None)
        await reset(request)
        return Response(status_code=500)

    def _refuse(self, refusal: Refusal | None, to: str) -> None:
        if refusal is None:
            return
        if refusal.tries is not None:
            self.world.tries[to] += 1
            if self.world.tries[to] > refusal.tries:
                self.world.tries[to] = 0
                return
        wait = self.world.config.retry_after if refusal.retry_after else None
        raise RefusedError(refusal.http, refusal.code, refusal.message, wait)

    def _kept(self, posted: Posted) -> Mail:
        mail = Mail(
            self.world.next_seq(), time.time(), posted.sender, [Recipient(posted.to)], posted.raw, authenticated=True,
            encrypted=True, provider=self.name, sid=posted.sid or self.wire.new_id(), reference=posted.reference,
        )  # fmt: skip
        self.world.mails.append(mail)
        self.world.counts["mails"] += 1
        self.world.tell("mail", mail)
        return mail

    async def _follow(self, mail: Mail, words: tuple[str, ...]) -> None:
        for word in words:
            await asyncio.sleep(self.world.config.status_delay)
            await self._tell(mail, word)

    async def _tell(self, mail: Mail, word: str) -> None:
        mail.events.append(word)
        [recipient] = mail.recipients
        recipient.status = _FINAL.get(word, recipient.status)
        for call in self.wire.tell(mail, word):
            status, _ = await deliver(self.world, self.wire.who, self.wire.proof, call)
            mail.reports.append(status)
        self.world.tell("mail", mail)

    async def write(self, asked: dict[str, Any]) -> int:
        """A consumer's email, as the company hands it on; the bridge's answer."""
        call = self.wire.write(asked["raw"].encode(), asked["from"], asked["to"])
        assert call is not None, "this company takes no mail"
        return (await deliver(self.world, self.wire.who, self.wire.proof, replace(call, tries=1)))[0]


def routes(companies: Mapping[str, MailCompany]) -> list[Route]:
    """Where tests and the page write as a consumer."""

    async def write(request: Request) -> Response:
        asked = orjson.loads(await request.body())
        company = companies.get(asked.get("provider"))
        if company is None or company.wire.write(b"", "", "") is None:
            return Response(b"provider: one that takes mail", 400)
        return Response(orjson.dumps({"status": await company.write(asked)}), media_type="application/json")

    return [Route("/sandbox/consumer/posted-mail", write, methods=["POST"])]
