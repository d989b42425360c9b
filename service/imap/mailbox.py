"""One mailbox on an IMAP server, looked into by one process at a time: connect, log in, take, wait for more."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from contextlib import suppress
from typing import Protocol

import structlog
from redis.exceptions import RedisError

from dcbridge.errors import SendError
from dcbridge.transport.tls import client_context
from service.imap.client import OWN_FLAG, Client, Refused, Selected
from service.imap.taking import Place, Taking, Tools, Wait
from service.imap.wire import Away

log = structlog.get_logger()

LEASE = 15.0  # seconds for which a process may look into a mailbox, from when it last said so
RENEWED = LEASE / 3
STANDBY = (1.0, 3.0)  # seconds between two looks whether another process still does
NOTED = 5.0  # seconds between two notes for `dcbridge status`
FIRST, MOST = 1.0, 60.0  # seconds before the next connection after one that failed
FIRST_LOGIN, MOST_LOGIN = 30.0, 600.0  # after a login that was refused: accounts are locked for less


class Login(Protocol):
    """Where the token of a mailbox comes from."""

    async def token(self) -> str: ...
    async def another_soon(self, refused: str) -> str: ...


class Unusable(Exception):
    """The folder does not let mails be marked, says why; what is configured has to change."""


class Mailbox:
    """One mailbox, until it is told to end."""

    def __init__(
        self,
        place: Place,
        tools: Tools,
        login: Login | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        pauses: tuple[float, float] = (FIRST, MOST),
    ) -> None:
        """`tls` stands in for the system's trusted certificates. `pauses`: seconds after a connection that failed."""
        self._place, self._tools, self._login, self._pauses = place, tools, login, pauses
        self._tls = tls or client_context(verify=place.told.verify_certificate)
        self._taking = Taking(place, tools)
        self._contact: float | None = None  # steady seconds
        self._noted = 0.0
        self._failures = 0
        self._error = ""
        self._idle_refused = False

    async def run(self, stop: asyncio.Event) -> None:
        """Look into it whenever no other process does, until `stop` is set."""
        while not stop.is_set():
            if not await self._hold():
                await _pause(stop, random.uniform(*STANDBY))
                continue
            log.info("mailbox_held", channel=self._place.channel_id, imap=self._place.name)
            end = asyncio.Event()
            helpers = [asyncio.create_task(self._keep_holding(end)), asyncio.create_task(_pass_on(stop, end))]
            try:
                await self._look_after(end)
            finally:
                for helper in helpers:
                    helper.cancel()
                await asyncio.gather(*helpers, return_exceptions=True)
                self._forget()
                with suppress(RedisError, OSError):
                    await self._tools.ledger.mailboxes.release(self._place.id, self._tools.owner)

    async def _hold(self) -> bool:
        try:
            return await self._tools.ledger.mailboxes.hold(self._place.id, self._tools.owner, LEASE)
        except (RedisError, OSError):
            return False

    async def _keep_holding(self, end: asyncio.Event) -> None:
        """Where Redis is away nothing can be stored, so nothing is lost with the lease."""
        held_at = time.monotonic()
        while True:
            await asyncio.sleep(RENEWED)
            if await self._hold():
                held_at = time.monotonic()
            elif time.monotonic() - held_at > LEASE - RENEWED:
                log.warning("mailbox_lease_lost", channel=self._place.channel_id, imap=self._place.name)
                end.set()
                return

    async def _look_after(self, end: asyncio.Event) -> None:
        while not end.is_set():
            wait = 0.0
            try:
                await self._session(end)
            except Away as error:
                wait = self._failed(str(error), *self._pauses)
            except Refused as error:
                pauses = (FIRST_LOGIN, MOST_LOGIN) if error.step == "login" else self._pauses
                wait = self._failed(f"{error.step} refused", *pauses)
            except (Unusable, SendError) as error:
                wait = self._failed(error.code if isinstance(error, SendError) else str(error), FIRST_LOGIN, MOST)
            except (RedisError, OSError) as error:
                log.warning("mailbox_ledger_away", channel=self._place.channel_id, error=type(error).__name__)
                wait = FIRST
            except (ValueError, LookupError, TypeError, ArithmeticError, RecursionError, AssertionError):
                log.error("mailbox_internal_error", channel=self._place.channel_id, exc_info=True)
                wait = self._failed("internal error", FIRST_LOGIN, MOST)
            if wait:
                await self._note(force=True)
                await _pause(end, wait)

    def _failed(self, why: str, first: float, most: float) -> float:
        """Seconds to wait."""
        place, self._error = self._place, why
        wait = min(most, first * 2.0 ** min(self._failures, 20)) * random.uniform(0.8, 1.2)
        self._failures += 1
        self._tools.metrics.mailbox_errors.labels(place.channel_id, place.name, why).inc()
        log.warning("mailbox_away", channel=place.channel_id, imap=place.name, why=why, wait=round(wait, 1))
        return wait

    async def _session(self, end: asyncio.Event) -> None:
        """One connection, up to its end."""
        told = self._place.told
        client = await Client.open(
            told.host, told.server_port, implicit=told.security == "tls", silence=told.timeout, tls=self._tls
        )
        try:
            await self._log_in(client)
            selected = await client.select(told.folder)
            self._usable(selected)
            await self._taking.begin(selected.uid_validity)
            while not end.is_set():
                more = await self._look(client, end)
                if not more and not end.is_set():
                    await self._wait(client, end)
            await client.logout()
        finally:
            client.close()

    async def _look(self, client: Client, end: asyncio.Event) -> bool:
        """Whether to look again at once."""
        try:
            more = await self._taking.look(client, end, self._reached)
        except Wait as error:
            self._reached(str(error))
            await self._note(force=True)
            await _pause(end, error.seconds)
            return True
        self._reached()
        await self._note()
        return more

    async def _wait(self, client: Client, end: asyncio.Event) -> None:
        """For the next mail, or for the next look."""
        seconds = self._place.told.poll_every
        if "IDLE" in client.capabilities and not self._idle_refused:
            try:
                await client.idle(seconds, end)
            except Refused as error:
                if error.step != "idle":
                    raise
                self._idle_refused = True  # from now on as a server without it
        else:
            await _pause(end, seconds)
        if not end.is_set() and not client.news:
            await client.noop()

    async def _log_in(self, client: Client) -> None:
        told = self._place.told
        if self._login is None:
            return await client.login(told.username, told.secret)
        token = await self._login.token()
        try:
            await client.login_with_token(told.username, token)
        except Refused:
            another = await self._login.another_soon(token)
            if not another:
                raise
            await client.login_with_token(told.username, another)

    def _usable(self, selected: Selected) -> None:
        if selected.read_only:
            raise Unusable("the folder is read-only")
        flag = {"seen": "\\Seen", "flag": OWN_FLAG}.get(self._place.told.after, "\\Deleted")
        if not selected.keeps(flag) and not self._place.told.move_to:
            raise Unusable(f"the server does not keep {flag}")

    # ------------------------------------------------------------ what is told

    def _reached(self, why: str = "") -> None:
        """The server has answered. `why`: what is wrong all the same."""
        place, metrics, taking = self._place, self._tools.metrics, self._taking
        self._failures, self._error, self._contact = 0, why, time.monotonic()
        names = (place.channel_id, place.name)
        metrics.mailbox_contact.labels(*names).set(time.time())
        metrics.mailbox_waiting.labels(*names).set(taking.waiting)
        metrics.mailbox_left.labels(*names).set(taking.left)
        late = time.time() - taking.oldest if taking.waiting and taking.oldest is not None else 0.0
        metrics.mailbox_lag.labels(*names).set(max(0.0, late))

    def _forget(self) -> None:
        """Another process tells of it from now on."""
        metrics = self._tools.metrics
        for gauge in (metrics.mailbox_contact, metrics.mailbox_waiting, metrics.mailbox_left, metrics.mailbox_lag):
            with suppress(KeyError):
                gauge.remove(self._place.channel_id, self._place.name)

    async def _note(self, *, force: bool = False) -> None:
        """For `dcbridge status`."""
        now = time.monotonic()
        if not force and now - self._noted < NOTED:
            return
        self._noted = now
        contact = None if self._contact is None else now - self._contact
        with suppress(RedisError, OSError):
            await self._tools.ledger.mailboxes.note(
                self._place.id, self._tools.owner, contact=contact, waiting=self._taking.waiting,
                left=self._taking.left, error=self._error,
            )  # fmt: skip


async def _pause(end: asyncio.Event, seconds: float) -> None:
    """Or until it is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await end.wait()


async def _pass_on(stop: asyncio.Event, end: asyncio.Event) -> None:
    await stop.wait()
    end.set()
