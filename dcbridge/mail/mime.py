"""The parts of a stranger's mail, as places in its bytes: nothing is copied before it is wanted.

However deep a mail is nested and however many parts it has, each level is searched once with `bytes.find`: 20 levels
and 1,000 parts at most.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import unquote_to_bytes

from dcbridge.mail.charsets import decode
from dcbridge.mail.head import Head, decoded, read_head, shown

DEEPEST = 20
MOST_PARTS = 1000
LONGEST_TEXT = 1 << 20  # bytes of one part that are read as text
_MOST_CUTS = 3_000  # places of one level that look like a boundary
_BEGIN = 64 << 10  # bytes in which a boundary is looked for that no header names

_PARAMETER = re.compile(r';\s*([^\s=;"]{1,60})\s*=\s*(?:"((?:[^"\\]|\\.){0,2000})"|([^\s;]{0,2000}))')
_KIND = re.compile(r"\s*([a-z0-9!#$&^_.+-]{1,60})/([a-z0-9!#$&^_.+-]{1,100})", re.IGNORECASE)
_ANY_BOUNDARY = re.compile(rb"(?:\A|(?<=\n)|(?<=\r))--([^\s-][^\r\n]{0,200})")
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")
_MESSAGES = ("message/rfc822", "message/global", "message/news")


@dataclass(frozen=True)
class Part:
    """One part: its fields, and where its content stands in the mail."""

    kind: str  # "text/plain", lower case
    parameters: dict[str, str] = field(repr=False)  # of Content-Type
    head: Head = field(repr=False)
    raw: bytes = field(repr=False)  # the whole mail
    begin: int
    end: int
    children: list[Part] = field(default_factory=list)

    @cached_property
    def disposition(self) -> str:
        return self.head.get("content-disposition").partition(";")[0].strip().lower()

    @cached_property
    def filename(self) -> str:
        """What the sender calls the file; "" for none. Without a folder."""
        found = parameters(self.head.get("content-disposition")).get("filename") or self.parameters.get("name", "")
        return shown(found).replace("\\", "/").rpartition("/")[2].strip(" .")[:200]

    @cached_property
    def _encoding(self) -> str:
        return self.head.get("content-transfer-encoding").partition(";")[0].strip().lower()

    @property
    def size(self) -> int:
        """Bytes of the content; of base64 as many as its usual lines of 76 letters carry."""
        encoded = self.end - self.begin
        return encoded * 57 // 78 if self._encoding == "base64" else encoded

    def content(self, most: int | None = None) -> bytes:
        """The content without its encoding, up to `most` bytes; what is not encoded as it says stays as it stands."""
        body = self.raw[self.begin : self.end if most is None else min(self.end, self.begin + most * 2)]
        how = self._encoding
        if how == "base64":
            body = _from_base64(body)
        elif how == "quoted-printable":
            body = binascii.a2b_qp(body)
        elif how in ("x-uuencode", "uuencode", "x-uue"):
            body = _from_uuencode(body)
        return body if most is None else body[:most]

    def text(self) -> str:
        """The content as text with LF line ends; lines of format=flowed put together (RFC 3676)."""
        text = decode(self.content(LONGEST_TEXT), self.parameters.get("charset", ""))
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        if self.kind == "text/plain" and self.parameters.get("format", "").lower() == "flowed":
            text = _unflowed(text, self.parameters.get("delsp", "").lower() == "yes")
        return text

    def walk(self) -> Iterator[Part]:
        """This one and everything in it, in the order in which it is written."""
        waiting = [self]
        while waiting:
            part = waiting.pop()
            yield part
            waiting += reversed(part.children)


def read_parts(raw: bytes) -> tuple[Part, bool]:
    """The whole mail as a tree, and whether something of it was too deep or too much to be looked at."""
    top = _part(raw, 0, len(raw), "text/plain")
    waiting, count, cut = [(top, 0)], 1, False
    while waiting:
        part, depth = waiting.pop()
        if not part.kind.startswith("multipart/") and part.kind not in _MESSAGES:
            continue
        if depth == DEEPEST:
            cut = True
            continue
        for begin, end in _pieces(part):
            if count == MOST_PARTS:
                return top, True
            count += 1
            usual = "message/rfc822" if part.kind == "multipart/digest" else "text/plain"
            child = _part(raw, begin, end, usual)
            part.children.append(child)
            waiting.append((child, depth + 1))
    return top, cut


def _part(raw: bytes, begin: int, end: int, usual: str) -> Part:
    head = read_head(raw, begin, end)
    value = head.get("content-type")
    found = _KIND.match(value)
    kind = f"{found[1]}/{found[2]}".lower() if found else usual if not value.strip() else _odd(value, usual)
    return Part(kind, parameters(value), head, raw, head.body_at, max(end, head.body_at))


def _odd(value: str, usual: str) -> str:
    """ "text" alone is plain text, whatever follows."""
    return "text/html" if value.strip().lower().startswith("html") else usual


def _pieces(part: Part) -> Iterator[tuple[int, int]]:
    if part.kind in _MESSAGES:
        if part.head.get("content-transfer-encoding").strip().lower() not in ("base64", "quoted-printable"):
            yield part.begin, part.end
        return
    boundary = part.parameters.get("boundary", "").encode("utf-8", "replace").rstrip()
    cuts = list(_cuts(part, boundary)) if boundary else []
    if not cuts and (found := _ANY_BOUNDARY.search(part.raw, part.begin, min(part.end, part.begin + _BEGIN))):
        cuts = list(_cuts(part, found[1].rstrip()))
    for number, (_, begin, last) in enumerate(cuts):
        if not last:
            yield begin, cuts[number + 1][0] if number + 1 < len(cuts) else part.end


def _cuts(part: Part, boundary: bytes) -> Iterator[tuple[int, int, bool]]:
    """Each boundary line: where the text before it ends, where the line ends, and whether it is the last one."""
    raw, mark, at = part.raw, b"--" + boundary, part.begin
    for _ in range(_MOST_CUTS):
        at = raw.find(mark, at, part.end)
        if at < 0:
            return
        behind = at + len(mark)
        starts = at == part.begin or raw[at - 1 : at] in (b"\n", b"\r")
        line_end = _line_end(raw, behind, min(part.end, behind + 1000))
        rest = raw[behind:line_end].strip()
        if starts and rest in (b"", b"--"):
            before = at - (raw[at - 2 : at] == b"\r\n") - 1
            yield max(before, part.begin), _next_line(raw, line_end, part.end), rest == b"--"
            at = line_end
        else:
            at = behind


def _line_end(raw: bytes, begin: int, end: int) -> int:
    found = [at for at in (raw.find(b"\n", begin, end), raw.find(b"\r", begin, end)) if at >= 0]
    return min(found, default=end)


def _next_line(raw: bytes, at: int, end: int) -> int:
    return min(at + (2 if raw[at : at + 2] == b"\r\n" else 1), end)


def parameters(value: str) -> dict[str, str]:
    """Parameters of a field by lower-case name: RFC 2231, encoded words, and what stands there plainly."""
    found: dict[str, str] = {}
    pieces: dict[str, list[tuple[int, str, bool]]] = {}
    for one in _PARAMETER.finditer(value):
        name, text = one[1].lower(), re.sub(r"\\(.)", r"\1", one[2]) if one[2] is not None else one[3]
        base, star, rest = name.partition("*")
        if not star:
            found.setdefault(base, decoded(text))
            continue
        number = rest.rstrip("*")
        pieces.setdefault(base, []).append((int(number) if number.isdecimal() else 0, text, name.endswith("*")))
    for base, some in pieces.items():
        found[base] = _joined(sorted(some)[:100])
    return found


def _joined(pieces: list[tuple[int, str, bool]]) -> str:
    """RFC 2231: the first piece may name a charset, and each says whether it is encoded."""
    charset, joined = "", b""
    for place, (_, text, encoded) in enumerate(pieces):
        if encoded and not place and text.count("'") >= 2:
            charset, _, text = text.split("'", 2)
        joined += unquote_to_bytes(text) if encoded else text.encode("utf-8", "replace")
    return decode(joined, charset or "utf-8")


def _from_base64(raw: bytes) -> bytes:
    """Whatever can be decoded."""
    try:
        return binascii.a2b_base64(raw)
    except binascii.Error:
        letters = _NOT_BASE64.sub(b"", raw)
    rest = len(letters) % 4
    letters = letters[:-1] if rest == 1 else letters + b"=" * (-rest % 4)
    try:
        return binascii.a2b_base64(letters)
    except binascii.Error:
        return raw


def _from_uuencode(raw: bytes) -> bytes:
    lines, found = raw.splitlines(), []
    for line in lines:
        if line.startswith((b"begin ", b"end")) or not line:
            continue
        try:
            found.append(binascii.a2b_uu(line))
        except binascii.Error:
            return raw
    return b"".join(found)


def _unflowed(text: str, without_space: bool) -> str:
    """A line that ends with a space goes on in the next one of the same quote depth."""
    joined: list[str] = []
    for line in text.split("\n"):
        marks = len(line) - len(line.lstrip(">"))
        said = line[marks:].removeprefix(" ")
        before = joined[-1] if joined else ""
        deep = len(before) - len(before.lstrip(">"))
        if (
            joined
            and before.endswith(" ")
            and before.lstrip("> ") != "-- "
            and before.strip() != "--"
            and deep == marks
        ):
            joined[-1] = (before[:-1] if without_space else before) + said
        else:
            joined.append(">" * marks + (" " if marks and said else "") + said)
    return "\n".join(joined)
