"""A secret that is sent along with a callback, by who signs nothing: in the path, as a Bearer token, or as a password.

RFC 6750, 2.1   Bearer          RFC 7617   Basic; the user name is not looked at
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, SecretStr

from dcbridge.errors import BadSignature
from dcbridge.providers.base import Callback

OneOrMore = BeforeValidator(lambda value: (value,) if isinstance(value, str | SecretStr) else value)


def _fit_for_a_path(secret: SecretStr) -> SecretStr:
    if not _PATH_SECRET.fullmatch(secret.get_secret_value()):
        raise ValueError("should have 16 to 128 letters, digits, - and _: it stands in a URL")
    return secret


_PATH_SECRET = re.compile(r"[A-Za-z0-9_-]{16,128}", re.ASCII)
PathSecret = Annotated[SecretStr, AfterValidator(_fit_for_a_path)]  # chosen by the operator
PathSecrets = Annotated[tuple[PathSecret, ...], OneOrMore]


def check(callback: Callback, secrets: Sequence[SecretStr]) -> None:
    """Raises BadSignature unless the callback carries one of the secrets; each is compared, in constant time."""
    if not secrets:
        raise BadSignature("no callback secret is configured")
    values = callback.headers.get("authorization", ())
    if callback.secret:
        given = callback.secret.encode("utf-8", "replace")
    elif len(values) == 1:
        given = _credential(values[0])
    else:
        raise BadSignature("more than one Authorization" if values else "missing")
    matched = False
    for secret in secrets:
        matched |= hmac.compare_digest(given, secret.get_secret_value().encode())
    if not matched:
        raise BadSignature("no secret matches")


def _credential(header: str) -> bytes:
    """The Bearer token, or the password of Basic; b"" for anything else."""
    scheme, _, value = header.strip().partition(" ")
    if scheme.lower() == "bearer":
        return value.strip().encode("utf-8", "replace")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return b""
