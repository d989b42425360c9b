"""Mail sent with a token: aiosmtpd asks for XOAUTH2, a server of the test's own gives tokens, Redis keeps them."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from aiosmtpd.smtp import SMTP, AuthResult
from aiosmtplib.auth import auth_xoauth2_encode
from pydantic import ValidationError
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.errors import AccountFault, Unreachable
from dcbridge.interfaces import MailTokens
from dcbridge.ledger import Ledger
from dcbridge.messages import Address, AgentMessage
from dcbridge.oauth2 import xoauth2
from dcbridge.providers import build
from dcbridge.providers.base import MailAnswer, Part, Provider, Turn
from dcbridge.providers.smtp import SmtpFields
from dcbridge.runtime.metrics import Metrics
from dcbridge.settings.problems import ConfigurationError
from dcbridge.settings.process import Settings
from dcbridge.store.connection import connect
from dcbridge.transport.accounts import Accounts
from dcbridge.transport.sender import Sender
from tests.certificates import self_signed
from tests.providers.test_mail_transport import Mailbox, listening
from tests.transport.test_sender import heard, serving

ERROR = base64.b64encode(b'{"status":"401","schemes":"bearer","scope":"https://mail.google.com/"}')


@dataclass
class MailServer(Mailbox):
    """Takes mail of one user with one of these tokens."""

    tokens: set[str] = field(default_factory=set)
    shown: list[str] = field(default_factory=list)
    refusal: str = "535 5.7.8 Username and Password not accepted"

    async def auth_XOAUTH2(self, server: SMTP, words: list[str]) -> AuthResult:  # noqa: N802 (aiosmtpd's name)
        said = dict(one.split("=", 1) for one in base64.b64decode(words[1], validate=True).decode().split("\1") if one)
        assert said.keys() == {"user", "auth"}, said
        token = said["auth"].removeprefix("Bearer ")
        self.shown.append(token)
        if said["user"] == "care@company.com" and token in self.tokens:
            return AuthResult(success=True, auth_data=said["user"])
        if self.refusal.startswith("535"):
            await server.push(f"334 {ERROR.decode()}")
            assert await server._reader.readline() == b"\r\n", "the question is answered by an empty line"
        await server.push(self.refusal)
        return AuthResult(success=False, handled=True)


@dataclass
class TokenServer:
    """Gives t-1, t-2 … and a refresh token with each."""

    asked: list[dict[str, str]] = field(default_factory=list)
    status: int = 200

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while said := await heard(reader):
            self.asked.append(dict(parse_qsl(said.partition(b"\r\n\r\n")[2].decode())))
            n = len(self.asked)
            body = b'{"access_token":"t-%d","token_type":"Bearer","expires_in":3600,"refresh_token":"r-%d"}' % (n, n)
            body = body if self.status == 200 else b'{"error":"invalid_grant"}'
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (self.status, len(body), body))
            await writer.drain()


@dataclass
class World:
    """Everything that sends a mail."""

    mail: MailServer
    tokens: TokenServer
    provider: Provider
    accounts: Accounts

    async def send(self) -> MailAnswer:
        ana = Address("ana@example.com")
        message = AgentMessage(
            "company.com", "m", Address("care@company.com"), ana, (ana,), "Email", "Hello", subject="S"
        )
        request = self.provider.build_request(Turn(message, Part(0, 1, "Hello"), 1.0))
        answer = await self.accounts.send(self.provider, request)
        assert isinstance(answer, MailAnswer)
        return answer


@asynccontextmanager
async def world(redis_url: str, folder: Path, offered: str = "XOAUTH2") -> AsyncIterator[World]:

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*self_signed(folder))
    mail, tokens = MailServer(tokens={"t-1"}), TokenServer()
    hidden = [] if offered == "XOAUTH2" else ["XOAUTH2"]
    make = lambda: SMTP(mail, tls_context=context, auth_required=True, auth_exclude_mechanism=hidden)  # noqa: E731 (a protocol factory)
    settings = Settings(redis_url=redis_url, token_key="0123456789abcdef")
    redis = connect(settings)
    async with listening(make) as port, serving(tokens.talk) as url, Sender() as sender:
        oauth2 = {"token_url": f"{url}/token", "client_id": "id", "client_secret": "geheim", "refresh_token": "r-0"}
        given = {"host": "127.0.0.1", "port": port, "verify_certificate": False, "username": "care@company.com",
                 "oauth2": oauth2}  # fmt: skip
        provider = build("mail", "smtp", SmtpFields.model_validate(given), "https://bridge.example.com")
        house = MailTokens(settings, Ledger.of(settings, redis), sender, Metrics())
        try:
            yield World(mail, tokens, provider, Accounts(sender, shared=house.of))
        finally:
            await house.close()
            await redis.aclose()


async def test_a_token_serves_all_processes(redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path) -> None:
    async with world(redis_server.url, tmp_path) as one:
        await one.accounts.ready(one.provider)
        assert [(await one.send()).step for _ in range(2)] == ["done", "done"]
        assert one.mail.shown == ["t-1", "t-1"]
        assert one.tokens.asked == [
            {"grant_type": "refresh_token", "refresh_token": "r-0", "client_id": "id", "client_secret": "geheim"}
        ]
    keys = await redis.keys("dcb:token:*")
    assert len(keys) == 1
    stored = repr(await redis.hgetall(keys[0])).encode()
    assert all(secret not in stored for secret in (b"t-1", b"r-1")), "encrypted"


async def test_a_token_that_is_refused_is_renewed_once_with_the_newest_refresh_token(
    redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path
) -> None:
    async with world(redis_server.url, tmp_path) as one:
        assert (await one.send()).step == "done"
        one.mail.tokens = {"t-2"}
        await redis.hset((await redis.keys("dcb:token:*"))[0], "since", 1)  # it was granted long ago, and not just now
        answer = await one.send()
        assert (answer.step, one.mail.shown) == ("done", ["t-1", "t-1", "t-2"])
        assert [asked["refresh_token"] for asked in one.tokens.asked] == ["r-0", "r-1"]


async def test_a_token_that_is_refused_again_opens_the_breaker(
    redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path
) -> None:
    async with world(redis_server.url, tmp_path) as one:
        one.mail.tokens = set()
        answer = await one.send()
        assert (answer.step, answer.code) == ("auth", 535)
        with pytest.raises(AccountFault, match=r"535 5\.7\.8"):
            one.provider.parse_response(answer)
        assert len(one.mail.shown) <= 2
        one.mail.refusal = "454 4.7.0 temporary authentication failure"
        shown = len(one.mail.shown)
        assert (await one.send()).code == 454
        assert len(one.mail.shown) == shown + 1, "which says nothing about the token"


async def test_without_a_token_nothing_is_sent(redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path) -> None:
    async with world(redis_server.url, tmp_path) as one:
        one.tokens.status = 400
        with pytest.raises(AccountFault, match="login: invalid_grant"):
            await one.send()
        one.tokens.status = 503
        with pytest.raises(Unreachable):
            await one.send()
        assert one.mail.shown == []


async def test_a_server_without_xoauth2_is_a_fault_of_the_account(
    redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path
) -> None:
    async with world(redis_server.url, tmp_path, offered="") as one:
        with pytest.raises(AccountFault, match="AUTH XOAUTH2 is not offered"):
            await one.send()


def test_the_response_is_that_of_others() -> None:
    assert base64.b64encode(xoauth2("care@company.com", "ya29.a0")) == auth_xoauth2_encode(
        "care@company.com", "ya29.a0"
    )


OAUTH2 = {"token_url": "https://example.com/token", "client_id": "id"}
SMTP_FIELDS: dict[str, Any] = {"host": "mail.example.com", "username": "care@company.com", "oauth2": OAUTH2}


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"password": "x"}, "stands in the place of password"),
        ({"username": ""}, "needs username"),
        ({"oauth2": {**OAUTH2, "token_url": "http://example.com/token"}}, "https"),
        ({"oauth2": {**OAUTH2, "scope": 'a"b'}}, "pattern"),
    ],
)
def test_what_cannot_be_meant(changes: dict[str, Any], what: str) -> None:
    SmtpFields.model_validate(SMTP_FIELDS)
    with pytest.raises(ValidationError, match=what):
        SmtpFields.model_validate({**SMTP_FIELDS, **changes})


async def test_a_key_of_this_process_alone_is_refused_at_start(redis: Redis, redis_server: EmbeddedRedis) -> None:
    settings = Settings(redis_url=redis_server.url)
    async with Sender() as sender:
        house = MailTokens(settings, Ledger.of(settings, redis), sender, Metrics())
        credentials = SmtpFields.model_validate(SMTP_FIELDS).oauth2
        assert credentials is not None
        with pytest.raises(ConfigurationError):
            house.of(credentials.credentials())
