"""Signatures as Standard Webhooks has them: HMAC-SHA256 over id, time and body, one for each secret.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import AfterValidator, SecretStr

PREFIX = "whsec_"
LENGTHS = (24, 64)  # bytes, of the specification


def _signing_secret(value: SecretStr) -> SecretStr:
    key_of(value)
    return value


SigningSecret = Annotated[SecretStr, AfterValidator(_signing_secret)]


def key_of(secret: SecretStr) -> bytes:
    """The bytes that sign. Raises ValueError, whose words hold nothing of the secret."""
    word = secret.get_secret_value()
    make = "make one with: echo whsec_$(openssl rand -base64 32)"
    if not word.startswith(PREFIX):
        raise ValueError(f"should begin with {PREFIX}; {make}")
    try:
        text = word.removeprefix(PREFIX)
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"should be base64 after {PREFIX}; {make}") from None
    if not LENGTHS[0] <= len(key) <= LENGTHS[1]:
        raise ValueError(f"should hold {LENGTHS[0]} to {LENGTHS[1]} bytes, and holds {len(key)}; {make}")
    return key


def signature(keys: Iterable[bytes], event_id: str, timestamp: int, body: bytes) -> str:
    """The webhook-signature: "v1,…", one for each key, divided by spaces."""
    signed = b"%s.%d.%s" % (event_id.encode(), timestamp, body)
    made = (base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys)
    return " ".join(f"v1,{one}" for one in made)


MOST_SIGNATURES = 16  # of one request that are looked at; a sender that rotates its secrets gives a few


def place_of_key(keys: Sequence[bytes], message_id: str, timestamp: int, given: str, body: bytes) -> int | None:
    """Which of the keys made one of the signatures in a webhook-signature; None where none did."""
    found = [one.removeprefix("v1,").encode("latin-1", "replace") for one in given.split() if one.startswith("v1,")]
    for place, key in enumerate(keys):
        right = signature([key], message_id, timestamp, body).removeprefix("v1,").encode()
        if any(hmac.compare_digest(right, one) for one in found[:MOST_SIGNATURES]):
            return place
    return None
