"""The header fields of a stranger's mail: bounded, decoded, and read by a reader of our own.

The standard library's header parser is not for strangers (Python 3.11): a To line of 200 kB takes it seven seconds,
and 20,000 opening parentheses in From end in a RecursionError.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

from dcbridge.mail.charsets import decode
from dcbridge.messages import Address

MOST_BYTES = 1 << 20  # of header that is looked at
MOST_FIELDS = 500
LONGEST_VALUE = 4000  # characters of one field; what stands behind is not read
MOST_ADDRESSES = 50
MOST_IDS = 50
LONGEST_SHOWN = 500  # characters of a subject or a name

_FIELD = re.compile(r"([!-9;-~]{1,76})[ \t]*:[ \t]*(.*)", re.DOTALL)
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BLANK_LINE = re.compile(rb"(?:\A|(?<=\n)|(?<=\r)(?!\n))[ \t]*(?:\r\n|\n|\r|\Z)")
_BEGINS = re.compile(rb">?From |[!-9;-~]{1,76}[ \t]*:")
_WORD = re.compile(r"=\?([^?\s]{1,60})\?([bBqQ])\?([^?]*)\?=")
_BETWEEN_WORDS = re.compile(r"(\?=)[ \t]+(?==\?[^?\s]{1,60}\?[bBqQ]\?)")
_MESSAGE_ID = re.compile(r"<([^<>\s]{1,250})>")
_BARE_ID = re.compile(r"[^<>\s,;]{1,120}@[^<>\s,;]{1,120}")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_ADDRESS = re.compile(r"[^\s<>,;:()\[\]\\\"]{1,128}@[^\s<>,;:()\\\"]{1,255}")


@dataclass(frozen=True, slots=True)
class Field:
    """One header field: its name in lower case, and its value unfolded and not yet decoded."""

    name: str
    value: str = field(repr=False)


@dataclass(frozen=True)
class Head:
    """The fields in their order, and where the body begins."""

    fields: tuple[Field, ...] = field(repr=False)
    body_at: int

    @cached_property
    def _first(self) -> dict[str, str]:
        return {one.name: one.value for one in reversed(self.fields)}

    def __contains__(self, name: str) -> bool:
        return name in self._first

    def get(self, name: str) -> str:
        """The first value of this name; "" where there is none."""
        return self._first.get(name, "")

    def all(self, name: str) -> list[str]:
        """Every value of this name, from the top."""
        return [one.value for one in self.fields if one.name == name]

    def words(self, name: str) -> str:
        """The value as a person reads it: decoded, on one line."""
        return shown(self.get(name))

    def addresses(self, name: str) -> list[Address]:
        """The mailboxes in all fields of this name, the first 50."""
        return [one for value in self.all(name) for one in addresses(value)][:MOST_ADDRESSES]

    def ids(self, name: str) -> list[str]:
        """Message ids without their brackets, the last 50."""
        value = self.get(name)
        return (_MESSAGE_ID.findall(value) or _BARE_ID.findall(value))[-MOST_IDS:]


def read_head(raw: bytes, begin: int = 0, end: int | None = None) -> Head:
    """The head of a mail or of a part of it. Fields that are cut or malformed are skipped, and the next ones count."""
    end = len(raw) if end is None else end
    if begin == 0 and raw[:1] in (b"\r", b"\n"):
        begin = len(raw) - len(raw.lstrip(b"\r\n"))
        if not _BEGINS.match(raw, begin):
            return Head((), begin)
    limit = min(end, begin + MOST_BYTES)
    blank = _BLANK_LINE.search(raw, begin, limit)
    if blank is None and begin == 0:  # the body of the mail itself may stand behind any head
        blank = _BLANK_LINE.search(raw, limit, end)
    if blank is None:
        return Head(tuple(islice(_fields(raw[begin : min(end, begin + MOST_BYTES)]), MOST_FIELDS)), end)
    return Head(tuple(islice(_fields(raw[begin : min(blank.start(), limit)]), MOST_FIELDS)), blank.end())


def _fields(head: bytes) -> Iterator[Field]:
    name, values, size = "", list[str](), 0
    for line in _LINE_END.split(head):
        text = decode(line[:LONGEST_VALUE]) if size < LONGEST_VALUE else ""
        if line[:1] in (b" ", b"\t"):
            values.append(text.strip(" \t"))
            size += len(text)
            continue
        if name:
            yield Field(name, " ".join(values)[:LONGEST_VALUE])
        found = _FIELD.fullmatch(decode(line[:LONGEST_VALUE]))
        name, values = (found[1].lower(), [found[2].strip(" \t")]) if found else ("", [])
        size = len(values[0]) if values else 0
    if name:
        yield Field(name, " ".join(values)[:LONGEST_VALUE])


def shown(value: str) -> str:
    """Encoded words decoded (RFC 2047), control characters gone, cut to what anybody reads."""
    return _CONTROLS.sub(" ", decoded(value)).strip()[:LONGEST_SHOWN]


def decoded(value: str) -> str:
    """With its encoded words as text. Neighbours are decoded together: some clients cut a letter in two."""
    if "=?" not in value:
        return value
    value = _BETWEEN_WORDS.sub(r"\1", value[:LONGEST_VALUE])
    pieces: list[str] = []
    at, charset, waiting = 0, "", b""
    for found in _WORD.finditer(value):
        label = found[1].lower()
        if waiting and (found.start() != at or label != charset):
            pieces.append(decode(waiting, charset))
            waiting = b""
        pieces.append(value[at : found.start()])
        charset, at = label, found.end()
        waiting += _word_bytes(found[2], found[3])
    pieces += [decode(waiting, charset), value[at:]]
    return "".join(pieces)


def _word_bytes(how: str, text: str) -> bytes:
    if how in "qQ":
        return binascii.a2b_qp(text.replace("_", " ").encode("utf-8", "replace"), header=False)
    letters = re.sub(r"[^A-Za-z0-9+/]", "", text)
    try:
        return binascii.a2b_base64(letters[: len(letters) - (len(letters) % 4 == 1)] + "=" * (-len(letters) % 4))
    except binascii.Error:
        return text.encode("utf-8", "replace")


def addresses(value: str) -> list[Address]:
    """Mailboxes of a list, in whatever it is written: names, comments, groups, quotes, no brackets at all."""
    found: list[Address] = []
    for name, inside, comment in islice(_mailboxes(value[:LONGEST_VALUE]), MOST_ADDRESSES * 4):
        address = _ADDRESS.search(inside) or (None if inside.strip() else _ADDRESS.search(name))
        if address is None:
            continue
        said = name if inside.strip() else comment
        said = shown(said.strip().strip("'\"").strip())
        found.append(Address(address[0].rstrip("."), "" if said == address[0] else said))
        if len(found) == MOST_ADDRESSES:
            break
    return found


def _mailboxes(value: str) -> Iterator[tuple[str, str, str]]:
    """(what stands outside, what stands in < >, the comment) of each element. One pass, nothing nested but counted."""
    outside, inside, comment = list[str](), list[str](), list[str]()
    state, deep, skip = "", 0, False
    for char in value:
        if skip:
            skip = False
            (comment if deep else outside).append(char)
        elif state == '"':
            if char == "\\":
                skip = True
            elif char == '"':
                state = ""
            else:
                outside.append(char)
        elif deep:
            deep += (char == "(") - (char == ")")
            if deep:
                comment.append(char)
        elif state == "<":
            if char == ">":
                state = ""
            else:
                inside.append(char)
        elif char == '"' or (char == "<"):
            state = char
        elif char == "(":
            deep = 1
        elif char == ":" and not inside:
            outside.clear()  # the name of a group
        elif char in ",;":
            yield "".join(outside), "".join(inside), "".join(comment)
            outside, inside, comment = [], [], []
        else:
            outside.append(char)
    yield "".join(outside), "".join(inside), "".join(comment)
