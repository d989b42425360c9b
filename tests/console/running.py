"""A console in this process, and browsers that ask it: without a socket, on a real Redis."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import httpx
from redis.asyncio import Redis
from starlette.requests import Request

from dcbridge.config.loader import parse
from dcbridge.config.models import Configuration
from dcbridge.config.reference import EXAMPLE
from dcbridge.console.app import console_app
from dcbridge.console.context import ConsoleContext, Person, Role, SignedIn, Way
from dcbridge.ledger import Ledger
from dcbridge.runtime.metrics import Metrics
from dcbridge.settings.process import Settings

HERE = "http://127.0.0.1:8090"
CSRF = "the-token-of-this-session"
KEY = "0123456789abcdef0123456789abcdef"


@dataclass(frozen=True, slots=True)
class As:
    """Everybody is this person; a request with `X-Nobody` is of none."""

    role: Role
    name: str = "ada"

    async def who(self, request: Request) -> SignedIn | None:
        return None if "x-nobody" in request.headers else SignedIn(Person(self.name, self.role, "test"), CSRF)


@dataclass(frozen=True, slots=True)
class Console:
    """What a test asks."""

    context: ConsoleContext
    client: httpx.AsyncClient
    fields: Mapping[str, str] = field(default_factory=lambda: {"csrf_token": CSRF})

    async def get(self, path: str, **how: Any) -> httpx.Response:
        return await self.client.get(path, **how)

    async def post(self, path: str, form: Mapping[str, str] | None = None, **how: Any) -> httpx.Response:
        """As the console's own form does."""
        headers = {"Origin": HERE, "Sec-Fetch-Site": "same-origin"} | dict(how.pop("headers", {}))
        return await self.client.post(path, data=dict(self.fields) | dict(form or {}), headers=headers, **how)

    async def record(self) -> list[str]:
        """The newest first: "ada reveal m1 done"."""
        found = await self.context.ledger.controls.audit(100)
        return [" ".join(filter(None, (one.by, one.action, one.what, one.result))) for one in found]


@cache
def configuration_of(more: str = "") -> Configuration:
    """The example of the reference page, with more behind it."""
    environ = dict.fromkeys(re.findall(r"\$\{(\w+)\}", EXAMPLE), "x" * 32)
    environ["CRM_SIGNING_SECRET"] = "whsec_" + "QUFB" * 10
    text = EXAMPLE.replace("file:/run/secrets/app_secret", "y" * 32) + more
    return parse(text, environ)


def context_of(
    redis: Redis, *ways: Way, more: str = "", whole: str = "", settings: Settings | None = None
) -> ConsoleContext:
    """`whole`: a bridge.yaml in place of the example."""
    settings = settings or Settings(token_key=KEY)
    configuration = parse(whole, {}) if whole else configuration_of(more)
    return ConsoleContext(settings, Ledger.of(settings, redis), Metrics(), lambda: configuration, ways)


@asynccontextmanager
async def open_console(
    redis: Redis,
    role: Role = Role.ADMIN,
    *,
    more: str = "",
    whole: str = "",
    ways: tuple[Way, ...] = (),
    settings: Settings | None = None,
) -> AsyncIterator[Console]:
    """Everybody has `role`, unless `ways` say who asks."""
    context = context_of(redis, *(ways or (As(role),)), more=more, whole=whole, settings=settings)
    transport = httpx.ASGITransport(console_app(context), client=("127.0.0.1", 50000))
    async with httpx.AsyncClient(transport=transport, base_url=HERE) as client:
        yield Console(context, client)
