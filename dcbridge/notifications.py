"""Notifications of a Genesys interface, by CometD: a session is opened, and polled for events until it is lost."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import httpx
import structlog

from dcbridge.errors import AccountFault, OutcomeUnknown, SendError
from dcbridge.genesys import bayeux, envelope
from dcbridge.genesys.bayeux import Answer, Event, Reconnect, Session
from dcbridge.genesys.operations import Operation
from dcbridge.interfaces import Interfaces

log = structlog.get_logger()

BEYOND = 10.0  # seconds that an answer may take longer than its connect is held
USUAL = 15.0  # seconds for any other answer
GOODBYE = 2.0  # seconds for a disconnect, which need not arrive
FIRST, MOST = 0.2, 30.0  # seconds between two tries
SETTLED = 5.0  # seconds after the last wait from which on all is well again: a server may lose each session it opens
TRIES = 5  # of a connect that fails, until the session is given up
FASTEST = 0.2  # seconds from one connect to the next at least, for a server that does not hold them

LONGEST = bayeux.LONGEST_TIMEOUT + BEYOND


class LostSession(Exception):
    """The server does not know us any more: open another one."""


class Stopped(Exception):
    """The server wants no client, or refused a topic."""


class Backoff:
    """Waits between tries: they double, each with half of it at random, until all was well for a while."""

    def __init__(self, first: float = FIRST, most: float = MOST, settled: float = SETTLED) -> None:
        self._first, self._most, self._settled, self.failed = first, most, settled, 0
        self._waited = -settled

    async def wait(self) -> None:
        longest = min(self._most, self._first * 2 ** min(self.failed, 30))
        self.failed += 1
        await asyncio.sleep(longest * random.uniform(0.5, 1.0))
        self._waited = time.monotonic()

    def good(self) -> None:
        if time.monotonic() - self._waited >= self._settled:
            self.failed = 0


class Notifications:
    """One session with one interface. Its sender keeps cookies, and waits for LONGEST."""

    def __init__(self, interfaces: Interfaces, url: str, interface: str, *, bearer: bool = True) -> None:
        """`url`: of the endpoint, without a slash at the end. `bearer`: it wants a token."""
        self._interfaces, self._url, self._interface, self._bearer = interfaces, url, interface, bearer
        self._session = Session()
        self._one = asyncio.Lock()  # one connect at a time, says the protocol
        self._first, self._connected = True, -FASTEST

    async def open(self, *topics: str) -> Sequence[Event]:
        """A new session with these topics. Raises Stopped, LostSession or a SendError."""
        session, events = self._session, list[Event]()
        answer = await self._say("handshake", session.handshake())
        if not session.client_id:
            said = answer.to("/meta/handshake")
            if said is not None and (said.error or session.advice.reconnect is Reconnect.NONE):
                raise Stopped("handshake")
            raise OutcomeUnknown("bayeux: no session")
        events += answer.events
        for topic in topics:
            answer = await self._say("subscribe", session.subscribe(topic))
            events += answer.events
            self._is_there()
            said = answer.to("/meta/subscribe")
            if said is None or not said.successful:
                raise Stopped("subscribe")
        self._first = True
        return events

    async def poll(self) -> Sequence[Event]:
        """The next events, () where there were none for a while. Raises LostSession, Stopped or a SendError; after the
        last, poll again.
        """
        async with self._one:
            self._is_there()
            interval = 0.0 if self._first else self._session.advice.interval
            await asyncio.sleep(max(interval, self._connected + FASTEST - time.monotonic(), 0.0))
            self._connected = time.monotonic()
            message = self._session.connect(at_once=self._first)
            answer = await self._say("connect", message, self._session.advice.timeout + BEYOND)
            said = answer.to("/meta/connect")
            self._first = self._first and not (said is not None and said.successful)
            if answer.events:  # what follows from a session that is lost, follows at the next poll
                return answer.events
            self._is_there()
            if said is None or not said.successful:
                raise OutcomeUnknown("bayeux: connect refused")
            return ()

    async def keep_polling(
        self, backoff: Backoff, note: Callable[[SendError], None] = lambda error: None
    ) -> tuple[Sequence[Event], bool]:
        """The next events, and whether connects failed before them: what happened meanwhile is lost.

        `note` is given each failure. Raises LostSession and Stopped, and a SendError that is of the account, or that
        comes after TRIES others.
        """
        failed = 0
        while True:
            try:
                events = await self.poll()
            except SendError as error:
                failed += 1
                if isinstance(error, AccountFault) or failed > TRIES:
                    raise
                note(error)
                await backoff.wait()
                continue
            backoff.good()
            return events, failed > 0

    async def close(self) -> None:
        """As far as that can be said in a moment."""
        if self._session.client_id:
            with suppress(SendError, TimeoutError, bayeux.Unreadable):
                await self._say("disconnect", self._session.disconnect(), GOODBYE)
        self._session.client_id = ""

    def _is_there(self) -> None:
        if self._session.client_id:
            return
        raise Stopped("advice") if self._session.advice.reconnect is Reconnect.NONE else LostSession

    async def _say(self, what: str, message: bytes, seconds: float = USUAL) -> Answer:
        request = httpx.Request(
            "POST", f"{self._url}/{what}", headers={"Content-Type": "application/json"}, content=message
        )
        operation = Operation(self._interface, f"notifications.{what}", bearer=self._bearer)
        try:
            async with asyncio.timeout(seconds):
                found = await self._interfaces.exchange(operation, request)
        except TimeoutError:
            raise OutcomeUnknown("timeout") from None
        try:
            answer = bayeux.read(found.content)
        except bayeux.Unreadable as error:
            reading = envelope.read(found)
            raise (OutcomeUnknown(f"bayeux: {error}") if found.is_success else reading.error()) from None
        if not found.is_success and not answer.said:
            raise envelope.read(found).error()
        self._session.heard(answer)
        return answer
