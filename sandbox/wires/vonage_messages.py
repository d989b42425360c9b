"""Vonage's Messages API, as far as MMS: stricter than Vonage, an unknown field is refused.

https://developer.vonage.com/en/api/messages
https://developer.vonage.com/en/getting-started/concepts/webhooks
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

import orjson
from starlette.requests import Request

from sandbox.wires.base import Call, RefusedError, Submitted
from sandbox.wires.media import urls

PATH = "/v1/messages"
FIELDS = {"channel", "message_type", "to", "from", "client_ref", "ttl"}
KINDS = ("image", "audio", "video", "vcard", "file")
LONGEST = 2000  # characters of a caption
_NUMBER = re.compile(r"[1-9][0-9]{6,14}", re.ASCII)
CODES = {20003: (401, ""), 20429: (429, "1000"), 21211: (422, "1430"), 21610: (422, "1240"), 20500: (500, "")}
STATUSES = {"queued": "submitted", "sent": "submitted", "delivered": "delivered"}  # others: undeliverable
ERRORS = {30005: "1430", 30007: "1160", 30008: "1330", 21610: "1240"}  # of a status


class Application:
    """One application of an account; `pem` is its private key."""

    def __init__(self, application_id: str, pem: str, signature_secret: str) -> None:
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        key = load_pem_private_key(pem.encode(), None)
        assert isinstance(key, RSAPrivateKey)
        self._id, self._key, self._secret = application_id, key.public_key(), signature_secret.encode()

    def allows(self, request: Request) -> bool:
        """Whether a request has a token of this application, of this moment."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.hashes import SHA256

        try:
            signed, _, signature = request.headers["authorization"].removeprefix("Bearer ").rpartition(".")
            self._key.verify(_decoded(signature), signed.encode(), PKCS1v15(), SHA256())
            head, claims = (json.loads(_decoded(one)) for one in signed.split("."))
        except (InvalidSignature, KeyError, ValueError):
            return False
        now = time.time()
        right = claims["application_id"] == self._id and head == {"alg": "RS256", "typ": "JWT"}
        return bool(right and claims["jti"] and claims["iat"] - 5 <= now < claims["exp"] <= now + 86400)

    def webhook(self, url: str, said: Mapping[str, object]) -> Call:
        """A call of Vonage's, whose token covers its body."""
        body = orjson.dumps(said)
        claims = {
            "iat": int(time.time()), "jti": str(uuid.uuid4()), "iss": "Vonage", "application_id": self._id,
            "payload_hash": hashlib.sha256(body).hexdigest(),
        }  # fmt: skip
        signed = b".".join(_encoded(orjson.dumps(one)) for one in ({"alg": "HS256", "typ": "JWT"}, claims))
        token = signed + b"." + _encoded(hmac.digest(self._secret, signed, "sha256"))
        return Call(url, body, {"Content-Type": "application/json", "Authorization": f"Bearer {token.decode()}"})


def submitted(body: bytes, reports: str) -> Submitted:
    """The message of a request. Raises RefusedError."""
    try:
        said = orjson.loads(body)
        kind, to, sender, reference = said["message_type"], said["to"], said["from"], said["client_ref"]
        listed = [{"type": kind, **said[kind]}] if kind != "content" else said["content"]
        files = [(one["type"], one["url"], one.get("caption", "")) for one in listed]
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as wrong:
        raise RefusedError(422, 422, "Your request body was malformed") from wrong
    if set(said) - FIELDS - {kind} or said.get("channel") != "mms" or any(one[0] not in KINDS for one in files):
        raise RefusedError(422, 422, "An MMS of known fields")
    if any(set(one) - {"type", "url", "caption"} for one in listed) or len(reference) > 100:
        raise RefusedError(422, 422, "A file of known fields, and a short client_ref")
    if not _NUMBER.fullmatch(to) or not _NUMBER.fullmatch(sender):
        raise RefusedError(422, 21211, "Invalid to or from")
    text = "".join(caption for _, _, caption in files)
    if len(text) > LONGEST:
        raise RefusedError(422, 422, "caption is too long")
    return Submitted(f"+{to}", f"+{sender}", text, 1, reports, reference, media=urls([url for _, url, _ in files]))


def problem(refused: RefusedError) -> tuple[int, bytes]:
    """Status and body of an answer that is no success."""
    http, number = CODES.get(refused.code, (refused.http, ""))
    about = f"https://developer.vonage.com/api-errors/messages#{number}" if number else "https://developer.vonage.com"
    said = {"type": about, "title": refused.message, "detail": refused.message, "instance": str(uuid.uuid4())}
    return http, orjson.dumps(said)


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
