"""GET, HEAD and POST /u/{token}: the link of an email's List-Unsubscribe field.

A GET shows a page with a button, and changes nothing: programs that look for malware read every link of a mail. A POST
unsubscribes, from the button or from the consumer's mail program (RFC 8058), without a login and however often.
"""

from __future__ import annotations

import time

import structlog
from starlette.types import Receive, Scope, Send

from dcbridge.http.deadlines import Deadlines
from dcbridge.ledger.consent import NOW
from dcbridge.mail.unsubscribe import PATH, NoLink, UnsubscribeLinks
from service.answer import Answer, Refusal
from service.endpoint import Endpoint, Outcome, ServiceContext
from service.request import Request

log = structlog.get_logger()

MOST_BODY = 4096  # bytes; "List-Unsubscribe=One-Click", mostly
_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-robots-tag": "noindex",
}
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Unsubscribe</title>
<h1>Unsubscribe</h1>
%s
"""
_ASKS = '<p>You will get no more emails from this sender.</p>\n<form method="post"><button>Unsubscribe</button></form>'
_DONE = "<p>You are unsubscribed. This page can be closed.</p>"


class Unsubscribe:
    """The route."""

    def __init__(self, ctx: ServiceContext, deadlines: Deadlines) -> None:
        configuration = ctx.configuration
        key = ctx.settings.token_key.get_secret_value().encode()
        self._links = UnsubscribeLinks(key, configuration.public_url, configuration.channels)
        self._endpoint = Endpoint(ctx, "unsubscribe", self._answered, deadlines, PATH + "{token}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["path_params"] = {"link": "unsubscribe"}  # the token is a secret: no label, and no word of a log line
        await self._endpoint(scope, receive, send)

    async def _answered(self, ctx: ServiceContext, request: Request) -> Outcome:
        await request.body(MOST_BODY, keep=False)
        request.arrived = time.monotonic()
        try:
            found = self._links.open(request.scope["path"].removeprefix(PATH))
        except NoLink:
            raise Refusal(404, "unknown link", "no such link") from None
        if request.scope["method"] != "POST":
            return Outcome(_page(_ASKS), "shown", {})
        # Also where suppressions were switched off meanwhile: whoever unsubscribed must find it kept.
        scope = ctx.configuration.consent_scopes.get(found.channel_id, f"channel/{found.channel_id}")
        word = await ctx.ledger.consent.stop(scope, found.consumer, NOW, "unsubscribe", "link", found.channel_id)
        ctx.metrics.consent.labels(found.channel_id, word).inc()
        return Outcome(_page(_DONE), "unsubscribed", {"channel": found.channel_id, "consent": word})


def _page(body: str) -> Answer:
    return Answer(200, (_PAGE % body).encode(), _HEADERS, "text/html")
