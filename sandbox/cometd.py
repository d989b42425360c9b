"""A CometD endpoint by long polling: sessions, topics, and what is published to them. Stricter than CometD's own.

POST <path> and <path>/{handshake,connect,disconnect,subscribe,unsubscribe}; npm's cometd posts a subscribe to <path>/.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from sandbox.connection import reset
from sandbox.switches import StatisticsSwitch
from sandbox.world import World

VERBS = ("handshake", "connect", "disconnect", "subscribe", "unsubscribe")
BROWSER = "BAYEUX_BROWSER"
MOST = 200  # sessions
QUEUED = 1000  # events of one session
LONGEST = 65_536  # bytes of a request
FIELDS = {
    "/meta/handshake": {"version", "minimumVersion", "supportedConnectionTypes"},
    "/meta/connect": {"clientId", "connectionType"},
    "/meta/subscribe": {"clientId", "subscription"},
    "/meta/unsubscribe": {"clientId", "subscription"},
    "/meta/disconnect": {"clientId"},
}
ALWAYS = {"id", "channel", "advice", "ext"}


@dataclass(slots=True)
class Client:
    """One session."""

    id: str
    browser: str
    topics: set[str] = field(default_factory=set)
    events: deque[dict[str, object]] = field(default_factory=lambda: deque(maxlen=QUEUED))
    news: asyncio.Event = field(default_factory=asyncio.Event)
    connect: int = 0  # the one that is outstanding, by number
    connected: bool = False


@dataclass(slots=True)
class Sessions:
    """Forgotten with everything else at a reset."""

    clients: OrderedDict[str, Client] = field(default_factory=OrderedDict)
    told: int = 0  # events


class CometD:
    """One endpoint. `may`: what is answered to a request that may not come in; `topics`: those that there are."""

    def __init__(
        self,
        world: World,
        who: str,
        path: str,
        topics: tuple[str, ...],
        may: Callable[[Request], Response | None],
        cookie: str,
    ) -> None:
        """`cookie`: of the session that the interface's other requests need."""
        self._world, self._who, self._path, self._topics, self._may, self._cookie = (
            world,
            who,
            path,
            topics,
            may,
            cookie,
        )

    def routes(self) -> list[Route]:
        paths = (self._path, f"{self._path}/", *(f"{self._path}/{verb}" for verb in VERBS))
        return [Route(path, self.post, methods=["POST"]) for path in paths]

    @property
    def sessions(self) -> Sessions:
        found = self._world.sessions.setdefault(self._path, Sessions())
        assert isinstance(found, Sessions)
        return found

    @property
    def _switch(self) -> StatisticsSwitch:
        return self._world.switches.statistics

    def publish(self, topic: str, data: object) -> None:
        """To all who want it."""
        self.sessions.told += 1
        for client in self.sessions.clients.values():
            if topic in client.topics:
                client.events.append({"channel": topic, "data": data, "id": str(self.sessions.told)})
                if self._switch.events_on == "connect":
                    client.news.set()

    def forget_all(self) -> None:
        """As after a restart: no session is known any more."""
        for client in self.sessions.clients.values():
            client.news.set()
        self.sessions.clients.clear()

    async def post(self, request: Request) -> Response:
        started, body = time.perf_counter(), await request.body()
        answer = self._may(request) or await self._answer(request, body)
        sent = bytes(answer.body) if not isinstance(answer, StreamingResponse) else b"(slowly)"
        if "/meta/connect" not in body.decode(errors="replace") or len(sent) > 200:  # polls would fill the page
            self._world.exchange(
                self._who, True, "POST", request.url.path, started, answer.status_code, body, sent, "token"
            )
        return answer

    async def _answer(self, request: Request, body: bytes) -> Response:
        messages = _messages(body)
        if messages is None or len(body) > LONGEST:
            self._world.violation(self._who, "a body is a list of messages")
            return _spring(400)
        verb = request.url.path.removeprefix(self._path).strip("/")
        answers: list[dict[str, object]] = []
        cookies: dict[str, str] = {}
        for message in messages:
            channel = message["channel"]
            if channel not in FIELDS or (verb and channel != f"/meta/{verb}"):
                self._world.violation(
                    self._who, "a message is one of those documented, at its own URL", str(channel)[:60]
                )
                return _spring(500)
            for name in message.keys() - FIELDS[channel] - ALWAYS:
                self._world.violation(self._who, "only documented fields are sent", f"{channel}: {name}")
            found = await self._one(request, channel, message, cookies)
            if isinstance(found, Response):
                return found
            answers += found
        response = _listed(answers)
        for name, value in cookies.items():
            response.set_cookie(name, value, httponly=True)
        return response

    async def _one(
        self, request: Request, channel: str, message: dict[str, Any], cookies: dict[str, str]
    ) -> list[dict[str, object]] | Response:
        said: dict[str, object] = {"channel": channel}
        if "id" in message:
            said["id"] = message["id"]
        if channel == "/meta/handshake":
            return self._handshake(request, message, said, cookies)
        client = self.sessions.clients.get(str(message.get("clientId", "")))
        if client is not None and request.cookies.get(BROWSER) != client.browser:
            self._world.violation(self._who, "the cookies of a session are sent", channel)
            client = None
        mode = self._switch.take_poll() if channel == "/meta/connect" else "ok"
        if mode == "unknown_client" and client is not None:
            self.sessions.clients.pop(client.id, None)
            client = None
        if client is None:
            advice = {"reconnect": "handshake", "interval": 0}
            return [{**said, "successful": False, "error": "402::Unknown client", "advice": advice}]
        match channel:
            case "/meta/connect":
                return await self._connect(request, client, message, said, mode)
            case "/meta/disconnect":
                self.sessions.clients.pop(client.id, None)
                client.news.set()
                return [{**said, "successful": True}]
            case _:
                return self._subscribe(client, message, said)

    def _handshake(
        self, request: Request, message: dict[str, Any], said: dict[str, object], cookies: dict[str, str]
    ) -> list[dict[str, object]]:
        types = message.get("supportedConnectionTypes")
        if message.get("version") != "1.0" or not isinstance(types, list) or "long-polling" not in types:
            self._world.violation(self._who, "a handshake has version 1.0 and long-polling")
            return [{**said, "successful": False, "error": "400::handshake", "advice": {"reconnect": "none"}}]
        if self._switch.polls == "none":
            return [{**said, "successful": False, "error": "403::denied", "advice": {"reconnect": "none"}}]
        client = Client(uuid.uuid4().hex, request.cookies.get(BROWSER) or uuid.uuid4().hex)
        sessions = self.sessions.clients
        sessions[client.id] = client
        if len(sessions) > MOST:
            sessions.popitem(last=False)
        self._world.counts["cometd.handshakes"] += 1
        cookies[BROWSER] = client.browser
        if self._cookie not in request.cookies:
            cookies[self._cookie] = uuid.uuid4().hex
        more = {"version": "1.0", "minimumVersion": "1.0", "supportedConnectionTypes": ["long-polling"]}
        return [{**said, **more, "clientId": client.id, "successful": True, "advice": self._advice()}]

    def _subscribe(
        self, client: Client, message: dict[str, Any], said: dict[str, object]
    ) -> list[dict[str, object]] | Response:
        wanted = message.get("subscription")
        asked = wanted if isinstance(wanted, list) else [wanted]
        topics = [one for one in asked if one in self._topics]
        if topics != asked:
            return _spring(500)  # and no answer of Bayeux
        change = client.topics.update if said["channel"] == "/meta/subscribe" else client.topics.difference_update
        change(topics)
        for topic in topics:
            self._world.counts[f"cometd.{said['channel']} {topic}"] += 1
        answers = [{**said, "subscription": wanted, "successful": True}]
        return [*_taken(client), *answers] if self._switch.events_on == "subscribe" else answers

    async def _connect(
        self, request: Request, client: Client, message: dict[str, Any], said: dict[str, object], mode: str
    ) -> list[dict[str, object]] | Response:
        if message.get("connectionType") != "long-polling":
            self._world.violation(self._who, "a connect is by long-polling")
        if mode == "401":  # the token has ended while the connect was held
            await asyncio.sleep(min(self._switch.held, 2.5))
            return Response(status_code=401)
        if mode == "drop":
            await reset(request)
            return Response(status_code=500)
        client.connect += 1
        self._world.counts["cometd.connects"] += 1
        number = client.connect
        client.news.set()  # one that is outstanding is answered: there is one at a time
        client.news = asyncio.Event()
        news = client.news
        held = 0.0 if not client.connected else self._switch.held
        client.connected = True
        if isinstance(message.get("advice"), Mapping) and message["advice"].get("timeout") == 0:
            held = 0.0
        if not client.events or self._switch.events_on != "connect":
            with suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), held or 0.001)
        if number != client.connect:
            self._world.counts["cometd.second_connects"] += 1
            return [{**said, "successful": True, "advice": self._advice()}]
        if client.id not in self.sessions.clients:
            advice = {"reconnect": "handshake", "interval": 0}
            return [{**said, "successful": False, "error": "402::Unknown client", "advice": advice}]
        answers = [*_taken(client), {**said, "successful": True, "advice": self._advice()}]
        if mode == "drip":
            return StreamingResponse(_drops(orjson.dumps(answers)), media_type="application/json")
        return answers

    def _advice(self) -> dict[str, object]:
        times = {"timeout": int(self._switch.held * 1000), "interval": int(self._switch.interval * 1000)}
        return {"reconnect": "retry", **times}


def _taken(client: Client) -> list[dict[str, object]]:
    found = [*client.events]
    client.events.clear()
    return found


async def _drops(body: bytes) -> Any:
    """A byte now and then, for longer than anybody should wait."""
    for at in range(len(body)):
        yield body[at : at + 1]
        await asyncio.sleep(1.0)


def _messages(body: bytes) -> list[dict[str, Any]] | None:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    messages = value if isinstance(value, list) else [value]
    good = messages and all(isinstance(one, dict) and isinstance(one.get("channel"), str) for one in messages)
    return messages if good else None


def _listed(answers: list[dict[str, object]]) -> Response:
    return Response(orjson.dumps(answers), media_type="application/json")


def _spring(status: int) -> Response:
    """As the framework beneath answers, and no Bayeux."""
    said = {"timestamp": int(time.time() * 1000), "status": status, "error": "Error", "path": "/statistics/v3"}
    return Response(orjson.dumps(said), status, media_type="application/json")
