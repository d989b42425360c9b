"""Content-Encoding: gzip and deflate are unpacked, within the limit of a body; another one is 415 and is not stored.

A signature covers the bytes as they came, so it is checked first.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from service.answer import Refusal

ACCEPTED = "gzip, deflate"  # for Accept-Encoding of a 415: RFC 9110, 12.5.3
_MEMBERS = 16  # of one gzip body; each begins a new window
_GZIP, _ZLIB, _DEFLATE = 31, 15, -15  # the formats, as zlib names them


def unpacked(encodings: Sequence[str], body: bytes, limit: int) -> bytes:
    """The body without its encodings, as Content-Encoding names them.

    Raises Refusal: 415 for an encoding that is not read, 413 beyond `limit` bytes.
    What is not in the encoding that it names, or is damaged, stays as it came: gateways unpack and keep the header.
    """
    if not encodings:
        return body
    words = ",".join(encodings).lower().split(",")
    names = [name for word in words if (name := word.strip()) not in ("", "identity")]
    if not names:
        return body
    if len(names) > 1 or names[0] not in ("gzip", "x-gzip", "deflate"):
        raise Refusal(
            415, "encoding not read", "the body's Content-Encoding is not read", {"Accept-Encoding": ACCEPTED}
        )
    return _unpacked(body, names[0] != "deflate", limit)


def _unpacked(body: bytes, gzip: bool, limit: int) -> bytes:
    form = _GZIP if gzip else _ZLIB if _is_zlib(body) else _DEFLATE
    found, left = bytearray(), body
    for _ in range(_MEMBERS):
        unpacking = zlib.decompressobj(form)
        try:
            found += unpacking.decompress(left, limit + 1 - len(found))
        except zlib.error:
            return body
        if len(found) > limit:
            raise Refusal(413, "too large", f"a body may have {limit} bytes when it is unpacked")
        if not unpacking.eof:
            return body
        left = unpacking.unused_data.lstrip(b"\0")  # some fill a block up
        if not left:
            return bytes(found)
        if not gzip:
            return body
    return body


def _is_zlib(body: bytes) -> bool:
    """RFC 1950: deflate means this, and many send the bare RFC 1951."""
    return len(body) > 1 and body[0] & 0x0F == 8 and int.from_bytes(body[:2]) % 31 == 0
