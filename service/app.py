"""The public application: four routes, and a plain answer for everything else."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service import callbacks, webhooks
from service.endpoint import ServiceContext, plain, route


def build(ctx: ServiceContext) -> Starlette:
    """The app behind the public listener."""

    async def http_error(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        outcome = {404: "unknown route", 405: "method not allowed"}.get(status, "refused")
        ctx.metrics.requests.labels("none", "(unknown)", outcome).inc()
        response = plain(status, outcome)
        if isinstance(error, HTTPException) and error.headers:
            response.headers.update(error.headers)
        return response

    public = Starlette(
        routes=[
            Route("/webhooks/messages/{endpoint}", route(ctx, "messages_webhook", webhooks.messages), methods=["POST"]),
            Route(
                "/webhooks/interactions/{endpoint}",
                route(ctx, "interactions_webhook", webhooks.interactions),
                methods=["POST"],
            ),
            Route(
                "/callbacks/{provider}/{kind}",
                route(ctx, "provider_callback", callbacks.callback),
                methods=["GET", "POST"],
            ),
        ],
        exception_handlers={HTTPException: http_error},
    )
    # A redirect is documented nowhere for a webhook, and its Location would be what the Host header says.
    public.router.redirect_slashes = False
    return public
