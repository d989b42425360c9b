"""Ids of traces and spans: read from a request, or derived where several processes have to know the same one.

Webhook, worker and receipt run in different processes, days apart. What they share is the ledger, which holds the trace
id of the webhook and the reference of each message. The id of the span that all others of a message hang under is a
digest of the two: whoever has the entry knows the span, and nothing more is stored.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import NamedTuple

_HEX_TRACE = re.compile(r"[0-9a-f]{16}(?:[0-9a-f]{16})?", re.ASCII)
_HEX_SPAN = re.compile(r"[0-9a-f]{16}", re.ASCII)
_B3 = re.compile(r"([0-9a-f]{16}(?:[0-9a-f]{16})?)-([0-9a-f]{16})(?:-([01d])(?:-[0-9a-f]{16})?)?", re.ASCII)
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_MARKED = re.compile(r"([0-9A-Fa-f]{16}(?:[0-9A-Fa-f]{16})?):([01])", re.ASCII)
_SAMPLED = {b"1": True, b"0": False, b"true": True, b"false": False}
_LONGEST = 200  # characters of a header that is looked at

_TRACE_ID, _SPAN_ID, _WANTED, _FLAGS = b"x-b3-traceid", b"x-b3-spanid", b"x-b3-sampled", b"x-b3-flags"
_READ = frozenset((_TRACE_ID, _SPAN_ID, _WANTED, _FLAGS, b"b3", b"traceparent"))


class Parent(NamedTuple):
    """What the sender of a request said of its trace.

    `trace`: its trace id as it wrote it, "" where it named none. `span_id`: 0 where it named no span of that trace.
    `sampled`: whether it records the trace, None where it did not say.
    """

    trace: str = ""
    span_id: int = 0
    sampled: bool | None = None


def trace_id_of(trace: str) -> int:
    """The trace id that stands for this one: itself where it is hex digits, else a digest. Never 0."""
    word = split(trace)[0].lower()
    if _HEX_TRACE.fullmatch(word) and (number := int(word, 16)):
        return number
    plain = word.replace("-", "")
    if len(plain) == 32 and _HEX_TRACE.fullmatch(plain) and (number := int(plain, 16)):  # a UUID
        return number
    return _digest(16, "trace", word)


def span_id_of(trace: str, name: str) -> int:
    """The id of the span that brought `name` (the reference of a message, the id of a task or an event)."""
    return _digest(8, "span", f"{trace_id_of(trace):032x}", name)


def marked(trace: str, sampled: bool) -> str:
    """The trace with what was decided of it, for the ledger. One that is no hex number cannot be marked."""
    return f"{trace}:{int(sampled)}" if _HEX_TRACE.fullmatch(trace.lower()) else trace


def split(trace: str) -> tuple[str, bool | None]:
    """What `marked` put together; a trace without a mark as it is."""
    found = _MARKED.fullmatch(trace) if trace[-2:-1] == ":" else None
    return (found[1], found[2] == "1") if found else (trace, None)


def parent_of(headers: Iterable[tuple[bytes, bytes]]) -> Parent:
    """Of X-B3-…, else of `b3`, else of `traceparent`: Digital Channels sends the first, proxies add the others."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _READ and len(value) <= _LONGEST:
            if name == b"traceparent" and name in found:
                return Parent()  # W3C: of two, none is believed
            found.setdefault(name, value)
    if _TRACE_ID in found:
        return _of_several(found)
    return _of_b3(found.get(b"b3", b"")) or _of_traceparent(found.get(b"traceparent", b"")) or Parent()


def _of_several(found: dict[bytes, bytes]) -> Parent:
    trace, span = found[_TRACE_ID].decode("latin-1"), found.get(_SPAN_ID, b"").decode("latin-1").lower()
    known = _HEX_SPAN.fullmatch(span) and _HEX_TRACE.fullmatch(trace.lower()) and int(trace, 16)
    sampled = True if found.get(_FLAGS) == b"1" else _SAMPLED.get(found.get(_WANTED, b"").lower())
    return Parent(trace, int(span, 16) if known else 0, sampled)


def _of_b3(value: bytes) -> Parent | None:
    word = value.decode("latin-1").lower()
    if word == "0":
        return Parent(sampled=False)
    found = _B3.fullmatch(word)
    if found is None or not int(found[1], 16):
        return None
    return Parent(found[1], int(found[2], 16), None if found[3] is None else found[3] != "0")


def _of_traceparent(value: bytes) -> Parent | None:
    found = _TRACEPARENT.fullmatch(value.decode("latin-1"))
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5]):
        return None
    if not int(found[2], 16) or not int(found[3], 16):
        return None
    return Parent(found[2], int(found[3], 16), bool(int(found[4], 16) & 1))


def _digest(size: int, *words: str) -> int:
    made = hashlib.blake2b("\0".join(words).encode("utf-8", "surrogatepass"), digest_size=size).digest()
    return int.from_bytes(made) or 1
