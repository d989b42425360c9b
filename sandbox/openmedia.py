"""Genesys' Openmedia API: /nexus/v3/openmedia/{service}/interactions. Work items for agents, each by its externalId.

Stricter than the reference: what is not documented is a broken rule. Answers take four shapes in turn, because the
reference prints them as {object}: nobody may rely on one.
"""

from __future__ import annotations

import re
import time
import uuid
from datetime import datetime

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.authentication import has_key
from sandbox.config import GenesysAccount
from sandbox.connection import reset, wait_for_disconnect
from sandbox.records import WorkItem
from sandbox.world import World

WHO = "Openmedia"
FIELDS = {
    "create": {"externalId", "parentInteractionId", "receivedAt", "userData"},
    "update": {"changedProperties", "addedProperties", "deletedProperties"},
    "stop": {"reasonSystemName", "reasonDescription"},
}
_ID = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)
MOST = 65_536  # bytes of a request


class Openmedia:
    """The endpoints. One of these for each sandbox that has a Genesys account."""

    def __init__(self, world: World, account: GenesysAccount) -> None:
        self.world, self.account = world, account

    def routes(self) -> list[Route]:
        root = "/nexus/v3/openmedia/{service}/interactions"
        return [
            Route(root, self.create, methods=["POST"]),
            Route(root + "/{reference}", self.one, methods=["GET"]),
            Route(root + "/{reference}/{what}", self.change, methods=["POST"]),
        ]

    async def create(self, request: Request) -> Response:
        started, body = time.perf_counter(), await request.body()
        mode = self.world.switches.genesys.take()
        answer = await self._before(request, mode) or self._create(self._data(body, "create"), mode)
        self._note(request, started, body, answer)
        if mode == "lost_answer":
            await reset(request)
        return answer

    async def one(self, request: Request) -> Response:
        started = time.perf_counter()
        answer = await self._before(request, self.world.switches.genesys.take())
        if answer is None:
            item = self._find(request)
            answer = _json(404, {"status": {"code": 404}}) if item is None else self._said(item)
        self._note(request, started, b"", answer)
        return answer

    async def change(self, request: Request) -> Response:
        started, body, what = time.perf_counter(), await request.body(), request.path_params["what"]
        answer = await self._before(request, self.world.switches.genesys.take())
        if answer is None:
            item = self._find(request)
            if what not in ("update", "stop") or item is None:
                answer = _json(404, {"status": {"code": 404}})
            else:
                answer = self._change(item, what, self._data(body, what))
        self._note(request, started, body, answer)
        return answer

    def _create(self, data: dict[str, object] | None, mode: str) -> Response:
        if data is None:
            return _json(400, {"status": {"code": 400}})
        external, user_data = data.get("externalId"), data.get("userData", {})
        if not isinstance(external, str) or not _ID.fullmatch(external) or not isinstance(user_data, dict):
            self.world.violation(WHO, "externalId has letters, digits and hyphens; userData is an object")
            return _json(400, {"status": {"code": 400}})
        if not _is_time(data.get("receivedAt")):
            self.world.violation(WHO, "receivedAt is an ISO 8601 time")
        if mode == "refuse_fields" and set(user_data) - {"Subject", "Letter"}:
            return _json(400, {"status": {"code": 400}})
        self.world.counts["items.asked"] += 1
        known = self.world.items.get(external)
        if known is not None:
            return _json(409, {"status": {"code": 409}, "data": {"id": known.id}})
        item = WorkItem(self.world.next_seq(), time.time(), str(uuid.uuid4()), external, _texts(user_data))
        self.world.keep_item(item)
        return self._said(item)

    def _change(self, item: WorkItem, what: str, data: dict[str, object] | None) -> Response:
        if data is None:
            return _json(400, {"status": {"code": 400}})
        if what == "update":
            changed, added = data.get("changedProperties", {}), data.get("addedProperties", {})
            if not isinstance(changed, dict) or not isinstance(added, dict):
                return _json(400, {"status": {"code": 400}})
            item.data.update(_texts(changed) | _texts(added))
        elif item.state == "stopped":
            return _json(404, {"status": {"code": 404}})
        else:
            item.state, item.reason = "stopped", str(data.get("reasonSystemName", ""))
        self.world.tell("item", item)
        return self._said(item)

    def _data(self, body: bytes, what: str) -> dict[str, object] | None:
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError:
            value = None
        data = value.get("data") if isinstance(value, dict) else None
        if not isinstance(data, dict) or len(body) > MOST:
            self.world.violation(WHO, "the body is an object with data", what)
            return None
        for name in data.keys() - FIELDS[what]:
            self.world.violation(WHO, "only documented fields are sent", f"{what}: {name}")
        return data

    def _find(self, request: Request) -> WorkItem | None:
        """By ext_ and its externalId, or by its id. One that an agent has finished is gone."""
        wanted = request.path_params["reference"]
        if wanted.startswith("ext_"):
            item = self.world.items.get(wanted.removeprefix("ext_"))
        else:
            item = next((one for one in self.world.items.values() if one.id == wanted), None)
        return None if item is None or item.state == "gone" else item

    async def _before(self, request: Request, mode: str) -> Response | None:
        """What is answered whatever is asked for."""
        if not has_key(request, self.account):
            self.world.violation(WHO, "x-api-key is ours", request.method)
            return _json(403, {"message": "Forbidden"})
        if request.path_params["service"] != self.account.open_media_service:
            return _json(404, {"status": {"code": 404}})
        if mode == "silent":
            await wait_for_disconnect(request)
            return Response(status_code=500)
        return _json(503, {"status": {"code": 503}}) if mode == "500" else None

    def _said(self, item: WorkItem) -> Response:
        self.world.counts["items.answers"] += 1
        said: tuple[dict[str, object], ...] = (
            {"status": {"code": 0}, "data": {"interactionId": item.id, "state": item.state}},
            {"id": item.id, "state": item.state},
            {"status": {"code": 0}, "data": {"ids": [item.id]}, "state": item.state},
            {"data": {"id": item.id, "state": item.state}},
        )
        return _json(200, said[self.world.counts["items.answers"] % len(said)])

    def _note(self, request: Request, started: float, body: bytes, answer: Response) -> None:
        path, status = request.url.path, answer.status_code
        sent = bytes(answer.body)
        self.world.exchange(WHO, True, request.method, path, started, status, body, sent, "API key")


def _texts(value: dict[str, object]) -> dict[str, str]:
    return {name[:100]: str(one)[:4000] for name, one in value.items()}


def _is_time(value: object) -> bool:
    try:
        return datetime.fromisoformat(str(value)).tzinfo is not None
    except ValueError:
        return False


def _json(status: int, said: object) -> Response:
    return Response(orjson.dumps(said), status, media_type="application/json")
