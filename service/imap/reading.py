"""What an IMAP server says, as values: RFC 3501 and 9051, as much of it as a mailbox that is emptied needs."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from service.imap.wire import Away, Response

DEEPEST = 50  # lists within lists
MOST_ITEMS = 200  # of one FETCH response
_UID = re.compile(rb"[1-9][0-9]{0,9}", re.ASCII)
_TAGGED = re.compile(rb"(OK|NO|BAD)(?: |\Z)(.*)", re.ASCII | re.DOTALL | re.IGNORECASE)
_CODE = re.compile(rb"\[([A-Z0-9-]{1,40})(?: ([^\]]{0,4000}))?\]", re.ASCII | re.IGNORECASE)
_NUMBERED = re.compile(rb"\* ([0-9]{1,10}) (EXISTS|EXPUNGE)\Z", re.ASCII | re.IGNORECASE)
_FETCH = re.compile(rb"\* ([0-9]{1,10}) FETCH \(", re.ASCII | re.IGNORECASE)
_ATOM = rb"(?:[^\s()\"\[\]{}]|\[[^\]]*\](?:<[0-9]{1,10}>)?)+"
_TOKEN = re.compile(rb"[ \t]*(?:(\()|(\))|\"((?:[^\"\\]|\\.)*)\"|(" + _ATOM + rb"))")


@dataclass(frozen=True, slots=True)
class Said:
    """The answer to a command, or a status between answers. `code` is in capitals; `about` what stands behind it."""

    word: Literal["OK", "NO", "BAD", ""]
    code: str
    about: bytes


def status(text: bytes) -> Said:
    """What stands behind a tag or an asterisk."""
    found = _TAGGED.match(text)
    if found is None:
        return Said("", "", b"")
    word = found[1].upper().decode()
    assert word in ("OK", "NO", "BAD")
    code = _CODE.match(found[2])
    named = code[1].upper().decode() if code else ""
    return Said(word, named, (code[2] or b"") if code else b"")  # type: ignore[arg-type]


def number(text: bytes) -> int:
    """A number of 32 bits as it stands in a code; 0 for anything else."""
    return int(text) if _UID.fullmatch(text) and int(text) < 1 << 32 else 0


def counted(line: bytes) -> tuple[str, int]:
    """("EXISTS", 17) or ("EXPUNGE", 3); ("", 0) for any other line."""
    found = _NUMBERED.match(line)
    return (found[2].upper().decode(), int(found[1])) if found else ("", 0)


def capabilities(words: bytes) -> frozenset[str]:
    """In capitals."""
    return frozenset(word.decode("ascii", "replace").upper() for word in words.split()[:200])


def searched(line: bytes, most: int) -> list[int] | None:
    """The UIDs of a SEARCH response, in order, `most` at most; None for any other line. Raises Away."""
    words = line.split()
    if len(words) < 2 or words[0] != b"*" or words[1].upper() != b"SEARCH":
        return None
    if len(words) > most + 2 or any(number(word) == 0 for word in words[2:]):
        raise Away("search not readable")
    return sorted({int(word) for word in words[2:]})


@dataclass(frozen=True, slots=True)
class Fetched:
    """One mail, as far as was asked. `size`: bytes, as the server counts them."""

    uid: int
    size: int | None
    arrived_at: float | None  # INTERNALDATE
    head: bytes = field(repr=False)
    body: bytes | None = field(repr=False)


def fetched(response: Response) -> Fetched | None:
    """A FETCH response that names its UID; None for any other. Raises Away."""
    if _FETCH.match(response.line) is None:
        return None
    items = dict(_items(response))
    uid = number(items.get("UID") or b"")
    if not uid:  # flags of a mail that another client has changed
        return None
    size = items.get("RFC822.SIZE")
    heads = (value for name, value in items.items() if name.startswith("BODY[HEADER"))
    return Fetched(
        uid=uid,
        size=int(size) if size is not None and re.fullmatch(rb"[0-9]{1,15}", size) else None,
        arrived_at=_date(items.get("INTERNALDATE")),
        head=next(heads, None) or b"",
        body=items.get("BODY[]"),
    )


def _items(response: Response) -> Iterator[tuple[str, bytes | None]]:
    """Names in capitals, and values; None for NIL and for a list."""
    tokens = _tokens(response)
    next(tokens, None)  # the opening parenthesis
    for _ in range(MOST_ITEMS):
        name = next(tokens, None)
        if name is None or name == (")", b""):
            return
        value = next(tokens, None)
        if name[0] != "atom" or value is None or value[0] == ")":
            raise Away("fetch not readable")
        if value[0] == "(":
            _skip(tokens)
        nothing = value[0] == "(" or (value[0] == "atom" and value[1].upper() == b"NIL")
        yield name[1].upper().decode("ascii", "replace"), None if nothing else value[1]
    raise Away("fetch not readable")


def _skip(tokens: Iterator[tuple[str, bytes]]) -> None:
    """To the end of a list whose beginning was read."""
    depth = 1
    for kind, _ in tokens:
        depth += {"(": 1, ")": -1}.get(kind, 0)
        if depth > DEEPEST:
            break
        if not depth:
            return
    raise Away("fetch not readable")


def _tokens(response: Response) -> Iterator[tuple[str, bytes]]:
    """("(", b""), (")", b""), ("atom", …) and ("text", …) of a FETCH response, from its list on."""
    begin = response.line.index(b"(")
    for place, part in enumerate(response.parts):
        if place % 2:
            yield "text", part
            continue
        at = begin if place == 0 else 0
        while at < len(part):
            found = _TOKEN.match(part, at)
            if found is None:
                if part[at:].strip():
                    raise Away("fetch not readable")
                break
            at = found.end()
            if found[1] or found[2]:
                yield (found[1] or found[2]).decode(), b""
            elif found[3] is not None:
                yield "text", re.sub(rb"\\(.)", rb"\1", found[3])
            else:
                yield "atom", found[4]


def _date(value: bytes | None) -> float | None:
    try:
        return datetime.strptime((value or b"").decode("ascii").strip(), "%d-%b-%Y %H:%M:%S %z").timestamp()
    except (ValueError, OverflowError):
        return None


def quoted(text: str) -> str:
    """A string of a command. Raises ValueError for what cannot be quoted."""
    if not text.isascii() or any(c in text for c in "\r\n\0"):
        raise ValueError("cannot be quoted")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def folder(name: str) -> str:
    """The name of a mailbox as a string of a command: in modified UTF-7 (RFC 3501, 5.1.3)."""
    written, beyond = "", ""
    for character in [*name, ""]:
        if character and not " " <= character <= "~":
            beyond += character
            continue
        if beyond:
            packed = base64.b64encode(beyond.encode("utf-16-be")).decode().rstrip("=").replace("/", ",")
            written, beyond = f"{written}&{packed}-", ""
        written += "&-" if character == "&" else character
    return quoted(written)
