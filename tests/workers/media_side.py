"""Both sides with files: a provider that has pictures of consumers, and a media store at Digital Channels."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import orjson
from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import Response

from dcbridge.cli.dev.embedded_redis import free_port
from dcbridge.config.loader import parse
from dcbridge.ledger import NewTask
from sandbox.media import file_part
from tests.workers.far_side import CONFIGURATION, CONSUMER, SMS, STORED, TAKEN, TOKEN, FarSide, settings, worlds
from workers import consumer_messages
from workers.context import open_context

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)
SECRET = b"the-app-secret-of-now"
ACCOUNT = "AC0123456789abcdef0123456789abcdef"
MEDIA_ID = "6b1f7a4e-3f53-4b8a-9d65-0f2b7c1de0aa"


def signed(body: bytes) -> str:
    return "sha1=" + hmac.new(SECRET, body, hashlib.sha1).hexdigest()


@dataclass(slots=True)
class Store:
    """Digital Channels: what was uploaded and posted, and which answers are to be given first."""

    files: dict[str, tuple[str, str, bytes]] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    uploads: list[Response] = field(default_factory=list)  # used up in turn
    wrong: list[str] = field(default_factory=list)
    media_signature: str = "raw_body"
    empty_signature: str = "empty"

    def _right(self, request: Request, body: bytes) -> str | None:
        """The signature that is accepted."""
        if not body:
            path = request.url.path.encode()
            return {"empty": signed(b""), "path": signed(path), "omit": None}[self.empty_signature]
        if "multipart" not in request.headers.get("content-type", ""):
            return signed(body)
        file = file_part(request.headers["content-type"], body)[2]
        return signed({"raw_body": body, "file_bytes": file, "empty": b""}[self.media_signature])

    async def answer(self, request: Request) -> Response:
        body = await request.body()
        if request.headers.get("x-hub-signature") != self._right(request, body):
            self.wrong.append(f"{request.method} {request.url.path}")
            return Response(status_code=401)
        if not request.url.path.rpartition("/channels/")[2].partition("/")[2].startswith("media"):
            return await STORED(request)
        if request.method == "POST":
            if self.uploads:
                return self.uploads.pop(0)
            media_id = f"{len(self.files):08}-3f53-4b8a-9d65-0f2b7c1de0aa"
            name, mimetype, data = file_part(request.headers["content-type"], body)
            self.files[media_id] = (name, mimetype, data)
            said = {"mediaId": media_id, "url": f"genesys://nexus/{media_id}", "length": len(data)}
            return Response(orjson.dumps({"status": {"code": 0}, "data": said}))
        media_id = request.url.path.rpartition("/")[2]
        if media_id not in self.files:
            return Response(orjson.dumps({"status": {"code": 404}}), 404)
        if request.method == "DELETE":
            self.deleted.append(media_id)
            del self.files[media_id]
            return Response(b"")
        self.read.append(media_id)
        return Response(self.files[media_id][2])


@dataclass(slots=True)
class MediaSide:
    side: FarSide
    store: Store
    url: str
    pictures: dict[str, Callable[[Request], Response]] = field(default_factory=dict)
    logins: list[str | None] = field(default_factory=list)

    async def picture(self, request: Request) -> Response:
        if request.method != "GET":
            return await TAKEN(request)
        self.logins.append(request.headers.get("authorization"))
        made = self.pictures.get(request.url.path.rpartition("/")[2])
        return made(request) if made else Response(status_code=404)

    def place(self, name: str) -> str:
        return f"{self.url}/2010-04-01/Accounts/{ACCOUNT}/Messages/MM1/Media/{name}"

    async def task(self, *media: str, text: str = "Look at this", task_id: str = "c-1") -> str:
        payload = {"from": CONSUMER, "text": text, "media": media, "provider": "twilio"}
        await self.side.context.ledger.tasks.put(
            [NewTask(task_id, "consumer", f"lane {task_id}", orjson.dumps(payload), "trace", SMS)]
        )
        return task_id

    async def posted(self, *media: str, **changes: Any) -> list[dict[str, Any]]:
        """The messages that the agent got of one message of a consumer's."""
        await consumer_messages.post_consumer_message(self.side.context, await self.task(*media, **changes))
        return self.messages

    @property
    def messages(self) -> list[dict[str, Any]]:
        bodies = [body for body in self.side.agents.heard if body.startswith(b'{"messages"')]
        return [message for body in bodies for message in orjson.loads(body)["messages"]]

    def counted(self, outcome: str, direction: str = "in") -> float:
        return self.side.counted("dcbridge_media_total", direction=direction, outcome=outcome)


@asynccontextmanager
async def media_side(
    redis: Redis, redis_url: str, more: str = "", rich_media: str = "", swap: tuple[str, str] = ("", ""), **changes: Any
) -> AsyncIterator[MediaSide]:
    """`more` is added to bridge.yaml, and of `swap` the second stands for the first; `changes` are settings."""
    async with worlds() as (provider, agents, url):
        nowhere = f"http://127.0.0.1:{free_port()}"
        written = CONFIGURATION.format(url=url, nowhere=nowhere, token=TOKEN).replace(*swap) + more
        if rich_media:
            written = written.replace("digital_channels:\n", f"digital_channels:\n  rich_media: {rich_media}\n")
        async with open_context(settings(redis_url, **changes), parse(written, {})) as context:
            found = MediaSide(FarSide(provider, agents, context, redis), Store(), url)
            agents.usual, provider.usual = found.store.answer, found.picture
            yield found


@asynccontextmanager
async def clamd(answer: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A port on which clamd listens, and the files that it was given. b"" answers nothing."""
    given: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            assert await reader.readuntil(b"\0") == b"zINSTREAM\0"
            pieces = []
            while size := int.from_bytes(await reader.readexactly(4)):
                pieces.append(await reader.readexactly(size))
            given.append(b"".join(pieces))
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], given
    finally:
        server.close()
