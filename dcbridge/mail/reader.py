"""One mail of a stranger, read: who wrote what, in answer to what, and whether a person did.

Nothing here fails: what cannot be read is empty, and the mail itself is kept by whoever called. The time is bounded by
the limits of each file of this package: about a second of processor time for the worst mail of 25 MB.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import StrEnum

from dcbridge.mail import automatic
from dcbridge.mail.authentication import Verdict, dmarc
from dcbridge.mail.head import Head, read_head
from dcbridge.mail.html import to_text
from dcbridge.mail.mime import Part, read_parts
from dcbridge.mail.quotes import is_said, reply_of
from dcbridge.messages import Address

MOST_TEXT = 100_000  # characters that an agent gets
MOST_FILES = 20

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]")
_LINES = re.compile(r"[\x85\u2028\u2029]")
_MANY_BLANKS = re.compile(r"\n[ \t\xa0]*(?:\n[ \t\xa0]*){2,}")
_DELIVERED = ("delivered-to", "x-original-to", "envelope-to", "to")
_CONTAINERS = ("message/rfc822", "message/global")


class Kind(StrEnum):
    """What a mail is."""

    MESSAGE = "message"  # a person's words
    AUTOMATIC = "automatic"  # of a machine, a list, an absent person's mail system
    BOUNCE = "bounce"  # of a mail system, about a mail of ours
    LOOP = "loop"  # our own mail, back again


@dataclass(frozen=True, slots=True)
class File:
    """Something that came along. `size`: bytes; of base64 in its usual lines."""

    name: str = field(repr=False)
    kind: str
    size: int
    part: Part = field(repr=False)


@dataclass(frozen=True, slots=True)
class Mail:
    """What was read. `reply` is the new text, `whole` all of it; ids are without their brackets."""

    kind: Kind
    why: str  # a few words of ours, of what is no message
    sender: Address | None = field(repr=False)
    recipients: tuple[Address, ...] = field(repr=False)  # of To, the first 50
    delivered_to: tuple[str, ...] = field(repr=False)  # mailboxes that mail systems name, then those of To
    subject: str = field(repr=False)
    reply: str = field(repr=False)
    whole: str = field(repr=False)
    html: str = field(repr=False)  # as it came: nobody may be shown this
    files: tuple[File, ...] = field(repr=False)
    message_id: str = field(repr=False)
    in_reply_to: tuple[str, ...] = field(repr=False)  # In-Reply-To, then References, the nearest first
    sent_at: float | None
    dmarc: Verdict
    cut: tuple[str, ...]  # what was left out, in a few words of ours


def read(
    raw: bytes,
    *,
    envelope_from: str | None = None,
    trusted: str = "",
    own_domains: Collection[str] = (),
    ours: Collection[int] = (),
) -> Mail:
    """Read a mail. `envelope_from`: MAIL FROM, None where unknown. `trusted`: whose Authentication-Results count.
    `own_domains`: of our Message-IDs. `ours`: shingles of what we sent to this consumer.
    """
    top, incomplete = read_parts(raw)
    head = top.head
    kind, why = _kind(head, top.kind, envelope_from, own_domains)
    cut = ["parts"] if incomplete else []
    whole = _clean(_text_of(top))
    if len(whole) > MOST_TEXT:
        whole = whole[:MOST_TEXT]
        cut.append("text")
    files = _files_of(top)
    if len(files) > MOST_FILES:
        files = files[:MOST_FILES]
        cut.append("files")
    subject = head.words("subject")
    sender = next(iter([*head.addresses("from"), *head.addresses("sender"), *head.addresses("reply-to")]), None)
    ids = head.ids("message-id")
    answered = [*head.ids("in-reply-to"), *reversed(head.ids("references"))]
    return Mail(
        kind=kind,
        why=why,
        sender=sender,
        recipients=tuple(head.addresses("to")),
        delivered_to=tuple(one.id for name in _DELIVERED for one in head.addresses(name)),
        subject=subject,
        reply=reply_of(whole, subject, ours) if kind is not Kind.BOUNCE else whole,
        whole=whole,
        html=_html_of(top),
        files=tuple(files),
        message_id=ids[0] if ids else "",
        in_reply_to=tuple(dict.fromkeys(answered)),
        sent_at=_date(head.get("date")),
        dmarc=dmarc(head, trusted),
        cut=tuple(cut),
    )


def _kind(head: Head, content: str, envelope_from: str | None, own_domains: Collection[str]) -> tuple[Kind, str]:
    if why := automatic.loop(head, own_domains):
        return Kind.LOOP, why
    if why := automatic.bounce(head, content, envelope_from):
        return Kind.BOUNCE, why
    if why := automatic.automatic(head, envelope_from):
        return Kind.AUTOMATIC, why
    return Kind.MESSAGE, ""


def name_of(raw: bytes) -> str:
    """What tells this mail from all others, whatever way it comes and however often.

    A Message-ID alone does not: some programs write the same one into all their mails.
    """
    head = read_head(raw)
    digest = hashlib.blake2b(digest_size=12)
    for name in ("message-id", "date", "from", "subject"):
        digest.update(head.get(name).encode("utf-8", "replace") + b"\0")
    end = len(raw)
    while end > head.body_at and raw[end - 1] in b"\r\n":  # ways differ in how a mail ends
        end -= 1
    digest.update(memoryview(raw)[head.body_at : end])
    return digest.hexdigest()


def _date(value: str) -> float | None:
    try:
        return parsedate_to_datetime(value[:200]).timestamp() if value else None
    except (ValueError, TypeError, IndexError, OverflowError, OSError):
        return None


def _clean(text: str) -> str:
    """Without what is no text, with one kind of line end, and no more than one blank line at a time."""
    text = _LINES.sub("\n", text.replace("\r\n", "\n").replace("\r", "\n"))
    return _MANY_BLANKS.sub("\n\n", _CONTROLS.sub("", text)).strip()


def _is_body(part: Part) -> bool:
    return (
        part.kind in ("text/plain", "text/html", "text/enriched")
        and part.disposition != "attachment"
        and not (part.filename and part.disposition != "inline")
    )


def _text_of(part: Part) -> str:
    """What a person would read first: of alternatives the plain text where it says anything."""
    if _is_body(part):
        return to_text(part.text()) if part.kind == "text/html" else part.text()
    if not part.children:  # a multipart without parts is what is in it
        return part.text() if part.kind.startswith("multipart/") else ""
    if not part.kind.startswith("multipart/"):
        return ""
    if part.kind == "multipart/alternative":
        return _of_alternatives(part)
    children = part.children[:1] if part.kind in ("multipart/related", "multipart/signed") else part.children
    return "\n\n".join(text for text in map(_text_of, children) if text.strip())


def _html_of(part: Part) -> str:
    """The first HTML that is a body of the mail; "" where there is none."""
    waiting = [part]
    while waiting:
        part = waiting.pop()
        if _is_body(part) and part.kind == "text/html":
            return part.text()
        if part.kind.startswith("multipart/"):
            waiting += reversed(part.children)
    return ""


def _of_alternatives(part: Part) -> str:
    plain = next((child for child in part.children if child.kind == "text/plain"), None)
    if plain is not None and is_said((text := plain.text()).split("\n")):
        return text
    return next((text for child in reversed(part.children) if is_said((text := _text_of(child)).split("\n"))), "")


def _files_of(top: Part) -> list[File]:
    """Everything that is no body: attachments, pictures, mails within the mail as one file each."""
    found: list[File] = []
    waiting = [top]
    while waiting:
        part = waiting.pop()
        if part.kind.startswith("multipart/"):
            waiting += reversed(part.children)
        elif (part.kind in _CONTAINERS or not _is_body(part)) and (part is not top or part.head.get("content-type")):
            found.append(File(_name_of(part, len(found) + 1), part.kind, part.size, part))
    return found


def _name_of(part: Part, number: int) -> str:
    if part.filename:
        return part.filename
    if part.kind in _CONTAINERS:
        return "message.eml"
    ending = re.sub(r"[^a-z0-9]", "", part.kind.rpartition("/")[2].rpartition("-")[2])[:12]
    return f"file-{number}.{ending or 'bin'}"
