"""The service itself, behind a real listener, with a real Redis behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import httpx
import orjson
from pydantic import SecretStr
from redis.asyncio import Redis

from dcbridge.config.loader import parse
from dcbridge.config.models import Configuration
from dcbridge.genesys.signature import sign
from dcbridge.ledger import Ledger
from dcbridge.ledger.fields import MessageEntry
from dcbridge.ledger.reports.books import Books, read
from dcbridge.messages import message_ref
from dcbridge.providers import build as build_provider
from dcbridge.runtime.logs import Tokens
from dcbridge.runtime.metrics import Metrics
from dcbridge.settings.process import Settings
from dcbridge.store.connection import connect
from service import app
from service.endpoint import ServiceContext
from service.journal.inbox import Inbox
from tests.listening import listening

PUBLIC = "https://bridge.example.com"  # not where the test knocks: an ingress stands in between
SECRET, OLDER, RETIRED = "the-app-secret-of-now", "the-app-secret-before", "a-retired-app-secret"
OWN, OTHER = "the-secret-of-one-channel", "the-secret-of-second"
TOKEN, MAIL_SECRET = "the-auth-token-of-twilio", "the-secret-of-mail-reports"
SMS, OWN_CHANNEL, SECOND = "0123456789", "own", "at-second"
LIMIT = 4096
CONFIGURATION = f"""
public_url: {PUBLIC}
digital_channels:
  base_url: http://127.0.0.1:1/nexus/v3
  contact_center_id: 0ff723ff-6c6f-44e0-9ce3-ce579337eadd
endpoints:
  main: {{secrets: [{SECRET}, {OLDER}], retired_secrets: [{RETIRED}]}}
  second: {{secrets: [{OTHER}]}}
interactions:
  events: {{secrets: [{SECRET}, {OLDER}], retired_secrets: [{RETIRED}]}}
providers:
  twilio: {{kind: twilio, account_sid: AC0123456789abcdef0123456789abcdef, auth_token: {TOKEN}}}
  mail: {{kind: smtp, host: 127.0.0.1, security: none, callback_secret: {MAIL_SECRET}}}
channels:
  "0123456789": {{type: sms, provider: twilio, endpoint: main}}
  company.com: {{type: email, provider: mail, endpoint: main}}
  own: {{type: sms, provider: twilio, endpoint: main, secrets: [{OWN}]}}
  at-second: {{type: sms, provider: twilio, endpoint: second}}
"""


def configuration() -> Configuration:
    return parse(CONFIGURATION, {})


def settings(redis_url: str, **changes: Any) -> Settings:
    given: dict[str, Any] = {
        "redis_url": SecretStr(redis_url),
        "body_limit": LIMIT,
        "token_key": SecretStr("0123456789abcdef"),
        "public_host": "127.0.0.1",
    }
    return Settings(**(given | changes))


def sms(message_id: str | None = "1613474523265-0", **changes: Any) -> dict[str, Any]:
    """The documented SMS webhook; `changes` are `channel` (its id), `to` and `text`."""
    channel = changes.get("channel", SMS)
    address: dict[str, Any] = {
        "id": channel,
        "type": "sms",
        "from": {"id": channel},
        "to": {"id": changes.get("to", "16504661149")},
    }
    if message_id is not None:
        address["messageId"] = message_id
    return {"channel": address, "type": "Text", "text": changes.get("text", "Agent message text")}


@dataclass(slots=True)
class ServiceClient:
    ctx: ServiceContext
    redis: Redis
    http: httpx.AsyncClient

    async def webhook(
        self,
        body: object,
        *,
        path: str = "/webhooks/messages/main",
        secret: str = SECRET,
        headers: dict[str, str | None] | None = None,
    ) -> httpx.Response:
        """POST a value or bytes, signed; a header of None is left out."""
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        usual: dict[str, str | None] = {"X-Hub-Signature": sign(secret.encode(), raw), **(headers or {})}
        return await self.http.post(path, content=raw, headers={k: v for k, v in usual.items() if v is not None})

    async def entry(self, message_id: str = "1613474523265-0", channel: str = SMS) -> MessageEntry:
        return await self.ctx.ledger.messages.entry(message_ref(channel, message_id))

    async def books(self) -> Books:
        return await read(self.redis)

    async def dead_letters(self) -> list[dict[bytes, bytes]]:
        found = []
        for letter in await self.redis.zrange("dcb:dead", 0, -1):
            key = f"dcb:dead:{cast(bytes, letter).decode()}"
            found.append(await cast(Awaitable[dict[bytes, bytes]], self.redis.hgetall(key)))
        return found

    def counted(self, name: str, /, **labels: str) -> float:
        """A counter's value, 0 when there is no such series."""
        return self.ctx.metrics.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def open_service(
    redis_url: str, configured: Configuration | None = None, **changes: Any
) -> AsyncIterator[ServiceClient]:
    """A running service; `changes` are settings."""
    chosen, configured = settings(redis_url, **changes), configured or configuration()
    redis = connect(chosen)
    ledger = Ledger(redis, keep=1000.0, keep_dead=1000.0)
    ctx = ServiceContext(
        settings=chosen,
        configuration=configured,
        ledger=ledger,
        inbox=Inbox(ledger, chosen),
        providers={
            name: build_provider(name, account.kind, account.fields, configured.public_url)
            for name, account in configured.providers.items()
        },
        tokens=Tokens(b"0123456789abcdef"),
        metrics=Metrics(),
    )
    try:
        async with listening(app.build(ctx)) as url, httpx.AsyncClient(base_url=url, timeout=15.0) as http:
            yield ServiceClient(ctx, redis, http)
    finally:
        await ctx.keys.close()
        await ctx.mail_buckets.close()
        await redis.aclose()
