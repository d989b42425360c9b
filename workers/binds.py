"""The SMPP sessions of a worker: as many workers as `binds` says hold one, and take its messages.

A lease in Redis says who may; it outlives a worker that is killed by ten seconds. What arrives in a session is stored
like a callback, and is answered once it is on a disk; where it cannot be stored, the SMSC keeps it.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import cast

import structlog
from redis.exceptions import RedisError

from dcbridge.errors import SendError, Unreachable
from dcbridge.ledger import Ledger, NewTask
from dcbridge.ledger.sessions import queue_of
from dcbridge.providers.base import Callback, Provider
from dcbridge.providers.callback import lane_for, pack
from dcbridge.providers.smpp import ARRIVAL, Smpp
from dcbridge.runtime.metrics import Metrics
from dcbridge.settings.process import Settings
from dcbridge.smpp.pdu import HEADER, OK, TEMPORARY
from dcbridge.transport.sender import Sender
from dcbridge.transport.smpp import Arrivals, Session

log = structlog.get_logger()

LEASE = 10.0  # seconds for which a worker may hold a session without saying so again
LOOK = 2.0
FIRST, MOST = 1.0, 60.0  # seconds between two tries to bind
NO_LIMIT = 10_000  # requests in flight
UNDECIDED = 5.0  # seconds for which it is not said whether something is a repetition; then the SMSC keeps it
UNSURE = 10_000  # arrivals of which nobody knows whether they were stored


class Binds:
    """For one event loop. `windows`: requests in flight of each account, all of its sessions together."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        sender: Sender,
        providers: Mapping[str, Provider],
        windows: Mapping[str, int],
        metrics: Metrics,
    ) -> None:
        self._settings, self._ledger, self._sender, self._metrics = settings, ledger, sender, metrics
        self._providers = {name: one for name, one in providers.items() if isinstance(one, Smpp)}
        self._windows = windows
        self._bound = dict.fromkeys(self._providers, 0)  # workers, as far as this one knows
        self._why: dict[str, SendError] = {}  # the last try to bind failed
        self._kept = False

    def queues(self) -> list[str]:
        """Of the accounts that this worker is bound at."""
        return [queue_of(name) for name, one in self._providers.items() if self._sender.smpp.of(one.session)]

    async def is_elsewhere(self, provider: Provider) -> bool:
        """Whether another worker has to send what goes to this account. Raises the SendError that says why none can."""
        if not isinstance(provider, Smpp) or self._sender.smpp.of(provider.session):
            return False
        if not self._kept:  # a worker of one job
            return True
        until = time.monotonic() + self._settings.connect_timeout
        while not self._bound[provider.name]:
            if self._sender.smpp.of(provider.session):
                return False
            if why := self._why.get(provider.name):
                raise type(why)(why.code)
            if time.monotonic() >= until:
                raise Unreachable("no session")
            await asyncio.sleep(0.05)
        return True

    async def keep(self) -> None:
        """Hold sessions until cancelled; then unbind."""
        self._kept = True
        try:
            async with asyncio.TaskGroup() as group:
                for provider in self._providers.values():
                    group.create_task(self._keep(provider))
        finally:
            await asyncio.gather(*(self._leave(one) for one in self._providers.values()), return_exceptions=True)

    async def _keep(self, provider: Smpp) -> None:
        wait = FIRST
        while True:
            if not await self._may(provider, up=False):
                await asyncio.sleep(LOOK)
                continue
            try:
                session_id, session = await self._opened(provider)
            except SendError as error:
                self._why[provider.name] = error
                log.error("session_not_bound", provider=provider.name, outcome=error.outcome, code=error.code)
                if error.page:
                    self._metrics.faults.labels(error.outcome, provider.name).inc()
                await self._release(provider)
                await asyncio.sleep(wait * (1 - random.random() / 2))
                wait = min(MOST, wait * 2)
                continue
            wait = FIRST
            await self._while_bound(provider, session_id, session)

    async def _opened(self, provider: Smpp) -> tuple[str, Session]:
        """Its name, and the session: bound, with the lease kept meanwhile."""
        settings, account = self._settings, provider.session
        session_id = secrets.token_hex(8)
        unsure: OrderedDict[str, str] = OrderedDict()
        window = max(1, -(-(self._windows.get(provider.name) or NO_LIMIT) // account.binds))
        odd = self._metrics.session_oddities

        async def store(unit: bytes) -> int:
            return await self._store(provider, session_id, unsure, unit)

        unread: list[str] = []  # by the ledger: that the SMSC has read the answer to them

        async def confirmed(units: Sequence[bytes]) -> None:
            unread.extend(_digest(provider.name, unit) for unit in units)
            del unread[:-UNSURE]
            with suppress(RedisError, OSError):
                told = tuple(unread)
                await self._ledger.once.sessions.read(session_id, told)
                del unread[: len(told)]

        opening = asyncio.create_task(
            Session.open(
                account,
                Arrivals(store, confirmed, lambda what: odd.labels(provider.name, what).inc()),
                window=window,
                connect_timeout=settings.connect_timeout,
                timeout=settings.read_timeout,
            )
        )
        try:
            while not (await asyncio.wait([opening], timeout=LOOK))[0]:
                await self._may(provider, up=False)
        except BaseException:
            opening.cancel()
            raise
        return session_id, opening.result()

    async def _while_bound(self, provider: Smpp, session_id: str, session: Session) -> None:
        self._sender.smpp.hold(provider.session, session)
        self._why.pop(provider.name, None)
        self._metrics.sessions.labels(provider.name).set(1)
        self._metrics.window_in_use.labels(provider.name).set_function(lambda: session.in_flight)
        log.info("session_bound", provider=provider.name)
        with suppress(RedisError, OSError):  # whoever waits for the account to work again need not wait for a probe
            await self._ledger.once.pacing.record_success(provider.name, "")
        try:
            while not session.closed.is_set() and await self._may(provider, up=True, session=session_id):
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK):
                        await session.closed.wait()
        finally:
            self._sender.smpp.hold(provider.session, None)
            self._metrics.sessions.labels(provider.name).set(0)
            await session.close()
            with suppress(RedisError, OSError):
                async with asyncio.timeout(LOOK):
                    await self._ledger.once.sessions.ended(provider.name, session_id)
        log.warning("session_ended", provider=provider.name, why=session.why)

    async def _may(self, provider: Smpp, *, up: bool, session: str = "") -> bool:
        """Whether this worker may hold a session. While Redis is away it keeps what it has, and takes nothing new."""
        try:
            async with asyncio.timeout(LOOK):
                may, bound = await self._ledger.once.sessions.hold(
                    provider.name, provider.session.binds, LEASE, up=up, session=session
                )
        except (RedisError, OSError):
            return up
        self._bound[provider.name] = bound - up
        return may

    async def _release(self, provider: Smpp) -> None:
        with suppress(RedisError, OSError):
            async with asyncio.timeout(LOOK):
                await self._ledger.once.sessions.release(provider.name)

    async def _leave(self, provider: Smpp) -> None:
        session = self._sender.smpp.of(provider.session)
        self._sender.smpp.hold(provider.session, None)
        if session is not None:
            await session.close()
        await self._release(provider)

    async def _store(self, provider: Smpp, session: str, unsure: OrderedDict[str, str], unit: bytes) -> int:
        """The status that answers it. One that may have been stored before is stored under the same name."""
        name, digest = provider.name, _digest(provider.name, unit)
        task_id = unsure.pop(digest, None) or f"b-{secrets.token_hex(12)}"
        headers = {ARRIVAL: (task_id,)}
        callback = Callback(kind="events", method="SMPP", url=f"smpp://{name}", query=b"", headers=headers, body=unit)
        task = NewTask(
            task_id,
            "callback",
            lane_for(cast(Provider, provider), callback),
            pack(name, callback),
            secrets.token_hex(16),
        )
        until = time.monotonic() + UNDECIDED
        try:
            while True:
                async with asyncio.timeout(self._settings.redis_timeout):
                    found = await self._ledger.once.sessions.arrive(name, LEASE, digest, session, task)
                if found != "wait" or time.monotonic() >= until:
                    break
                await asyncio.sleep(0.1)
        except (RedisError, OSError) as error:
            unsure[digest] = task_id
            while len(unsure) > UNSURE:
                unsure.popitem(last=False)
            self._metrics.session_arrivals.labels(name, "refused").inc()
            log.warning("arrival_not_stored", provider=name, error=type(error).__name__)
            return TEMPORARY
        if found == "wait":
            self._metrics.session_arrivals.labels(name, "refused").inc()
            log.warning("arrival_not_decided", provider=name)
            return TEMPORARY
        self._metrics.session_arrivals.labels(name, "accepted" if found == "new" else "repeated").inc()
        return OK


def _digest(provider: str, unit: bytes) -> str:
    """Of all but the length, the status and the number in its session."""
    return hashlib.blake2b(provider.encode() + b"\0" + unit[4:8] + unit[HEADER:], digest_size=12).hexdigest()
