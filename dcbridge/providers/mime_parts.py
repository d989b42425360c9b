"""The parts of a mail as living systems write it: MIME (RFC 2045 to 2049) read with every tolerance, in bounded time.

The standard library's parser asks more of a mail than some reports give, and spends time by depth times length. Here
a mail is cut at its boundaries, level by level: no more than `DEEPEST` levels, no more than `MOST_PARTS` parts.
"""

from __future__ import annotations

import binascii
import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from itertools import islice

DEEPEST = 12
MOST_PARTS = 200
LONGEST_VALUE = 4000  # characters of one field; no field that is of interest comes near it

# A line may end with CR LF, LF or CR. CR LF is one end and never two.
_LINE_END = r"(?:\r\n|\n|\r)"
_LINE_START = rb"(?:\A|(?<=\n)|(?<=\r)(?!\n))"
_BLANK_LINE = re.compile(_LINE_START + rb"[ \t]*(?>\r\n|\n|\r)")
_FIRST_LINE = re.compile(rb"[^\r\n]*")
_ANY_BOUNDARY = re.compile(_LINE_START + rb"[ \t]*--([^\s-][^\r\n]{0,200})")
_SPLIT = re.compile(_LINE_END)
_FIELD = re.compile(r"([A-Za-z][A-Za-z0-9-]{0,76})[ \t]*:[ \t]*(.*)", re.DOTALL)
_ENVELOPE_LINE = re.compile(rb"(?:>?From |[A-Za-z][A-Za-z0-9-]{0,76}[ \t]*:)")
# Codecs of the standard library that are no character sets, or slow, are none of these.
_CHARSETS = re.compile(r"(?:us-)?ascii|(?:iso|windows|cp|koi8|gb|big5|euc|shift|utf|mac|ks_c|tis)[a-z0-9_.:-]*")


@dataclass(frozen=True, slots=True)
class Entity:
    """One part: its header fields by lower-case name, of a repeated one the first, and the bytes below them."""

    kind: str  # "text/plain", lower case
    head: dict[str, str]
    body: bytes
    boundary: str = ""
    charset: str = ""
    inside: bool = False  # within a message/rfc822: mostly our own message that came back

    def decoded(self) -> bytes:
        """The body without its Content-Transfer-Encoding; as it stands where it is not what that says."""
        how = self.head.get("content-transfer-encoding", "").strip().lower()
        if how == "base64":
            return _from_base64(self.body)
        return binascii.a2b_qp(self.body) if how == "quoted-printable" else self.body

    def text(self) -> str:
        return text_of(self.decoded(), self.charset)


def parts_of(raw: bytes) -> list[Entity]:
    """The mail itself and everything in it, in the order in which it is written."""
    found: list[Entity] = []
    waiting = [(raw.lstrip(b"\r\n\t "), 0, False)]
    while waiting and len(found) < MOST_PARTS:
        piece, depth, inside = waiting.pop()
        entity = entity_of(piece, inside=inside)
        found.append(entity)
        if depth < DEEPEST:
            waiting += [(inner, depth + 1, within) for inner, within in reversed([*_inner(entity)])]
    return found


def entity_of(raw: bytes, *, inside: bool = False) -> Entity:
    """Header fields and body. What begins with no header field is a body alone."""
    if not _ENVELOPE_LINE.match(raw):
        blank = _BLANK_LINE.match(raw)
        return Entity("text/plain", {}, raw[blank.end() :] if blank else raw, inside=inside)
    blank = _BLANK_LINE.search(raw)
    head, body = (raw[: blank.start()], raw[blank.end() :]) if blank else (raw, b"")
    fields = header_fields(text_of(head))
    kind, boundary, charset = _content_type(fields.get("content-type", ""))
    return Entity(kind, fields, body, boundary, charset, inside)


def header_fields(text: str) -> dict[str, str]:
    """Fields by lower-case name, unfolded; of a repeated one the first."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lines_of(text):
        if line[:1] in (" ", "\t"):
            current.append(line.strip())
        elif field := _FIELD.match(line):
            current = [field[2].strip()]
            found.setdefault(field[1].lower(), current)
        else:
            current = []
    return {name: " ".join(values)[:LONGEST_VALUE] for name, values in found.items()}


def field_of(line: str) -> tuple[str, str] | None:
    """The lower-case name and the value of a line that begins a field; None for any other."""
    found = _FIELD.match(line)
    return (found[1].lower(), found[2].strip()) if found else None


def lines_of(text: str) -> list[str]:
    """Lines by CR LF, LF or CR, and by nothing else that Python calls a line end."""
    return _SPLIT.split(text)


def text_of(raw: bytes, charset: str = "") -> str:
    """Bytes as text: UTF-8 or UTF-16 where they are that, else as the charset says, else as Latin-1."""
    if raw[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return raw.decode("utf-16", "replace")
    if raw[:400].count(0) > len(raw[:400]) // 4:
        return raw.decode("utf-16-le" if raw[1:2] == b"\0" else "utf-16-be", "replace")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        known = _CHARSETS.fullmatch(charset.strip().lower())
        try:
            return raw.decode(known[0] if known else "latin-1", "replace")
        except LookupError:
            return raw.decode("latin-1")


def _content_type(value: str) -> tuple[str, str, str]:
    """The type, its boundary and its charset; text/plain where it makes no sense."""
    read = Message()
    read["Content-Type"] = value[:1000] or "text/plain"
    charset = read.get_param("charset", "")
    try:
        boundary = read.get_boundary("") or ""
    except (UnicodeError, LookupError):
        boundary = ""
    return read.get_content_type(), boundary, charset if isinstance(charset, str) else ""


def _inner(entity: Entity) -> Iterator[tuple[bytes, bool]]:
    """What is inside, and whether that is inside a message/rfc822."""
    if entity.kind in ("message/rfc822", "message/global"):
        yield entity.decoded().lstrip(b"\r\n\t "), True
    elif entity.kind.startswith("multipart/"):
        for piece in _split(entity.body, entity.boundary):
            yield piece, entity.inside


def _split(body: bytes, boundary: str) -> Iterator[bytes]:
    """The pieces between boundary lines. Where the declared boundary is nowhere, that of the first line with one."""
    cuts = _cuts(body, boundary.encode("utf-8", "replace")) if boundary else []
    if not cuts and (found := _ANY_BOUNDARY.search(body)):
        cuts = _cuts(body, found[1].rstrip())
    for number, (_, start, last) in enumerate(cuts):
        if not last:
            yield body[start : cuts[number + 1][0] if number + 1 < len(cuts) else len(body)]


def _cuts(body: bytes, boundary: bytes) -> list[tuple[int, int, bool]]:
    """Each boundary line: where it begins, where it ends, and whether it is the last one."""
    line = re.compile(_LINE_START + rb"[ \t]*--" + re.escape(boundary) + rb"(--)?[ \t]*(?:\Z|(?>\r\n|\n|\r))")
    return [(one.start(), one.end(), one[1] is not None) for one in islice(line.finditer(body), MOST_PARTS)]


def _from_base64(raw: bytes) -> bytes:
    """Whatever can be decoded; the bytes as they stand where they are certainly no base64."""
    if b":" in _FIRST_LINE.match(raw.lstrip())[0]:  # type: ignore[index]  # it matches everything
        return raw
    letters = re.sub(rb"[^A-Za-z0-9+/]", b"", raw)
    whole = letters[: len(letters) // 4 * 4]
    rest = letters[len(whole) :]
    try:
        return binascii.a2b_base64(whole + (rest + b"=" * (4 - len(rest)) if len(rest) > 1 else b""))
    except binascii.Error:
        return raw
