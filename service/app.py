"""The public application: its routes, and a plain answer for everything else."""

from __future__ import annotations

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from dcbridge.config.genesys_cloud import OPEN_MESSAGING
from dcbridge.http.deadlines import Deadlines
from dcbridge.mail.unsubscribe import PATH as UNSUBSCRIBE
from dcbridge.media.links import PATH
from service import callbacks, triggers, webhooks
from service.endpoint import Endpoint, ServiceContext
from service.media import MediaLinks
from service.posted_mail import MAIL_WITHIN, PostedMails
from service.unsubscribe import Unsubscribe

_MESSAGES, _OPEN_MESSAGES = "/webhooks/messages/", "/webhooks/open-messaging/"
_INTERACTIONS, _CALLBACKS = "/webhooks/interactions/", "/callbacks/"
_TRIGGERS = "/triggers/"


def build(ctx: ServiceContext) -> ASGIApp:
    """The app behind the public listener."""
    deadlines = Deadlines(ctx.settings.answer_within)
    messages = Endpoint(ctx, "messages_webhook", webhooks.messages, deadlines, _MESSAGES + "{endpoint}")
    open_messages = Endpoint(
        ctx, "open_messaging_webhook", webhooks.open_messages, deadlines, _OPEN_MESSAGES + "{endpoint}"
    )
    interactions = Endpoint(ctx, "interactions_webhook", webhooks.interactions, deadlines, _INTERACTIONS + "{endpoint}")
    callback = _Callbacks(
        ctx,
        Endpoint(ctx, "provider_callback", callbacks.callback, deadlines, _CALLBACKS + "{provider}/{kind}"),
        Endpoint(
            ctx, "provider_mail", PostedMails(ctx).take, Deadlines(MAIL_WITHIN), _CALLBACKS + "{provider}/inbound"
        ),
    )

    trigger = Endpoint(ctx, "trigger", triggers.Triggers(ctx).call, deadlines, _TRIGGERS + "{name}")
    media = MediaLinks(ctx, deadlines)

    async def http_error(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        outcome = {404: "unknown route", 405: "method not allowed"}.get(status, "refused")
        ctx.metrics.requests.labels("none", "(unknown)", outcome).inc()
        response = Response(orjson.dumps({"error": outcome}), status, media_type="application/json")
        if isinstance(error, HTTPException) and error.headers:
            response.headers.update(error.headers)
        return response

    every = Starlette(
        routes=[
            Route(PATH + "{token}", media, methods=["GET", "HEAD"]),
            Route(UNSUBSCRIBE + "{token}", Unsubscribe(ctx, deadlines), methods=["GET", "HEAD", "POST"]),
            Route(_MESSAGES + "{endpoint}", messages, methods=["POST"]),
            Route(_OPEN_MESSAGES + "{endpoint}", open_messages, methods=["POST"]),
            Route(_INTERACTIONS + "{endpoint}", interactions, methods=["POST"]),
            Route(_TRIGGERS + "{name}", trigger, methods=["POST"]),
            Route(_CALLBACKS + "{provider}/{kind}", callback, methods=["GET", "POST", "OPTIONS"]),
            Route(_CALLBACKS + "{provider}/{kind}/{secret}", callback, methods=["GET", "POST", "OPTIONS"]),
        ],
        exception_handlers={HTTPException: http_error},
    )
    # A redirect is documented nowhere for a webhook, and its Location would be what the Host header says.
    every.router.redirect_slashes = False
    posts: dict[str, tuple[ASGIApp, dict[str, str]]] = {
        **{_MESSAGES + name: (messages, {"endpoint": name}) for name in ctx.configuration.endpoints},
        **{
            _OPEN_MESSAGES + name: (open_messages, {"endpoint": name})
            for name, platform in ctx.configuration.platform_at.items()
            if platform == OPEN_MESSAGING
        },
        **{_INTERACTIONS + name: (interactions, {"endpoint": name}) for name in ctx.configuration.interactions},
        **{_TRIGGERS + name: (trigger, {"name": name}) for name in ctx.configuration.triggers},
        **{
            f"{_CALLBACKS}{name}/{kind}": (callback, {"provider": name, "kind": kind})
            for name, provider in ctx.providers.items()
            for kind in provider.can.callbacks
        },
    }
    return _KnownFirst(posts, every)


class _Callbacks:
    """Consumers' mail is no callback that could be stored whole."""

    def __init__(self, ctx: ServiceContext, callback: Endpoint, mail: Endpoint) -> None:
        self._providers, self._callback, self._mail = ctx.providers, callback, mail

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        names = scope["path_params"]
        provider = self._providers.get(names["provider"])
        mail = names["kind"] == "inbound" and provider is not None and provider.can.mail and scope["method"] == "POST"
        await (self._mail if mail else self._callback)(scope, receive, send)


class _KnownFirst:
    """What is configured is found by its path, without a walk through all routes; the rest is Starlette's."""

    def __init__(self, posts: dict[str, tuple[ASGIApp, dict[str, str]]], every: ASGIApp) -> None:
        self._posts, self._every = posts, every

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        known = self._posts.get(scope["path"]) if scope.get("method") == "POST" else None
        if known is None:
            await self._every(scope, receive, send)
        else:
            endpoint, scope["path_params"] = known
            await endpoint(scope, receive, send)
