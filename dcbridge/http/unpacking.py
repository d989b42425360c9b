"""Content-Encoding of an answer (RFC 9110, 8.4), up to a limit: what is packed may be a thousand times as long."""

from __future__ import annotations

import zlib

ENCODINGS = 3  # on top of each other
MEMBERS = 64  # of one gzip; each is looked for in a copy of the rest

_GZIP, _ZLIB, _BARE = 31, 15, -15  # zlib's wbits
_MAGIC = b"\x1f\x8b"


class Unpackable(Exception):
    """Not as its header says, of an encoding that we do not know, or longer than the limit."""


def unpack(body: bytes, encoding: str, limit: int) -> bytes:
    """The body as it was before it was encoded, `limit` bytes at most. Raises Unpackable."""
    words = [part.strip().lower() for part in encoding.split(",")]
    applied = [word for word in words if word not in ("", "identity")]
    if not body:
        return body
    if len(applied) > ENCODINGS:
        raise Unpackable("encodings")
    try:
        for one in reversed(applied):
            body = _decoded(body, one, limit)
    except zlib.error:
        raise Unpackable("damaged") from None
    return body


def _decoded(body: bytes, encoding: str, limit: int) -> bytes:
    match encoding:
        case "gzip" | "x-gzip":
            return _gunzip(body, limit)
        case "deflate":  # zlib's format is meant; some send the bare stream
            try:
                return _inflate(body, _ZLIB, limit)[0]
            except zlib.error:
                return _inflate(body, _BARE, limit)[0]
        case _:
            raise Unpackable("encoding")


def _gunzip(body: bytes, limit: int) -> bytes:
    """All members; what follows the last one and is none is padding."""
    found, rest = b"", body
    for _ in range(MEMBERS):
        part, rest = _inflate(rest, _GZIP, limit - len(found))
        found += part
        if not rest.startswith(_MAGIC):
            return found
    raise Unpackable("members")


def _inflate(body: bytes, bits: int, limit: int) -> tuple[bytes, bytes]:
    """What one stream holds, and what follows it."""
    stream = zlib.decompressobj(bits)
    found = stream.decompress(body, limit + 1)
    if len(found) > limit:
        raise Unpackable("too long")
    if not stream.eof:
        raise Unpackable("broken off")
    return found, stream.unused_data
