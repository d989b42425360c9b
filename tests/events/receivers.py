"""What events are sent in these tests, and who receives them: real sockets that answer as they are told."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult
from pydantic import SecretStr

from dcbridge.events.sinks.base import Event
from dcbridge.events.sinks.http import Http, HttpSink
from dcbridge.events.sinks.options import SinkOptions

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # the specification's own example
PUBLIC_URL = "https://bridge.example.com"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


def an_event(**changes: Any) -> Event:
    """A STARTED chat, with changes."""
    usual: dict[str, Any] = {
        "id": "evt_0f3a-1",
        "name": "STARTED",
        "endpoint": "events",
        "interaction": "8e09e19f-b8ba-4db0-b6e7-dfc8a7776176",
        "media": "chat",
        "subtype": "InboundNew",
        "sequence": 1,
        "received_at": datetime(2026, 11, 22, 4, 5, 6, 789000, UTC),
        "fields": {"id": "8e09e19f-b8ba-4db0-b6e7-dfc8a7776176", "mediaType": "chat", "städte": ["Köln", None, 1.5]},
    }
    return Event(**{**usual, **changes})


@dataclass(frozen=True)
class Got:
    """One request as it arrived; header names are in small letters."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """A server of one address that writes down what comes and gives its answers in turn, the last for ever."""

    answers: list[bytes] = field(default_factory=lambda: [OK])
    got: list[Got] = field(default_factory=list)
    connections: int = 0
    names: list[str | None] = field(default_factory=list)  # asked for by SNI
    port: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def arrived(self, count: int) -> None:
        """Wait for so many requests."""
        while len(self.got) < count:
            self.news.clear()
            await self.news.wait()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *rest = head.rstrip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in rest)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.got.append(Got(line, headers, body))
            self.news.set()
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if not answer:  # never
                await asyncio.sleep(3600)
            writer.write(answer)
            await writer.drain()


def server_tls(certificate: Any, key: Any, receiver: Receiver, *, clients: Any = None) -> ssl.SSLContext:
    """A server's context that notes the name it was asked for; `clients` is whose certificates it demands."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.sni_callback = lambda _connection, name, _context: receiver.names.append(name)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)
    return context


@asynccontextmanager
async def receiving(
    receiver: Receiver, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    """Listens until the end of the block; whatever is open then is reset."""
    writers: list[asyncio.StreamWriter] = []
    tasks: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await receiver.talk(reader, writer)

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        tasks.add(asyncio.ensure_future(one(reader, writer)))

    server = await asyncio.start_server(accepted, host, port, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)


class Names(AbstractResolver):
    """A name server of our own: gives its answers in turn, the last for ever, and counts the questions."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.asked.append(host)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=0,
            )
            for address in answer
        ]

    async def close(self) -> None:
        """Nothing is open."""


def unchecked(fields: Http, url: str) -> Http:
    """The fields with a URL that the configuration would have refused."""
    return fields.model_copy(update={"url": SecretStr(url)})


def http_fields(url: str, **more: Any) -> Http:
    """Fields of a sink that may reach this computer, and has little patience."""
    usual: dict[str, Any] = {"kind": "http", "url": url, "secrets": [SECRET], "allow": ["127.0.0.0/8"], "timeout": 5}
    return Http.model_validate({**usual, **more})


@asynccontextmanager
async def http_sink(
    fields: Http, *, envelope: Any = "standard", connections: int = 20, names: AbstractResolver | None = None
) -> AsyncIterator[HttpSink]:
    """A sink that is closed at the end."""
    sink = HttpSink(fields, SinkOptions("crm", envelope, PUBLIC_URL, connections), names=names)
    try:
        yield sink
    finally:
        await sink.close()
