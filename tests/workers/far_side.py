"""A worker's tools, with a provider and a Digital Channels behind them that answer what a test tells them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import orjson
from pydantic import SecretStr
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dcbridge import intake
from dcbridge.cli.dev.embedded_redis import free_port
from dcbridge.config.loader import parse
from dcbridge.config.models import Configuration
from dcbridge.ledger.fields import MessageEntry
from dcbridge.ledger.reports.books import read
from dcbridge.settings.process import Settings
from tests.listening import listening
from workers.context import WorkerContext, open_context

SMS, CONSUMER, NUMBER = "0123456789", "16504661149", "+15557650123"
TOKEN = "the-auth-token-of-twilio"
CONFIGURATION = """
public_url: http://127.0.0.1:8080
digital_channels:
  base_url: {url}/nexus/v3
  contact_center_id: 0ff723ff-6c6f-44e0-9ce3-ce579337eadd
endpoints:
  main: {{secrets: [the-app-secret-of-now]}}
retry: {{first: 2, factor: 3, most: 10, jitter: 0.5}}
providers:
  twilio: {{kind: twilio, ask: false, base_url: {url},
    account_sid: AC0123456789abcdef0123456789abcdef, auth_token: {token}}}
  asked: {{kind: twilio, list_lag: 20, base_url: {url},
    account_sid: AC0123456789abcdef0123456789abcdef, auth_token: {token}}}
  nowhere: {{kind: twilio, base_url: {nowhere}, account_sid: AC0123456789abcdef0123456789abcdef, auth_token: {token}}}
  post: {{kind: smtp, host: 127.0.0.1, security: none, callback_secret: the-callback-secret}}
  other-post: {{kind: smtp, host: 127.0.0.1, security: none, callback_secret: another-callback-secret}}
  aws: {{kind: aws-sms, region: eu-west-1, access_key_id: AKIA1, secret_access_key: s, configuration_set: c,
    sns_url: {url}/sns, topic_arns: ["arn:aws:sns:eu-west-1:123456789012:sms"]}}
  azure: {{kind: azure-sms, base_url: {url}, access_key: a2V5, callback_secret: 0123456789abcdef}}
  other: {{kind: twilio, base_url: {url}, account_sid: ACffffffffffffffffffffffffffffffff, auth_token: {token}}}
channels:
  company.com: {{type: email, provider: post}}
  "0123456789": {{type: sms, provider: twilio, number: "+15557650123", lane_limit: 900, unknown_grace: 7}}
  taken: {{type: sms, provider: twilio, number: "+15557650124", delivered_when: taken}}
  unreachable: {{type: sms, provider: nowhere, number: "+15557650125"}}
  fails: {{type: sms, provider: twilio, number: "+15557650126", outcome_unknown: fail, unconfirmed_as: failed}}
  asked: {{type: sms, provider: asked, number: "+15557650128", confirm_within: 5000}}
  asked-fails: {{type: sms, provider: asked, number: "+15557650129", outcome_unknown: fail, unconfirmed_as: failed}}
  asked-taken: {{type: sms, provider: asked, number: "+15557650130", delivered_when: taken}}
  azure: {{type: sms, provider: azure, number: "+15557650131", outcome_unknown: fail, unknown_grace: 70}}
  twin: {{type: sms, provider: twilio, number: "+15557650128"}}
  hurried: {{type: sms, provider: twilio, number: "+15557650127", lane_limit: 1, unconfirmed_as: delivered}}
"""

Reply = Callable[[Request], Awaitable[Response]]


def saying(status: int, value: object = b"", **headers: str) -> Reply:
    body = value if isinstance(value, bytes) else orjson.dumps(value)

    async def reply(_request: Request) -> Response:
        return Response(body, status, headers={name.replace("_", "-"): said for name, said in headers.items()})

    return reply


TAKEN = saying(201, {"sid": "SM1"})
STORED = saying(200, {"status": {"code": 0}, "data": {"ids": ["1"]}})


async def hang_up(request: Request) -> Response:
    """Read the request and close the connection without a word."""
    request.receive.__self__.transport.close()  # type: ignore[attr-defined]  # uvicorn's own object
    await asyncio.sleep(0.01)
    return Response()


@dataclass(slots=True)
class Side:
    """One pretended world: `replies` are used up in turn, then `usual`. `heard`: bodies; `asked`: what was GET."""

    usual: Reply
    replies: list[Reply] = field(default_factory=list)
    heard: list[bytes] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    async def answer(self, request: Request) -> Response:
        if request.method == "GET":
            self.asked.append(request.url.path + (f"?{request.url.query}" if request.url.query else ""))
        else:
            self.heard.append(await request.body())
        return await (self.replies.pop(0) if self.replies else self.usual)(request)

    @property
    def forms(self) -> list[dict[str, str]]:
        return [dict(parse_qsl(body.decode())) for body in self.heard]

    @property
    def messages(self) -> list[list[dict[str, Any]]]:
        return [orjson.loads(body)["messages"] for body in self.heard]


@dataclass(slots=True)
class FarSide:
    provider: Side
    agents: Side
    context: WorkerContext
    redis: Redis

    async def accept(self, message_id: str = "m-1", channel: str = SMS, **changes: Any) -> str:
        """Take one message in as the service does; its ref."""
        address = {
            "id": channel,
            "type": "sms",
            "from": {"id": channel},
            "to": {"id": changes.get("to", CONSUMER)},
            "messageId": message_id,
        }
        body = orjson.dumps({"channel": address, "type": "Text", "text": changes.get("text", "Agent message text")})
        copies = intake.read(self.context.configuration, "main", body, "trace").copies
        assert await self.context.ledger.messages.accept(copies) == [True]
        return copies[0].ref

    async def entry(self, ref: str) -> MessageEntry:
        return await self.context.ledger.messages.entry(ref)

    async def wait_of(self, ref: str) -> float:
        """Seconds until the message is looked at again, by Redis' clock."""
        due = await self.redis.zscore("dcb:due", f"m:{ref}")
        seconds, micros = await self.redis.time()
        assert due is not None
        return due / 1000 - seconds - micros / 1e6

    async def difference(self) -> int:
        return (await read(self.redis)).difference

    def counted(self, name: str, /, **labels: str) -> float:
        return self.context.metrics.registry.get_sample_value(name, labels) or 0.0


def configuration(url: str) -> Configuration:
    nowhere = f"http://127.0.0.1:{free_port()}"
    return parse(CONFIGURATION.format(url=url, nowhere=nowhere, token=TOKEN), {})


def settings(redis_url: str, **changes: Any) -> Settings:
    given: dict[str, Any] = {
        "redis_url": SecretStr(redis_url),
        "token_key": SecretStr("0123456789abcdef"),
        "connect_timeout": 1.0,
        "write_timeout": 1.0,
        "read_timeout": 1.0,
        "pool_timeout": 1.0,
        "lease": 10.0,
        "receipt_linger": 0.0,
    }
    return Settings(**(given | changes))


@asynccontextmanager
async def worlds() -> AsyncIterator[tuple[Side, Side, str]]:
    """(provider, agents, their URL): both behind one listener."""
    provider, agents = Side(TAKEN), Side(STORED)
    routes = [
        Route("/2010-04-01/{path:path}", provider.answer, methods=["GET", "POST"]),
        Route("/sns/", provider.answer, methods=["GET"]),
        Route("/sms", provider.answer, methods=["POST"]),
        Route("/nexus/v3/{path:path}", agents.answer, methods=["GET", "POST", "DELETE"]),
    ]
    async with listening(Starlette(routes=routes)) as url:
        yield provider, agents, url


@asynccontextmanager
async def far_side(redis: Redis, redis_url: str, **changes: Any) -> AsyncIterator[FarSide]:
    """Both sides and a worker's context; `changes` are settings."""
    async with (
        worlds() as (provider, agents, url),
        open_context(settings(redis_url, **changes), configuration(url)) as context,
    ):
        yield FarSide(provider, agents, context, redis)
