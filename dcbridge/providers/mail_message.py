"""An email as it is written for one recipient: mailboxes, headers, bodies.

RFC 5322, 2045, 2047   the message, and letters beyond ASCII in its headers
RFC 6531, 6532, 6857   mailboxes beyond ASCII, and how they are shown to whom cannot take them

A copy is in ASCII unless its own recipient or its sender cannot be written so. What another recipient's mailbox needs
must not decide whether this one is reached: a message that needs SMTPUTF8 comes back from every server without it, at
the next hop as well as at ours.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email import policy
from email.headerregistry import Address as MailAddress
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Literal

import idna

from dcbridge.errors import Refused
from dcbridge.mail.unsubscribe import fields_of as unsubscribe_fields
from dcbridge.messages import Address, AgentMessage, Reason
from dcbridge.providers.base import MediaFile

# A dot-atom on both sides, as RFC 5322 writes it, with the letters that RFC 6531 adds. No quoted local
# part and no address literal: nobody's customer has one, and each is a way to smuggle something.
_ATOM = r"[^\s\x00-\x20\x7f-\x9f\"(),.:;<>@\[\\\]\u2028\u2029\ud800-\udfff]+"
_MAILBOX = re.compile(rf"({_ATOM}(?:\.{_ATOM})*)@({_ATOM}(?:\.{_ATOM})*)")
_LONGEST_ADDRESS = 254  # octets; RFC 5321, 4.5.3.1.3, less the angle brackets

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_UNENCODABLE = re.compile(r"[\ud800-\udfff]")
_PLAIN = re.compile(r"[ -~]{0,200}", re.ASCII)  # short enough for one line
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*", re.ASCII)
_FOLD = "\r\n "
_LINE = 76  # characters of a line with an encoded word (RFC 2047, 2); a word itself has 75 at most


def mailbox_of(address: Address | None) -> MailAddress | None:
    """Name and address as a header carries them, the domain in ASCII; None for what is no address."""
    found = _MAILBOX.fullmatch(address.id.strip()) if address else None
    if address is None or found is None or len(found[0].encode()) > _LONGEST_ADDRESS:
        return None
    name = _UNPRINTABLE.sub(" ", address.name).strip()
    try:
        return MailAddress(name, found[1], _ascii_domain(found[2]))
    except (idna.IDNAError, UnicodeError):
        return None


def _ascii_domain(domain: str) -> str:
    """IDNA 2008, which keeps straße.de and strasse.de apart."""
    return domain if domain.isascii() else idna.encode(domain, uts46=True).decode()


def alternatives(message: AgentMessage) -> tuple[str, str]:
    """The plain text and the HTML; several pieces of one type follow each other."""
    text, html = (
        "\n".join(content.text for content in message.contents if content.type.lower() == wanted)
        for wanted in ("text", "html")
    )
    if not message.contents:
        text = message.text
    return text if text.strip() else "", html if html.strip() else ""


def write(
    message: AgentMessage,
    sender: MailAddress,
    recipient: MailAddress,
    message_id: str,
    at: float,
    files: Sequence[MediaFile] = (),
    thread: Sequence[str] = (),
    unsubscribe: str = "",
) -> bytes:
    """The whole message with CRLF line ends; in ASCII unless the sender's or this recipient's mailbox is not.

    The same arguments give the same bytes. `at` is its date, in seconds since 1970. `thread`: Message-IDs that it goes
    on from, the oldest first.

    Raises Refused (520) for a Reply-To that is no address.
    """
    wide = not (sender.addr_spec.isascii() and recipient.addr_spec.isascii())
    others = [found for found in map(mailbox_of, message.recipients) if found is not None]
    reply_to = mailbox_of(message.reply_to)
    if message.reply_to is not None and reply_to is None:
        raise Refused("no reply-to address", reason=Reason.INVALID_STRUCTURE)
    if reply_to is not None and not wide and not reply_to.addr_spec.isascii():
        reply_to = None  # shown as a group it would lead nowhere; without it an answer goes to From
    headers = [
        _addresses("From", [sender], wide=wide),
        _addresses("To", others or [recipient], wide=wide),
        *([_addresses("Reply-To", [reply_to], wide=wide)] if reply_to else []),
        _text("Subject", message.subject),
        f"Date: {format_datetime(datetime.fromtimestamp(at, UTC))}",
        f"Message-ID: {message_id}",
        *(f"{name}: {_FOLD.join(value.split())}" for name, value in more_headers(thread, unsubscribe)),
    ]
    body = EmailMessage(policy.SMTP)
    text, html = map(writable, alternatives(message))
    if text:
        body.set_content(text, charset="utf-8", cte=_encoding(text))
    if html and text:
        body.add_alternative(html, subtype="html", charset="utf-8", cte=_encoding(html))
        # Known to nobody who writes a text that it could stand in.
        digest = hashlib.blake2b("\0".join((message_id, text, html)).encode(), digest_size=16)
        body.set_boundary(f"=_{digest.hexdigest()}")
    elif html:
        body.set_content(html, subtype="html", charset="utf-8", cte=_encoding(html))
    begun = "\r\n".join([*headers, ""]).encode()
    if not files:
        return begun + body.as_bytes()
    names = "\0".join([message_id, text, html, *(hashlib.sha256(file.data).hexdigest() for file in files)])
    stands_for = [hashlib.blake2b(f"{number}\0{names}".encode()).digest()[:45] for number in range(len(files))]
    for file, instead in zip(files, stands_for, strict=True):
        kind, _, subtype = file.mimetype.partition("/")
        body.add_attachment(instead, kind, subtype, filename=file.name)
    body.set_boundary(f"=_{hashlib.blake2b(names.encode(), digest_size=16, person=b'files').hexdigest()}")
    return begun + b"".join(_with_files(body.as_bytes(), files, stands_for))


def _with_files(written: bytes, files: Sequence[MediaFile], stands_for: Sequence[bytes]) -> Iterator[bytes]:
    """The standard library takes a second for 5 MB and holds all other work up: it writes a line in place of each."""
    for file, instead in zip(files, stands_for, strict=True):
        before, _, written = written.partition(base64.b64encode(instead) + b"\r\n")
        yield before
        yield base64.encodebytes(file.data).replace(b"\n", b"\r\n")
    yield written


def more_headers(thread: Sequence[str], unsubscribe: str = "") -> Iterator[tuple[str, str]]:
    """By which her mail program puts this email to those that it goes on from (RFC 5322, 3.6.4), and unsubscribes."""
    if thread:
        yield "In-Reply-To", f"<{thread[-1]}>"
        yield "References", " ".join(f"<{one}>" for one in thread)
    yield from unsubscribe_fields(unsubscribe)


def writable(text: str) -> str:
    """A text as UTF-8 can write it."""
    return _UNENCODABLE.sub("\ufffd", text)


def one_line(value: str) -> str:
    """A subject: line ends and other control characters become a space."""
    return _UNPRINTABLE.sub(" ", value).strip()


# The standard library folds names wrongly now and then: Python 3.11 wrote the comma between two
# addresses as an encoded word. So our headers are written here, and only the body is left to it.
def _addresses(name: str, mailboxes: list[MailAddress], *, wide: bool) -> str:
    """A header of mailboxes, one a line."""
    header = f"{name}: "
    for number, mailbox in enumerate(mailboxes):
        header += _FOLD if number else ""
        comma = "," if number + 1 < len(mailboxes) else ""
        header = _with_mailbox(header, mailbox, comma, wide=wide)
    return header


def _with_mailbox(header: str, mailbox: MailAddress, comma: str, *, wide: bool) -> str:
    """`Ana Ruiz <ana@example.com>`, behind what the header has already.

    A mailbox that this recipient's mail system may not be able to take is a group without members, its address part
    of the group's name (RFC 6857, 3.1.9): shown, and not to be written to.
    """
    name, address = mailbox.display_name, mailbox.addr_spec
    if not wide and not address.isascii():
        return _with_tail(_with_words(header, f"{name} {address}".strip()), "", f":;{comma}")
    if not name:
        return header + address + comma
    if _PLAIN.fullmatch(name) and "=?" not in name:
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        header += name if _ATOMS.fullmatch(name) else f'"{escaped}"'
    else:
        header = _with_words(header, name)
    return _with_tail(header, " ", f"<{address}>{comma}")


def _with_tail(header: str, between: str, tail: str) -> str:
    """What follows a name, on a line of its own where the last one would become too long."""
    return header + (between if _used(header) + len(between) + len(tail) <= _LINE else _FOLD) + tail


def _text(name: str, value: str) -> str:
    """A header of words, on one line or folded: line ends and other control characters become a space."""
    value = one_line(value)
    header = f"{name}: "
    return header + value if _PLAIN.fullmatch(value) and "=?" not in value else _with_words(header, value)


def _with_words(header: str, value: str) -> str:
    """RFC 2047: encoded words, one a line, none cut within a character, no line with more than 76 characters."""
    words, word = [], b""
    room = _octets(_LINE - _used(header))
    for char in value:
        if len(word) + len(char.encode()) > room:
            words.append(word)
            word, room = b"", _octets(_LINE - 1)
        word += char.encode()
    return header + _FOLD.join(f"=?utf-8?b?{base64.b64encode(each).decode()}?=" for each in [*words, word])


def _octets(characters: int) -> int:
    """How many octets an encoded word of this length carries in base64."""
    return (characters - len("=?utf-8?b??=")) // 4 * 3


def _used(header: str) -> int:
    """Characters on the last line."""
    return len(header) - (header.rfind("\n") + 1)


def _encoding(text: str) -> Literal["quoted-printable", "base64"]:
    """Readable where most of it is ASCII, short where it is not."""
    ascii_share = sum(map(str.isascii, text)) / len(text)
    return "quoted-printable" if ascii_share > 0.7 else "base64"
