"""AWS Signature Version 4 of one request without a query; its body is known, or streamed and named by its hash.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import dataclass, field

import httpx

_HASH = "x-amz-content-sha256"  # which S3 asks for, and which stands for the body
_SIGNED = ("content-type", "host", _HASH, "x-amz-date", "x-amz-security-token", "x-amz-target")


@dataclass(frozen=True, slots=True)
class SigV4Login:
    """One access key for one service in one region. `session_token`: of credentials for a while."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str = field(repr=False)
    region: str
    service: str

    def signed(self, request: httpx.Request, now: float) -> httpx.Request:
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        request.headers["X-Amz-Date"] = moment
        if self.session_token:
            request.headers["X-Amz-Security-Token"] = self.session_token
        named = {name: request.headers[name].strip() for name in _SIGNED if name in request.headers}
        names, lines = ";".join(named), "".join(f"{name}:{value}\n" for name, value in named.items())
        body = named.get(_HASH) or hashlib.sha256(request.content).hexdigest()
        canonical = f"{request.method}\n{request.url.raw_path.decode()}\n\n{lines}\n{names}\n{body}"
        scope = f"{moment[:8]}/{self.region}/{self.service}/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = f"AWS4{self.secret_access_key}".encode()
        for word in scope.split("/"):
            key = hmac.digest(key, word.encode(), hashlib.sha256)
        signature = hmac.digest(key, text.encode(), hashlib.sha256).hex()
        request.headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.access_key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        return request
