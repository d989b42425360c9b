"""A consumer's mail written again of the pieces that a company made of it, where it does not hand on the mail."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from email import policy
from email.message import EmailMessage

MOST_HEADERS = 200
LONGEST_HEADER = 4000  # characters
MOST_BLOCK = 1 << 18  # characters of a header that is one text
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,76}", re.ASCII)
_TYPE = re.compile(r"[A-Za-z0-9.+-]{1,60}/[A-Za-z0-9.+-]{1,60}", re.ASCII)
_BODY = frozenset(("content-type", "content-transfer-encoding", "content-disposition", "mime-version", "return-path"))
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]+")


def rebuilt(headers: Sequence[tuple[str, str]], text: str, html: str, files: Sequence[tuple[str, str, bytes]]) -> bytes:
    """The same arguments give the same bytes: a mail that comes again is known by them. `files`: name, type, bytes."""
    lines = [
        f"{name}: {_UNWRITABLE.sub(' ', value)[:LONGEST_HEADER].strip()}\r\n"
        for name, value in headers[:MOST_HEADERS]
        if _NAME.fullmatch(name) and name.lower() not in _BODY
    ]
    body = EmailMessage(policy.SMTP)
    body.set_content(_writable(text), charset="utf-8", cte="base64")
    if html:
        body.add_alternative(_writable(html), subtype="html", charset="utf-8", cte="base64")
        body.set_boundary(_boundary("alternative", text, html))
    for name, kind, data in files:
        maintype, _, subtype = (kind if _TYPE.fullmatch(kind) else "application/octet-stream").partition("/")
        if maintype in ("multipart", "message"):
            maintype, subtype = "application", "octet-stream"
        body.add_attachment(data, maintype, subtype, filename=_UNWRITABLE.sub(" ", name)[:200] or "file")
    if files:
        body.set_boundary(_boundary("mixed", text, html, *(hashlib.sha256(data).hexdigest() for _, _, data in files)))
    return "".join(lines).encode() + body.as_bytes()


def header_lines(block: str) -> list[tuple[str, str]]:
    """Name and value of each field of a mail's header, as a company hands it on in one text."""
    found: list[tuple[str, str]] = []
    for line in block[:MOST_BLOCK].replace("\r\n", "\n").split("\n"):
        if line[:1] in (" ", "\t") and found:
            name, value = found[-1]
            if len(value) < LONGEST_HEADER:
                found[-1] = name, f"{value} {line.strip()}"
        elif len(found) < MOST_HEADERS and ":" in line:
            name, _, value = line.partition(":")
            found.append((name.strip(), value.strip()))
    return found


def with_missing(headers: Sequence[tuple[str, str]], own: Mapping[str, str]) -> list[tuple[str, str]]:
    """The header of a mail, and above it what a company says of it where that is not there."""
    named = {name.lower() for name, _ in headers}
    return [*((name, value) for name, value in own.items() if value and name.lower() not in named), *headers]


def _writable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _boundary(*parts: str) -> str:
    return "=_" + hashlib.blake2b("\0".join(parts).encode("utf-8", "replace"), digest_size=16).hexdigest()
