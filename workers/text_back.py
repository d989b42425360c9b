"""The text-back line: one login at Genesys' Web Services hears of its calls, in one worker for all. A call that nobody
answered causes a text, and so may the disposition of a call.

What happens while nobody listens is not known: after a reconnect the calls of that moment are read, and one that ended
meanwhile causes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import httpx
import structlog

from dcbridge.config.text_back import TextBack
from dcbridge.errors import AccountFault, SendError
from dcbridge.genesys import web_services
from dcbridge.genesys.bayeux import Event
from dcbridge.genesys.envelope import Reading
from dcbridge.genesys.operations import Operation
from dcbridge.genesys.phone_line import Disposed, Missed, PhoneLine
from dcbridge.genesys.web_services import Call, Changed, Failure, Service, WebServices
from dcbridge.interfaces import Interfaces
from dcbridge.ledger.signals import Lead
from dcbridge.notifications import LONGEST, Backoff, LostSession, Notifications, Stopped
from dcbridge.transport.basic_session import BasicSession
from workers.context import WorkerContext
from workers.leader import keep_leading
from workers.own_messages import say

log = structlog.get_logger()

NAME = "text-back"
STOPPED = 60.0  # seconds until the next session after the server has refused one
SIGNED_IN = "2"  # "invalid for the state": there is such a session already
GOODBYE = 2.0  # seconds for signing out, which need not arrive


async def keep_listening(ctx: WorkerContext) -> None:
    """Until cancelled. Without a line in bridge.yaml, nothing is done."""
    genesys = ctx.configuration.genesys
    if genesys is None or genesys.text_back is None:
        return
    wanted = genesys.text_back

    async def listen(lead: Lead) -> None:
        password = wanted.password.get_secret_value()
        timeouts = {"longest": LONGEST, "connect_timeout": ctx.settings.connect_timeout}
        async with BasicSession(wanted.username, password, **timeouts) as sender:
            await Line(ctx, wanted, sender).run()

    await keep_leading(ctx.ledger, NAME, listen)


class Line:
    """One lead's work."""

    def __init__(self, ctx: WorkerContext, wanted: TextBack, sender: BasicSession) -> None:
        self._ctx, self._wanted, self._sender = ctx, wanted, sender
        self._api = WebServices(wanted.base_url)
        self._interfaces = Interfaces("", None, sender, ctx.ledger, ctx.metrics)
        self._line = PhoneLine(wanted.disposition_key)

    async def run(self) -> None:
        """Until cancelled."""
        backoff = Backoff()
        while True:
            session = Notifications(self._interfaces, self._api.notifications, web_services.NAME, bearer=False)
            try:
                await self._one_session(session, backoff)
            except LostSession:
                self._count("session_lost")
            except Stopped as error:
                self._count("stopped")
                log.error("text_back_stopped", why=str(error))
                await asyncio.sleep(STOPPED)
            except SendError as error:
                self._count("failed")
                tell = log.error if error.page else log.warning
                tell("text_back_failed", outcome=error.outcome, code=error.code)
                if isinstance(error, AccountFault):
                    self._ctx.metrics.faults.labels(error.outcome, f"genesys/{NAME}").inc()
                    await asyncio.sleep(STOPPED)
            finally:
                await self._leave(session)
            await backoff.wait()

    async def _one_session(self, session: Notifications, backoff: Backoff) -> None:
        await self._send(web_services.ME, self._api.me())  # for the CSRF token, before anything is posted
        started = await self._interfaces.send(web_services.START, self._api.start(self._wanted.place))
        if not started.good and started.code != SIGNED_IN:
            raise started.error()
        await self._take(await session.open(*web_services.TOPICS))
        await self._recover()
        self._count("session")
        while True:
            events, missed_some = await session.keep_polling(backoff)
            if missed_some:
                await self._recover()
            await self._take(events)

    async def _recover(self) -> None:
        self._line.recovered(web_services.calls_of(await self._send(web_services.ME, self._api.me())))

    async def _take(self, events: Sequence[Event]) -> None:
        """All of one answer; what has to be asked because of it is asked once."""
        ask = False
        for event in events:
            for one in web_services.read(event.data):
                match one:
                    case Call():
                        await self._heard(one)
                    case Changed():
                        ask = True
                    case Service("Voice", state):
                        self._count(f"voice_{state.lower()}" if state in ("Active", "Inactive") else "voice_unknown")
                        log.warning("text_back_voice", state=state if state.isalpha() else "")
                        ask |= state == "Active"
                    case Failure():
                        self._count("error_message")
                    case _:
                        pass
        if ask:
            await self._recover()

    async def _heard(self, call: Call) -> None:
        match self._line.heard(call):
            case Missed(uuid, number):
                await self._missed(uuid, number)
            case Disposed(uuid, code, number) if text := self._wanted.dispositions.get(code):
                await self._say(f"disposition {uuid} {code}", number, text, "disposed")

    async def _missed(self, uuid: str, number: str) -> None:
        if self._wanted.missed is None:
            self._count("missed")
        elif number and not await self._ctx.ledger.calls.is_first(NAME, number, uuid, self._wanted.again_after):
            self._count("missed_again")
        else:
            await self._say(f"missed call {uuid}", number, self._wanted.missed, "missed")

    async def _say(self, cause: str, number: str, text: str, what: str) -> None:
        """Once for each cause, however often it is heard of."""
        if not number:
            self._count(f"{what}_no_number")
            return
        said = await say(self._ctx, channel=self._wanted.channel, consumer=number, text=text, cause=cause)
        self._count(f"{what}_{said.outcome}")

    async def _send(self, operation: Operation, request: httpx.Request) -> Reading:
        """A good answer. Raises a SendError."""
        reading = await self._interfaces.send(operation, request)
        if not reading.good:
            raise reading.error()
        return reading

    async def _leave(self, session: Notifications) -> None:
        with suppress(SendError, TimeoutError):
            async with asyncio.timeout(GOODBYE):
                await session.close()
                await self._interfaces.send(web_services.END, self._api.end())
        self._sender.forget()

    def _count(self, what: str) -> None:
        self._ctx.metrics.text_back.labels(what).inc()
