"""X-Hub-Signature: sign and verify over the raw bytes, never over JSON that was written again.

Digital Channels sends `sha1=` and the hex HMAC-SHA1 of the post payload, keyed with the app
secret (contract/third-party-messaging.txt, "Third-Party Messaging Overview"). sha256, sha384
and sha512 are read too, for the day the sender moves on. Hex digits of either case are read.

The header is looked at first: without one that a secret could have made, nothing is done with the body.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson

HEADER = "X-Hub-Signature"
_ALGORITHMS = {"sha1": hashlib.sha1, "sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512}

_HEX_DIGITS = {name: 2 * algorithm().digest_size for name, algorithm in _ALGORITHMS.items()}

# Bodies up to this size are tried in other ways too, to say what is wrong with a signature.
DIAGNOSED = 1 << 16
RETIRED = "matches a retired secret"
_HEX = re.compile(rb"[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class Given:
    """A header that a secret could have made: the algorithm, and the digest in lower-case hex digits."""

    algorithm: str
    digest: bytes


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


def sign_pieces(secret: bytes, *pieces: bytes) -> str:
    """The same for these bytes one after the other, without a copy of them."""
    made = hmac.new(secret, digestmod=_ALGORITHMS["sha1"])
    for piece in pieces:
        made.update(piece)
    return f"sha1={made.hexdigest()}"


def given(headers: Sequence[bytes]) -> Given | str:
    """The header's values (all that were sent: exactly one is right), or which kind of wrong they are."""
    if not headers:
        return "missing"
    if len(headers) > 1:
        return "more than one header"
    if len(headers[0]) > 256:
        return "wrong length"
    name, separator, digest = headers[0].decode("latin-1").strip().partition("=")
    digits = _HEX_DIGITS.get(name.lower())
    if not separator:
        return "no algorithm prefix"
    if digits is None:
        return "unknown algorithm"
    written = digest.lower().encode("latin-1", "replace")
    if len(written) != digits:
        return "wrong length"
    if not _HEX.fullmatch(written):
        return "no secret matches"
    return Given(name.lower(), written)


def matching(header: Given, body: bytes, secrets: Iterable[bytes]) -> frozenset[bytes]:
    """Which of the secrets signed these bytes.

    Every one is tried, whichever matches first, and once; each comparison takes constant time.
    """
    each = secrets if isinstance(secrets, frozenset) else set(secrets)
    return frozenset([secret for secret in each if _matches(header, body, secret)])


def verify(
    headers: Sequence[bytes],
    body: bytes,
    secrets: Sequence[bytes],
    retired: Sequence[bytes] = (),
) -> Verdict:
    """Check the header against every live secret."""
    header = given(headers)
    if isinstance(header, str):
        return Verdict(None, header)
    matched = matching(header, body, secrets)
    if matched:
        return Verdict(next(place for place, secret in enumerate(secrets) if secret in matched))
    return Verdict(None, which_kind_of_wrong(header, body, secrets, retired))


def which_kind_of_wrong(
    header: Given, body: bytes, secrets: Iterable[bytes], retired: Iterable[bytes], elsewhere: Iterable[bytes] = ()
) -> str:
    """What an integrator most often got wrong, tried in turn on a request that is refused anyway.

    `elsewhere`: live secrets of other endpoints.
    """
    secrets, retired, elsewhere = set(secrets), set(retired), set(elsewhere)

    def matches(candidates: Iterable[bytes], payload: bytes) -> bool:
        return any(_matches(header, payload, secret) for secret in candidates)

    if len(retired) * len(body) <= 64 * DIAGNOSED and matches(retired, body):
        return RETIRED
    if len(body) <= DIAGNOSED and len(elsewhere) <= 64 and matches(elsewhere - secrets, body):
        return "matches a secret of another endpoint"
    if len(body) > DIAGNOSED or len(secrets) > 64:
        return "no secret matches"
    if matches({secret.strip() for secret in secrets} | {secret + b"\n" for secret in secrets}, body):
        return "matches with white space around the secret"
    if matches(secrets, b""):
        return "matches an empty body"
    if matches(secrets, body.strip()) or matches(secrets, body + b"\n"):
        return "matches with other white space around the body"
    try:
        value = orjson.loads(body)
        rewritten = (orjson.dumps(value), orjson.dumps(value, option=orjson.OPT_INDENT_2))
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):  # no JSON, or deeper than orjson writes (254)
        return "no secret matches"
    if any(matches(secrets, written) for written in rewritten if len(written) <= 4 * DIAGNOSED):
        return "matches after re-serialising"
    return "no secret matches"


def _matches(header: Given, body: bytes, secret: bytes) -> bool:
    made = hmac.digest(secret, body, header.algorithm).hex()
    return hmac.compare_digest(header.digest, made.encode())
