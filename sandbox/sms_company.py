"""One account at an SMS company: what happens to a message, whatever the company's wire looks like.

Test numbers and switches decide; the wire (`sandbox.wires`) reads the requests and writes answers and callbacks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox import files
from sandbox.calls import ANSWER_LIMIT, deliver
from sandbox.connection import reset
from sandbox.magic import BEHAVIOURS, DELIVERED, OPTED_OUT, START_WORDS, STOP_WORDS, Behaviour, Refusal
from sandbox.records import SentByConsumer, Sms
from sandbox.smsc import Smsc, WrongUnit
from sandbox.wires.base import Call, RefusedError, Reply, Submitted, Wire
from sandbox.wires.replies import note
from sandbox.wires.smpp import CODES, SmppWire
from sandbox.world import World

SWITCHED_OFF = RefusedError(401, 20003, "the account is refused")  # a wire words its own 401
AGAIN_AFTER = 0.3  # seconds from a deliver_sm that was not stored to the next try
FINAL = frozenset(("delivered", "undelivered", "failed", "canceled"))


class SmsCompany:
    def __init__(self, world: World, name: str, wire: Wire) -> None:
        """`name` is the account's in bridge.yaml."""
        self.world, self.name, self.wire = world, name, wire
        self.session = Session(self, wire) if isinstance(wire, SmppWire) else None

    def routes(self) -> list[Route]:
        return [
            *(
                Route(path, self.send, methods=list(self.wire.send_methods))
                for path in (self.wire.send_path, *self.wire.more_send_paths)
            ),
            *self.wire.routes(),
        ]

    async def send(self, request: Request) -> Response:
        started = time.perf_counter()
        body = await request.body()
        if (listed := self.wire.listed(request, body)) is not None:
            return note(self.world, self.wire, request, started, body, listed)
        outcome = await self.take(lambda: self.wire.submitted(request, body))
        if isinstance(outcome, RefusedError):
            refused = Reply(401, b"") if outcome is SWITCHED_OFF else self.wire.refused(outcome)
            return note(self.world, self.wire, request, started, body, refused, outcome)
        if outcome is None:
            note(self.world, self.wire, request, started, body, None)
            await reset(request)
            return Response(status_code=500)
        return note(self.world, self.wire, request, started, body, self.wire.taken(outcome))

    async def take(self, read: Callable[[], Submitted]) -> Sms | RefusedError | None:
        """What becomes of a message, once that is to be said; None: nothing is said, and the connection breaks."""
        self.world.counts["sms.requests"] += 1
        switch = self.world.switches.sms
        if switch.delay:
            await asyncio.sleep(switch.delay)
        if self.name in switch.off:
            return SWITCHED_OFF
        try:
            submitted = read()
            behaviour = self._behaviour(submitted.to)
            stopped = (self.name, submitted.to) in self.world.opted_out
            refusal = OPTED_OUT if stopped else behaviour.refusal
            if refusal is not None and refusal.code in self.wire.reports_later:
                behaviour, refusal = Behaviour(("queued", "failed"), refusal.code), None
            self._refuse(refusal, submitted.to)
        except RefusedError as refused:
            return refused
        if behaviour.answer == "lost":
            return None
        sms = self._take(submitted)
        if behaviour.answer == "slow":
            await asyncio.sleep(self.world.config.slow_answer)
        elif behaviour.answer == "early":
            await self.tell(sms, behaviour.statuses[-1], behaviour.error_code)
            behaviour = replace(behaviour, statuses=())
        if behaviour.statuses:
            self.world.spawn(self._follow(sms, behaviour))
        return None if behaviour.answer == "reset" else sms

    def _behaviour(self, to: str) -> Behaviour:
        magic = BEHAVIOURS.get(to)
        if magic is not None:
            return magic
        switch, chance = self.world.switches.sms, self.world.switches.random.random
        statuses = tuple(switch.statuses)
        if switch.only not in ("", self.name):
            return Behaviour(statuses)
        if switch.p_429 and chance() < switch.p_429:
            return Behaviour(refusal=Refusal(429, 20429, "Too Many Requests", retry_after=True))
        if switch.p_500 and chance() < switch.p_500:
            return Behaviour(refusal=Refusal(500, 20500, "Internal Server Error"))
        if switch.p_reset and chance() < switch.p_reset:
            return Behaviour(statuses, answer="reset" if chance() < 0.5 else "lost")
        if switch.p_lost and chance() < switch.p_lost:
            return Behaviour(answer="lost")
        if switch.p_slow and chance() < switch.p_slow:
            return Behaviour(statuses, answer="slow")
        if switch.p_early and chance() < switch.p_early:
            return Behaviour(statuses or DELIVERED, answer="early")
        if switch.p_duplicate and chance() < switch.p_duplicate:
            statuses = tuple(status for status in statuses for _ in range(2))
        if switch.p_reversed and chance() < switch.p_reversed:
            statuses = statuses[::-1]
        return Behaviour(statuses)

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

    def _take(self, submitted: Submitted) -> Sms:
        sms = Sms(
            self.world.next_seq(),
            time.time(),
            self.wire.new_id(),
            submitted.to,
            submitted.sender,
            submitted.service_sid,
            submitted.text,
            submitted.segments,
            submitted.callback_url,
            submitted.status,
            provider=self.name,
            reference=submitted.reference,
        )
        self.world.keep_sms(sms)
        if submitted.media:
            self.world.spawn(self._fetch(sms, submitted.media))
        return sms

    async def _fetch(self, sms: Sms, urls: Sequence[str]) -> None:
        """The files of a message, as the company fetches them before it sends them on."""
        for url in urls:
            if file_id := await files.fetched(self.world, self.wire.who, url):
                sms.media.append(files.shown(file_id))
        self.world.tell("sms", sms)

    async def _follow(self, sms: Sms, behaviour: Behaviour) -> None:
        """Walk the message through its statuses and tell the bridge each, in that order."""
        switch, config = self.world.switches.sms, self.world.config
        delay = config.status_delay if switch.status_delay is None else switch.status_delay
        for status in behaviour.statuses:
            if delay:
                await asyncio.sleep(delay)
            await self.tell(sms, status, behaviour.error_code)

    async def tell(self, sms: Sms, status: str, error_code: int | None) -> None:
        """Record the status and send the callback, where one was asked for."""
        world = self.world
        error_code = error_code if status in ("undelivered", "failed") else None
        sms.statuses.append(status)
        if sms.status not in FINAL:
            sms.status, sms.error_code = status, error_code
            sms.provider_code = self.wire.error(error_code) if error_code else ""
        sms.updated = time.time()
        world.tell("sms", sms)
        if not world.switches.sms.callbacks:
            return
        for call in self.wire.tell(sms, status, error_code):
            answer, _ = await self._post(call)
            sms.callbacks.append(answer)
            world.counts["sms.callbacks"] += 1

    async def write(self, sent: SentByConsumer) -> None:
        """Carry a consumer's message to the bridge, and check the answer that the company expects."""
        world = self.world
        self._note_consent(sent)
        for call in self.wire.write(sent):
            status, body = await self._post(call)
            sent.state = "taken" if 200 <= status < 300 else "refused"
            sent.answer = str(status) if status else "no answer"
            if sent.state == "taken" and (rule := self.wire.wrong_answer(body)):
                sent.answer = f"{status}, not as expected"
                world.violation(self.wire.who, rule, body[:200].decode("utf-8", "replace"))
            if sent.state == "refused":
                break
        world.tell("consumer", sent)

    def _note_consent(self, sent: SentByConsumer) -> None:
        """What a company that keeps opt-outs reads in a consumer's message."""
        if not self.wire.keeps_opt_outs:
            return
        word, pair = sent.text.strip().upper(), (self.name, sent.sender)
        if word in STOP_WORDS:
            self.world.opted_out.add(pair)
        elif word in START_WORDS:
            self.world.opted_out.discard(pair)

    async def _post(self, call: Call) -> tuple[int, bytes]:
        """The bridge's last answer; (0, b"") is none."""
        if self.session is not None:
            return await self.session.deliver(call), b""
        return await deliver(self.world, self.wire.who, self.wire.proof, call)


class Session:
    """A company that is spoken to by SMPP."""

    def __init__(self, company: SmsCompany, wire: SmppWire) -> None:
        self._company, self._wire, self._world = company, wire, company.world
        self._smsc = Smsc(wire.system, self._submitted, self._violated)

    async def start(self) -> None:
        await self._smsc.start(self._wire.port)

    async def stop(self) -> None:
        await self._smsc.stop()

    async def deliver(self, call: Call) -> int:
        """200 where it is stored, as a callback is answered; 0 for no answer."""
        if call.headers.get("again"):
            self._smsc.drop()
        status, started = -1, time.perf_counter()
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_LIMIT):
                while status != 0:
                    status = await self._smsc.deliver(call.body)
                    await asyncio.sleep(AGAIN_AFTER if status else 0)
        answer = 200 if status == 0 else 0
        self._note(False, "deliver_sm", started, status if status >= 0 else None, call.body, b"", self._wire.proof)
        return answer

    async def _submitted(self, body: bytes) -> tuple[int, str] | None:
        started = time.perf_counter()
        try:
            outcome = await self._company.take(lambda: self._wire.message(body))
        except WrongUnit as wrong:
            self._violated(wrong.rule)
            return wrong.status, ""
        if outcome is None:
            self._note(True, "submit_sm", started, None, body, b"", self._wire.login)
            return None
        if isinstance(outcome, RefusedError):
            self._world.counts[f"sms.refused.{outcome.code}"] += 1
            status = CODES.get(outcome.code, 0x45)
            self._note(True, "submit_sm", started, status, body, b"", self._wire.login)
            return status, ""
        self._note(True, "submit_sm", started, 0, body, outcome.sid.encode(), self._wire.login)
        return 0, outcome.sid

    def _violated(self, rule: str) -> None:
        self._world.violation(self._wire.who, rule, "")

    def _note(
        self, inward: bool, what: str, started: float, status: int | None, sent: bytes, answered: bytes, check: str
    ) -> None:
        """`status` is the command_status, None for no answer."""
        http, code = (0, "") if status is None else (400 if status else 200, f"0x{status:02X}")
        self._world.exchange(self._wire.who, inward, "SMPP", what, started, http, sent, answered, check, code)
