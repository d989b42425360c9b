"""Requests to Genesys' web interfaces: with the API key, with a token where one is asked for, and with what is learnt.

One token serves all processes: it lies in Redis, encrypted. The process that gets the lock renews it, at 80 % of its
life or when it has ended; the others use the old one while it lives, and wait for the new one afterwards.
"""

from __future__ import annotations

import asyncio
import math
import random
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, Self

import httpx
import structlog
from redis.exceptions import RedisError

from dcbridge.config.genesys import Genesys
from dcbridge.errors import AccountFault, SendError, Unreachable
from dcbridge.genesys import envelope, shapes
from dcbridge.genesys.envelope import Reading
from dcbridge.genesys.operations import Operation
from dcbridge.json_values import json_value
from dcbridge.ledger import Ledger
from dcbridge.ledger.tokens import Stored
from dcbridge.ledger.vault import Vault
from dcbridge.oauth2 import Granted, MailCredentials, read_grant
from dcbridge.runtime.metrics import Metrics
from dcbridge.settings.problems import ConfigurationError, Problem
from dcbridge.settings.process import Settings
from dcbridge.tracing.ids import split
from dcbridge.transport.sender import Sender
from dcbridge.transport.tokens import BETWEEN, SOON, Fresh, KeptToken, nothing_taken

__all__ = ["Interfaces", "MailTokens", "Operation", "SharedToken"]

log = structlog.get_logger()

_NO_LOG = structlog.wrap_logger(None, processors=[], wrapper_class=structlog.make_filtering_bound_logger(50))

RENEWED_AT, SPREAD = 0.8, 0.05  # of a token's life; not all credentials at one moment
SHORTEST = 5.0  # seconds that a token is kept, whatever its life is
LOCK = 15.0  # seconds for which one process may renew a token; one that was killed holds up the others so long
PATIENCE = 5.0  # seconds that the others wait for it
AFTER_FAILURE = 1.0  # seconds from a renewal that failed to the next one, of any process
NO_LOGIN = "login: sign in with `dcbridge genesys login`"


class Asking(Protocol):
    """Who asks for tokens, and how: at Genesys, or at a company that has mailboxes."""

    @property
    def grant(self) -> str: ...
    @property
    def refresh_token(self) -> str: ...
    @property
    def identity(self) -> tuple[str, ...]:
        """What tells its tokens from those of others."""

    def by_refresh(self, token: str) -> httpx.Request: ...
    def first(self) -> httpx.Request | None: ...


class SharedToken:
    """The token of one set of credentials, the same for all processes."""

    def __init__(
        self,
        credentials: Asking,
        ledger: Ledger,
        vault: Vault,
        sender: Sender,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
        *,
        lock: float = LOCK,
        quiet: bool = False,
        counted: bool = True,
    ) -> None:
        """`quiet`: a command says in its own words what a worker logs. `counted`: among the tokens of Genesys."""
        self._credentials, self._ledger, self._vault, self._sender = credentials, ledger, vault, sender
        self._metrics, self._lock, self._clock = metrics, lock, clock
        self._log = _NO_LOG if quiet else log
        self.id = vault.name(*credentials.identity)
        self._counted = counted
        self._kept = KeptToken(self._renewed, clock)
        self._sealed: dict[str, bytes] = {}  # the present token -> as it lies in Redis

    async def token(self) -> str:
        """Raises Throttled, Unreachable or AccountFault."""
        return await self._kept.token()

    async def another_soon(self, refused: str) -> str:
        """The next one after a 401; "" where there is none in a moment."""
        self._kept.drop(refused)
        if sealed := self._sealed.pop(refused, b""):
            said = await self._ledger.tokens.drop(self.id, sealed)
            self._log.info("token_refused", outcome=said)
            if said == "young":
                return ""
        return await self._kept.next_soon()

    async def keep(self, granted: Granted) -> Fresh:
        """For all processes."""
        life = max(granted.seconds, SHORTEST)
        renew_in = life * (RENEWED_AT + random.uniform(-SPREAD, SPREAD))
        sealed = await self._ledger.tokens.put(self._vault, self.id, granted.access, life, renew_in, granted.refresh)
        return self._fresh(granted.access, sealed, life, renew_in)

    async def close(self) -> None:
        await self._kept.close()

    def _fresh(self, access: str, sealed: bytes, good_for: float, renew_in: float) -> Fresh:
        self._sealed = {access: sealed}
        return Fresh(access, good_for, renew_in)

    async def _renewed(self) -> Fresh:
        owner, until = secrets.token_hex(8), self._clock() + PATIENCE
        while True:
            stored = await self._ledger.tokens.ask(self._vault, self.id, owner, self._lock)
            if stored.ours:
                return await self._renew(stored, owner)
            if stored.access:
                return self._fresh(stored.access, stored.sealed, stored.good_for, stored.renew_in or BETWEEN)
            if self._clock() >= until:
                raise Unreachable("login: another process is getting the token")
            await asyncio.sleep(random.uniform(0.05, 0.15))

    async def _renew(self, stored: Stored, owner: str) -> Fresh:
        try:
            async with asyncio.timeout(self._lock * 2 / 3):  # shorter than the lock: nobody else asks meanwhile
                granted = await self._granted(stored.refresh)
        except (SendError, TimeoutError) as error:
            said = nothing_taken(error) if isinstance(error, SendError) else Unreachable("login: timeout")
            self._log.warning("token_not_renewed", outcome=said.outcome, code=said.code)
            await self._ledger.tokens.failed(self.id, owner, AFTER_FAILURE)
            raise said from None
        self._log.info("token_renewed", seconds=round(granted.seconds))
        return await self.keep(granted)

    async def _granted(self, refresh: str) -> Granted:
        """By the refresh token where there is one; if that is refused, once as at the first time."""
        if refresh and self._credentials.grant != "client_credentials":
            try:
                return await self._ask("refresh_token", self._credentials.by_refresh(refresh))
            except AccountFault:
                if refresh == self._credentials.refresh_token:
                    raise
        first = self._credentials.first()
        if first is None:
            raise AccountFault(NO_LOGIN)
        return await self._ask(self._credentials.grant, first)

    async def _ask(self, grant: str, request: httpx.Request) -> Granted:
        try:
            granted = read_grant(await self._sender.http(request))
        except SendError as error:
            self._count(grant, error.outcome)
            raise
        self._count(grant, "granted")
        return granted

    def _count(self, grant: str, outcome: str) -> None:
        if self._counted:
            self._metrics.token_grants.labels(grant, outcome).inc()


class MailTokens:
    """The tokens of mailboxes, for one process: what Google and Microsoft take in place of a password."""

    def __init__(self, settings: Settings, ledger: Ledger, sender: Sender, metrics: Metrics) -> None:
        self._settings, self._ledger, self._sender, self._metrics = settings, ledger, sender, metrics
        self._tokens: dict[tuple[str, ...], SharedToken] = {}

    def of(self, credentials: MailCredentials) -> SharedToken:
        """The same one for the same credentials. Raises ConfigurationError where it cannot be shared."""
        if self._settings.token_key_is_random:
            what = "is not set, and the tokens of oauth2 are encrypted with it; set the same value in every process"
            raise ConfigurationError([Problem("DCBRIDGE_TOKEN_KEY", 0, what)])
        if credentials.identity not in self._tokens:
            vault = Vault(self._settings.token_key.get_secret_value().encode())
            self._tokens[credentials.identity] = SharedToken(
                credentials, self._ledger, vault, self._sender, self._metrics, counted=False
            )
        return self._tokens[credentials.identity]

    async def close(self) -> None:
        for token in self._tokens.values():
            await token.close()


class Interfaces:
    """Genesys' interfaces for one event loop. Every request of theirs goes through here."""

    def __init__(self, key: str, token: SharedToken | None, sender: Sender, ledger: Ledger, metrics: Metrics) -> None:
        """`key`: sent as x-api-key, "" for none."""
        self._key, self._token, self._sender, self._ledger, self._metrics = key, token, sender, ledger, metrics

    @classmethod
    def of(cls, genesys: Genesys, settings: Settings, sender: Sender, ledger: Ledger, metrics: Metrics) -> Self:
        """Those of bridge.yaml. Raises ConfigurationError where the token cannot be shared."""
        credentials, token = genesys.credentials(), None
        if credentials is not None:
            if settings.token_key_is_random:
                what = "is not set, and the tokens of genesys.auth are encrypted with it; set the same value everywhere"
                raise ConfigurationError([Problem("DCBRIDGE_TOKEN_KEY", 0, what)])
            vault = Vault(settings.token_key.get_secret_value().encode())
            token = SharedToken(credentials, ledger, vault, sender, metrics)
        return cls(genesys.key, token, sender, ledger, metrics)

    def through(self, sender: Sender) -> Self:
        """The same, with connections of their own. Their token is closed with the first."""
        return type(self)(self._key, self._token, sender, self._ledger, self._metrics)

    async def send(self, operation: Operation, request: httpx.Request, trace_id: str = "") -> Reading:
        """The answer, whatever it says. Raises a SendError where there is none, or no token for it."""
        answer = await self._asked(operation, request, trace_id)
        reading = envelope.read(answer)
        outcome = "taken" if reading.good else f"http_{reading.http}" if reading.http >= 300 else str(reading.said)
        self._metrics.interface_requests.labels(operation.full_name, outcome).inc()
        await self._learn(operation, answer)
        return reading

    async def exchange(self, operation: Operation, request: httpx.Request) -> httpx.Response:
        """As `send`, where the answer is none of the envelope's forms, and may be held back for long."""
        answer = await self._asked(operation, request, soon=False)
        outcome = "taken" if answer.is_success else f"http_{answer.status_code}"
        self._metrics.interface_requests.labels(operation.full_name, outcome).inc()
        await self._learn(operation, answer)
        return answer

    async def _asked(
        self, operation: Operation, request: httpx.Request, trace_id: str = "", *, soon: bool = True
    ) -> httpx.Response:
        request.headers.setdefault("Accept", "application/json")
        if self._key:
            request.headers["x-api-key"] = self._key
        if trace_id:
            request.headers["X-B3-TraceId"] = split(trace_id)[0]
        try:
            return await self._answer(operation, request, SOON if soon else math.inf)
        except SendError as error:
            self._metrics.interface_requests.labels(operation.full_name, error.outcome).inc()
            raise

    async def _answer(self, operation: Operation, request: httpx.Request, within: float) -> httpx.Response:
        if not operation.bearer:
            return await self._sender.http(request)
        if self._token is None:
            raise AccountFault("login: genesys.auth is not set")
        token, began = await self._token.token(), time.monotonic()
        answer = await self._sender.http(_with(request, token))
        if answer.status_code != 401 or time.monotonic() - began > within:
            return answer
        another = await self._token.another_soon(token)
        return await self._sender.http(_with(request, another)) if another else answer

    async def _learn(self, operation: Operation, answer: httpx.Response) -> None:
        """Names and types of its fields, apart for good answers and others. Where they cannot be written down, the
        answer counts all the same.
        """
        name = operation.full_name if answer.is_success else f"{operation.full_name}:{answer.status_code}"
        with suppress(RedisError, OSError):
            if new := await self._ledger.once.shapes.note(name, shapes.fields(json_value(answer.content))):
                self._metrics.new_fields.labels(operation.full_name).inc(new)

    async def close(self) -> None:
        if self._token is not None:
            await self._token.close()


def _with(request: httpx.Request, token: str) -> httpx.Request:
    request.headers["Authorization"] = f"Bearer {token}"
    return request
