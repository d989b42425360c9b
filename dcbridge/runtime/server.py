"""A uvicorn server that leaves signals to its process, and the operator's page: health and metrics."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Generator, Iterable
from functools import partial
from typing import Any, cast

import uvicorn
from redis.exceptions import RedisError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from dcbridge.http.connections import Connections, Limits
from dcbridge.http.known_hosts import KnownHosts
from dcbridge.http.protocol import BoundedProtocol
from dcbridge.settings.problems import ConfigurationError, Problem

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Two listeners share one process: it decides what a signal means, not either of them."""
        yield


def bind(host: str, port: int, setting: str, *, shared: bool = False) -> socket.socket:
    """A socket that has the address and does not listen yet; `shared` with others of this process' user.

    Not left to uvicorn, which would end the whole process when the port is taken. The protocol is named because
    asyncio turns Nagle's delay (40 ms an answer) off only for sockets that say TCP. Raises ConfigurationError.
    """
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        why = f"{host}:{port} cannot be listened on: {error.strerror}"
        raise ConfigurationError([Problem(setting, 0, why)]) from None
    return made


class Listener:
    """One address and the app behind it. `serve` runs until `stop` is called or it is cancelled."""

    def __init__(
        self,
        app: ASGIApp,
        host: str,
        port: int,
        *,
        graceful: float = 10.0,
        setting: str = "",
        limits: Limits = Limits(),  # noqa: B008  (frozen)
        ended: Callable[[str], None] = lambda _: None,
        bound: socket.socket | None = None,
    ) -> None:
        """`setting` is what an operator would change; `ended` is told why a connection was ended by a limit.

        `bound`: a socket that has the address already.

        Raises ConfigurationError when the address cannot be had.
        """
        self.connections = Connections(limits, ended)
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            proxy_headers=False,
            lifespan="off",
            backlog=2048,
            timeout_graceful_shutdown=int(graceful),
            http=cast(Any, partial(BoundedProtocol, connections=self.connections)),
            ws="none",
        )
        self._server = _Server(config)
        self._socket = bound or bind(host, port, setting)
        self.port: int = self._socket.getsockname()[1]

    async def serve(self) -> None:
        looking = asyncio.create_task(self.connections.keep_looking())
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            looking.cancel()

    def stop(self) -> None:
        """Stop accepting: requests under way are answered, new ones are not taken."""
        self._server.should_exit = True


def operator_app(
    ready: Callable[[], Awaitable[bool]],
    scrape: Callable[[], Awaitable[bytes]],
    hosts: Iterable[str],
    alive: Callable[[], Awaitable[bool]] | None = None,
) -> ASGIApp:
    """`/healthz`: this process runs. `/readyz`: Redis can be used. `/metrics`: Prometheus text.

    `hosts`: the names under which it may be asked. `alive`: whether other processes of the service answer.
    """

    async def healthz(_request: Request) -> Response:
        if alive is None or await alive():
            return JSONResponse({"status": "alive"})
        return JSONResponse({"status": "not alive", "because": "a process of the service does not answer"}, 503)

    async def readyz(_request: Request) -> Response:
        try:
            good = await ready()
        except (RedisError, OSError, TimeoutError):
            good = False
        if good:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "not ready", "because": "Redis cannot be written"}, 503)

    async def metrics(_request: Request) -> Response:
        return Response(await scrape(), media_type=METRICS_TYPE)

    app = Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)])
    return KnownHosts(app, hosts, setting="DCBRIDGE_OPERATOR_HOSTS")
