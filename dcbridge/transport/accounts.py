"""Sends what an account asks for, with what shows who asks: a token that is kept here, or a signature of this moment.

A token is kept per process. One request for it is under way at a time, and everybody waits for that one. After 80 % of
its life it is renewed beside the work; a 401 drops it, and the request is tried once with the next one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import httpx
import structlog

from dcbridge.errors import OutcomeUnknown, SendError, Unreachable, Unreadable
from dcbridge.providers.base import Answer, MailRequest, Provider, Request, SmppRequest, TokenLogin
from dcbridge.transport.sender import Sender

log = structlog.get_logger()

RENEWED_AT = 0.8  # of a token's life
SHORTEST = 5.0  # seconds that a token is kept, whatever its life is: else each message would ask for its own
BETWEEN = 10.0  # seconds from a renewal that failed to the next, while the old token is good
# Seconds. A second try begins within the claim of the first one: both are shorter than the margin of the lease.
SOON = 2.0


class Accounts:
    """The logins of one process' providers, for one event loop."""

    def __init__(self, sender: Sender, clock: Callable[[], float] = time.monotonic) -> None:
        self._sender, self._clock = sender, clock
        self._tokens: dict[str, _Kept] = {}

    async def close(self) -> None:
        """Nobody waits for a token any more."""
        for kept in self._tokens.values():
            await kept.close()

    async def ready(self, provider: Provider) -> None:
        """Have a token where one is needed. Raises a SendError that says nothing was taken."""
        if (kept := self._kept(provider)) is not None:
            await kept.token()

    async def send(self, provider: Provider, request: Request) -> Answer:
        """As `Sender.send`, for a request of this provider. The errors of a login say that nothing was taken."""
        if provider.login is None or isinstance(request, MailRequest | SmppRequest):
            return await self._sender.send(request)
        if (kept := self._kept(provider)) is None:
            assert not isinstance(provider.login, TokenLogin)
            return await self._sender.http(provider.login.signed(request, time.time()))
        token, began = await kept.token(), self._clock()
        answer = await self._sender.http(_with(request, token))
        if answer.status_code == 401:
            kept.drop(token)
            if self._clock() - began < SOON and (token := await kept.next_soon()):
                answer = await self._sender.http(_with(request, token))
        return answer

    def _kept(self, provider: Provider) -> _Kept | None:
        if not isinstance(provider.login, TokenLogin):
            return None
        if provider.name not in self._tokens:
            self._tokens[provider.name] = _Kept(provider.name, provider.login, self._sender, self._clock)
        return self._tokens[provider.name]


class _Kept:
    """The token of one account."""

    def __init__(self, name: str, login: TokenLogin, sender: Sender, clock: Callable[[], float]) -> None:
        self._name, self._login, self._sender, self._clock = name, login, sender, clock
        self._token = ""
        self._good_until = self._renew_at = 0.0  # by the steady clock
        self._renewal: asyncio.Task[str] | None = None

    async def token(self) -> str:
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
        try:
            began = self._clock()
            token = self._login.read_token(await self._sender.http(self._login.token_request()))
        except (OutcomeUnknown, Unreadable) as error:
            raise self._failed(Unreachable(f"login: {error.code}")) from None
        except SendError as error:
            raise self._failed(error) from None
        life = max(token.seconds, SHORTEST)
        self._token, self._good_until, self._renew_at = token.value, began + life, began + life * RENEWED_AT
        log.info("login_renewed", provider=self._name, seconds=round(life))
        return token.value

    def _failed(self, error: SendError) -> SendError:
        log.warning("login_failed", provider=self._name, outcome=error.outcome, code=error.code)
        return error


def _seen(renewal: asyncio.Task[str]) -> None:
    """Its error is logged already, and nobody may be waiting."""
    if not renewal.cancelled():
        renewal.exception()


def _with(request: httpx.Request, token: str) -> httpx.Request:
    request.headers["Authorization"] = f"Bearer {token}"
    return request
