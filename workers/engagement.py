"""What bookings ask of the Engagement API: a few times in a short while, and nothing while it is known to be sick."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import httpx
import structlog

from dcbridge.config.genesys import EngagementApi
from dcbridge.errors import AccountFault, OutcomeUnknown, SendError, Unreachable, Unreadable
from dcbridge.genesys import engagement
from dcbridge.genesys.engagement import Booked, Engagement, Full
from dcbridge.genesys.envelope import Reading
from dcbridge.genesys.operations import Operation
from workers import failures
from workers.context import WorkerContext
from workers.interface_pace import turn

log = structlog.get_logger()

T = TypeVar("T")

NAME = "genesys/engagement"  # of its breaker
TRIES, BETWEEN = 3, (0.5, 1.5)  # of what may be repeated, and the seconds between
SHARE = 0.4  # of a lease that reading may take, and again that a create may: a second worker must not come meanwhile
MOST = 20.0  # seconds of each


@dataclass(frozen=True, slots=True)
class Calls:
    """Requests of one task. `ref` names it to the breaker."""

    ctx: WorkerContext
    ref: str
    trace: str

    @property
    def api(self) -> Engagement:
        genesys = self.ctx.configuration.genesys
        if genesys is None or genesys.engagement is None:
            raise AccountFault("genesys.engagement is not set")
        return Engagement(genesys.engagement_url)

    @property
    def _wanted(self) -> EngagementApi:
        genesys = self.ctx.configuration.genesys
        if genesys is None or genesys.engagement is None:
            raise AccountFault("genesys.engagement is not set")
        return genesys.engagement

    @property
    def patience(self) -> float:
        return min(MOST, self.ctx.settings.lease * SHARE)

    async def may(self) -> bool:
        """False while the interface is known to be sick, or to refuse us."""
        return await self.ctx.ledger.pacing.may_speak(NAME, self.ref, self.ctx.settings.lease)

    async def turn(self) -> None:
        """Waits until one more request may go. Raises Throttled where that would take too long."""
        await turn(self.ctx, NAME, self._wanted.pace, self.patience)

    async def may_book(self) -> bool:
        """Whether one more call may be booked within this hour, which counts."""
        if not (most := self._wanted.bookings_an_hour):
            return True
        return await self.ctx.ledger.requests.slot(f"{NAME}/bookings", most / 3600, most, 0.0) is not None

    async def read(self, name: str, request: Callable[[Engagement], httpx.Request], read: Callable[[Reading], T]) -> T:
        """What may be asked again: questions, and a cancellation. Raises a SendError."""
        try:
            async with asyncio.timeout(self.patience):
                for pause in (*BETWEEN[: TRIES - 1], None):
                    await self.turn()
                    try:
                        return await self._ask(name, request(self.api), read)
                    except (Unreachable, OutcomeUnknown) as error:
                        if pause is None:
                            raise
                        log.info("engagement_asked_again", operation=name, code=error.code)
                    await asyncio.sleep(pause)
        except TimeoutError:
            raise await self._too_slow() from None
        raise AssertionError("the last try returns or raises")

    async def create(self, request: httpx.Request) -> Booked | Full:
        """Written once. Raises a SendError; OutcomeUnknown says that there may be a call now."""
        try:
            async with asyncio.timeout(self.patience):
                return await self._ask("create", request, engagement.read_created)
        except TimeoutError:
            raise await self._too_slow() from None

    async def _too_slow(self) -> SendError:
        error = OutcomeUnknown("timeout")
        await failures.update_breaker(self.ctx, NAME, self.ref, error)
        return error

    async def _ask(self, name: str, request: httpx.Request, read: Callable[[Reading], T]) -> T:
        assert self.ctx.interfaces is not None, "`api` was asked before"
        try:
            reading = await self.ctx.interfaces.send(Operation("engagement", name), request, self.trace)
            answer = read(reading)
        except SendError as error:
            if isinstance(error, Unreadable):
                failures.response_unreadable(self.ctx, NAME, error)
            await failures.update_breaker(self.ctx, NAME, self.ref, error)
            raise
        await self.ctx.ledger.pacing.record_success(NAME, self.ref)
        return answer
