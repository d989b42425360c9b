"""Sends what an account asks for, with what shows who asks: a token that is kept here, or a signature of this moment.

A token is kept per process. One request for it is under way at a time, and everybody waits for that one. After 80 % of
its life it is renewed beside the work; a 401 drops it, and the request is tried once with the next one.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol

import httpx
import structlog

from dcbridge.errors import SendError
from dcbridge.oauth2 import MailCredentials
from dcbridge.providers.base import (
    Answer,
    HasLogin,
    MailAnswer,
    MailRequest,
    Provider,
    Request,
    SmppRequest,
    TokenLogin,
)
from dcbridge.transport.sender import Sender
from dcbridge.transport.smpp import Turn
from dcbridge.transport.tokens import SOON, Fresh, KeptToken, nothing_taken

log = structlog.get_logger()

RENEWED_AT = 0.8  # of a token's life
SHORTEST = 5.0  # seconds that a token is kept, whatever its life is: else each message would ask for its own


class SharedTokens(Protocol):
    """The token of one mail account, the same for all processes."""

    async def token(self) -> str:
        """Raises a SendError."""

    async def another_soon(self, refused: str) -> str:
        """The next one after one was refused; "" where there is none in a moment."""


class Accounts:
    """The logins of one process' providers, for one event loop."""

    def __init__(
        self,
        sender: Sender,
        clock: Callable[[], float] = time.monotonic,
        shared: Callable[[MailCredentials], SharedTokens] | None = None,
    ) -> None:
        """`shared`: where the tokens of mail servers come from, which all processes share."""
        self._sender, self._clock, self._shared = sender, clock, shared
        self._tokens: dict[str, KeptToken] = {}

    async def close(self) -> None:
        """Nobody waits for a token any more."""
        for kept in self._tokens.values():
            await kept.close()

    async def ready(self, provider: Provider) -> None:
        """Have a token where one is needed. Raises a SendError that says nothing was taken."""
        if (kept := self._kept(provider)) is not None:
            await kept.token()
        elif provider.shared_login is not None and self._shared is not None:
            await self._shared(provider.shared_login).token()

    async def send(self, provider: Provider, request: Request, turn: Turn | None = None) -> Answer:
        """As `Sender.send`, for a request of this provider. The errors of a login say that nothing was taken."""
        if isinstance(request, MailRequest) and provider.shared_login is not None and self._shared is not None:
            return await self._mail(self._shared(provider.shared_login), request)
        if provider.login is None or isinstance(request, MailRequest | SmppRequest):
            return await self._sender.send(request, turn)
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

    async def _mail(self, tokens: SharedTokens, request: MailRequest) -> Answer:
        """A token that the server refuses is dropped, and the mail is tried once with the next one."""
        token, began = await tokens.token(), self._clock()
        answer = await self._sender.send(replace(request, token=token))
        if isinstance(answer, MailAnswer) and answer.step == "auth" and answer.code >= 500:
            soon = self._clock() - began < SOON
            if (another := await tokens.another_soon(token)) and soon:
                answer = await self._sender.send(replace(request, token=another))
        return answer

    async def authorized(self, provider: HasLogin, request: httpx.Request) -> httpx.Request:
        """The request with what shows who asks. Raises as `ready`."""
        if (kept := self._kept(provider)) is not None:
            return _with(request, await kept.token())
        if provider.login is not None and not isinstance(provider.login, TokenLogin):
            return provider.login.signed(request, time.time())
        return request

    def refused(self, provider: HasLogin, request: httpx.Request) -> None:
        """A request that `authorized` made was answered 401: the next one shows another token."""
        if (kept := self._kept(provider)) is not None:
            kept.drop(request.headers.get("Authorization", "").removeprefix("Bearer "))

    def _kept(self, provider: HasLogin) -> KeptToken | None:
        if provider.login is None or not isinstance(provider.login, TokenLogin):
            return None
        if provider.name not in self._tokens:
            self._tokens[provider.name] = KeptToken(_renewal(provider.name, provider.login, self._sender), self._clock)
        return self._tokens[provider.name]


def _renewal(name: str, login: TokenLogin, sender: Sender) -> Callable[[], Awaitable[Fresh]]:
    async def renew() -> Fresh:
        try:
            token = login.read_token(await sender.http(login.token_request()))
        except SendError as error:
            said = nothing_taken(error)
            log.warning("login_failed", provider=name, outcome=said.outcome, code=said.code)
            raise said from None
        life = max(token.seconds, SHORTEST)
        log.info("login_renewed", provider=name, seconds=round(life))
        return Fresh(token.value, life, life * RENEWED_AT)

    return renew


def _with(request: httpx.Request, token: str) -> httpx.Request:
    request.headers["Authorization"] = f"Bearer {token}"
    return request
