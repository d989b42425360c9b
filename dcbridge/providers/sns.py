"""Amazon SNS over HTTPS: who signed a notification, which certificate proves it, and how a subscription is confirmed.

https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
https://docs.aws.amazon.com/sns/latest/dg/SendMessageToHttp.prepare.html

Certificates and confirmations are asked for at the configured host alone: of the URLs in a message only the name of the
certificate is used.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

import httpx

from dcbridge.errors import BadSignature
from dcbridge.providers.base import Callback
from dcbridge.providers.http_words import a_text, json_object

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

_CERTIFICATE = re.compile(r"/SimpleNotificationService-[0-9a-f]{16,64}\.pem", re.ASCII)
_TOKEN = re.compile(r"[0-9A-Za-z]{1,2048}", re.ASCII)
_SIGNATURE = re.compile(r"[A-Za-z0-9+/]{340,700}={0,2}", re.ASCII)
NOTIFICATION, CONFIRMATION = "Notification", "SubscriptionConfirmation"
_SIGNED = {
    NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    CONFIRMATION: ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
_SIGNED["UnsubscribeConfirmation"] = _SIGNED[CONFIRMATION]


def said(callback: Callback) -> dict[str, object]:
    return json_object(callback.body)


def certificate_request(callback: Callback, url: str, topics: Sequence[str]) -> httpx.Request:
    """The request for the certificate that a message names. Raises BadSignature for a message that is not ours."""
    message = said(callback)
    if not message:
        raise BadSignature("missing")
    if a_text(message.get("TopicArn")) not in topics:
        raise BadSignature("of another topic")
    if a_text(message.get("Type")) not in _SIGNED:
        raise BadSignature("of another type")
    if not _SIGNATURE.fullmatch(a_text(message.get("Signature"))):
        raise BadSignature("not a signature")
    try:
        path = urlsplit(a_text(message.get("SigningCertURL"))).path
    except ValueError:
        path = ""
    if not _CERTIFICATE.fullmatch(path):
        raise BadSignature("not a certificate of SNS")
    return httpx.Request("GET", f"{url}{path}")


def verify(callback: Callback, age: float) -> None:
    """Raises BadSignature unless the certificate in `callback.key` has signed the message. `age` in seconds."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA1, SHA256

    message = said(callback)
    version = a_text(message.get("SignatureVersion"))
    if version not in ("1", "2"):
        raise BadSignature("of another version")
    names = _SIGNED.get(a_text(message.get("Type")), ())
    text = "".join(f"{name}\n{message[name]}\n" for name in names if isinstance(message.get(name), str))
    try:
        signature = base64.b64decode(a_text(message.get("Signature")), validate=True)
        # SNS' first version signs SHA-1: https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
        _key(callback.key).verify(
            signature,
            text.encode("utf-8", "replace"),
            PKCS1v15(),
            SHA1() if version == "1" else SHA256(),  # noqa: S303
        )
    except (InvalidSignature, binascii.Error, ValueError):
        raise BadSignature("the certificate does not match") from None
    _check_age(a_text(message.get("Timestamp")), age)


def _check_age(written: str, age: float) -> None:
    try:
        moment = datetime.fromisoformat(written)
        old = datetime.now(UTC) - (moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        raise BadSignature("no timestamp") from None
    if abs(old) > timedelta(seconds=age):
        raise BadSignature("too old or too new")


@lru_cache(maxsize=8)
def _key(certificate: bytes) -> RSAPublicKey:
    """Raises ValueError for no certificate, one of another time, or another sort of key."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.x509 import load_pem_x509_certificate

    read = load_pem_x509_certificate(certificate)
    key = read.public_key()
    if (
        not isinstance(key, RSAPublicKey)
        or not read.not_valid_before_utc <= datetime.now(UTC) <= read.not_valid_after_utc
    ):
        raise ValueError("not a certificate of now")
    return key


def confirmation_request(callback: Callback, url: str) -> httpx.Request | None:
    """Confirms the subscription that a verified message asks about; None for a message of another type."""
    message = said(callback)
    token = a_text(message.get("Token"))
    if message.get("Type") != CONFIRMATION or not _TOKEN.fullmatch(token):
        return None
    query = {"Action": "ConfirmSubscription", "TopicArn": a_text(message.get("TopicArn")), "Token": token}
    return httpx.Request("GET", f"{url}/?{urlencode(query)}")


def notified(message: Mapping[str, object]) -> dict[str, object]:
    """What a notification carries, where that is a JSON object."""
    return json_object(a_text(message.get("Message")).encode("utf-8", "replace"))
