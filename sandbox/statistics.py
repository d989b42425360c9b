"""Genesys' Statistics API: subscriptions, values, peeks and notifications, and what Engagement passes on of it.

Stricter than the reference: a subscription needs the session of a CometD client, as those of Genesys' own libraries do.
"""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.authentication import Authentication, has_key
from sandbox.cometd import CometD
from sandbox.config import GenesysAccount
from sandbox.controls import WrongError, taking_json
from sandbox.world import World

WHO = "Statistics"
SESSION = "STATISTICS_SESSIONID"
UPDATES, SERVICE = "/statistics/v3/updates", "/statistics/v3/service"
MOST = 1000  # statistics that have a value, and subscriptions
LONGEST = 262_144  # bytes of a request
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)

Key = tuple[str, str, str]  # name, type and id of the object; the name is JSON where it is a definition
_ON_THE_PAGE: Key = ("AverageWaitingTime", "Queue", "VQ_Sales")


@dataclass(slots=True)
class Floor:
    """What the statistics are now. Forgotten with everything else at a reset."""

    available: bool = True
    values: dict[Key, tuple[object, int | None]] = field(  # value, and ms where they were given
        default_factory=lambda: {_ON_THE_PAGE: (120, None)}
    )
    waits: dict[str, float | None] = field(default_factory=dict)  # by virtual queue
    subscriptions: dict[str, dict[str, Key]] = field(default_factory=dict)  # id -> statisticId -> what
    of_session: dict[str, str] = field(default_factory=dict)  # subscription -> its session's cookie


class Statistics:
    """The endpoints. One of these for each sandbox that has a Genesys account."""

    def __init__(self, world: World, account: GenesysAccount, tokens: Authentication) -> None:
        self.world, self.account, self.tokens = world, account, tokens
        world.shown["statistics"] = self._shown
        self.cometd = CometD(world, WHO, "/statistics/v3/notifications", (UPDATES, SERVICE), self._may, SESSION)

    def routes(self) -> list[Route]:
        root = "/statistics/v3"
        return [
            *self.cometd.routes(),
            Route(f"{root}/subscriptions", self.subscribe, methods=["POST"]),
            Route(f"{root}/subscriptions/{{id}}", self.unsubscribe, methods=["DELETE"]),
            Route(f"{root}/subscriptions/{{id}}/statistic-values", self.values, methods=["GET"]),
            Route(f"{root}/operations/get-statistic-ex", self.peek, methods=["POST"]),
            Route(f"{root}/statistic-values/{{name}}", self.one, methods=["GET"]),
            Route("/engagement/v3/statistics/operations/get-statistic-ex", self.peek_by_key, methods=["POST"]),
            Route("/engagement/v3/estimated-wait-time", self.waits, methods=["GET"]),
            Route("/sandbox/statistic", taking_json(self.turn), methods=["POST"]),
            Route("/sandbox/service", taking_json(self.service), methods=["POST"]),
        ]

    @property
    def floor(self) -> Floor:
        if self.world.floor is None:
            self.world.floor = Floor()
        assert isinstance(self.world.floor, Floor)
        return self.world.floor

    # ------------------------------------------------------------ the interface

    async def subscribe(self, request: Request) -> Response:
        started, body = time.perf_counter(), await request.body()
        answer = self._may(request) or self._subscribe(request, body)
        return self._noted(request, started, body, answer)

    def _subscribe(self, request: Request, body: bytes) -> Response:
        session = request.cookies.get(SESSION, "")
        if not session:
            self.world.violation(WHO, "a subscription is made in the session of a CometD client")
            return _said(403)
        asked = _object(body)
        listed = _listed(asked)
        operation = asked.get("operationId") if asked else None
        if listed is None or not isinstance(operation, str) or not _UUID.fullmatch(operation):
            self.world.violation(WHO, "a subscription has an operationId and statistics")
            return _said(400)
        wanted: dict[str, Key] = {}
        for one in listed:
            key, what = one.get("statisticId"), _key(one)
            if not isinstance(key, str) or not key or what is None:
                return _said(400)
            wanted[key] = what
        if not self.floor.available:
            return _said(503)
        if len(self.floor.subscriptions) >= MOST:
            return _said(500)
        self.floor.subscriptions[operation], self.floor.of_session[operation] = wanted, session
        self.world.counts["statistics.subscriptions"] += 1
        return self._opened(operation, wanted)

    async def unsubscribe(self, request: Request) -> Response:
        started = time.perf_counter()
        answer = self._may(request)
        if answer is None:
            self.floor.subscriptions.pop(request.path_params["id"], None)
            answer = _said(200)
        return self._noted(request, started, b"", answer)

    async def values(self, request: Request) -> Response:
        """statisticIds come once for each, or with commas."""
        started = time.perf_counter()
        answer = self._may(request)
        if answer is None:
            name = request.path_params["id"]
            wanted = self.floor.subscriptions.get(name)
            if wanted is None:
                answer = _said(404)
            else:
                ids = [one for given in request.query_params.getlist("statisticIds") for one in given.split(",") if one]
                self.world.counts["statistics.values"] += 1
                answer = self._opened(name, {key: what for key, what in wanted.items() if not ids or key in ids})
        return self._noted(request, started, b"", answer)

    async def peek(self, request: Request) -> Response:
        started, body = time.perf_counter(), await request.body()
        answer = self._may(request) or self._peek(body)
        return self._noted(request, started, body, answer)

    async def peek_by_key(self, request: Request) -> Response:
        """Of Engagement: the key alone, and Cache-Control: max-age of 15 at least."""
        started, body = time.perf_counter(), await request.body()
        found = re.fullmatch(r"max-age=([0-9]+)", request.headers.get("cache-control", ""))
        if not has_key(request, self.account):
            answer = _said(403)
        elif found is None or int(found[1]) < 15:
            self.world.violation("Engagement", "Cache-Control has a max-age of 15 at least")
            answer = _said(400)
        else:
            answer = self._peek(body)
        return self._noted(request, started, body, answer)

    def _peek(self, body: bytes) -> Response:
        listed = _listed(_object(body))
        wanted = [_key(one) for one in listed or ()]
        if not wanted or None in wanted or any(one is not None and one[0].startswith("{") for one in wanted):
            self.world.violation(WHO, "a peek has statistics by their names")
            return _said(400)
        if not self.floor.available:
            return _said(503)
        self.world.counts["statistics.peeks"] += 1
        return _said(200, {"statistics": [self._row(one) for one in wanted if one is not None]})

    async def one(self, request: Request) -> Response:
        started, asked = time.perf_counter(), request.query_params
        answer = self._may(request)
        if answer is None:
            key = (request.path_params["name"], asked.get("objectType", ""), asked.get("objectId", ""))
            known = key in self.floor.values
            answer = _said(200, {"statistic": self._row(key)}) if known else _said(404 if all(key) else 400)
        return self._noted(request, started, b"", answer)

    async def waits(self, request: Request) -> Response:
        started = time.perf_counter()
        queues = [one for one in request.query_params.get("virtual-queues", "").split(",") if one]
        if not has_key(request, self.account):
            answer = _said(403)
        elif not queues:
            answer = _said(400)
        else:
            rows = [{"virtualQueue": one, **self._wait(one)} for one in queues]
            answer = Response(orjson.dumps({"status": {"code": 0}, "data": rows}), media_type="application/json")
        return self._noted(request, started, b"", answer)

    def _wait(self, queue: str) -> dict[str, object]:
        seconds = self.floor.waits.get(queue)
        good = seconds is not None
        return {"estimatedWaitTime": seconds if good else -1, "resultCode": 0 if good else -1, "message": ""}

    # ------------------------------------------------------------ what the page turns

    def _shown(self) -> object:
        """Where the page's slider and its switch stand."""
        value, _ = self.floor.values.get(_ON_THE_PAGE, (None, None))
        return {"wait": value, "available": self.floor.available}

    async def turn(self, asked: dict[str, Any]) -> object:
        """{"name", "type", "id", "value"}, or {"queue", "value"}: a value is another one, and told.

        `timestamp` in ms, where it is not that of the moment at which somebody asks.
        """
        value = asked.get("value")
        if isinstance(asked.get("queue"), str) and isinstance(value, int | float | None):
            self.floor.waits = dict([*self.floor.waits.items()][-MOST:]) | {asked["queue"]: value}
            return {}
        key = (str(asked.get("name", "")), str(asked.get("type", "")), str(asked.get("id", "")))
        if not all(key) or "value" not in asked:
            raise WrongError("name, type, id and value; or queue and value")
        self.floor.values = dict([*self.floor.values.items()][-MOST:]) | {key: (value, asked.get("timestamp"))}
        told = 0
        for name, wanted in self.floor.subscriptions.items():
            rows = [self._update(name, one, key) for one, what in wanted.items() if what == key]
            if rows and self.floor.available:
                self.cometd.publish(UPDATES, self._wrapped(UPDATES, "StatisticUpdate", {"statistics": rows}))
                told += 1
        return {"told": told}

    async def service(self, asked: dict[str, Any]) -> object:
        """{"state": "AVAILABLE"}, or UNAVAILABLE, which drops all subscriptions; {"restart": true} forgets sessions."""
        if asked.get("restart"):
            self.floor.subscriptions.clear()
            self.cometd.forget_all()
            return {}
        state = asked.get("state")
        if not isinstance(state, str):
            raise WrongError("state: a word")
        self.floor.available = state != "UNAVAILABLE"
        if not self.floor.available:
            self.floor.subscriptions.clear()
        self.cometd.publish(SERVICE, self._wrapped(SERVICE, "ServiceStateChange", {"serviceState": state}))
        return {"available": self.floor.available}

    # ------------------------------------------------------------ parts of answers

    def _opened(self, name: str, wanted: dict[str, Key]) -> Response:
        rows = [{"statisticId": key, **self._row(what)} for key, what in wanted.items()]
        return _said(200, {"subscriptionId": name, "operationId": name, "statistics": rows})

    def _row(self, key: Key) -> dict[str, object]:
        named = {} if key[0].startswith("{") else {"name": key[0]}
        return {**named, "objectType": key[1], "objectId": key[2], **self._now(key)}

    def _update(self, name: str, statistic: str, key: Key) -> dict[str, object]:
        return {"subscriptionId": name, "statisticId": statistic, **self._now(key)}

    def _now(self, key: Key) -> dict[str, object]:
        value, at = self.floor.values.get(key, (None, None))
        return {"value": self._shaped(value), "timestamp": int(time.time() * 1000) if at is None else at}

    def _shaped(self, value: object) -> object:
        """A number as it is, or in an object as Stat Server's messages are; both are seen."""
        if not isinstance(value, int | float) or self.world.switches.statistics.payload == "flat":
            return value
        return {"value": value}

    def _wrapped(self, topic: str, name: str, data: dict[str, object]) -> object:
        if self.world.switches.statistics.payload == "flat":
            return data
        return {"name": name, "topic": topic, "data": data}

    def _may(self, request: Request) -> Response | None:
        """A key and the token of a user."""
        if not has_key(request, self.account):
            self.world.violation(WHO, "x-api-key is ours", request.method)
            return _plain({"message": "Forbidden"}, 403)
        if not self.tokens.good(request):
            return _plain({"timestamp": int(time.time() * 1000), "status": 401, "error": "Unauthorized"}, 401)
        return None

    def _noted(self, request: Request, started: float, body: bytes, answer: Response) -> Response:
        path, status = request.url.path, answer.status_code
        sent = bytes(answer.body)
        self.world.exchange(WHO, True, request.method, path, started, status, body, sent, "token")
        return answer


def _key(one: dict[str, Any]) -> Key | None:
    """null is as good as nothing: Genesys' library for Java writes both."""
    name, definition = one.get("name"), one.get("definition")
    kind, of = one.get("objectType"), one.get("objectId")
    if (name is None) == (definition is None) or not isinstance(kind, str) or not isinstance(of, str):
        return None
    if isinstance(name, str):
        return (name, kind, of)
    return (orjson.dumps(definition, option=orjson.OPT_SORT_KEYS).decode(), kind, of) if definition else None


def _listed(asked: dict[str, Any] | None) -> list[dict[str, Any]] | None:
    data = asked.get("data") if asked else None
    listed = data.get("statistics") if isinstance(data, dict) else None
    good = isinstance(listed, list) and listed and all(isinstance(one, dict) for one in listed)
    return listed if good else None


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(body) if len(body) <= LONGEST else None
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _said(status: int, data: object = None) -> Response:
    """As the reference prints it; some of it twice, in words."""
    code = 0 if status == 200 else status
    body: dict[str, object] = {"status": {"code": code}, "operationId": str(uuid.uuid4())}
    if data is not None:
        body["data"] = data
    return _plain(body, status)


def _plain(said: object, status: int = 200) -> Response:
    return Response(orjson.dumps(said), status, media_type="application/json")
