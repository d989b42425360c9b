"""Genesys' Authentication API: POST /auth/v3/oauth/token, GET /auth/v3/oauth/authorize and /auth/v3/userinfo.

Stricter than the reference: the API key is on every request, a code works once, a refresh token is replaced each time.
Tokens look as the reference prints them, so that a token of another world is recognised by nobody.
"""

from __future__ import annotations

import base64
import hmac
import time
import uuid
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.config import GenesysAccount
from sandbox.connection import wait_for_disconnect
from sandbox.world import World

WHO = "Genesys"
KNOWN = {
    "client_credentials": {"scope"},
    "password": {"username", "password", "scope"},
    "refresh_token": {"refresh_token", "scope"},
    "authorization_code": {"code", "redirect_uri", "scope"},
}
MOST = 10_000  # tokens of one sandbox


@dataclass(slots=True)
class Given:
    """What was given to this client."""

    tokens: dict[str, float] = field(default_factory=dict)  # token -> when it ends
    refresh: dict[str, str] = field(default_factory=dict)  # refresh token -> the grant that it came from
    codes: dict[str, str] = field(default_factory=dict)  # code -> redirect_uri


class Authentication:
    """The endpoints. One of these for each sandbox that has a Genesys account."""

    def __init__(self, world: World, account: GenesysAccount) -> None:
        self.world, self.account = world, account

    def routes(self) -> list[Route]:
        return [
            Route("/auth/v3/oauth/token", self.token, methods=["POST"]),
            Route("/auth/v3/oauth/authorize", self.authorize, methods=["GET"]),
            Route("/auth/v3/userinfo", self.userinfo, methods=["GET"]),
        ]

    @property
    def given(self) -> Given:
        """Forgotten with everything else at a reset."""
        if self.world.given is None:
            self.world.given = Given()
        assert isinstance(self.world.given, Given)
        return self.world.given

    def good(self, request: Request) -> bool:
        """Whether it shows a token that lives."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return scheme == "Bearer" and self.given.tokens.get(token, 0.0) > time.monotonic()

    async def token(self, request: Request) -> Response:
        started, body = time.perf_counter(), await request.body()
        self.world.counts["grants.asked"] += 1
        if self.world.switches.genesys.mode == "silent":
            await wait_for_disconnect(request)
            return Response(status_code=500)
        answer = self._token(request, body)
        # Neither the form nor the answer is shown on the page: both are secrets.
        path, status = request.url.path, answer.status_code
        self.world.exchange(WHO, True, "POST", path, started, status, b"(a form)", b"(a token)", "")
        return answer

    def _token(self, request: Request, body: bytes) -> Response:
        if not has_key(request, self.account):
            return _json(403, {"message": "Forbidden"})
        if self.world.switches.genesys.mode == "500":
            return _json(503, {"status": {"code": 503, "message": "Service unavailable"}})
        if request.headers.get("content-type", "").partition(";")[0] != "application/x-www-form-urlencoded":
            self.world.violation(WHO, "a token is asked for with a form")
            return _json(400, {"error": "invalid_request"})
        pairs = parse_qsl(body.decode("latin-1"), keep_blank_values=True, max_num_fields=20)
        form = dict(pairs)
        if len(form) < len(pairs):
            self.world.violation(WHO, "no parameter is sent twice")
        if not self._is_client(request):
            return _json(401, {"error": "Unauthorized", "error_description": "Bad credentials"})
        grant = form.pop("grant_type", "")
        if grant not in KNOWN:
            return _json(400, {"error": "unsupported_grant_type"})
        for name in form.keys() - KNOWN[grant]:
            self.world.violation(WHO, "only documented fields are sent", f"{grant}: {name}")
        if not self._grants(grant, form):
            self.world.counts[f"grants.{grant}.refused"] += 1
            return _json(400, {"error": "invalid_grant", "error_description": "Bad credentials"})
        self.world.counts[f"grants.{grant}"] += 1
        return _json(200, self._new(grant))

    def _is_client(self, request: Request) -> bool:
        pair = f"{self.account.client_id}:{self.account.client_secret}".encode()
        wanted = b"Basic " + base64.b64encode(pair)
        return hmac.compare_digest(request.headers.get("authorization", "").encode("latin-1"), wanted)

    def _grants(self, grant: str, form: dict[str, str]) -> bool:
        given, account = self.given, self.account
        match grant:
            case "client_credentials":
                return True
            case "password":
                return form.get("username") == account.username and form.get("password") == account.password
            case "refresh_token":
                token = form.get("refresh_token", "")
                return given.refresh.pop(token, None) is not None or token == account.refresh_token != ""
            case _:
                redirect = given.codes.pop(form.get("code", ""), None)
                return redirect is not None and form.get("redirect_uri") == redirect

    def _new(self, grant: str) -> dict[str, object]:
        now, token, given = time.monotonic(), str(uuid.uuid4()), self.given
        life = self.world.switches.genesys.token_life
        given.tokens = {one: end for one, end in given.tokens.items() if end > now} | {token: now + life}
        said: dict[str, object] = {"access_token": token, "expires_in": int(life), "scope": "*", "token_type": "bearer"}
        if grant != "client_credentials":
            said["refresh_token"] = str(uuid.uuid4())
            given.refresh = dict([*given.refresh.items()][-MOST:]) | {str(said["refresh_token"]): grant}
        return said

    async def authorize(self, request: Request) -> Response:
        """A person who signs in at once."""
        asked = request.query_params
        redirect = asked.get("redirect_uri", "")
        if asked.get("client_id") != self.account.client_id or redirect != self.account.redirect_uri:
            return _json(401, {"status": {"code": 401}})
        code = str(uuid.uuid4())
        self.given.codes[code] = redirect
        query = urlencode({"code": code, "state": asked.get("state", "")})
        # The reference prints "&" where "?" belongs: every second answer does as well.
        self.world.counts["authorize"] += 1
        mark = "?" if self.world.counts["authorize"] % 2 else "&"
        return Response(status_code=302, headers={"location": f"{redirect}{mark}{query}"})

    async def userinfo(self, request: Request) -> Response:
        if not has_key(request, self.account):
            return _json(403, {"message": "Forbidden"})
        if not self.good(request):
            return _json(401, {"error": "invalid_token"})
        ccid = self.world.config.contact_center_id
        return _json(200, {"username": self.account.username, "contactCenterId": ccid, "authorities": []})


def has_key(request: Request, account: GenesysAccount) -> bool:
    """Whether the API key is there, once and right."""
    keys = request.headers.getlist("x-api-key")
    return len(keys) == 1 and hmac.compare_digest(keys[0].encode("latin-1"), account.api_key.encode())


def _json(status: int, said: object) -> Response:
    headers = {"cache-control": "no-store", "pragma": "no-cache"}
    return Response(orjson.dumps(said), status, headers=headers, media_type="application/json")
