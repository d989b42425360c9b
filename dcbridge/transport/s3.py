"""Blobs in a bucket that speaks S3: of AWS, or of anything with the same API.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html       and GetObject, HeadObject, DeleteObject
https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html      codes

An object is `<url>/<id>`, whatever the URL is: a bucket in the host's name or in the path, with a folder or without.
What fails is tried again for a few seconds, and then said as an OSError, as by a folder that is away.
"""

from __future__ import annotations

import asyncio
import email.utils
import hashlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import httpx

from dcbridge import retry_after
from dcbridge.errors import SendError, Undecodable
from dcbridge.providers.sigv4 import SigV4Login
from dcbridge.settings.process import Settings
from dcbridge.transport.sender import Sender
from dcbridge.transport.tls import client_context

TRIES = 4
BETWEEN = 0.2  # seconds before the second try, and twice as long before each further one
LONGEST_WAIT = 2.0  # seconds, whatever Retry-After says
WITHIN = 20.0  # seconds for all tries of one object
PIECE = 1 << 16  # bytes
TOGETHER = 8  # requests at one time
MOST = 128 << 20  # bytes of an object; none of ours is as large
_CODE = re.compile(rb"<Code>([A-Za-z0-9]{1,64})</Code>")
FAR = 60.0  # seconds by which two clocks may differ, where that is not why a request is refused
_EMPTY = hashlib.sha256(b"").hexdigest()
_ENCRYPTED = "x-amz-meta-x-amz-"  # what a client wrote of a key of its own
_SKEWED = "RequestTimeTooSkewed"

T = TypeVar("T")


class BucketAway(OSError):
    """What the bucket did not do. Says nothing of where it is, or of what was to be kept."""


class ObjectTooLarge(Exception):
    """It has more bytes than are wanted."""


class _Again(Exception):
    """It may go better in a moment. `wait`: what the answer asked for."""

    def __init__(self, why: str, wait: float | None = None) -> None:
        super().__init__(why)
        self.why, self.wait = why, wait


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where blobs are kept; `url` without a slash at its end."""

    url: str
    login: SigV4Login

    @classmethod
    def of(cls, settings: Settings) -> Bucket | None:
        """None where no bucket is set."""
        if not settings.blob_bucket:
            return None
        secret, token = (
            settings.blob_bucket_secret.get_secret_value(),
            settings.blob_bucket_session_token.get_secret_value(),
        )
        login = SigV4Login(settings.blob_bucket_key_id, secret, token, settings.blob_bucket_region, "s3")
        return cls(settings.blob_bucket.rstrip("/"), login)


def bucket_of(settings: Settings) -> S3Blobs | None:
    """None where no bucket is set. Whoever has it closes it."""
    bucket = Bucket.of(settings)
    return S3Blobs(bucket, connect_timeout=settings.connect_timeout) if bucket else None


class S3Blobs:
    """As `dcbridge.ledger.blobs.BlobStore`. Nothing is connected before it is needed."""

    def __init__(self, bucket: Bucket, *, connect_timeout: float = 5.0, read_timeout: float = 15.0) -> None:
        self._bucket, self._times = bucket, (connect_timeout, read_timeout)
        self._sender: Sender | None = None
        self._together = asyncio.Semaphore(TOGETHER)
        self._skew = 0.0  # seconds by which the bucket's clock is ahead of ours

    async def close(self) -> None:
        """Leave all connections."""
        if self._sender is not None:
            await self._sender.close()

    async def write(self, name: str, data: bytes) -> None:
        """Kept when this returns: an object is whole or not there. Raises BucketAway."""
        digest = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())

        async def put() -> None:
            request = self._request("PUT", name, digest, len(data))
            self._expect(await self._answer(request, _pieces(data)), 200)

        await self._tried(put)

    async def read(self, name: str) -> bytes | None:
        """None where there is no such object. Raises BucketAway."""

        async def get() -> bytes | None:
            async with self._opened().stream(self._request("GET", name), MOST) as answer:
                if answer.status != 200:
                    head = [(one.encode(), value.encode()) for one, value in answer.headers.items()]
                    self._missing(httpx.Response(answer.status, headers=head, content=await answer.whole()))
                    return None
                return await answer.whole()

        return await self._tried(get)

    async def fetch(self, name: str, most: int, room: Callable[[int], Awaitable[None]]) -> bytes | None:
        """As `read`, of an object that others wrote. `room` is asked before so many more bytes are kept, and may raise.

        Raises ObjectTooLarge above `most` bytes, and BucketAway.
        """
        held = 0

        async def get() -> bytes | None:
            nonlocal held
            async with self._opened().stream(self._request("GET", name), MOST) as answer:
                if answer.status != 200:
                    head = [(one.encode(), value.encode()) for one, value in answer.headers.items()]
                    self._missing(httpx.Response(answer.status, headers=head, content=await answer.whole()))
                    return None
                if any(one.startswith(_ENCRYPTED) for one in answer.headers):
                    raise BucketAway("encrypted by who wrote it")
                came, pieces = 0, []
                async for piece in answer.pieces():
                    came += len(piece)
                    if came > most:
                        raise ObjectTooLarge
                    if came > held:
                        await room(came - held)
                        held = came
                    pieces.append(piece)
                return b"".join(pieces)

        return await self._tried(get)

    async def open(self, name: str) -> tuple[int, AsyncIterator[bytes]] | None:
        """Its size, and its bytes as they come; None where there is no such object. Raises BucketAway.

        The object is asked for again when its bytes are: who never reads them has nothing to close.
        """

        async def head() -> int | None:
            answer = await self._answer(self._request("HEAD", name))
            if answer.status_code == 404:
                return None
            self._expect(answer, 200)
            return int(answer.headers.get("content-length", "0"))

        size = await self._tried(head)
        return None if size is None else (size, self._come(name))

    async def _come(self, name: str) -> AsyncIterator[bytes]:
        """Raises BucketAway where they do not begin, or Undecodable where they break off."""
        async with self._opened().stream(self._request("GET", name), MOST) as answer:
            if answer.status != 200:
                raise BucketAway(f"HTTP {answer.status}")
            async for piece in answer.pieces():
                yield piece

    async def delete(self, names: Sequence[str]) -> None:
        """Also those that are not there. Raises BucketAway when some may be."""

        async def one(name: str) -> None:
            async def gone() -> None:
                answer = await self._answer(self._request("DELETE", name))
                if answer.status_code != 404 or self._code(answer) == "NoSuchBucket":
                    self._expect(answer, 200, 204)

            async with self._together:
                await self._tried(gone)

        found = await asyncio.gather(*(one(name) for name in names), return_exceptions=True)
        for error in found:
            if isinstance(error, BaseException):
                raise error

    # ------------------------------------------------------------ one request

    def _request(self, method: str, name: str, digest: str = _EMPTY, size: int = 0) -> httpx.Request:
        headers = {"x-amz-content-sha256": digest}
        if method == "PUT":
            headers |= {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        request = httpx.Request(method, f"{self._bucket.url}/{name}", headers=headers)
        return self._bucket.login.signed(request, time.time() + self._skew)

    def _opened(self) -> Sender:
        if self._sender is None:
            connect, read = self._times
            self._sender = Sender(
                connect_timeout=connect, read_timeout=read, connections=2 * TOGETHER, answer_limit=MOST,
                tls=client_context(),
            ).open()  # fmt: skip
        return self._sender

    async def _answer(self, request: httpx.Request, body: AsyncIterator[bytes] | None = None) -> httpx.Response:
        return await self._opened().http(request, body)

    def _missing(self, answer: httpx.Response) -> None:
        """Returns for an object that is not there. Another 404 says nothing of it: a bucket was deleted, say."""
        if answer.status_code != 404 or self._code(answer) != "NoSuchKey":
            self._expect(answer, 200)

    def _expect(self, answer: httpx.Response, *statuses: int) -> None:
        """Raises _Again or BucketAway for any other answer."""
        status, code = answer.status_code, self._code(answer)
        if status in statuses:
            return
        why = code or f"HTTP {status}"
        if status == 403 and code in (_SKEWED, "") and abs(_ahead(answer) - self._skew) > FAR:
            self._skew = _ahead(answer)  # HEAD is answered without a code
            raise _Again(why)
        if status >= 500 or status in (408, 429) or code in ("SlowDown", "RequestTimeout"):
            raise _Again(why, retry_after.longest(answer.headers.get_list("Retry-After")))
        raise BucketAway(why)

    @staticmethod
    def _code(answer: httpx.Response) -> str:
        found = _CODE.search(answer.content[:4096])
        return found[1].decode() if found else ""

    async def _tried(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Raises BucketAway."""
        why, pause = "timeout", BETWEEN
        try:
            async with asyncio.timeout(WITHIN):
                for number in range(TRIES):
                    try:
                        return await attempt()
                    except _Again as error:
                        why, wait = error.why, error.wait
                    except Undecodable as error:
                        why, wait = "broke off" if "broke off" in error.code else error.code, None
                    except SendError as error:
                        why, wait = error.code, None
                    if number + 1 < TRIES:
                        await asyncio.sleep(min(max(pause, wait or 0.0), LONGEST_WAIT))
                        pause *= 2
        except TimeoutError:
            pass
        raise BucketAway(why) from None


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    view = memoryview(data)
    for start in range(0, len(view), PIECE):
        yield bytes(view[start : start + PIECE])


def _ahead(answer: httpx.Response) -> float:
    """By how much the bucket's clock is ahead of ours, as the last Date of its answer says."""
    try:
        said = answer.headers.get_list("date")[-1]
        return email.utils.parsedate_to_datetime(said).timestamp() - time.time()
    except (IndexError, ValueError, TypeError, OverflowError):
        return 0.0
