"""A sandbox and a bridge that only remembers, each a real uvicorn on a free port of loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl

import httpx
import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dcbridge.genesys import signature
from sandbox.app import build_app
from sandbox.config import SandboxConfig
from sandbox.world import World

SECRET = "app-secret"
CCID = "0ff723ff-6c6f-44e0-9ce3-ce579337eadd"
SID = "AC" + "0123456789abcdef" * 2
TOKEN = "auth-token"
CONFIG = SandboxConfig(
    app_secret=SECRET,
    contact_center_id=CCID,
    twilio_account_sid=SID,
    twilio_auth_token=TOKEN,
    mail_callback_secret="mail-secret",
    retry_timeout=0.02,
    retry_attempts=3,
    answer_limit=10.0,
    status_delay=0.0,
    slow_answer=0.3,
    retry_after=2,
    smtp_port=0,
)


@dataclass(slots=True)
class Heard:
    method: str
    path: str
    headers: httpx.Headers
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))


Reply = Callable[[Heard], Awaitable[Response]]


async def _polite(heard: Heard) -> Response:
    """What a bridge without faults answers."""
    if heard.path.startswith("/webhooks/messages/"):
        return Response(orjson.dumps({"messageId": orjson.loads(heard.body)["channel"]["messageId"]}))
    if heard.path.endswith("/inbound"):
        return Response("<Response/>", media_type="text/xml")
    return Response(status_code=200)


@dataclass(slots=True)
class Bridge:
    """Remembers every request; `replies` are used up in turn, then it is polite."""

    heard: list[Heard] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)

    async def answer(self, request: Request) -> Response:
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        heard = Heard(request.method, path, httpx.Headers(request.headers.raw), await request.body())
        self.heard.append(heard)
        return await (self.replies.pop(0) if self.replies else _polite)(heard)

    def at(self, prefix: str) -> list[Heard]:
        return [heard for heard in self.heard if heard.path.startswith(prefix)]


def replying(status: int, body: object = None) -> Reply:
    async def reply(heard: Heard) -> Response:
        return Response(b"" if body is None else orjson.dumps(body), status)

    return reply


SHORT = 2.0  # seconds: an `answer_limit` for those who meet `mute`; a bridge that is busy answers within it


async def mute(heard: Heard) -> Response:
    await asyncio.sleep(SHORT * 1.2)
    return Response(status_code=200)


@dataclass(slots=True)
class Worlds:
    world: World
    bridge: Bridge
    http: httpx.AsyncClient
    url: str
    bridge_url: str

    async def control(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = await self.http.post(f"/sandbox{path}", json=body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def settled(self) -> None:
        """Wait until nothing is under way."""
        async with asyncio.timeout(30):
            while tasks := list(self.world.tasks):
                await asyncio.gather(*tasks, return_exceptions=True)

    async def agent_writes(self, to: str = "16504661149", text: str = "Agent message text") -> str:
        made = await self.control("/agent/sms", {"to": to, "text": text, "wait": True})
        assert made["state"] == "accepted"
        return str(made["messageId"])

    async def nexus(
        self, body: bytes, channel: str = "0123456789", headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """POST these bytes to the channel's messages, signed right unless `headers` say otherwise."""
        usual = {
            "Content-Type": "application/json",
            "x-ccid": CCID,
            "X-Hub-Signature": signature.sign(SECRET.encode(), body),
        }
        usual.update(headers or {})
        return await self.http.post(
            f"/nexus/v3/channels/{channel}/messages",
            content=body,
            headers={name: value for name, value in usual.items() if value},
        )


async def started(app: Starlette) -> tuple[uvicorn.Server, str]:
    """A server that runs on this loop until `shutdown`, and its URL.

    uvicorn binds: asyncio sets TCP_NODELAY only where a socket names its protocol, which
    socket.create_server's does not, and each answer would then wait 40 ms.
    """
    config = uvicorn.Config(app, port=0, log_level="critical", lifespan="on", timeout_graceful_shutdown=1)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    assert server.started, "the server did not start"
    return server, f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"


@asynccontextmanager
async def two_worlds(**changes: Any) -> AsyncIterator[Worlds]:
    """Both of them running; `changes` go into the sandbox's config."""
    bridge = Bridge()
    routes = [Route("/{path:path}", bridge.answer, methods=["GET", "POST"])]
    bridge_server, bridge_url = await started(Starlette(routes=routes))
    app = build_app(replace(CONFIG, **{"bridge_url": bridge_url, **changes}))
    sandbox_server, url = await started(app)
    try:
        async with httpx.AsyncClient(base_url=url, timeout=30.0) as http:
            yield Worlds(app.state.world, bridge, http, url, bridge_url)
    finally:
        await asyncio.gather(sandbox_server.shutdown(), bridge_server.shutdown())
