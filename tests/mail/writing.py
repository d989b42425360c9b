"""Mails as clients and mail systems write them, made here."""

from __future__ import annotations

import base64
import quopri
from dataclasses import dataclass, field

from dcbridge.mail.reader import Kind

DATE = "Thu, 26 Nov 2026 12:00:00 +0100"
CONSUMER = "Ana Ruiz <ana@example.org>"
OURS = "care@company.com"


@dataclass(frozen=True)
class Row:
    """One mail, and what has to be read in it."""

    name: str
    raw: bytes = field(repr=False)
    text: str
    kind: Kind = Kind.MESSAGE
    files: tuple[str, ...] = ()
    subject: str | None = None
    sender: tuple[str, str] | None = None
    envelope_from: str | None = None


def mail(
    body: str | bytes, *fields: str, subject: str = "Re: Your order 17", sender: str = CONSUMER, crlf: bool = True
) -> bytes:
    """A mail of these fields (of a repeated name the later one) and this body."""
    known = {
        "From": sender, "To": OURS, "Subject": subject, "Date": DATE, "Message-ID": "<a1@mail.example.org>",
        "MIME-Version": "1.0",
    }  # fmt: skip
    for one in fields:
        name, _, value = one.partition(": ")
        known[name] = value
    head = "\n".join(f"{name}: {value}" for name, value in known.items() if value)
    written = body if isinstance(body, bytes) else body.encode()
    if crlf:
        head = head.replace("\n", "\r\n")
        written = written.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") if isinstance(body, str) else written
    end = "\r\n\r\n" if crlf else "\n\n"
    return head.encode("utf-8", "surrogateescape") + end.encode() + written


def plain(text: str, *fields: str, subject: str = "Re: Your order 17") -> bytes:
    """Plain text in UTF-8."""
    return mail(
        text, "Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit", *fields, subject=subject
    )


def html(text: str, *fields: str, subject: str = "Re: Your order 17") -> bytes:
    """HTML alone, quoted-printable."""
    encoded = quopri.encodestring(text.encode()).decode()
    return mail(
        encoded, "Content-Type: text/html; charset=utf-8", "Content-Transfer-Encoding: quoted-printable", *fields,
        subject=subject,
    )  # fmt: skip


def encoded(text: str, codec: str, label: str | None, how: str = "8bit") -> bytes:
    """Text in a charset, labelled with this or another one, in one of the encodings for transfer."""
    raw = text.encode(codec)
    body = {
        "8bit": lambda: raw,
        "base64": lambda: base64.encodebytes(raw),
        "quoted-printable": lambda: quopri.encodestring(raw),
    }[how]()
    kind = "Content-Type: text/plain" + (f'; charset="{label}"' if label is not None else "")
    return mail(body, kind, f"Content-Transfer-Encoding: {how}")


def part(kind: str, body: str | bytes, *fields: str) -> str:
    """One part of a multipart; bytes in base64."""
    more = list(fields)
    if isinstance(body, bytes):
        more.append("Content-Transfer-Encoding: base64")
        body = base64.encodebytes(body).decode()
    return "\n".join([f"Content-Type: {kind}", *more, "", body])


def many(kind: str, *parts: str, boundary: str = "=_b1") -> str:
    """The parts of a multipart as its body; `kind` only reads well where it is called."""
    assert kind
    return "".join(f"--{boundary}\n{one}\n" for one in parts) + f"--{boundary}--\n"


def multipart(kind: str, *parts: str, subject: str = "Re: Your order 17", fields: tuple[str, ...] = ()) -> bytes:
    """A whole mail of several parts."""
    return mail(many(kind, *parts), f'Content-Type: multipart/{kind}; boundary="=_b1"', *fields, subject=subject)


def inner(kind: str, *parts: str, boundary: str = "=_b2") -> str:
    """A multipart within a multipart."""
    return f'Content-Type: multipart/{kind}; boundary="{boundary}"\n\n' + many(kind, *parts, boundary=boundary)
