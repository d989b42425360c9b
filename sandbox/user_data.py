"""Genesys' User Data Management API, /udm/v10: export jobs, their history, and the files that they wrote.

A job exports what the sandbox's Digital Channels really has. Stricter than the reference: a job is finished only after
it was looked at, a file's link works once, for a minute, and refuses a request that shows credentials. The reference
does not print what an interaction of a channel looks like, so that it takes three shapes here: nobody may rely on one.
"""

from __future__ import annotations

import io
import time
import uuid
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from sandbox.authentication import Authentication, has_key
from sandbox.config import GenesysAccount
from sandbox.world import World

WHO = "User Data Management"
KNOWN = {"source", "type", "title", "timeFrame", "description", "schedulerParam", "jobParams", "suspended"}
MOST = 100  # jobs and files
LINK = 60.0  # seconds that one works


@dataclass(slots=True)
class Job:
    """An export. `looks`: how often somebody asked how far it is."""

    id: int
    title: str
    file: str
    since: float
    until: float
    at: float
    looks: int = 0


@dataclass(frozen=True, slots=True)
class _Message:
    id: str
    channel: str
    consumer: str
    at: float
    direction: str


class DataManagement:
    """The endpoints. One of these for each sandbox that has a Genesys account."""

    def __init__(self, world: World, account: GenesysAccount) -> None:
        self.world, self.account = world, account
        self._authentication = Authentication(world, account)
        self._jobs: dict[int, Job] = {}
        self._files: dict[str, bytes] = {}
        self._links: dict[str, tuple[str, float]] = {}  # word of a link -> the file, and when the link ends

    def routes(self) -> list[Route]:
        root = "/udm/v10"
        return [
            Route(f"{root}/export/jobs", self.create, methods=["POST"]),
            Route(f"{root}/export/jobs", self.list_jobs, methods=["GET"]),
            Route(f"{root}/export/jobs/{{id:int}}", self.end, methods=["DELETE"]),
            Route(f"{root}/export/history/{{id:int}}/progress", self.progress, methods=["GET"]),
            Route(f"{root}/files/{{name}}", self.file, methods=["GET", "DELETE"]),
            Route("/stored-files/{name}", self.stored, methods=["GET"]),
            Route("/sandbox/export", self.whole, methods=["GET"]),
        ]

    async def create(self, request: Request) -> Response:
        if (refused := self._refused(request)) is not None:
            return refused
        try:
            asked = orjson.loads(await request.body())
            frame = asked["timeFrame"]
            since, until = (datetime.fromisoformat(frame[name]).timestamp() for name in ("dateFrom", "dateTo"))
            title, good = asked["title"], asked["schedulerParam"]["immediately"] is True
        except (ValueError, KeyError, TypeError):
            return _json(400, {"message": "400"})
        params = asked.get("jobParams")
        if not good or not isinstance(title, str) or not isinstance(params, dict) or not params.get("media"):
            return _json(400, {"message": "400"})
        for name in asked.keys() - KNOWN:
            self.world.violation(WHO, "only documented fields are sent", name)
        if any(one.title == title for one in self._jobs.values()):
            self.world.violation(WHO, "a title has one job", title)
        number = self.world.next_seq()
        job = Job(number, title, f"export-{number}.zip", since, until, time.time())
        self._jobs[number] = job
        self._files[job.file] = _zipped(self._lines(since, until))
        while len(self._jobs) > MOST:
            self._jobs.pop(next(iter(self._jobs)))
        while len(self._files) > MOST:
            self._files.pop(next(iter(self._files)))
        self.world.counts["exports"] += 1
        return _json(202, _view(job))

    async def list_jobs(self, request: Request) -> Response:
        if (refused := self._refused(request)) is not None:
            return refused
        title = request.query_params.get("title", "")
        found = [_view(job) for job in self._jobs.values() if title in ("", job.title)]
        return _json(200, {"count": len(found), "from": 0, "size": 100, "items": found}) if found else _json(204, None)

    async def progress(self, request: Request) -> Response:
        if (refused := self._refused(request)) is not None:
            return refused
        job = self._jobs.get(request.path_params["id"])
        if job is None:
            return _json(400, {"message": "400"})
        job.looks += 1
        done = job.looks > 1
        return _json(200, {"progress": 100 if done else 50, "status": "COMPLETED" if done else "RUNNING"})

    async def end(self, request: Request) -> Response:
        if (refused := self._refused(request)) is not None:
            return refused
        return Response(status_code=204 if self._jobs.pop(request.path_params["id"], None) else 400)

    async def file(self, request: Request) -> Response:
        if (refused := self._refused(request)) is not None:
            return refused
        name = request.path_params["name"]
        if name not in self._files:
            return _json(404, [{"path": name}])
        if request.method == "DELETE":
            del self._files[name]
            return Response(status_code=204)
        word = uuid.uuid4().hex
        self._links[word] = (name, time.monotonic() + LINK)
        return RedirectResponse(f"{request.base_url}stored-files/{name}?signature={word}", 303)

    async def stored(self, request: Request) -> Response:
        """Where the link leads. Like a store of objects, it refuses two ways to show who asks at once."""
        if "authorization" in request.headers or "x-api-key" in request.headers:
            self.world.violation(WHO, "the link of a file is asked for without credentials")
            return Response(status_code=400)
        name, ends = self._links.pop(request.query_params.get("signature", ""), ("", 0.0))
        if name != request.path_params["name"] or ends < time.monotonic() or name not in self._files:
            return Response(status_code=403)
        return Response(self._files[name], media_type="application/octet-stream")

    async def whole(self, request: Request) -> Response:
        """Everything, as JSON Lines: for `dcbridge reconcile` by hand."""
        return Response(self._lines(0.0, time.time() + 1), media_type="application/x-ndjson")

    def _refused(self, request: Request) -> Response | None:
        mode = self.world.switches.genesys.mode
        if not has_key(request, self.account):
            self.world.violation(WHO, "x-api-key is ours", request.method)
            return _json(403, {"message": "Forbidden"})
        if not self._authentication.good(request):
            return _json(401, {"error": "invalid_token"})
        return _json(503, {"message": "503"}) if mode == "500" else None

    def _lines(self, since: float, until: float) -> bytes:
        messages = sorted(self._messages(), key=lambda one: one.at)
        switch = self.world.switches.genesys
        kept = [one for one in messages[switch.omitted :] if since <= one.at < until]
        at = kept[len(kept) // 2].at if kept else (since + until) / 2
        channel = self.world.config.sms_channel
        kept += [
            _Message(f"invented-{number}", channel, f"+1555{number:07}", at, "Outbound")
            for number in range(switch.invented)
        ]
        together: dict[tuple[str, str], list[_Message]] = {}
        for one in kept:
            together.setdefault((one.channel, one.consumer), []).append(one)
        rows = (_interaction(number, some) for number, some in enumerate(together.values()))
        return b"".join(orjson.dumps(row) + b"\n" for row in rows)

    def _messages(self) -> Iterable[_Message]:
        for agent in self.world.agent.values():
            consumer = agent.recipients[0] if agent.recipients else ""
            if agent.state == "accepted":
                yield _Message(agent.message_id, agent.channel_id, consumer, agent.at, "Outbound")
        for seen in self.world.seen:
            yield _Message(seen.id, seen.channel_id, seen.sender, seen.at, "Inbound")


def _interaction(number: int, some: list[_Message]) -> dict[str, object]:
    first, name = some[0], f"ixn-{number:06}"
    if len(some) == 1:
        return {
            "IXNID": name, "MediaTypeId": "chat", "ExternalId": first.id, "SubtypeId": first.direction,
            "StartDate": _iso(first.at), "allAttributes": {"channelId": first.channel},
        }  # fmt: skip
    rows = [{"messageId": one.id, "direction": one.direction, "date": _iso(one.at)} for one in some]
    listed: dict[str, object] = {"messages": rows}
    inside: dict[str, object] = {"structuredText": orjson.dumps(listed).decode()} if number % 2 else listed
    whole = {"ixnId": name, "mediaTypeId": "chat", "startDate": _iso(first.at), "endDate": _iso(some[-1].at)}
    return whole | {"channel": {"id": first.channel}} | inside


def _view(job: Job) -> dict[str, object]:
    return {
        "id": job.id, "type": "UCS", "source": "UCS", "title": job.title, "fileName": job.file,
        "status": "COMPLETED" if job.looks > 1 else "RUNNING", "progress": 100 if job.looks > 1 else 0,
        "createdDate": _iso(job.at), "dateFrom": _iso(job.since), "dateTo": _iso(job.until), "media": ["chat"],
    }  # fmt: skip


def _zipped(lines: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("interactions.jsonl", lines)
    return packed.getvalue()


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def _json(status: int, said: object) -> Response:
    content = b"" if status == 204 else orjson.dumps(said)
    return Response(content, status, media_type="application/json")
