"""Mails that the mail server took, and mails that consumers write: kept as bytes, read when somebody looks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage

from dcbridge.mail.html import to_text

MOST_FILES = 20


@dataclass(slots=True)
class Recipient:
    """One RCPT. `notify` is what NOTIFY asked for ("" where it was not given), `original` the decoded ORCPT."""

    address: str
    notify: tuple[str, ...] = ()
    original: str = ""
    status: str = "taken"  # then delivered or failed


@dataclass(slots=True)
class Mail:
    seq: int
    at: float
    mail_from: str
    recipients: list[Recipient]
    raw: bytes
    envelope_id: str = ""  # ENVID, decoded
    returned: str = ""  # RET: FULL, HDRS or ""
    utf8: bool = False
    authenticated: bool = False
    encrypted: bool = False
    reports: list[int] = field(default_factory=list)  # the bridge's answers to delivery reports; 0 is none
    provider: str = ""  # the account of an email company, by its name in bridge.yaml
    sid: str = ""  # the company's id
    reference: str = ""  # of the bridge, which the company sends back
    events: list[str] = field(default_factory=list)  # what the company told of it

    def parsed(self) -> EmailMessage:
        return message_from_bytes(self.raw, policy=policy.SMTPUTF8)

    def plain_text(self) -> str:
        """As a mail program quotes it."""
        message = self.parsed()
        return _body(message, "plain") or to_text(_body(message, "html"))

    def view(self) -> object:
        """Envelope, decoded headers, and the text and html bodies ("" where there is none)."""
        message = self.parsed()
        return {
            "seq": self.seq,
            "at": self.at,
            "mail_from": self.mail_from,
            "recipients": self.recipients,
            "envelope_id": self.envelope_id,
            "returned": self.returned,
            "utf8": self.utf8,
            "authenticated": self.authenticated,
            "encrypted": self.encrypted,
            "reports": self.reports,
            "provider": self.provider,
            "events": self.events,
            "size": len(self.raw),
            "headers": [[name, str(value)] for name, value in message.items()],
            "subject": str(message.get("subject", "")),
            "from": str(message.get("from", "")),
            "to": str(message.get("to", "")),
            "reply_to": str(message.get("reply-to", "")),
            "text": _body(message, "plain"),
            "html": _body(message, "html"),
            "files": [one.view(f"/sandbox/mail/{self.seq}") for one in files_of(message)],
        }


@dataclass(slots=True)
class WrittenMail:
    """A mail that a consumer, or her mail system, wrote. `state`: sending, taken or refused (by the bridge)."""

    seq: int
    at: float
    sender: str
    mailbox: str  # of the consumer in whose conversation it is
    to: str
    envelope_from: str
    style: str
    subject: str
    said: str  # what was new in it
    text: str
    html: str
    raw: bytes = field(repr=False)
    answers: int = 0  # the mail that it answers; 0 for none
    state: str = "sending"
    answer: str = ""
    seen: bool = False  # whether an agent got it

    def parsed(self) -> EmailMessage:
        return message_from_bytes(self.raw, policy=policy.SMTPUTF8)

    def view(self) -> object:
        names = [name for name in self.__slots__ if name != "raw"]
        files = [one.view(f"/sandbox/written/{self.seq}") for one in files_of(self.parsed())]
        return {name: getattr(self, name) for name in names} | {"files": files, "size": len(self.raw)}


@dataclass(frozen=True, slots=True)
class Enclosed:
    """A file in a mail. `content_id` without its brackets."""

    place: int
    name: str
    mimetype: str
    content_id: str
    data: bytes = field(repr=False)

    def view(self, under: str) -> object:
        shown = {"name": self.name, "type": self.mimetype, "size": len(self.data), "inline": bool(self.content_id)}
        return shown | {"url": f"{under}/file/{self.place}"}


def files_of(message: EmailMessage) -> list[Enclosed]:
    """Attachments and pictures."""
    return list(_files(message))


def html_of(message: EmailMessage) -> str:
    return _body(message, "html")


def _files(message: EmailMessage) -> Iterator[Enclosed]:
    place = 0
    for part in message.walk():
        if part.is_multipart() or not (part.is_attachment() or part.get_filename() or part.get("content-id")):
            continue
        place += 1
        if place > MOST_FILES:
            return
        data = part.get_payload(decode=True)
        yield Enclosed(
            place,
            part.get_filename() or f"file {place}",
            part.get_content_type(),
            str(part.get("content-id", "")).strip("<> "),
            data if isinstance(data, bytes) else b"",
        )


def _body(message: EmailMessage, subtype: str) -> str:
    for part in message.walk():
        if part.get_content_type() == f"text/{subtype}" and not part.is_attachment():
            try:
                return str(part.get_content())
            except (LookupError, UnicodeError):
                return "(a charset that nobody knows)"
    return ""
