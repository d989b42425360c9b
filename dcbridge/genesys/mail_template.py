"""The body of POST /securemail as a site writes it in bridge.yaml: any JSON, with values in its texts. No code.

    {subject}              a value
    {last_name|Unknown}    the words behind the stroke where it is empty
    {{  }}                 a brace

A field whose text becomes empty is left out. Values are put into texts of JSON, so that none of them can add a field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from hashlib import blake2b

import orjson

Template = str | list["Template"] | dict[str, "Template"]

MAIL = ("address", "name", "first_name", "last_name", "subject", "text", "mailbox", "channel", "reference", "time")
FILE = ("file_name", "mimetype", "base64")
NEEDED = ("address", "text")
MOST, DEEPEST = 100, 8  # texts in a template, and levels
_PIECES = re.compile(r"\{\{|\}\}|\{([a-z0-9_]+)(?:\|([^{}]*))?\}|[{}]")


def texts(template: object, depth: int = 0) -> Iterator[str]:
    """All of its texts that are filled. Raises ValueError for what is no template."""
    if depth > DEEPEST:
        raise ValueError(f"has more than {DEEPEST} levels")
    if isinstance(template, str):
        yield template
    elif isinstance(template, Mapping):
        for one in template.values():
            yield from texts(one, depth + 1)
    elif isinstance(template, list):
        for one in template:
            yield from texts(one, depth + 1)
    else:
        raise ValueError("has a field without a value")  # noqa: TRY004 -- a field of pydantic takes no TypeError


def names(template: object, known: tuple[str, ...]) -> set[str]:
    """The values that are used. Raises ValueError for one that there is not."""
    found, count = set(), 0
    for text in texts(template):
        count += 1
        for piece in _PIECES.finditer(text):
            if piece[0] in "{}":
                raise ValueError(f"has a single {piece[0]}: write {piece[0] * 2} for a brace, or a value: {{text}}")
            if piece[1] is not None and piece[1] not in known:
                raise ValueError(f"has a name in braces that is no value; there is {', '.join(known)}")
            found.add(piece[1] or "")
    if count > MOST:
        raise ValueError(f"has more than {MOST} texts")
    return found - {""}


def fill(template: object, values: Mapping[str, str]) -> object:
    """The same with its values; without fields whose text is empty then."""
    if isinstance(template, str):
        return _PIECES.sub(lambda piece: _piece(piece, values), template)
    if isinstance(template, Mapping):
        filled = {name: fill(one, values) for name, one in template.items()}
        return {name: one for name, one in filled.items() if one != ""}
    assert isinstance(template, list), "`names` has read it"
    return [one for one in (fill(each, values) for each in template) if one != ""]


def _piece(piece: re.Match[str], values: Mapping[str, str]) -> str:
    if piece[1] is None:
        return piece[0][0]
    return values[piece[1]] or piece[2] or ""


def fingerprint(*parts: object) -> str:
    """The same for the same template, in whatever order its fields stand."""
    written = orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)
    return f"t-{blake2b(written, digest_size=6, person=b'dcb-template').hexdigest()}"
