"""The small language of kind `http`: templates for what is sent, places for what is read. Values only, no code.

{to}            a value, encoded for where it stands
{media_url}     of a file, in the request for a message with one
{gsm7?0:2}      the first where the text is GSM-7, else the second
{{  }}          a brace

json:/data/0/id         RFC 6901, in a JSON body
form.status             a field of a form             query.status    of the query
header.x-message-id     of the answer to a request     body:^id=(.+)$  the first group of an expression
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated

from pydantic import AfterValidator

from dcbridge.providers.http_words import a_text

NAMES = ("to", "to_digits", "sender", "sender_digits", "text", "reference", "status_url", "media_url", "media_type")
LONGEST = 65536  # characters of a body that an expression looks at

_PIECES = re.compile(r"\{\{|\}\}|\{([a-z_]+(?:\.[A-Za-z0-9_-]+)?)\}|\{gsm7\?([^:{}]*):([^{}]*)\}|[{}]")
NAMED = re.compile(r"\{(" + "|".join(NAMES) + r"|secret\.[A-Za-z0-9_-]+)\}")  # where no template is filled
_PLACE = re.compile(r"(json:|body:|form\.|query\.|header\.)(.*)", re.DOTALL)


def names_in(written: str) -> set[str]:
    """The names in a template. Raises ValueError for what is none."""
    found = set()
    for piece in _PIECES.finditer(written):
        if piece[0] in "{}":
            raise ValueError(f"has a single {piece[0]}: write {piece[0] * 2} for a brace, or a name such as {{text}}")
        if piece[1] is not None:
            found.add(piece[1])
    return found


def fill(written: str, values: Mapping[str, str], *, gsm7: bool, encode: Callable[[str], str] = str) -> str:
    """The template with its values, each through `encode`."""

    def piece(found: re.Match[str]) -> str:
        if found[0] in ("{{", "}}"):
            return found[0][0]
        if found[1] is not None:
            return encode(values[found[1]])
        return found[2] if gsm7 else found[3]

    return _PIECES.sub(piece, written)


def template(value: str) -> str:
    """The same. Raises ValueError for a name that is no value."""
    for name in sorted(names_in(value)):
        if name not in NAMES and not name.startswith("secret."):
            raise ValueError(
                f"has a name in braces that is no value; there is {', '.join(NAMES)}, secret.NAME and gsm7?A:B"
            )
    return value


def place(value: str) -> str:
    """The same. Raises ValueError for what is no place."""
    found = _PLACE.fullmatch(value)
    if found is None:
        raise ValueError("is no place; write json:/a/b, form.NAME, query.NAME, header.NAME or body:EXPRESSION")
    if found[1] == "json:" and found[2] and not found[2].startswith("/"):
        raise ValueError("is no JSON pointer: it begins with json:/")
    if found[1] == "body:" and expression(found[2]).groups != 1:
        raise ValueError("should have one group in parentheses, which is read")
    return value


def expression(value: str) -> re.Pattern[str]:
    """Raises ValueError for what is none."""
    try:
        return re.compile(value)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"is no regular expression: {error}") from None


def _expression(value: str) -> str:
    expression(value)
    return value


Template = Annotated[str, AfterValidator(template)]
Place = Annotated[str, AfterValidator(place)]
Expression = Annotated[str, AfterValidator(_expression)]


def searched(written: str, body: bytes) -> re.Match[str] | None:
    """Where an expression is found in a body."""
    return expression(written).search(body[:LONGEST].decode("utf-8", "replace"))


class Source:
    """What is read from: a body, and what came with it. Each part is read once, when a place asks for it."""

    def __init__(
        self,
        body: bytes,
        json: Callable[[], object],
        form: Callable[[], Mapping[str, str]],
        query: Callable[[], Mapping[str, str]],
        headers: Mapping[str, str],
    ) -> None:
        self._body, self._json, self._form, self._query, self._headers = body, json, form, query, headers

    def text(self, at: str | None) -> str:
        """The text at a place; "" for nothing, or for what is no text and no whole number."""
        return a_text(self.value(at)) if at is not None else ""

    def value(self, at: str) -> object:
        kind, rest = at[:5], at[5:]
        if kind == "json:":
            return pointed(self._json(), rest)
        if kind == "body:":
            found = searched(rest, self._body)
            return found[1] if found else ""
        if kind == "form.":
            return self._form().get(rest, "")
        where, _, name = at.partition(".")
        return self._query().get(name, "") if where == "query" else self._headers.get(name.lower(), "")


def pointed(value: object, pointer: str) -> object:
    """RFC 6901; None where there is nothing."""
    for step in pointer.split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and re.fullmatch(r"[0-9]{1,6}", step, re.ASCII):
            value = value[int(step)] if int(step) < len(value) else None
        else:
            return None
    return value
