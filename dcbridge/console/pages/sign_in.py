"""The page to sign in at. It is shown to everybody; what it starts is in sign_in/."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dcbridge.console.context import ConsoleContext
from dcbridge.console.rendering import render


def open_routes(_context: ConsoleContext) -> list[Route]:
    """What needs no sign-in."""

    async def sign_in(request: Request) -> Response:
        return render(request, "sign_in.html")

    return [Route("/sign-in", sign_in)]
