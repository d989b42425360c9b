"""A server of tokens: RFC 6749, 4.4. A token is good for half a minute, so that one sees it renewed."""

from __future__ import annotations

import base64
import hmac
import secrets
import time

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

LIFE = 30  # seconds


class Tokens:
    """Those of one account."""

    def __init__(self, path: str, client_id: str, client_secret: str) -> None:
        self._login = b"Basic " + base64.b64encode(f"{client_id}:{client_secret}".encode())
        self._given: dict[str, float] = {}
        self.route = Route(path, self._give, methods=["POST"])

    def good(self, request: Request) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return scheme == "Bearer" and self._given.get(token, 0.0) > time.monotonic()

    async def _give(self, request: Request) -> Response:
        body, form = await request.body(), request.headers.get("content-type") == "application/x-www-form-urlencoded"
        if not hmac.compare_digest(request.headers.get("authorization", "").encode("latin-1"), self._login):
            return _json(401, {"error": "invalid_client"})
        if not form or body != b"grant_type=client_credentials":
            return _json(400, {"error": "unsupported_grant_type"})
        now, token = time.monotonic(), secrets.token_urlsafe(24)
        self._given = {one: end for one, end in self._given.items() if end > now} | {token: now + LIFE}
        return _json(200, {"access_token": token, "token_type": "bearer", "expires_in": LIFE, "scope": ""})


def _json(status: int, said: object) -> Response:
    return Response(orjson.dumps(said), status, media_type="application/json")
