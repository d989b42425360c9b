"""Signatures of requests, checked as their companies check them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Set
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from starlette.requests import Request

from sandbox.wires.base import RefusedError

OLDEST = 300.0  # seconds
_SHOWN = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([A-Z0-9]+)/(\d{8}/[a-z0-9-]+/([a-z0-9-]+)/aws4_request),"
    r" SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})"
)


def check_sigv4(request: Request, body: bytes, service: str, key_id: str, secret: str, whole: Set[str]) -> None:
    """AWS' version 4, as it was made. `whole`: headers that have to be signed. Raises RefusedError."""
    shown = _SHOWN.fullmatch(request.headers.get("authorization", ""))
    if shown is None:
        raise RefusedError(403, 20003, "MissingAuthenticationTokenException")
    its_key, scope, its_service, names, given = shown.groups()
    lines = "".join(f"{name}:{request.headers.get(name, '')}\n" for name in names.split(";"))
    digest = hashlib.sha256(body).hexdigest()
    canonical = f"{request.method}\n{request.url.path}\n{request.url.query}\n{lines}\n{names}\n{digest}"
    moment = request.headers.get("x-amz-date", "")
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{secret}".encode()
    for word in scope.split("/"):
        key = hmac.digest(key, word.encode(), "sha256")
    right = hmac.compare_digest(hmac.digest(key, text.encode(), "sha256").hex(), given)
    old = abs(time.time() - datetime.strptime(moment, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()) > OLDEST
    if not right or old or not whole <= set(names.split(";")) or (its_key, its_service) != (key_id, service):
        raise RefusedError(403, 20003, "InvalidSignatureException")


def check_azure(request: Request, body: bytes, key: bytes) -> None:
    """Azure's HMAC, as it was made. Raises RefusedError."""
    shown, date = request.headers.get("authorization", ""), request.headers.get("x-ms-date", "")
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    text = f"{request.method}\n{path}\n{date};{request.headers['host']};{digest}"
    right = base64.b64encode(hmac.digest(key, text.encode(), "sha256")).decode()
    scheme = "HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature="
    if not hmac.compare_digest(shown.encode(), f"{scheme}{right}".encode()):
        raise RefusedError(401, 20003, "The signature is wrong")
    if request.headers.get("x-ms-content-sha256") != digest:
        raise RefusedError(401, 20003, "x-ms-content-sha256 is wrong")
    if abs(time.time() - parsedate_to_datetime(date).timestamp()) > OLDEST:
        raise RefusedError(401, 20003, "x-ms-date is too long ago")
