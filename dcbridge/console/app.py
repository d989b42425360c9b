"""The console's application: every route of its pages and its API, health, and the files of the look."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules
from urllib.parse import urlsplit

from redis.exceptions import RedisError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from dcbridge.console import api, guard, pages
from dcbridge.console.access import Rule
from dcbridge.console.context import ConsoleContext
from dcbridge.console.headers import SecurityHeaders
from dcbridge.console.pages import sign_in
from dcbridge.console.rendering import STATIC
from dcbridge.http.known_hosts import KnownHosts, read_names


def rules() -> Iterator[Rule]:
    """Of all modules of pages/ and api/; a path without a name in it comes before one that it would fit."""
    found: list[Rule] = []
    for folder in (pages, api):
        for module in iter_modules(folder.__path__, f"{folder.__name__}."):
            found += getattr(import_module(module.name), "ROUTES", [])
    yield from sorted(found, key=lambda rule: rule.path.count("{"))


def console_app(context: ConsoleContext) -> ASGIApp:
    """The app behind the console's port."""

    async def http_error(request: Request, error: Exception) -> Response:
        return guard.error_page(request, error.status_code if isinstance(error, HTTPException) else 500)

    routes: list[BaseRoute] = [
        *_health(context),
        *sign_in.open_routes(context),
        Mount("/static", StaticFiles(directory=STATIC), name="static"),
        *(Route(rule.path, guard.endpoint(rule, context), methods=[rule.method]) for rule in rules()),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: http_error})
    app.router.redirect_slashes = False  # its Location would be what the Host header says
    console = context.configuration.console
    public = str(console.public_url) if console and console.public_url else ""
    hosts = [*read_names(context.settings.console_hosts), *([host] if (host := urlsplit(public).hostname) else [])]
    guarded = SecurityHeaders(app, https=public.startswith("https://"))
    return KnownHosts(guarded, hosts, setting="DCBRIDGE_CONSOLE_HOSTS")


def _health(context: ConsoleContext) -> list[Route]:
    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def readyz(_request: Request) -> Response:
        try:
            await context.ledger.redis.ping()
        except (RedisError, OSError):
            return JSONResponse({"status": "not ready", "because": "Redis does not answer"}, 503)
        return JSONResponse({"status": "ready"})

    return [Route("/healthz", healthz), Route("/readyz", readyz)]
