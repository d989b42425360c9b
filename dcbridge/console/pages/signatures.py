"""Signature trouble: requests that were refused, why, and what to do about each kind."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from dcbridge.console.access import page
from dcbridge.console.context import ConsoleContext, Person, Role
from dcbridge.console.rendering import render
from dcbridge.operations import controls
from dcbridge.operations.signature_trouble import trouble

SHOWN = 200


@page("/signatures", Role.VIEWER)
async def signatures(request: Request, context: ConsoleContext, _person: Person) -> Response:
    """Five commands, whatever was sent."""
    found = await trouble(context.ledger, context.configuration)
    return render(
        request,
        "signatures.html",
        title="Signature trouble",
        now=await controls.now(context.ledger),
        open=[one for one in found if not one.is_over][:SHOWN],
        over=[one for one in found if one.is_over][:SHOWN],
    )


ROUTES = [signatures]
