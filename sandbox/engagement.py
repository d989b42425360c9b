"""Genesys' Engagement API: /engagement/v3/callbacks/… Calls that consumers asked for, in slots of half an hour.

Stricter than the document: what is not in it is a broken rule. Good answers have the code 0 and 200 in turn, ids are a
text and a number in turn, and a 429 names its slots by time and by milliseconds in turn: nobody may rely on one.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.authentication import has_key
from sandbox.config import GenesysAccount
from sandbox.connection import reset, wait_for_disconnect
from sandbox.records import BookedCall
from sandbox.wires.base import E164
from sandbox.world import World

WHO = "Engagement"
HALF_HOUR = 1800.0
MOST = 65_536  # bytes of a request
PROPOSED = 3  # slots of a 429
FIELDS = {
    *("serviceName", "phoneNumber", "desiredTime", "userData", "channel", "language", "cbOfferType", "offerTiming"),
    *("cbOriginationIxnId", "inboundVQ", "offerThreshold", "priority", "routePoint", "surveyRP", "alwaysCheckCapacity"),
    *("captchaToken", "pushTargets"),
}
ASKED = {
    *("start", "startMS", "end", "endMS", "numberOfDays", "timezone", "maxTimeSlots", "reportBusy"),
}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*", re.ASCII)
_LANGUAGE = re.compile(r"[a-z]{2}-[A-Z]{2}", re.ASCII)


class Engagement:
    """The endpoints. One of these for each sandbox that has a Genesys account."""

    def __init__(self, world: World, account: GenesysAccount) -> None:
        self.world, self.account = world, account

    def routes(self) -> list[Route]:
        root = "/engagement/v3/callbacks"
        return [
            self._route(f"{root}/create", "create", self._create, "POST"),
            self._route(f"{root}/retrieve", "retrieve", self._retrieve, "POST"),
            self._route(f"{root}/cancel", "cancel", self._cancel, "POST"),
            self._route(root + "/availability/{name}", "availability", self._availability, "GET"),
            self._route(root + "/open-for/{name}", "open-for", self._open_for, "GET"),
            self._route(root + "/queue-status/{name}", "queue-status", self._queue_status, "GET"),
        ]

    def _route(self, path: str, name: str, act: Callable[[Request, dict[str, Any]], Response], method: str) -> Route:
        async def endpoint(request: Request) -> Response:
            started, body = time.perf_counter(), await request.body()
            mode = self.world.switches.engagement.take_for(name)
            answer = await self._answer(request, name, act, body, mode)
            sent = bytes(answer.body)
            self.world.exchange(WHO, True, method, request.url.path, started, answer.status_code, body, sent, "API key")
            if mode == "lost_answer":
                await reset(request)
            return answer

        return Route(path, endpoint, methods=[method])

    async def _answer(
        self, request: Request, name: str, act: Callable[[Request, dict[str, Any]], Response], body: bytes, mode: str
    ) -> Response:
        if not has_key(request, self.account):
            self.world.violation(WHO, "x-api-key is ours", name)
            return _json(403, {"message": "Forbidden"})
        self.world.counts[f"callbacks.{name}"] += 1
        if mode == "silent":
            await wait_for_disconnect(request)
            return Response(status_code=500)
        if mode in ("400", "403", "500"):
            return _json(403, {"message": "Forbidden"}) if mode == "403" else self._bad(int(mode))
        if mode == "slow":
            await asyncio.sleep(self.world.switches.engagement.delay)
        told = self._body(body, name) if request.method == "POST" else {}
        answer = self._bad(400) if told is None else act(request, told)
        if answer.status_code == 200 and mode == "not_json":
            return Response(b"<html>", 200, media_type="text/html")
        return self._good({}) if answer.status_code == 200 and mode == "no_id" else answer

    # ------------------------------------------------------------ one function an operation

    def _create(self, request: Request, told: dict[str, Any]) -> Response:
        for name in told.keys() - FIELDS:
            self.world.violation(WHO, "only documented fields are sent", f"create: {name}")
        service, number = told.get("serviceName"), told.get("phoneNumber")
        if service != self.account.callback_service:
            return self._bad(400)
        if not isinstance(number, str) or not E164.fullmatch(number):
            self.world.violation(WHO, "phoneNumber is E.164")
            return self._bad(400)
        if "language" in told and not _LANGUAGE.fullmatch(str(told["language"])):
            self.world.violation(WHO, "language is like en-US")
        desired = told.get("desiredTime")
        if desired is not None and not (isinstance(desired, str) and _TIME.fullmatch(desired)):
            self.world.violation(WHO, "desiredTime is yyyy-MM-ddTHH:mm:ss.SSSZ")
            return self._bad(400)
        at = datetime.fromisoformat(desired).timestamp() if desired else 0.0
        if at and at < time.time():
            return self._bad(400)
        data = told.get("userData", {})
        if not isinstance(data, dict):
            return self._bad(400)
        if at and self._left(at) <= 0:
            return self._full(at)
        kept = {name: str(one)[:1000] for name, one in data.items() if _IDENTIFIER.fullmatch(name)}
        self.world.counts["callbacks.made"] += 1
        named: object = str(uuid.uuid4())
        if self.world.counts["callbacks.made"] % 2 == 0:
            named = self.world.counts["callbacks.made"] * 1_000_003  # the published client documents a number
        call = BookedCall(self.world.next_seq(), time.time(), str(named), service, number, at, kept)
        self.world.keep_call(call)
        return self._good({"id": named})

    def _retrieve(self, request: Request, told: dict[str, Any]) -> Response:
        call = self.world.calls.get(str(told.get("id")))
        if call is None or call.state == "cancelled":
            return self._bad(404)
        state, position = self.state_of(call)
        said: dict[str, object] = {"id": call.id, "phoneNumber": call.number, "callbackState": state}
        if call.time:
            said["desiredTime"] = _iso(call.time)
        if state == "COMPLETED":
            said["callbackReason"] = call.reason
        elif state != "SCHEDULED":
            said |= {"positionInQueue": position, "estimatedWaitTime": 30 * position}
        return self._good(said)

    def _cancel(self, request: Request, told: dict[str, Any]) -> Response:
        call = self.world.calls.get(str(told.get("id")))
        if call is None or call.state == "cancelled":
            return self._bad(404)
        if call.state == "completed" or self.state_of(call)[0] == "PROCESSING":
            return self._bad(400)
        call.state = "cancelled"
        self.world.tell("call", call)
        return self._good({"id": call.id})

    def _availability(self, request: Request, told: dict[str, Any]) -> Response:
        asked = request.query_params
        for name in asked.keys() - ASKED:
            self.world.violation(WHO, "only documented parameters are sent", f"availability: {name}")
        try:
            days, most = int(asked.get("numberOfDays", "1")), int(asked.get("maxTimeSlots", "100"))
            zone = ZoneInfo(asked.get("timezone", "UTC"))
        except (ValueError, OSError):
            return self._bad(400)
        if request.path_params["name"] != self.account.callback_service or not 0 < days <= 31:
            return self._bad(400)
        free = [at for at in self._slots(days) if self._left(at) > 0][:most]
        slots = [
            {
                "utcTime": _iso(at),
                "localTime": datetime.fromtimestamp(at, zone).strftime("%Y-%m-%dT%H:%M:%S"),
                "capacity": self._left(at),
                "total": self.world.switches.engagement.capacity,
            }
            for at in free
        ]
        return self._good({"slots": slots, "durationMin": 30, "timezone": zone.key})

    def _open_for(self, request: Request, told: dict[str, Any]) -> Response:
        if request.path_params["name"] != self.account.callback_service:
            return self._bad(400)
        return self._good({"openFor": 3600 if self.world.switches.engagement.office else 0})

    def _queue_status(self, request: Request, told: dict[str, Any]) -> Response:
        if request.path_params["name"] != self.account.callback_service:
            return self._bad(400)
        switch = self.world.switches.engagement
        said: dict[str, object] = {"ewt": switch.wait, "offerImmediateCallback": switch.immediate}
        return self._good(said | {"offerScheduledCallback": switch.scheduled})

    # ------------------------------------------------------------ what it knows

    def state_of(self, call: BookedCall) -> tuple[str, int]:
        """The state that the clock has brought it to, and its place in the queue."""
        if call.state == "completed":
            return "COMPLETED", 0
        age, step = time.time() - (call.time or call.at), self.world.switches.engagement.step
        if age < 0:
            return "SCHEDULED", 0
        half = min(int(2 * age / step), 4) if step else 4
        return ("QUEUED", "QUEUED", "ROUTING", "ROUTING", "PROCESSING")[half], max(1, 3 - half)

    def _slots(self, days: int) -> list[float]:
        first = (math.floor(time.time() / HALF_HOUR) + 2) * HALF_HOUR
        return [first + HALF_HOUR * n for n in range(days * 48)]

    def _left(self, at: float) -> int:
        if at in self.world.full:
            return 0
        booked = sum(1 for one in self.world.calls.values() if one.time == at and not one.state)
        return self.world.switches.engagement.capacity - booked

    def _full(self, at: float) -> Response:
        free = [one for one in self._slots(2) if self._left(one) > 0 and one != at][:PROPOSED]
        self.world.counts["callbacks.full"] += 1
        keys = self.world.switches.engagement.slot_keys
        by_ms = keys == "ms" or (keys == "alternate" and self.world.counts["callbacks.full"] % 2 == 0)
        slots = {f"{round(one * 1000)}" if by_ms else _iso(one): str(self._left(one)) for one in free}
        return _json(429, {"status": self._status(429), "data": {"slots": slots}})

    # ------------------------------------------------------------ requests and answers

    def _body(self, body: bytes, name: str) -> dict[str, Any] | None:
        try:
            told = orjson.loads(body)
        except orjson.JSONDecodeError:
            told = None
        if not isinstance(told, dict) or len(body) > MOST:
            self.world.violation(WHO, "the body is an object", name)
            return None
        if name != "create" and (told.keys() != {"id"} or not isinstance(told["id"], str)):
            self.world.violation(WHO, "the body has an id, which is a text", name)
        return told

    def _status(self, code: int) -> dict[str, object]:
        return {"code": code, "message": "Successful" if code in (0, 200) else "Failed", "corrId": str(uuid.uuid4())}

    def _good(self, data: dict[str, object]) -> Response:
        self.world.counts["callbacks.answers"] += 1
        code = 200 if self.world.counts["callbacks.answers"] % 2 else 0
        return _json(200, {"status": self._status(code), "data": data})

    def _bad(self, status: int) -> Response:
        return _json(status, {"status": self._status(status)})


def complete(world: World, call_id: str, reason: str) -> BookedCall:
    """An agent has called. Raises ValueError where there is no such call to be made."""
    call = world.calls.get(call_id)
    if call is None or call.state:
        raise ValueError("id: of a call that lives")
    call.state, call.reason = "completed", reason
    world.tell("call", call)
    return call


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _json(status: int, said: object) -> Response:
    return Response(orjson.dumps(said), status, media_type="application/json")
