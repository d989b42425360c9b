"""Callbacks that are signed as Standard Webhooks has it: HMAC-SHA256 over an id, a time and the body.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Annotated

from pydantic import AfterValidator, SecretStr

from dcbridge.errors import BadSignature
from dcbridge.providers.base import Callback
from dcbridge.providers.http_words import check_time

_MOST = 8  # signatures in one header; a company that changes its secret sends two


def key_of(secret: SecretStr) -> bytes:
    """The bytes that a secret stands for. Raises ValueError."""
    try:
        key = base64.b64decode(secret.get_secret_value().removeprefix("whsec_"), validate=True)
    except binascii.Error:
        key = b""
    if not key:
        raise ValueError("should be whsec_ and base64, as the company shows it")
    return key


def _readable(secret: SecretStr) -> SecretStr:
    key_of(secret)
    return secret


WebhookSecret = Annotated[SecretStr, AfterValidator(_readable)]


def check(callback: Callback, key: bytes, age: float) -> None:
    """Raises BadSignature unless a signature is right, and its time differs from now by `age` seconds at most."""
    given, moment = callback.header("webhook-signature"), callback.header("webhook-timestamp")
    event_id = callback.header("webhook-id")
    if not given or not event_id:
        raise BadSignature("missing")
    check_time(moment, age)
    signed = f"{event_id}.{moment}.".encode("utf-8", "replace") + callback.body
    right = b"v1," + base64.b64encode(hmac.digest(key, signed, "sha256"))
    matched = False
    for one in given.split()[:_MOST]:
        matched |= hmac.compare_digest(right, one.encode("utf-8", "replace"))
    if not matched:
        raise BadSignature("no secret matches")
