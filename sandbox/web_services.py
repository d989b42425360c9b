"""Genesys' Web Services API for voice, /api/v2: one login with a phone line. Calls are made on the sandbox's page.

As strict as the document: HTTP basic authentication, the cookie JSESSIONID, and the CSRF token that a GET gives on
every POST. Notifications have the fields that the document prints.
"""

from __future__ import annotations

import base64
import hmac
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.cometd import CometD
from sandbox.config import GenesysAccount
from sandbox.controls import WrongError, taking_json
from sandbox.world import World

WHO = "Web Services"
CALLS, DEVICES, SERVICES = "/v2/me/calls", "/v2/me/devices", "/notifications/services"
CSRF = "X-CSRF-TOKEN-OF-SANDBOX"
COOKIE = "JSESSIONID"
MOST = 100  # sessions, and calls
STATES = ("Ringing", "Established", "Held", "Released")
OPERATIONS = {
    "StartContactCenterSession": {"operationName", "channels", "place", "loginCode", "queue"},
    "EndContactCenterSession": {"operationName"},
}


@dataclass(slots=True)
class Login:
    """Forgotten with everything else at a reset. `sessions`: cookie -> its CSRF token."""

    sessions: OrderedDict[str, str] = field(default_factory=OrderedDict)
    started: bool = False
    calls: OrderedDict[str, dict[str, Any]] = field(default_factory=OrderedDict)


class WebServices:
    """The endpoints. One of these for each sandbox that has a Genesys account."""

    def __init__(self, world: World, account: GenesysAccount) -> None:
        self.world, self.account = world, account
        self._cometd = CometD(world, WHO, "/api/v2/notifications", (CALLS, DEVICES, SERVICES), self._may_listen, COOKIE)

    def routes(self) -> list[Route]:
        return [
            Route("/api/v2/diagnostics/version", self.version, methods=["GET"]),
            Route("/api/v2/me", self.me, methods=["GET", "POST"]),
            Route("/sandbox/line/call", taking_json(self.call), methods=["POST"]),
            *self._cometd.routes(),
        ]

    @property
    def login(self) -> Login:
        if self.world.line is None:
            self.world.line = Login()
        assert isinstance(self.world.line, Login)
        return self.world.line

    async def version(self, request: Request) -> Response:
        return _json(200, {"statusCode": 0, "version": "8.5.200.96"})

    async def me(self, request: Request) -> Response:
        started, body = time.perf_counter(), await request.body()
        answer = self._get(request) if request.method == "GET" else self._post(request, body)
        sent = bytes(answer.body)
        method, status = request.method, answer.status_code
        self.world.exchange(WHO, True, method, "/api/v2/me", started, status, body, sent, "Basic")
        return answer

    def _get(self, request: Request) -> Response:
        if not self._is_login(request):
            return _json(401, {"statusCode": 20})
        cookie, sessions = request.cookies.get(COOKIE, ""), self.login.sessions
        if cookie not in sessions:
            cookie = secrets.token_hex(16)
            sessions[cookie] = secrets.token_hex(16)
            if len(sessions) > MOST:
                sessions.popitem(last=False)
        whole = request.query_params.get("subresources") == "*"
        there = [one for one in self.login.calls.values() if one["state"] != "Released"]
        answer = _json(200, {"statusCode": 0, **({"calls": there, "devices": []} if whole else {})})
        answer.set_cookie(COOKIE, cookie, httponly=True)
        answer.headers["X-CSRF-HEADER"], answer.headers["X-CSRF-TOKEN"] = CSRF, sessions[cookie]
        return answer

    def _post(self, request: Request, body: bytes) -> Response:
        if (wrong := self._refused(request)) is not None:
            return wrong
        try:
            said = orjson.loads(body)
            name = said["operationName"]
            more = said.keys() - OPERATIONS[name]
        except (ValueError, KeyError, TypeError, AttributeError):
            return _json(400, {"statusCode": 1})
        for one in more:
            self.world.violation(WHO, "only documented fields are sent", one)
        if name == "StartContactCenterSession":
            if said.get("channels") != ["voice"]:
                self.world.violation(WHO, "a session is for the channel voice")
            self.login.started = True
            self.world.counts["line.sessions"] += 1
        else:
            self.login.started = False
            self.login.sessions.pop(request.cookies.get(COOKIE, ""), None)
        return _json(200, {"statusCode": 0})

    def _may_listen(self, request: Request) -> Response | None:
        if (wrong := self._refused(request)) is not None:
            return wrong
        return None if self.login.started else _json(403, {"statusCode": 2})

    def _refused(self, request: Request) -> Response | None:
        if not self._is_login(request):
            return _json(401, {"statusCode": 20})
        token = self.login.sessions.get(request.cookies.get(COOKIE, ""))
        if token is None:
            return _json(401, {"statusCode": 20})
        if not hmac.compare_digest(request.headers.get(CSRF, "").encode(), token.encode()):
            self.world.violation(WHO, "each POST has the CSRF token of the last GET")
            return _json(403, {"statusCode": 3})
        return None

    def _is_login(self, request: Request) -> bool:
        pair = f"{self.account.line_username}:{self.account.line_password}".encode()
        wanted = b"Basic " + base64.b64encode(pair)
        return hmac.compare_digest(request.headers.get("authorization", "").encode("latin-1"), wanted)

    async def call(self, asked: dict[str, Any]) -> object:
        """A call on the line: {"from": "+1…", "steps": ["Ringing", "Established", "Released"], "disposition": …}."""
        number, steps = asked.get("from"), asked.get("steps", ["Ringing", "Released"])
        if not isinstance(number, str) or not number:
            raise WrongError("from: a number")
        if not isinstance(steps, list) or not all(one in STATES for one in steps):
            raise WrongError(f"steps: a list of {', '.join(STATES)}")
        name = str(asked.get("id") or secrets.token_hex(8))
        call = self.login.calls.setdefault(name, _new_call(name, number))
        if len(self.login.calls) > MOST:
            self.login.calls.popitem(last=False)
        for step in steps:
            call["state"] = step
            self._tell(call, "StatusChange")
            if step == "Established" and asked.get("disposition"):
                call["userData"] = {"DispositionCode": str(asked["disposition"])}
                self._tell(call, "AttachedDataChanged")
        return {"id": name}

    def _tell(self, call: dict[str, Any], why: str) -> None:
        said = {"messageType": "CallStateChangeMessage", "notificationType": why, "call": dict(call)}
        self._cometd.publish(CALLS, said | {"phoneNumber": "5999"})


def _new_call(name: str, number: str) -> dict[str, Any]:
    digits = number.removeprefix("+")
    return {
        "id": name,
        "state": "Ringing",
        "callUuid": f"UUID-{name}",
        "deviceUri": "http://127.0.0.1/api/v2/devices/d-1",
        "uri": f"http://127.0.0.1/api/v2/me/calls/{name}",
        "participants": [digits],
        "participantsInfo": [{"digits": digits, "e164Number": number, "formattedPhoneNumber": number}],
        "dnis": "5999",
        "callType": "Inbound",
        "capabilities": ["AttachUserData", "Answer"],
        "duration": "0",
        "mute": "Off",
        "supervisorListeningIn": False,
        "monitoredUserMuted": False,
    }


def _json(status: int, said: object) -> Response:
    return Response(orjson.dumps(said), status, media_type="application/json")
