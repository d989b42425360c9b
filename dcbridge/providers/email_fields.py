"""What email companies with an HTTP API have in common: an email in parts, its ends, its headers, and their fields."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from email.headerregistry import Address as MailAddress

import httpx

from dcbridge.errors import Refused
from dcbridge.messages import AgentMessage, Reason, message_ref
from dcbridge.providers import mail_message
from dcbridge.providers.base import Fields, MediaFile, Part, Turn
from dcbridge.providers.delivery_status import Outcome
from dcbridge.providers.smtp_codes import verdict_of
from dcbridge.settings.types import is_loopback

MOST_ADDRESS = 320  # characters of a mailbox
MOST_RECIPIENTS = 50  # of one mail of a consumer
MESSAGE_ID = "dcbridge.message-id"  # of a request: the Message-ID that it asks for, without its brackets


class EmailFields(Fields):
    """What an account at any email company may have in bridge.yaml."""

    def doubts(self) -> Iterator[tuple[str, str]]:
        url = getattr(self, "base_url", None) or ""
        if url.startswith("http://") and not is_loopback(url):
            yield "base_url", "is http: messages and the login travel unencrypted; write https://"


@dataclass(frozen=True, slots=True)
class Email:
    """One copy of an agent's email, before it is written in a company's words. Ids have their brackets."""

    sender: MailAddress = field(repr=False)
    recipient: MailAddress = field(repr=False)
    reply_to: MailAddress | None = field(repr=False)
    subject: str = field(repr=False)
    text: str = field(repr=False)
    html: str = field(repr=False)
    message_id: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)  # of the thread, and to unsubscribe


def email_parts(message: AgentMessage) -> Sequence[Part]:
    """An email is one part. Raises Refused (510, 520) for what is none."""
    if message.type != "Email":
        raise Refused("not an email", reason=Reason.UNSUPPORTED)
    text, html = mail_message.alternatives(message)
    if not text and not html and not message.media:
        if any(content.text.strip() for content in message.contents):
            raise Refused("no text and no html", reason=Reason.UNSUPPORTED)
        raise Refused("empty content", reason=Reason.INVALID_STRUCTURE)
    return [Part(0, 1, text or html)]


def ends(message: AgentMessage) -> tuple[MailAddress, MailAddress]:
    """From whom and to whom. Raises Refused (520, 530)."""
    sender, recipient = mail_message.mailbox_of(message.sender), mail_message.mailbox_of(message.to)
    if sender is None:
        raise Refused("no sender address", reason=Reason.INVALID_STRUCTURE)
    if recipient is None:
        raise Refused("no recipient address", reason=Reason.INVALID_DESTINATION)
    return sender, recipient


def ascii_ends(message: AgentMessage) -> tuple[MailAddress, MailAddress]:
    """The same, of a company that does not say that it carries mailboxes beyond ASCII. Raises Refused (520, 530)."""
    sender, recipient = ends(message)
    if not sender.addr_spec.isascii():
        raise Refused("a sender beyond ASCII", reason=Reason.INVALID_STRUCTURE)
    if not recipient.addr_spec.isascii():
        raise Refused("a recipient beyond ASCII", reason=Reason.INVALID_DESTINATION)
    return sender, recipient


def message_id_of(message: AgentMessage, sender: MailAddress) -> str:
    """Of all copies of an email the same, on every attempt; with its brackets."""
    return f"<{message_ref(message.channel_id, message.message_id)}@{sender.domain}>"


def email_of(turn: Turn) -> Email:
    """What goes out for a turn. Raises Refused (520, 530)."""
    message = turn.message
    sender, recipient = ascii_ends(message)
    reply_to = mail_message.mailbox_of(message.reply_to)
    if message.reply_to is not None and reply_to is None:
        raise Refused("no reply-to address", reason=Reason.INVALID_STRUCTURE)
    if reply_to is not None and not reply_to.addr_spec.isascii():
        reply_to = None  # an answer goes to From
    text, html = (mail_message.writable(one) for one in mail_message.alternatives(message))
    return Email(
        sender,
        recipient,
        reply_to,
        mail_message.one_line(message.subject),
        text,
        html,
        message_id_of(message, sender),
        tuple(mail_message.more_headers(turn.thread, turn.unsubscribe)),
    )


def as_mime(turn: Turn) -> tuple[bytes, MailAddress, str]:
    """The whole message, its recipient, and its Message-ID with brackets, for a company that takes it so.

    Raises Refused (520, 530).
    """
    sender, recipient = ascii_ends(turn.message)
    message_id = message_id_of(turn.message, sender)
    content = mail_message.write(
        turn.message, sender, recipient, message_id, turn.accepted_at, turn.media, turn.thread, turn.unsubscribe
    )
    return content, recipient, message_id


def shown(mailbox: MailAddress) -> str:
    """`Ana Ruiz <ana@example.com>`, as a field of JSON or a form has it; what could end the name is left out."""
    name = mailbox.display_name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{name}" <{mailbox.addr_spec}>' if name else mailbox.addr_spec


def in_base64(file: MediaFile) -> str:
    return base64.b64encode(file.data).decode()


def with_message_id(request: httpx.Request, message_id: str) -> httpx.Request:
    """The same request, which says under which Message-ID its email leaves; "" where the company makes one."""
    request.extensions[MESSAGE_ID] = message_id.removeprefix("<").removesuffix(">")
    return request


def bounced(status: str, diagnostic: str) -> tuple[Reason, str]:
    """Why a server refused an email for good, and the code that says so: as a delivery report is read."""
    verdict = verdict_of(Outcome("failed", status, diagnostic, ()))
    return verdict.reason or Reason.GENERAL, verdict.code


def recipients_of(*values: object) -> tuple[str, ...]:
    """The address of an event, where it is one."""
    return tuple(one for one in values if isinstance(one, str) and "@" in one and len(one) <= MOST_ADDRESS)
