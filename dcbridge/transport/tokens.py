"""A token as one process keeps it: one renewal under way at a time, before its end beside the work, and at once after.

Where a token comes from is for `renew` to know: from a provider's login (accounts.py), or from what all processes share
in Redis (`dcbridge.interfaces`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from dcbridge.errors import OutcomeUnknown, SendError, Unreachable, Unreadable

BETWEEN = 10.0  # seconds from a renewal that failed to the next, while the old token is good
# Seconds. A second try begins within the claim of the first one: both are shorter than the margin of the lease.
SOON = 2.0


@dataclass(frozen=True, slots=True)
class Fresh:
    """A token, for how many seconds from the beginning of its renewal it is good, and when to renew it."""

    value: str = field(repr=False)
    good_for: float
    renew_in: float


class KeptToken:
    """The token of one account. `clock` in seconds, steady."""

    def __init__(self, renew: Callable[[], Awaitable[Fresh]], clock: Callable[[], float]) -> None:
        self._ask, self._clock = renew, clock
        self._token = ""
        self._good_until = self._renew_at = 0.0  # by the steady clock
        self._renewal: asyncio.Task[str] | None = None

    async def token(self) -> str:
        """Raises a SendError where there is none to be had."""
        now = self._clock()
        if not self._token or now >= self._good_until:
            return await asyncio.shield(self._renewed())  # who waits may be cancelled, and the others not
        if now >= self._renew_at:
            self._renew_at = now + BETWEEN
            self._renewed()
        return self._token

    async def next_soon(self) -> str:
        """Another token after one was refused; "" where it does not come in a moment."""
        try:
            async with asyncio.timeout(SOON):
                return await self.token()
        except (TimeoutError, SendError):
            return ""

    def drop(self, token: str) -> None:
        """Not one that was renewed meanwhile."""
        if token == self._token:
            self._token = ""

    async def close(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)

    def _renewed(self) -> asyncio.Task[str]:
        """The one renewal that is under way."""
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.get_running_loop().create_task(self._renew())
            self._renewal.add_done_callback(_seen)
        return self._renewal

    async def _renew(self) -> str:
        began = self._clock()
        fresh = await self._ask()
        self._token = fresh.value
        self._good_until, self._renew_at = began + fresh.good_for, began + fresh.renew_in
        return fresh.value


def _seen(renewal: asyncio.Task[str]) -> None:
    """Its error is logged already, and perhaps nothing waits for it."""
    if not renewal.cancelled():
        renewal.exception()


def nothing_taken(error: SendError) -> SendError:
    """What follows from a login that failed: whatever it was, the request that needs it was not sent."""
    return Unreachable(f"login: {error.code}") if isinstance(error, OutcomeUnknown | Unreadable) else error
