"""A bucket that speaks S3, strictly: a request is signed as AWS's own library signs it, over the body that it has."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tests.listening import listening

KEY_ID, SECRET, REGION = "AKIATEST", "s/e+cret", "eu-west-1"
SKEW = 900  # seconds


def fault(status: int, code: str, headers: dict[str, str] | None = None) -> Response:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>of bucket b</Message></Error>"
    return Response(body, status, headers, media_type="application/xml")


@dataclass(slots=True)
class FakeBucket:
    """`faults` are used up in turn, whatever is asked; `ahead`: its clock, in seconds before ours."""

    objects: dict[str, bytes] = field(default_factory=dict)
    faults: list[Response | str] = field(default_factory=list)  # "slow", "cut" or an answer
    asked: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    ahead: float = 0.0
    token: str | None = None

    async def answer(self, request: Request) -> Response:
        body = await request.body()
        self.asked.append(request.method)
        answer = await self._answer(request, body)
        answer.headers["date"] = formatdate(time.time() + self.ahead, usegmt=True)
        return answer

    async def _answer(self, request: Request, body: bytes) -> Response:
        if rule := self._broken(request, body):
            self.wrong.append(rule)
            return fault(403, rule)
        made = datetime.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        if abs(made - time.time() - self.ahead) > SKEW:
            return fault(403, "RequestTimeTooSkewed") if request.method != "HEAD" else Response(status_code=403)
        cut = False
        if self.faults:
            found = self.faults.pop(0)
            if isinstance(found, Response):
                return found
            cut = found == "cut"
            if found == "slow":
                await asyncio.sleep(30)
        return self._done(request.method, request.url.path, body, cut=cut)

    def _done(self, method: str, name: str, body: bytes, *, cut: bool) -> Response:
        if method == "PUT":
            self.objects[name] = body
            return Response()
        if method == "DELETE":
            self.objects.pop(name, None)
            return Response(status_code=204)
        data = self.objects.get(name)
        if data is None:
            return fault(404, "NoSuchKey") if method == "GET" else Response(status_code=404)
        sized = {"content-length": str(len(data))}
        return StreamingResponse(_half(data), headers=sized) if cut else Response(data, headers=sized)

    def _broken(self, request: Request, body: bytes) -> str:
        """The code of S3 for what is wrong with a request."""
        from botocore.auth import S3SigV4Auth  # type: ignore[import-untyped]
        from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
        from botocore.credentials import Credentials  # type: ignore[import-untyped]

        scheme, _, said = request.headers.get("authorization", "").partition(" ")
        told: dict[str, str] = dict(part.split("=", 1) for part in said.split(", ")) if said else {}
        names = told.get("SignedHeaders", "").split(";")
        if scheme != "AWS4-HMAC-SHA256" or not {"host", "x-amz-content-sha256", "x-amz-date"} <= set(names):
            return "AccessDenied"
        if request.headers["x-amz-content-sha256"] != hashlib.sha256(body).hexdigest():
            return "XAmzContentSHA256Mismatch"
        if request.headers.get("x-amz-security-token") != self.token or (self.token and names[-1][-5:] != "token"):
            return "InvalidToken"
        url = str(request.url.replace(path="")) + request.scope["raw_path"].decode()  # as it was asked for
        signed: Any = AWSRequest(request.method, url, headers={n: request.headers[n] for n in names})
        signed.context["timestamp"] = request.headers["x-amz-date"]
        auth = S3SigV4Auth(Credentials(KEY_ID, SECRET, self.token), "s3", REGION)
        right = auth.signature(auth.string_to_sign(signed, auth.canonical_request(signed)), signed)
        scope = f"{KEY_ID}/{request.headers['x-amz-date'][:8]}/{REGION}/s3/aws4_request"
        return "" if (told["Credential"], told["Signature"]) == (scope, right) else "SignatureDoesNotMatch"


async def _half(data: bytes) -> AsyncIterator[bytes]:
    yield data[: len(data) // 2]
    raise ConnectionResetError


@asynccontextmanager
async def fake_bucket() -> AsyncIterator[tuple[FakeBucket, str]]:
    """With its URL, the bucket in the path."""
    found = FakeBucket()
    app = Starlette(routes=[Route("/{path:path}", found.answer, methods=["GET", "HEAD", "PUT", "DELETE"])])
    async with listening(app) as url:
        yield found, f"{url}/bucket"
