"""JSON that is nested deeper than our readers and writers follow: cut short, put together again, written without end.

All of it is linear in the length of the body, and none of it recurses.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import orjson

SHALLOW = 16  # levels that are left: more than a message's or an event's own fields have

DEEP: list[object] = reduce(lambda inner, _: [inner], range(300), [])  # more levels than orjson writes
TOO_DEEP: Mapping[str, object] = {"": DEEP}

# A run of brackets and what stands before it. It matches anywhere, so that no place is looked at twice.
_BRACKETS = re.compile(r'(?:[^"\[\]{}]++|"[^"\\]*+(?:\\.[^"\\]*+)*+"?)*+([\[{]++|[\]}]++)?', re.DOTALL)


class Cut:
    """JSON with a mark in the place of all that is nested deeper than SHALLOW; `value` is that, as `read` reads it.

    Raises the ValueError that `read` raises.
    """

    def __init__(self, text: str, read: Callable[[bytes], Any]) -> None:
        self._read = read
        name = secrets.token_hex(8)
        self._mark = re.compile(rb'"%b:(\d+)"' % name.encode())
        self._holes: list[bytes] = []
        left: list[str] = []
        depth = begin = 0
        for found in _BRACKETS.finditer(text):
            run = found[1]
            if run is None:
                continue
            before = depth
            depth += len(run) if run[0] in "[{" else -len(run)
            if before <= SHALLOW < depth:
                left += (text[begin : (begin := found.start(1) + SHALLOW - before)], f'"{name}:{len(self._holes)}"')
            elif depth <= SHALLOW < before:
                hole = text[begin : (begin := found.start(1) + before - SHALLOW)]
                self._holes.append(hole.encode("utf-8", "surrogatepass"))
        if depth <= SHALLOW:  # otherwise the last one never ends, which leaves no JSON
            left.append(text[begin:])
        self.value = read("".join(left).encode("utf-8", "surrogatepass"))

    def apart(self, shallow: Any) -> tuple[Any, bytes]:
        """A part of `value` as it reads by itself, and b""; else what is shallow of it, and how it came."""
        part = orjson.dumps(shallow)
        raw = self._mark.sub(lambda mark: self._holes[int(mark[1])], part)
        try:
            return self._read(raw), b""
        except ValueError:
            return self._read(self._mark.sub(b"null", part)), raw


def write(value: Any) -> bytes:
    """JSON of any depth, as slow as Python is."""
    written: list[bytes] = []
    to_do: list[Any] = [value]  # bytes are JSON already
    while to_do:
        one = to_do.pop()
        if isinstance(one, bytes):
            written.append(one)
        elif isinstance(one, dict):
            inner = [part for name, item in one.items() for part in (b",", orjson.dumps(name), b":", item)]
            to_do += [b"}", *reversed(inner[1:]), b"{"]
        elif isinstance(one, list):
            inner = [part for item in one for part in (b",", item)]
            to_do += [b"]", *reversed(inner[1:]), b"["]
        else:
            written.append(orjson.dumps(one))
    return b"".join(written)
