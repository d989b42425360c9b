"""The one place that sends: HTTP through httpx over aiohttp, mail through `bridge.mail_transport`.

It answers one question besides carrying bytes: if this failed, can the other side have taken it?
httpx-aiohttp 0.2 reports a connection that broke after the request as httpx.ConnectTimeout (its table
maps every aiohttp.ClientConnectionError so), hence the cause is asked, never the httpx class.
"""

from __future__ import annotations

import asyncio
import ssl
from types import TracebackType
from typing import Self, cast

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from bridge.errors import OutcomeUnknown, Unreachable
from bridge.mail_transport import send_mail
from bridge.providers.base import Answer, MailRequest, Request

ANSWER_LIMIT = 1024 * 1024  # bytes of an answer that are read; no provider's comes near it

# The connection was never there: name, route, refusal, certificate, or waiting for a free one.
_NEVER_CONNECTED = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
)


class Sender:
    """A pool of connections, for one event loop. All times in seconds."""

    def __init__(
        self,
        *,
        connect_timeout: float = 5.0,
        write_timeout: float = 10.0,
        read_timeout: float = 15.0,
        pool_timeout: float = 5.0,
        connections: int = 1000,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._whole = connect_timeout + write_timeout + read_timeout
        self._timeout = httpx.Timeout(
            connect=connect_timeout, write=write_timeout, read=read_timeout, pool=pool_timeout + connect_timeout
        ).as_dict()
        context = tls or ssl.create_default_context()

        def session() -> aiohttp.ClientSession:
            # Idle connections are closed before the usual server does it: a request that meets a closing
            # connection is an unknown outcome.
            connector = aiohttp.TCPConnector(limit=connections, keepalive_timeout=4.0, ttl_dns_cache=30, ssl=context)
            return aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "dcbridge", "Accept-Encoding": "identity"},
            )

        # The transport alone: a client would add redirects, cookies and authentication, none of which a request
        # that is already signed may meet, and their cost to each message.
        self._transport = AiohttpTransport(client=session)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, e: BaseException | None, t: TracebackType | None
    ) -> None:
        await self._transport.aclose()

    async def send(self, request: Request) -> Answer:
        """The answer, read whole. Raises Unreachable, or OutcomeUnknown once bytes may have arrived."""
        if isinstance(request, MailRequest):
            return await send_mail(request)
        return await self.http(request)

    async def http(self, request: httpx.Request) -> httpx.Response:
        """As `send`, for HTTP. A status of 4xx or 5xx is an answer, not an error."""
        request.extensions.setdefault("timeout", self._timeout)
        try:
            async with asyncio.timeout(self._whole):
                return await self._exchange(request)
        except TimeoutError:
            raise OutcomeUnknown("timeout") from None
        except httpx.HTTPError as error:
            if isinstance(error.__cause__, _NEVER_CONNECTED) or isinstance(error, httpx.UnsupportedProtocol):
                raise Unreachable(_what_failed(error.__cause__)) from None
            raise OutcomeUnknown(
                "timeout" if isinstance(error.__cause__, TimeoutError) else "connection lost"
            ) from None
        except (aiohttp.ClientError, OSError) as error:  # what the transport's table does not know
            if isinstance(error, _NEVER_CONNECTED):
                raise Unreachable(_what_failed(error)) from None
            raise OutcomeUnknown("connection lost") from None

    async def _exchange(self, request: httpx.Request) -> httpx.Response:
        response = await self._transport.handle_async_request(request)
        try:
            body = b""
            async for chunk in cast(httpx.AsyncByteStream, response.stream):
                body += chunk
                if len(body) > ANSWER_LIMIT:
                    break
        finally:
            await response.aclose()
        return httpx.Response(response.status_code, headers=response.headers, content=body, request=request)


def _what_failed(cause: BaseException | None) -> str:
    """A fixed word: the exception's own text would name the host."""
    match cause:
        case aiohttp.ClientConnectorDNSError():
            return "dns"
        case aiohttp.ClientSSLError():
            return "tls"
        case aiohttp.ConnectionTimeoutError():
            return "connect timeout"
        case aiohttp.InvalidURL() | None:
            return "invalid url"
        case _:
            return "connect"
