"""Which fields an answer has, by names and JSON types, never by values.

The reference prints many answers as "{object}". What a tenant really answers is learnt on its first day, and a change
is seen on the day of its change.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

DEEPEST = 6
MOST_FIELDS = 200  # of one answer
# A name that could be a value instead (an id, a time, a number, an address) is written as "*".
_NAME = re.compile(r"(?!(?:.*?[0-9]){3})[A-Za-z_][A-Za-z0-9_]{0,39}", re.ASCII)
_TYPES = {dict: "object", list: "list", str: "text", bool: "boolean", int: "number", float: "number"}


def fields(value: object) -> Iterator[tuple[str, str]]:
    """Each field as (path, type): ("data.interactionId", "text"), ("data.ids[]", "text")."""
    seen: set[tuple[str, str]] = set()
    for found in _walk(value, "", 0):
        if found not in seen:
            seen.add(found)
            yield found
        if len(seen) >= MOST_FIELDS:
            return


def _walk(value: object, path: str, depth: int) -> Iterator[tuple[str, str]]:
    if path:
        yield path, _TYPES.get(type(value), "null")
    if depth == DEEPEST:
        return
    if isinstance(value, dict):
        for name, inner in value.items():
            shown = name if isinstance(name, str) and _NAME.fullmatch(name) else "*"
            yield from _walk(inner, f"{path}.{shown}" if path else shown, depth + 1)
    elif isinstance(value, list):
        for inner in value[:MOST_FIELDS]:
            yield from _walk(inner, f"{path}[]", depth + 1)
