"""A mail that the mail server took: kept as bytes, read when somebody looks."""

from __future__ import annotations

from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage


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

    def parsed(self) -> EmailMessage:
        return message_from_bytes(self.raw, policy=policy.SMTPUTF8)

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
            "size": len(self.raw),
            "headers": [[name, str(value)] for name, value in message.items()],
            "subject": str(message.get("subject", "")),
            "from": str(message.get("from", "")),
            "to": str(message.get("to", "")),
            "reply_to": str(message.get("reply-to", "")),
            "text": _body(message, "plain"),
            "html": _body(message, "html"),
        }


def _body(message: EmailMessage, subtype: str) -> str:
    for part in message.walk():
        if part.get_content_type() == f"text/{subtype}" and not part.is_attachment():
            try:
                return str(part.get_content())
            except (LookupError, UnicodeError):
                return "(a charset that nobody knows)"
    return ""
