"""The sandbox as one Starlette app: Digital Channels, SMS companies, the mail server, a subscriber, the page.

Run it with uvicorn and `timeout_graceful_shutdown` set: an open page holds an event stream, which
`World.close_watchers` ends too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox import consumer_mail, files, mail_company
from sandbox.authentication import Authentication
from sandbox.beside import Beside
from sandbox.config import GenesysAccount, SandboxConfig
from sandbox.controls import Controls
from sandbox.digital_channels import Messages
from sandbox.engagement import Engagement
from sandbox.interaction_data import InteractionData
from sandbox.mail import MailServer
from sandbox.mail_company import MailCompany
from sandbox.media import Media
from sandbox.open_messaging import OpenMessaging
from sandbox.openmedia import Openmedia
from sandbox.secure_email import SecureEmail
from sandbox.sms_company import SmsCompany
from sandbox.statistics import Statistics
from sandbox.subscriber import Subscriber
from sandbox.user_data import DataManagement
from sandbox.web_services import WebServices
from sandbox.wires import MAIL_KINDS, build, build_mail
from sandbox.world import World

PAGE = Path(__file__).parent / "page"
POLICY = (
    "default-src 'none'; connect-src 'self'; style-src 'self'; script-src 'self'; img-src 'self' data:;"
    " frame-src 'self';"
    " frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


def build_app(config: SandboxConfig) -> Starlette:
    """The app; its lifespan starts and stops the mail server. `app.state.world` is what it remembers."""
    world = World(config)
    accounts = config.all_accounts()
    companies = {
        name: SmsCompany(world, name, build(world, name, account))
        for name, account in accounts.items()
        if account.kind not in MAIL_KINDS
    }
    posts = {
        name: MailCompany(world, name, build_mail(world, name, account))
        for name, account in accounts.items()
        if account.kind in MAIL_KINDS
    }
    messages, media = Messages(world), Media(world)
    mail = MailServer(world)
    beside = Beside(world, config.bridge)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with _client() as client, beside.running():
            with world.using(client):
                await mail.start()
                sessions = [company.session for company in companies.values() if company.session is not None]
                for session in sessions:
                    await session.start()
                try:
                    yield
                finally:
                    for session in sessions:
                        await session.stop()
                    await world.stop()
                    await mail.stop()

    channel = "/nexus/v3/channels/{channel_id}"
    routes = [
        *(route for company in companies.values() for route in company.routes()),
        *(route for company in posts.values() for route in company.routes()),
        Route(f"{channel}/messages", messages.post, methods=["POST"]),
        Route(f"{channel}/media", media.upload, methods=["POST"]),
        Route(f"{channel}/media/{{media_id}}", media.one, methods=["GET", "DELETE"]),
        *(_genesys(world, config.genesys) if config.genesys else ()),
        *(OpenMessaging(world, config.cloud, messages).routes() if config.cloud else ()),
        Route("/subscriber", Subscriber(world).post, methods=["POST"]),
        *Controls(world, companies, beside).routes(),
        *mail_company.routes(posts),
        *files.routes(world),
        *consumer_mail.routes(world),
        _file("/", "index.html", "text/html"),
        _file("/style.css", "style.css", "text/css"),
        _file("/page.js", "page.js", "text/javascript"),
        _file("/bridge.js", "bridge.js", "text/javascript"),
        _file("/wire.js", "wire.js", "text/javascript"),
        _file("/document.js", "document.js", "text/javascript"),
        _file("/interactions.js", "interactions.js", "text/javascript"),
        _file("/calls.js", "calls.js", "text/javascript"),
        _file("/statistics.js", "statistics.js", "text/javascript"),
        _file("/files.js", "files.js", "text/javascript"),
        _file("/mail.js", "mail.js", "text/javascript"),
    ]
    app = Starlette(routes=routes, lifespan=lifespan)
    app.state.world = world
    return app


def _genesys(world: World, account: GenesysAccount) -> list[Route]:
    """Interfaces beside Digital Channels."""
    tokens = Authentication(world, account)
    return [
        *tokens.routes(),
        *Openmedia(world, account).routes(),
        *Statistics(world, account, tokens).routes(),
        *DataManagement(world, account).routes(),
        *SecureEmail(world, account).routes(),
        *InteractionData(world, account).routes(),
        *Engagement(world, account).routes(),
        *WebServices(world, account).routes(),
    ]


def _client() -> httpx.AsyncClient:
    def session() -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=1000, keepalive_timeout=30)
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    return httpx.AsyncClient(transport=AiohttpTransport(client=session), timeout=30.0, trust_env=False)


def _file(path: str, name: str, media_type: str) -> Route:
    async def endpoint(request: Request) -> Response:
        headers = {"cache-control": "no-store", "content-security-policy": POLICY, "x-content-type-options": "nosniff"}
        return Response((PAGE / name).read_bytes(), headers=headers, media_type=media_type)

    return Route(path, endpoint, methods=["GET"])
