"""Watches the statistics of the contact centre, in one worker for all, and puts their values where all can read them.

    notifications   handshake, topics, a subscription, and then a connect that is held until there is something new
    peek            asks every 30 seconds
    engagement      the same through Engagement, which needs no token

A value is good while its age is: nothing here has to notice that it is old.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress

import httpx
import structlog

from dcbridge.config.statistics import Statistics, wait_name
from dcbridge.errors import Refused, SendError
from dcbridge.genesys import statistics
from dcbridge.genesys.bayeux import Event
from dcbridge.genesys.envelope import Reading
from dcbridge.genesys.operations import Operation
from dcbridge.genesys.statistics import Value
from dcbridge.interfaces import Interfaces
from dcbridge.ledger.signals import Lead, NewSignal, Signals
from dcbridge.notifications import LONGEST, Backoff, LostSession, Notifications, Stopped
from dcbridge.runtime.metrics import Metrics
from dcbridge.transport.session_sender import SessionSender
from workers.context import WorkerContext
from workers.leader import keep_leading

log = structlog.get_logger()

NAME = "statistics"
STOPPED = 60.0  # seconds until the next session after the server has refused one
GOODBYE = 2.0  # seconds for taking back a subscription, which need not arrive

SUBSCRIBE = Operation(NAME, "subscribe", bearer=True)
UNSUBSCRIBE = Operation(NAME, "unsubscribe", bearer=True)
VALUES = Operation(NAME, "values", bearer=True)
PEEK = Operation(NAME, "peek", bearer=True)
PEEK_BY_KEY = Operation("engagement", "statistics")
WAITS = Operation("engagement", "estimated-wait-time")


async def keep_watching(ctx: WorkerContext) -> None:
    """Until cancelled. Without statistics in bridge.yaml, nothing is done."""
    genesys, interfaces = ctx.configuration.genesys, ctx.interfaces
    if genesys is None or genesys.statistics is None or interfaces is None:
        return
    wanted = genesys.statistics
    api = statistics.Statistics(genesys.url(wanted.base_url, "/statistics/v3"), genesys.engagement_url)

    async def watch(lead: Lead) -> None:
        async with SessionSender(longest=LONGEST, connect_timeout=ctx.settings.connect_timeout) as sender:
            signals = ctx.ledger.once.signals
            await Watcher(wanted, api, interfaces.through(sender), sender, signals, ctx.metrics, lead).run()

    await keep_leading(ctx.ledger, NAME, watch)


class Watcher:
    """One lead's work."""

    def __init__(
        self,
        wanted: Statistics,
        api: statistics.Statistics,
        interfaces: Interfaces,
        sender: SessionSender,
        signals: Signals,
        metrics: Metrics,
        lead: Lead,
    ) -> None:
        self._wanted, self._api, self._interfaces, self._sender = wanted, api, interfaces, sender
        self._signals, self._metrics, self._lead = signals, metrics, lead
        self._watches = wanted.watched
        self._opening = asyncio.Lock()
        self._subscription, self._wants_one = "", False
        self._keys: dict[str, str] = {}  # statisticId -> watch, of the subscription that there is
        self._heard: dict[str, float] = {}  # watch -> when a value of it came, by the steady clock
        self._good_at = time.monotonic()

    async def run(self) -> None:
        """Until the first of its works ends, which is by an error."""
        await self._signals.watch(self._lead, self._wanted.names)
        works = []
        if self._watches:
            works += [self._notified(), self._refreshed()] if self._wanted.mode == "notifications" else [self._peeked()]
        if self._wanted.waits:
            works.append(self._waits())
        try:
            async with asyncio.TaskGroup() as group:
                for work in works:
                    group.create_task(work)
        except ExceptionGroup as ended:
            raise ended.exceptions[0] from None

    # ------------------------------------------------------------ notifications

    async def _notified(self) -> None:
        backoff = Backoff()
        while True:
            session = Notifications(self._interfaces, f"{self._api.url}/notifications", NAME)
            try:
                await self._one_session(session, backoff)
            except LostSession:
                self._count("session_lost")
            except Stopped as error:
                self._count("stopped")
                log.error("statistics_stopped", why=str(error))
                await self._unavailable("stopped")
                await asyncio.sleep(STOPPED)
            except SendError as error:
                await self._failed(error)
            finally:
                await self._leave(session)
            await backoff.wait()

    async def _one_session(self, session: Notifications, backoff: Backoff) -> None:
        """Until it is lost. A subscription belongs to it, as the server's cookies say."""
        self._wants_one = True
        await self._take(await session.open(statistics.UPDATES, statistics.SERVICE))
        self._count("session")
        while True:
            events, missed_some = await session.keep_polling(backoff, _connect_failed)
            await self._take(events)
            if missed_some:
                await self._ask([*self._keys])

    async def _take(self, events: Sequence[Event]) -> None:
        for event in events:
            if event.topic == statistics.UPDATES:
                await self._put_updates(statistics.updates(event.data))
            elif event.topic == statistics.SERVICE:
                state = statistics.service_state(event.data)
                self._count(state.lower() or "unknown_state")
                if state == statistics.UNAVAILABLE:  # it has dropped all subscriptions
                    self._subscription, self._keys, self._wants_one = "", {}, False
                    await self._unavailable("service")
                elif state == statistics.AVAILABLE and not self._subscription:
                    self._wants_one = True
        if self._wants_one:
            await self._subscribe()

    async def _subscribe(self) -> None:
        """Another one, in place of what there is. Raises a SendError."""
        async with self._opening:
            self._wants_one = False
            operation, keys = str(uuid.uuid4()), {str(uuid.uuid4()): name for name in self._watches}
            self._subscription, self._keys = operation, keys  # its first values may come before its answer
            try:
                watched = {key: self._watches[name] for key, name in keys.items()}
                reading = await self._send(SUBSCRIBE, self._api.subscribe(operation, watched))
            except BaseException:
                self._subscription, self._keys = "", {}
                raise
            if self._subscription != operation:  # it was told meanwhile that all are dropped
                return
            self._count("subscription")
            await self._put_updates(statistics.values_of(reading))
            await self._good()

    async def _refreshed(self) -> None:
        """Ask for what was not told lately: a value that does not change need not be told."""
        half = self._wanted.fresh_for / 2
        while True:
            await asyncio.sleep(max(1.0, half / 2))
            now = time.monotonic()
            late = [key for key, watch in self._keys.items() if now - self._heard.get(watch, -half) >= half]
            try:
                await self._ask(late)
            except SendError as error:
                log.info("statistics_not_asked", outcome=error.outcome, code=error.code)
                if isinstance(error, Refused) and self._subscription:  # it is known there no more
                    with suppress(SendError):
                        await self._subscribe()

    async def _ask(self, keys: Sequence[str]) -> None:
        if keys and self._subscription:
            reading = await self._send(VALUES, self._api.values(self._subscription, keys))
            await self._put_updates(statistics.values_of(reading))

    async def _put_updates(self, values: Iterable[Value]) -> None:
        """Of the subscription that there is, and of no other."""
        ours = [one for one in values if one.subscription in ("", self._subscription)]
        await self._put((self._keys[one.key], one) for one in ours if one.key in self._keys)

    async def _leave(self, session: Notifications) -> None:
        """Take back what there is, as far as that can be said in a moment."""
        subscription, self._subscription, self._keys = self._subscription, "", {}
        with suppress(SendError, TimeoutError):
            async with asyncio.timeout(GOODBYE):
                if subscription:
                    await self._interfaces.send(UNSUBSCRIBE, self._api.unsubscribe(subscription))
                await session.close()
        self._sender.cookies.forget()

    # ------------------------------------------------------------ asked again and again

    async def _peeked(self) -> None:
        watched, by_key = [*self._watches.values()], self._wanted.mode == "engagement"
        known = {(one.name, one.object_type, one.object_id): name for name, one in self._watches.items()}
        while True:
            try:
                if by_key:
                    reading = await self._send(PEEK_BY_KEY, self._api.peek_by_key(watched, self._wanted.every))
                else:
                    reading = await self._send(PEEK, self._api.peek(watched))
            except SendError as error:
                await self._failed(error)
            else:
                values = statistics.values_of(reading)
                named = [(known.get((one.name, one.object_type, one.object_id), ""), one) for one in values]
                await self._put((name, one) for name, one in named if name)
                await self._good()
                self._count("asked")
            await asyncio.sleep(self._wanted.every)

    async def _waits(self) -> None:
        while True:
            try:
                found = statistics.waits_of(await self._send(WAITS, self._api.waits(self._wanted.waits)))
            except SendError as error:
                log.warning("waits_not_known", outcome=error.outcome, code=error.code)
            else:
                known = [queue for queue in self._wanted.waits if queue in found]
                await self._signals.put(self._lead, [NewSignal(wait_name(queue), found[queue]) for queue in known])
            await asyncio.sleep(self._wanted.every)

    # ------------------------------------------------------------ what all of them do

    async def _send(self, operation: Operation, request: httpx.Request) -> Reading:
        """A good answer. Raises a SendError."""
        reading = await self._interfaces.send(operation, request)
        if not reading.good:
            raise reading.error()
        return reading

    async def _put(self, values: Iterable[tuple[str, Value]]) -> None:
        now, steady, new = time.time(), time.monotonic(), []
        for name, one in values:
            self._heard[name] = steady
            age = max(0.0, now - one.at) if one.at is not None and self._wanted.age_by == "timestamp" else 0.0
            told = self._wanted.watch[name].crossed if age <= self._wanted.fresh_for else None
            limits = (told.above, told.below) if told else (None, None)
            new.append(NewSignal(name, one.number, age, *limits))
        await self._signals.put(self._lead, new)

    async def _good(self) -> None:
        self._good_at = time.monotonic()
        if await self._signals.available(self._lead, ()):
            log.info("statistics_available")

    async def _failed(self, error: SendError) -> None:
        """No value is good any more once none has come for as long as one is good."""
        log.warning("statistics_failed", outcome=error.outcome, code=error.code)
        self._count("failed")
        if time.monotonic() - self._good_at > self._wanted.fresh_for:
            await self._unavailable(error.outcome)

    async def _unavailable(self, why: str) -> None:
        if await self._signals.unavailable(self._lead, why, self._watches):
            log.warning("statistics_unavailable", why=why)

    def _count(self, what: str) -> None:
        self._metrics.statistics.labels(what).inc()


def _connect_failed(error: SendError) -> None:
    log.info("statistics_connect_failed", outcome=error.outcome, code=error.code)
