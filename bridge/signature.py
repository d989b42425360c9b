"""X-Hub-Signature: sign and verify over the raw bytes, never over JSON that was written again.

Digital Channels sends `sha1=` and the hex HMAC-SHA1 of the post payload, keyed with the app
secret (contract/third-party-messaging.txt, "Third-Party Messaging Overview"). sha256, sha384
and sha512 are read too, for the day the sender moves on. Hex digits of either case are read.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

HEADER = "X-Hub-Signature"
_ALGORITHMS = {"sha1": hashlib.sha1, "sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512}


@dataclass(frozen=True, slots=True)
class Verdict:
    """`index` is the place of the secret that matched; else `wrong` says which kind of wrong."""

    index: int | None
    wrong: str = ""

    @property
    def ok(self) -> bool:
        return self.index is not None


def sign(secret: bytes, body: bytes, algorithm: str = "sha1") -> str:
    """The header's value, "sha1=<40 lower-case hex digits>", for exactly these bytes."""
    return f"{algorithm}={hmac.new(secret, body, _ALGORITHMS[algorithm]).hexdigest()}"


def verify(
    headers: Sequence[bytes],
    body: bytes,
    secrets: Sequence[bytes],
    retired: Sequence[bytes] = (),
) -> Verdict:
    """Check the header's values (all that were sent: exactly one is right) against every live secret.

    Every secret is tried, whichever matches first, and each comparison takes constant time.
    """
    if not headers:
        return Verdict(None, "missing")
    if len(headers) > 1:
        return Verdict(None, "more than one header")
    name, separator, digest = headers[0].decode("latin-1").strip().partition("=")
    hash_function = _ALGORITHMS.get(name.lower())
    if not separator:
        return Verdict(None, "no algorithm prefix")
    if hash_function is None:
        return Verdict(None, "unknown algorithm")
    given = digest.lower().encode("latin-1", "replace")
    if len(given) != hash_function().digest_size * 2:
        return Verdict(None, "wrong length")
    matched: int | None = None
    for index, secret in enumerate(secrets):
        if hmac.compare_digest(given, hmac.new(secret, body, hash_function).hexdigest().encode()):
            matched = index if matched is None else matched
    if matched is not None:
        return Verdict(matched)
    return Verdict(None, _which_kind_of_wrong(name.lower(), given, body, secrets, retired))


def _which_kind_of_wrong(
    algorithm: str, given: bytes, body: bytes, secrets: Sequence[bytes], retired: Sequence[bytes]
) -> str:
    """What an integrator most often got wrong, tried in turn on a request that is refused anyway."""

    def matches(candidates: Sequence[bytes], payload: bytes) -> bool:
        return any(
            hmac.compare_digest(given, sign(secret, payload, algorithm).partition("=")[2].encode())
            for secret in candidates
        )

    if matches(retired, body):
        return "matches a retired secret"
    if matches([secret.strip() for secret in secrets] + [secret + b"\n" for secret in secrets], body):
        return "matches with white space around the secret"
    if matches(secrets, b""):
        return "matches an empty body"
    if matches(secrets, body.strip()) or matches(secrets, body + b"\n"):
        return "matches with other white space around the body"
    if len(body) <= 65536:
        try:
            value = orjson.loads(body)
            rewritten = (orjson.dumps(value), orjson.dumps(value, option=orjson.OPT_INDENT_2))
        except (orjson.JSONDecodeError, orjson.JSONEncodeError):  # no JSON, or deeper than orjson writes (254)
            return "no secret matches"
        if any(matches(secrets, written) for written in rewritten):
            return "matches after re-serialising"
    return "no secret matches"
