"""The one place that sends: HTTP by aiohttp in httpx's words, mail and SMPP through the modules beside this one.

It answers one question besides carrying bytes: if this failed, can the other side have taken it?
Adapters build an httpx.Request and read an httpx.Response; between the two aiohttp speaks for itself. Its own
errors tell "never connected" from "broke afterwards", and a request costs half of what it does through
httpx-aiohttp (docs/performance.md), which also reports a connection that broke afterwards as ConnectTimeout.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from types import TracebackType
from typing import Self

import aiohttp
import httpx
import yarl
from aiohttp.abc import AbstractResolver

from dcbridge.errors import AccountFault, OutcomeUnknown, Undecodable, Unreachable
from dcbridge.http.client_connection import HEADERS, LINE_LIMIT, BrokenHead, Connector, Endless
from dcbridge.http.deadlines import Deadlines
from dcbridge.http.unpacking import Unpackable, unpack
from dcbridge.providers.base import Answer, MailRequest, Request, SmppRequest
from dcbridge.tracing import switch
from dcbridge.transport.resolver import resolver_of
from dcbridge.transport.smpp import Sessions, Turn
from dcbridge.transport.smtp import send_mail
from dcbridge.transport.ssrf import ForbiddenAddress, Guard
from dcbridge.transport.tls import tls_word

SHORT_URL, SHORT_URLS = 512, 256  # characters, and how many are remembered: 128 KiB
LONGEST_URL = 8192  # characters
ANSWER_LIMIT = 1024 * 1024  # bytes of an answer, packed and unpacked; no provider's comes near it

# The connection was never there: name, route, refusal, certificate, or waiting for a free one.
_NEVER_CONNECTED = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
)
_HOST = frozenset({b"host"})
_OURS_TO_SAY = _HOST | {b"content-length"}  # aiohttp writes them
_UNPACKED = frozenset({b"content-encoding", b"transfer-encoding"})  # no longer true of what was read


class _Read(httpx.Response):
    """A response that was read already; httpx' own would stream the bytes through itself once more."""

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes, request: httpx.Request) -> None:
        super().__init__(status, headers=headers, stream=_NOTHING, request=request)
        self._body = body

    @property
    def content(self) -> bytes:
        return self._body


_NOTHING = httpx.AsyncByteStream()


class Streamed:
    """An answer whose head has come, and whose body comes piece by piece."""

    def __init__(self, response: aiohttp.ClientResponse, most: int) -> None:
        self.status, self.headers = response.status, httpx.Headers(_headers(response))
        self._response, self._most = response, most

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body, as it comes. Raises Undecodable where it is encoded, has more than `most` bytes or breaks off."""
        if self._response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise Undecodable(f"http {self.status}, body not readable: encoding")
        came = 0
        try:
            while piece := await self._response.content.readany():
                came += len(piece)
                if came > self._most:
                    raise Undecodable(f"http {self.status}, body not readable: too long")
                yield piece
        except (TimeoutError, aiohttp.ClientError, OSError):
            raise Undecodable(f"http {self.status}, body broke off") from None

    async def whole(self) -> bytes:
        """All of it. Raises as `pieces`."""
        return b"".join([piece async for piece in self.pieces()])


class Sender:
    """A pool of connections, for one event loop. All times in seconds."""

    def __init__(
        self,
        *,
        connect_timeout: float = 5.0,
        write_timeout: float = 10.0,
        read_timeout: float = 15.0,
        pool_timeout: float = 5.0,
        whole_timeout: float | None = None,
        connections: int = 1000,
        answer_limit: int = ANSWER_LIMIT,
        tls: ssl.SSLContext | None = None,
        guard: Guard | None = None,
    ) -> None:
        """`whole_timeout` is the sum of connect, write and read unless given; `answer_limit` in bytes; `guard` says
        which addresses may be reached, where a URL is not to be trusted with that.
        """
        self._deadlines = Deadlines(whole_timeout or connect_timeout + write_timeout + read_timeout)
        self._timeout = aiohttp.ClientTimeout(
            total=None, connect=pool_timeout + connect_timeout, sock_connect=connect_timeout, sock_read=read_timeout
        )
        self._connections, self._tls, self._guard = connections, tls, guard
        self.answer_limit = answer_limit
        self._names: AbstractResolver | None = None
        self._session: aiohttp.ClientSession | None = None
        self.smpp = Sessions()

    async def __aenter__(self) -> Self:
        return self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, e: BaseException | None, t: TracebackType | None
    ) -> None:
        await self.close()

    def open(self) -> Self:
        """For the running event loop. Nobody is spoken to yet."""
        # Idle connections are closed before the usual server does it: a request that meets a closing
        # connection is an unknown outcome. No redirects, cookies or proxies: a request is signed already.
        self._names = resolver_of(self._guard) if self._guard else None
        connector = Connector(
            answer_limit=self.answer_limit,
            limit=self._connections,
            keepalive_timeout=4.0,
            ttl_dns_cache=30,
            ssl=self._tls or ssl.create_default_context(),
            resolver=self._names,
            socket_factory=self._guard.socket if self._guard else None,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "dcbridge", "Accept-Encoding": "identity"},
            skip_auto_headers=("Content-Type",),
            timeout=self._timeout,
            auto_decompress=False,  # what cannot be unpacked is no lost connection: the status is known
            max_line_size=LINE_LIMIT,
            max_field_size=LINE_LIMIT,
            max_headers=HEADERS,
        )
        return self

    async def close(self) -> None:
        """Leave all connections."""
        if self._session is not None:
            await self._session.close()
        if self._names is not None:
            await self._names.close()

    async def send(self, request: Request, turn: Turn | None = None) -> Answer:
        """The answer, read whole. Raises Unreachable, or OutcomeUnknown once bytes may have arrived.

        `turn` is asked before the first byte where a request has waited for others, and what it raises is raised.
        """
        if isinstance(request, MailRequest):
            with switch.asking("SMTP send", **{"network.protocol.name": "smtp"}):
                return await send_mail(request)
        if isinstance(request, SmppRequest):
            with switch.asking("SMPP submit_sm", **{"network.protocol.name": "smpp"}):
                return await self.smpp.submit(request, turn)
        return await self.http(request)

    @asynccontextmanager
    async def stream(self, request: httpx.Request, most: int) -> AsyncIterator[Streamed]:
        """As `http`, for a file: a body of `most` bytes is never whole in memory. Its time is the caller's to limit.

        `most` should not be above the sender's `answer_limit`, at twice of which a connection is closed.
        """
        if (tracing := switch.current()) is None:
            response = await self._head(request, request.content)
        else:
            with tracing.asking(*_asked(request)):
                response = await self._head(request, request.content)
                tracing.answered_by(response.status_code if isinstance(response, httpx.Response) else response.status)
        if isinstance(response, httpx.Response):  # a head that cannot be read, with a status that says enough
            raise OutcomeUnknown(f"http {response.status_code}")
        try:
            yield Streamed(response, most)
        finally:
            response.close()

    async def http(self, request: httpx.Request, body: AsyncIterable[bytes] | None = None) -> httpx.Response:
        """As `send`, for HTTP. A status of 4xx or 5xx is an answer, not an error.

        `body`: what is sent in place of the request's own, piece by piece; the request says its Content-Length.
        The status decides, whatever becomes of the body: Undecodable for one of 2xx whose body cannot be read whole,
        no body for any other. Raises AccountFault for an address that the guard refuses.
        """
        if (tracing := switch.current()) is None:
            return await self._whole(request, body)
        with tracing.asking(*_asked(request)):
            response = await self._whole(request, body)
            tracing.answered_by(response.status_code)
            return response

    async def _whole(self, request: httpx.Request, body: AsyncIterable[bytes] | None) -> httpx.Response:
        begun: list[aiohttp.ClientResponse] = []
        try:
            return await self._deadlines.within(
                self._exchange(request, request.content if body is None else body, begun)
            )
        except TimeoutError:  # of the whole: one of the socket is known where it happens
            if not begun:
                raise OutcomeUnknown("timeout") from None
            return _without_body(begun[0].status, _headers(begun[0]), "body broke off", request)

    async def _exchange(
        self, request: httpx.Request, content: bytes | AsyncIterable[bytes], begun: list[aiohttp.ClientResponse]
    ) -> httpx.Response:
        """`begun` is given the answer as soon as its head has come."""
        response = await self._head(request, content)
        if isinstance(response, httpx.Response):
            return response
        begun.append(response)
        try:
            body = await self._body(response)
        except (TimeoutError, aiohttp.ClientError, OSError):
            response.close()
            return _without_body(response.status, _headers(response), "body broke off", request)
        except Unpackable as error:
            response.close()
            return _without_body(response.status, _headers(response), f"body not readable: {error}", request)
        except BaseException:
            response.close()
            raise
        return _Read(response.status, _headers(response), body, request)

    async def _head(
        self, request: httpx.Request, content: bytes | AsyncIterable[bytes]
    ) -> aiohttp.ClientResponse | httpx.Response:
        """The answer as far as its head; whole where that cannot be read. Raises the SendErrors of a request."""
        try:
            return await self._begun(request, content)
        except _NEVER_CONNECTED as error:
            if isinstance(getattr(error, "os_error", None), ForbiddenAddress):
                raise AccountFault("address not allowed") from None
            raise Unreachable(_what_failed(error)) from None
        except TimeoutError:
            raise OutcomeUnknown("timeout") from None
        except BrokenHead as error:
            return _without_body(error.status, [], "head not readable", request)
        except Endless:
            raise OutcomeUnknown("answer without end") from None
        except (aiohttp.ClientError, OSError):
            raise OutcomeUnknown("connection lost") from None

    async def _begun(self, request: httpx.Request, content: bytes | AsyncIterable[bytes]) -> aiohttp.ClientResponse:
        if self._session is None:
            raise RuntimeError("Sender is used inside `async with`, or after open()")
        ours = _OURS_TO_SAY if isinstance(content, bytes) else _HOST  # it cannot know the length of what is streamed
        headers = [(n.decode("ascii"), v.decode("latin-1")) for n, v in request.headers.raw if n.lower() not in ours]
        if (tracing := switch.current()) is not None:
            headers += tracing.headers()
        return await self._session.request(
            request.method, _address(str(request.url)), headers=headers, data=content, allow_redirects=False
        )

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        """All of it, unpacked. Raises Unpackable, also for one that is too long."""
        came = bytearray()
        while chunk := await response.content.readany():
            came += chunk
            if len(came) > self.answer_limit:
                raise Unpackable("too long")
        packed = response.headers.getall("Content-Encoding", ())
        return unpack(bytes(came), ",".join(packed), self.answer_limit) if packed else bytes(came)


def _asked(request: httpx.Request) -> tuple[str, dict[str, str | int | float | bool | None]]:
    """Name and attributes of the span of a request: never its path or query, which may name a consumer."""
    url = request.url
    return request.method, {
        "http.request.method": request.method,
        "server.address": url.host,
        "server.port": url.port or {"http": 80, "https": 443}.get(url.scheme),
        "url.scheme": url.scheme,
    }


def _headers(response: aiohttp.ClientResponse) -> list[tuple[bytes, bytes]]:
    """Its headers, those left out that are true of the packed bytes alone."""
    return [(name, value) for name, value in response.raw_headers if name.lower() not in _UNPACKED]


def _without_body(status: int, headers: list[tuple[bytes, bytes]], why: str, request: httpx.Request) -> httpx.Response:
    """What follows from a status alone. Raises Undecodable for one that says "taken"."""
    if 200 <= status < 300 and status != 204:  # which has no body, whatever follows it
        raise Undecodable(f"http {status}, {why}")
    return _Read(status, headers, b"", request)


def _address(url: str) -> yarl.URL:
    """As httpx wrote it: escaped already. Those that are asked for again and again are short.

    Raises Unreachable for one that no server would read; yarl keeps the last 128 of any length.
    """
    if len(url) > LONGEST_URL:
        raise Unreachable("invalid url")
    return _short_address(url) if len(url) <= SHORT_URL else yarl.URL(url, encoded=True)


@lru_cache(maxsize=SHORT_URLS)
def _short_address(url: str) -> yarl.URL:
    return yarl.URL(url, encoded=True)


def _what_failed(cause: BaseException | None) -> str:
    """A fixed word: the exception's own text would name the host."""
    match cause:
        case aiohttp.ClientConnectorDNSError():
            return "dns"
        case aiohttp.ClientConnectorCertificateError():
            return tls_word(cause.certificate_error)
        case aiohttp.ClientSSLError():
            return "tls"
        case aiohttp.ConnectionTimeoutError():
            return "connect timeout"
        case aiohttp.InvalidURL() | None:
            return "invalid url"
        case _:
            return "connect"
