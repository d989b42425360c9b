"""A proxy between two parts that keeps what passes, byte for byte: how `dcbridge dev --demo` sees the wire."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dcbridge.runtime.server import Listener

_PER_HOP = (b"connection", b"keep-alive", b"transfer-encoding", b"host", b"content-length", b"date")


@dataclass(frozen=True, slots=True)
class Passed:
    """One request and its answer. Header names are lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    status: int
    answer: bytes


class Recorder:
    """Listens on `port` of 127.0.0.1 (0: any) and hands everything on to `target`, in a thread of its own."""

    def __init__(self, target: str, port: int = 0) -> None:
        self._target = target
        self._passed: list[Passed] = []
        self._changed = threading.Condition()
        self._listener = Listener(
            Starlette(routes=[Route("/{path:path}", self._hand_on, methods=["GET", "POST", "DELETE"])]),
            "127.0.0.1",
            port,
        )
        self.port = self._listener.port
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._listener.stop()
        self._thread.join(10)

    def wait_for(self, what: bytes, seconds: float = 20.0) -> Passed | None:
        """The first exchange whose request holds these bytes; None when it does not come."""

        def found() -> Passed | None:
            return next((passed for passed in self._passed if what in passed.body), None)

        with self._changed:
            self._changed.wait_for(found, seconds)
            return found()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        async with httpx.AsyncClient(base_url=self._target, trust_env=False, timeout=30.0) as client:
            self._client = client
            await self._listener.serve()

    async def _hand_on(self, request: Request) -> Response:
        body = await request.body()
        headers = [(name, value) for name, value in request.scope["headers"] if name.lower() not in _PER_HOP]
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        try:
            answer = await self._client.request(request.method, path, content=body, headers=headers)
        except httpx.ConnectError:  # the demo is over, and its processes stop one after another
            return Response(status_code=502)
        plain = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}
        with self._changed:
            self._passed.append(Passed(request.method, path, plain, body, answer.status_code, answer.content))
            self._changed.notify_all()
        kept = {name: value for name, value in answer.headers.items() if name.lower().encode() not in _PER_HOP}
        return Response(answer.content, answer.status_code, kept)
