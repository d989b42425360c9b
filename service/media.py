"""GET and HEAD /m/{token}: a file of an agent's or a consumer's, for whomever a link was made for.

Whoever has no link of ours costs one decryption and is told nothing. A link is read three times a second at most, and
a few files at a time; a file is passed on as it comes, and never whole in memory unless it is small.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
from redis.exceptions import RedisError
from starlette.types import Receive, Scope, Send

from dcbridge.errors import AccountFault, Refused, SendError
from dcbridge.http.deadlines import Deadlines
from dcbridge.ledger.blobs import SMALL, NoRoom
from dcbridge.media.file_types import ENOUGH, KNOWN, FileType, type_of
from dcbridge.media.links import PATH, Expired, Linked, Links, NoLink, cached_as
from dcbridge.settings.process import DAY
from service.answer import RETRY_AFTER, Answer, Refusal
from service.endpoint import Endpoint, Outcome, ServiceContext
from service.request import Request

if TYPE_CHECKING:
    from dcbridge.platform import Platform

log = structlog.get_logger()

A_SECOND = 3  # reads of one link
TOGETHER = 16  # files that are read at once
OF_ONE = 4  # of them by the same link: whoever reads slowly keeps others out no longer than that
SECONDS = 60.0  # for which one may be read
REMEMBERED = 10_000  # links whose last reads are known

# A file is shown, and nothing in it is run: not by a browser that guesses, and not as a page of ours.
_HEADERS = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "sandbox; default-src 'none'; img-src 'self'; media-src 'self'",
    "cross-origin-resource-policy": "cross-origin",
    "referrer-policy": "no-referrer",
    "x-robots-tag": "noindex",
    "cache-control": "private, max-age=300",
}


@dataclass(slots=True)
class Reads:
    """How often each link was read lately, and how many files are being read."""

    _due: OrderedDict[str, float] = field(default_factory=OrderedDict)
    now: Counter[str] = field(default_factory=Counter)

    def may(self, token: str, at: float) -> bool:
        """Whether a link may be read once more: three at once, and then three a second."""
        due = max(self._due.pop(token, at), at)
        allowed = due - at <= (A_SECOND - 1) / A_SECOND + 1e-9
        self._due[token] = due + 1 / A_SECOND if allowed else due
        while len(self._due) > REMEMBERED:
            self._due.popitem(last=False)
        return allowed


class MediaLinks:
    """The route, with what it opens for itself when a link is read first."""

    def __init__(self, ctx: ServiceContext, deadlines: Deadlines) -> None:
        settings = ctx.settings
        key, configuration = settings.token_key.get_secret_value().encode(), ctx.configuration
        self._links = Links(key, configuration.public_url, configuration.channels)
        self._ctx, self._reads = ctx, Reads()
        self._endpoint = Endpoint(ctx, "media_link", self._answered, deadlines, PATH + "{token}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["path_params"] = {"link": "file"}  # the token is a secret: no label, and no word of a log line
        await self._endpoint(scope, receive, send)

    async def _answered(self, ctx: ServiceContext, request: Request) -> Outcome:
        token = request.scope["path"].removeprefix(PATH)
        request.arrived = time.monotonic()
        try:
            linked = self._links.open(token, time.time())
        except NoLink:
            raise Refusal(404, "unknown link", "no such file") from None
        except Expired:
            raise Refusal(410, "expired", "the link has expired") from None
        if not self._reads.may(token, time.monotonic()):
            raise Refusal(429, "too often", "read it less often", {"retry-after": "1"})
        if self._reads.now[token] >= OF_ONE:
            raise Refusal(429, "too often", "it is being read already", RETRY_AFTER)
        if self._reads.now.total() >= TOGETHER:
            raise Refusal(503, "too many", "too many files are being read", RETRY_AFTER)
        reading = _Reading(self._reads, token)
        try:
            pieces = await self._pieces(linked, reading)
            return await _outcome(pieces, reading, request)
        except BaseException:
            await reading.end()
            raise

    async def _pieces(self, linked: Linked, reading: _Reading) -> AsyncIterator[bytes]:
        """What is kept of it, or what the platform has. Raises Refusal."""
        name = cached_as(linked.channel_id, linked.media_id)
        with suppress(RedisError, OSError):
            kept = await self._ctx.ledger.blobs.pieces(name)
            if kept is not None:
                reading.size, pieces = kept
                return pieces
        most = self._ctx.configuration.media.most
        platform = await self._platform(reading.stack, linked.channel_id)
        try:
            answer = await reading.stack.enter_async_context(platform.file(linked.channel_id, linked.media_id, most))
        except Refused:
            raise Refusal(404, "gone", "no such file") from None
        except SendError as error:
            if isinstance(error, AccountFault):
                self._ctx.metrics.faults.labels("account_fault", platform.name).inc()
            log.warning("media_not_read", outcome=error.outcome, code=error.code)
            raise Refusal(503, "unavailable", "the file cannot be read now", RETRY_AFTER) from None
        declared = answer.headers.get("content-length", "")
        reading.size = int(declared) if declared.isdigit() and len(declared) < 16 else None
        return self._keeping(name, answer.pieces())

    async def _keeping(self, name: str, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The same, and a small file is kept for the next reader."""
        seen: list[bytes] | None = []
        size = 0
        async for piece in pieces:
            size += len(piece)
            if seen is not None:
                seen.append(piece)
                seen = seen if size <= SMALL else None
            yield piece
        if seen:
            with suppress(NoRoom, RedisError, OSError):
                await self._ctx.ledger.blobs.put(b"".join(seen), keep=DAY, blob_id=name)

    async def _platform(self, stack: AsyncExitStack, channel_id: str) -> Platform:
        """With connections for one file. What it needs is loaded here: most services never read one."""
        from dcbridge.platforms import Platforms
        from dcbridge.transport.sender import Sender
        from dcbridge.transport.tls import client_context

        settings, configuration = self._ctx.settings, self._ctx.configuration
        sender = Sender(
            connect_timeout=settings.connect_timeout,
            read_timeout=settings.read_timeout,
            connections=1,
            answer_limit=configuration.media.most,
            tls=client_context(),
        )
        ctx, opened = self._ctx, await stack.enter_async_context(sender)
        platforms = Platforms(configuration, settings, opened, ctx.ledger, ctx.metrics)
        stack.push_async_callback(platforms.close)
        return platforms.of(channel_id)


class _Reading:
    """One file that is being read: it counts until it has ended."""

    def __init__(self, reads: Reads, token: str) -> None:
        self._reads, self._token, self.stack = reads, token, AsyncExitStack()
        self.size: int | None = None
        reads.now[token] += 1
        self._open = True

    async def end(self) -> None:
        if self._open:
            self._open = False
            self._reads.now[self._token] -= 1
            if not self._reads.now[self._token]:
                del self._reads.now[self._token]
            await self.stack.aclose()


async def _outcome(pieces: AsyncIterator[bytes], reading: _Reading, request: Request) -> Outcome:
    first = b""
    try:
        while len(first) < ENOUGH:
            first += await anext(pieces)
    except StopAsyncIteration:
        reading.size = len(first)
    except SendError:
        raise Refusal(503, "unavailable", "the file cannot be read now", RETRY_AFTER) from None
    kind = type_of(first[:ENOUGH])
    answer = _File(first, pieces, reading, kind, request)
    return Outcome(answer, "read", {"bytes": reading.size, "type": kind.mimetype})


class _File(Answer):
    """An answer whose body is passed on as it comes."""

    def __init__(
        self, first: bytes, pieces: AsyncIterator[bytes], reading: _Reading, kind: FileType, request: Request
    ) -> None:
        shown = "inline" if kind.mimetype in KNOWN else "attachment"
        headers = {**_HEADERS, "content-disposition": f'{shown}; filename="file.{kind.extension}"'}
        if reading.size is not None:
            headers["content-length"] = str(reading.size)
        super().__init__(200, b"", headers, kind.mimetype)
        self._first, self._pieces, self._reading, self._request = first, pieces, reading, request

    async def send(self, send: Send) -> None:
        headers = [(n.encode(), v.encode()) for n, v in (self.headers or {}).items()]
        headers.append((b"content-type", (self.content_type or "").encode()))
        watching = None
        try:
            async with asyncio.timeout(SECONDS) as limit:
                watching = asyncio.create_task(self._until_nobody_reads(limit))
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                if self._request.scope["method"] != "HEAD":
                    await send({"type": "http.response.body", "body": self._first, "more_body": True})
                    async for piece in self._pieces:
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
        except (SendError, TimeoutError) as error:  # without its end, the connection is closed: it was not whole
            log.warning("media_broke_off", error=type(error).__name__)
        finally:
            if watching is not None:
                watching.cancel()
            await self._reading.end()

    async def _until_nobody_reads(self, limit: asyncio.Timeout) -> None:
        """What is sent to somebody who has left is read all the same, unless it is ended here."""
        await self._request.left()
        limit.reschedule(0)
