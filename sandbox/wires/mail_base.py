"""The contract of an email company's wire. What happens to an email is decided in `sandbox.mail_company`, in the words
processed, deferred, delivered, bounce, blocked, suppressed, complaint and unsubscribe; a wire says them as its company.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any, Protocol

from starlette.requests import Request
from starlette.routing import Route

from sandbox.mailbox import Mail
from sandbox.wires.base import Call, RefusedError, Reply

MAILBOX = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}")


@dataclass(frozen=True, slots=True)
class Posted:
    """An email that passed every check of a wire. `raw`: as it leaves; `sid`: an id that the bridge chose."""

    to: str
    sender: str
    raw: bytes
    reference: str = field(default="", repr=False)
    sid: str = ""


class MailWire(Protocol):
    who: str
    login: str
    proof: str
    send_path: str

    def new_id(self) -> str: ...

    def routes(self) -> Sequence[Route]: ...

    def submitted(self, request: Request, body: bytes) -> Posted:
        """The email of a request, checked more strictly than by the company. Raises RefusedError."""

    def taken(self, mail: Mail) -> Reply: ...

    def refused(self, refused: RefusedError) -> Reply: ...

    def tell(self, mail: Mail, word: str) -> Sequence[Call]:
        """The callbacks about one event; none where the company does not tell it."""

    def write(self, raw: bytes, sender: str, to: str) -> Call | None:
        """An email of a consumer; None for a company that takes none."""


def an_email(
    ends: tuple[str, str],
    subject: str,
    text: str,
    html: str,
    headers: Mapping[str, str],
    files: Sequence[tuple[str, str, bytes]] = (),
) -> bytes:
    """As a company writes it of JSON. `ends`: From and To; `files`: name, type, bytes."""
    made = EmailMessage()
    made["From"], made["To"] = ends
    made["Subject"] = subject
    for name, value in headers.items():
        made[name] = value
    if text:
        made.set_content(text)
    if html and text:
        made.add_alternative(html, subtype="html")
    elif html:
        made.set_content(html, subtype="html")
    for name, kind, data in files:
        maintype, _, subtype = kind.partition("/")
        made.add_attachment(data, maintype, subtype, filename=name)
    return made.as_bytes()


def mailbox(value: Any) -> str:
    """`Ana <ana@example.com>` or the address alone; RefusedError 21211 for what is none."""
    found = re.fullmatch(r'(?:"(?:[^"\\]|\\.)*" )?<([^<>]*)>|([^<>"]*)', value if isinstance(value, str) else "")
    address = (found[1] or found[2] or "") if found else ""
    if not MAILBOX.fullmatch(address):
        raise RefusedError(400, 21211, "not a mailbox")
    return address


def only(said: Any, known: set[str], needed: set[str]) -> dict[str, Any]:
    """An object with these fields. Raises RefusedError."""
    if not isinstance(said, dict) or set(said) - known or needed - set(said):
        raise RefusedError(400, 400, "an object of known fields, and all that are needed")
    return said


def as_form(fields: Mapping[str, bytes]) -> tuple[str, bytes]:
    """multipart/form-data: its Content-Type and body."""
    boundary = f"xYzZY-{uuid.uuid4().hex}"
    pieces = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value + b"\r\n"
        for name, value in fields.items()
    ]
    return f"multipart/form-data; boundary={boundary}", b"".join([*pieces, f"--{boundary}--\r\n".encode()])
