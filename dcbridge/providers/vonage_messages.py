"""Vonage, Messages API: MMS out, and what an application's webhooks say of messages in both directions.

https://developer.vonage.com/en/api/messages
https://developer.vonage.com/en/api-errors/messages                        codes
https://developer.vonage.com/en/messages/concepts/secure-inbound-media
https://developer.vonage.com/en/getting-started/concepts/webhooks          how they are signed

Requests are signed with the private key of an application, webhooks with the signature secret of the account.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx
import orjson

from dcbridge.errors import AccountFault, BadSignature, Refused, Throttled, Unreadable, UnreadableEvent
from dcbridge.messages import ConsumerMessage, Cost, DeliveryUpdate, Reason, UpdateStatus
from dcbridge.providers import http_words
from dcbridge.providers.base import Callback, MediaLimits, Submission, Turn, named_by
from dcbridge.providers.http_words import a_list, a_text, an_object, code, codes, json_object
from dcbridge.providers.prices import price
from dcbridge.providers.sms_fields import SmsFields, consumer_message

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

PATH = "/v1/messages"
_MOST = 600_000  # bytes of all files
_TYPES = ("image/jpeg", "image/png", "image/gif", "audio/mpeg", "video/mp4", "application/pdf", "text/vcard")
MMS = MediaLimits(10, _MOST, dict.fromkeys(_TYPES, _MOST))
_LIFE = 300  # seconds for which a request may be shown with its token
_FILES = ("image", "audio", "video", "vcard", "file")  # types of a message, and names of what holds its file

# https://developer.vonage.com/en/api-errors/messages: the number after "#" in `type`, of an answer and of a status.
_CODES = {
    **codes(Throttled, Reason.RATE_LIMIT, "1000 1241"),
    **codes(AccountFault, Reason.GENERAL, "1060 1070 1080"),
    **codes(Refused, Reason.INVALID_STRUCTURE, "1010 1020 1040 1090 1130 1150 1410 1450"),
    **codes(Refused, Reason.NOT_ALLOWED, "1050 1120 1140 1160 1210 1240 1270 1280 1340"),
    **codes(Refused, Reason.INVALID_DESTINATION, "1170 1190 1200 1250 1260 1300 1430"),
    **codes(Refused, Reason.EXPIRED, "1360"),
    **codes(Refused, Reason.UNSUPPORTED, "1310 1380 1381 1382 1400 1440"),
}
_REASONS = {word: reason for word, (_, reason) in _CODES.items()}
_STATUSES = {
    **dict.fromkeys(("delivered", "read"), UpdateStatus.DELIVERED),
    **dict.fromkeys(("rejected", "undeliverable"), UpdateStatus.FAILED),
}  # submitted and whatever comes: not final
_ID = re.compile(r"[0-9A-Fa-f-]{1,64}", re.ASCII)
_NUMBERED = re.compile(r".{0,200}#([0-9]{1,6})", re.ASCII)
_TOKEN = re.compile(r"[0-9A-Za-z_-]{1,2000}\.[0-9A-Za-z_-]{1,8000}\.[0-9A-Za-z_-]{43}", re.ASCII)


def private_key(pem: str, *, known: bool = False) -> RSAPrivateKey:
    """Raises ValueError for what is none. `known`: it was read before, and is not checked again, which takes long."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        found = load_pem_private_key(pem.encode(), None, unsafe_skip_rsa_key_validation=known)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("private_key should be the private key of the application, as a PEM file has it") from None
    if not isinstance(found, RSAPrivateKey):
        raise ValueError("private_key should be an RSA key, as Vonage makes them")  # noqa: TRY004  # of a field
    return found


@dataclass(frozen=True, slots=True)
class ApplicationLogin:
    """A token for one request each, which the application's private key has signed. The SMS API has its own login."""

    application_id: str
    key: RSAPrivateKey = field(repr=False)

    def signed(self, request: httpx.Request, now: float) -> httpx.Request:
        if "Authorization" in request.headers:
            return request
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.hashes import SHA256

        claims = {
            "application_id": self.application_id,
            "iat": int(now),
            "exp": int(now) + _LIFE,
            "jti": str(uuid.uuid4()),
        }
        said = _encoded(orjson.dumps({"alg": "RS256", "typ": "JWT"})) + b"." + _encoded(orjson.dumps(claims))
        token = said + b"." + _encoded(self.key.sign(said, PKCS1v15(), SHA256()))
        request.headers["Authorization"] = f"Bearer {token.decode()}"
        return request


def request_for(url: httpx.URL, turn: Turn, sender: str, to: str) -> httpx.Request:
    """A part with its files. The text is the caption of the first."""
    text = http_words.writable(turn.part.text)
    files = [(_kind(file.mimetype), {"url": file.url}) for file in turn.media]
    if text:
        files[0][1]["caption"] = text
    body: dict[str, object] = {"channel": "mms", "to": to, "from": sender, "client_ref": turn.key}
    if len(files) == 1:
        kind, file = files[0]
        body |= {"message_type": kind, kind: file}
    else:
        body |= {"message_type": "content", "content": [{"type": kind, **file} for kind, file in files]}
    return httpx.Request("POST", url, headers={"Content-Type": "application/json"}, content=orjson.dumps(body))


def _kind(mimetype: str) -> str:
    kind = "vcard" if mimetype == "text/vcard" else mimetype.partition("/")[0]
    return kind if kind in _FILES else "file"


def submission(answer: httpx.Response) -> Submission:
    """As `Provider.parse_response`."""
    said = json_object(answer.content)
    if not answer.is_success:
        raise http_words.error_of(answer, _number(said), _CODES)
    provider_id = a_text(said.get("message_uuid"))
    if not _ID.fullmatch(provider_id):
        raise Unreadable(f"HTTP {answer.status_code}")
    return Submission(provider_id)


def said_by(callback: Callback) -> Mapping[str, object]:
    """What a webhook of the Messages API says; {} for any other."""
    if callback.method != "POST" or http_words.content_type(callback) != "application/json":
        return {}
    said = json_object(callback.body)
    return said if "message_uuid" in said else {}


def verify(callback: Callback, secret: str, age: float) -> None:
    """The token covers the body by its hash, and says when it was made. Raises BadSignature."""
    token = callback.header("authorization").removeprefix("Bearer ")
    if not _TOKEN.fullmatch(token):
        raise BadSignature("not a token")
    signed, _, signature = token.rpartition(".")
    right = _encoded(hmac.digest(secret.encode(), signed.encode(), hashlib.sha256))
    if not hmac.compare_digest(right, signature.encode()):
        raise BadSignature("no secret matches")
    head, claims = (_decoded(one) for one in signed.split("."))
    if head.get("alg") != "HS256":
        raise BadSignature("another algorithm")
    body = a_text(claims.get("payload_hash")).lower().encode("utf-8", "replace")
    if not hmac.compare_digest(hashlib.sha256(callback.body).hexdigest().encode(), body):
        raise BadSignature("the body is not what was signed")
    made = claims.get("iat")
    if not isinstance(made, int) or isinstance(made, bool) or abs(time.time() - made) > age:
        raise BadSignature("too old or too new")


def event_id(said: Mapping[str, object]) -> str:
    return ":".join((a_text(said.get("message_uuid")), a_text(said.get("status"))))


def update(provider: str, said: Mapping[str, object]) -> DeliveryUpdate:
    """Raises UnreadableEvent."""
    word = a_text(said.get("status")).lower()
    if not word:
        raise UnreadableEvent("no status")
    status, reason, error = _STATUSES.get(word, UpdateStatus.SENT), None, _number(an_object(said.get("error")))
    if status is UpdateStatus.FAILED:
        reason = _REASONS.get(error, Reason.GENERAL)
    ref, part = named_by(a_text(said.get("client_ref")))
    return DeliveryUpdate(provider, _id(said), status, ref, part, reason, error, cost=_price(provider, said))


def received(provider: str, fields: SmsFields, said: Mapping[str, object]) -> ConsumerMessage:
    """Raises UnreadableEvent."""
    named = [an_object(said.get(name)) for name in _FILES]
    listed = [an_object(one) for one in a_list(said.get("content"))]
    files = [one for one in (*named, *listed) if a_text(one.get("url"))]
    text = a_text(said.get("text")) or next(filter(None, (a_text(one.get("caption")) for one in files)), "")
    if not isinstance(said.get("text"), str) and not files:
        raise UnreadableEvent("no text")
    media = tuple(dict.fromkeys(a_text(one.get("url")) for one in files))
    ends = a_text(said.get("from")), a_text(said.get("to"))
    return consumer_message(provider, fields, _id(said), *ends, text, media)


def _id(said: Mapping[str, object]) -> str:
    found = a_text(said.get("message_uuid"))
    if not _ID.fullmatch(found):
        raise UnreadableEvent("no message_uuid")
    return found


def _number(said: Mapping[str, object]) -> str:
    """Of an error: what stands behind "#" in its type; some have it as their title."""
    for one in (a_text(said.get("type")), a_text(said.get("title"))):
        found = _NUMBERED.fullmatch(one) or re.fullmatch(r"([0-9]{1,6})", one, re.ASCII)
        if found:
            return code(found[1])
    return ""


def _price(provider: str, said: Mapping[str, object]) -> Cost | None:
    usage = an_object(said.get("usage"))
    return price(provider, usage.get("price"), usage.get("currency"), 1)


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _decoded(text: str) -> Mapping[str, object]:
    """{} for what is no object."""
    try:
        found = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
