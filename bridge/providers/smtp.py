"""Plain SMTP submission to any mail system, and its delivery status notifications.

RFC 5321, 6409   submission          RFC 3461, 3464   delivery status notifications (DSN)
RFC 5322, 2045   the message         RFC 3463, 5248   enhanced status codes

One message goes to one recipient in one transaction. All copies of an email show the same To line
and the same Message-ID; what tells them apart is the envelope id (ENVID), our own reference, which
a delivery report carries back. Where a server loses it, the report names the copy by Message-ID and
recipient, by which nothing looks it up yet: it is a dead letter.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email import policy
from email.headerregistry import Address as MailAddress
from email.message import EmailMessage, Message
from email.parser import BytesParser
from email.utils import format_datetime
from typing import Annotated, Literal

import idna
from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from bridge.errors import (
    AccountFault,
    BadSignature,
    Deferred,
    Refused,
    SendError,
    Throttled,
    UnreadableEvent,
)
from bridge.messages import Address, AgentMessage, DeliveryUpdate, Reason, UpdateStatus, message_ref
from bridge.providers.base import Answer, Asking, Callback, CallbackAnswer, Fields, MailAnswer, MailRequest, Part, Taken

Secret = Annotated[SecretStr, Field(min_length=1)]
OneOrMore = BeforeValidator(lambda value: (value,) if isinstance(value, str | SecretStr) else value)

# A dot-atom on both sides, as RFC 5322 writes it, with the letters that RFC 6531 adds. No quoted local
# part and no address literal: nobody's customer has one, and each is a way to smuggle something.
_ATOM = r"[^\s\x00-\x20\x7f-\x9f\"(),.:;<>@\[\\\]\u2028\u2029\ud800-\udfff]+"
_MAILBOX = re.compile(rf"({_ATOM}(?:\.{_ATOM})*)@({_ATOM}(?:\.{_ATOM})*)")

_LONGEST_ADDRESS = 254  # octets; RFC 5321, 4.5.3.1.3, less the angle brackets


class SmtpFields(Fields):
    """A mail server that takes mail from us."""

    host: str = Field(pattern=r"^[^\s/@]+$", description="Host name of the mail server.")
    port: int = Field(587, ge=1, le=65535, description="Port of the mail server.")
    security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="How the connection is encrypted: STARTTLS, TLS from the first byte, or not at all."
    )
    verify_certificate: bool = Field(True, description="Whether the server's certificate must be valid for its host.")
    username: str = Field("", description="User name for AUTH; without it, nobody logs in.")
    password: SecretStr = Field(SecretStr(""), description="Password for AUTH.")
    local_hostname: str | None = Field(
        None, pattern=r"^[\x21-\x7e]+$", description="Name in EHLO; without it, the host's own full name."
    )
    mail_from: str | None = Field(None, description="Envelope sender, to which reports go; else the From address.")
    dsn: Literal["auto", "never"] = Field(
        "auto", description="Whether delivery is reported, where the server offers it and a callback secret is set."
    )
    callback_secret: Annotated[tuple[Secret, ...], OneOrMore] = Field(
        (), description="Secret, or several during a rotation, with which reports are posted to the status callback."
    )
    timeout: float = Field(
        15.0, gt=0, le=600, description="Seconds for all before the content, and again for the content and its answer."
    )

    @field_validator("mail_from")
    @classmethod
    def _a_mailbox(cls, value: str | None) -> str | None:
        if value is None:
            return None
        mailbox = _mailbox(Address(value))
        if mailbox is None:
            raise ValueError("should be an address such as bounces@example.com")
        return mailbox.addr_spec

    @model_validator(mode="after")
    def _no_password_in_the_clear(self) -> SmtpFields:
        if self.username and self.security == "none":
            raise ValueError("username needs security starttls or tls: a password does not travel in the clear")
        return self


# Enhanced status codes without their class (RFC 3463): "subject.detail", else "subject".
_REASONS = {
    "1": Reason.INVALID_DESTINATION,
    "1.7": Reason.NOT_ALLOWED,  # the sender's mailbox
    "1.8": Reason.NOT_ALLOWED,  # the sender's domain
    "2.1": Reason.INVALID_DESTINATION,
    "2.3": Reason.UNSUPPORTED,  # too big for the mailbox
    "3.4": Reason.UNSUPPORTED,  # too big for the system
    "4.7": Reason.EXPIRED,
    "5": Reason.INVALID_STRUCTURE,
    "6": Reason.UNSUPPORTED,
    "7": Reason.NOT_ALLOWED,
}

# Replies without an enhanced code, at RCPT; a code that is not here: 500.
_BARE_REASONS = {
    **dict.fromkeys((550, 551, 553, 556), Reason.INVALID_DESTINATION),
    **dict.fromkeys((500, 501, 502, 503, 504, 555), Reason.INVALID_STRUCTURE),
}
# At MAIL it is the sender that is refused, after DATA the content, and 552 is about its size.
_BARE_REASONS_ELSEWHERE = _BARE_REASONS | {
    **dict.fromkeys((550, 551, 553, 554), Reason.NOT_ALLOWED),
    552: Reason.UNSUPPORTED,
}
_LOGIN_CODES = frozenset({530, 534, 535, 538})
_LOGIN_STATUSES = frozenset({"7.8", "7.9", "7.11"})
_RATE_STATUSES = frozenset({"2.1", "4.5"})  # with 4.7.x: Gmail's "receiving mail too quickly", congestion

_ACTIONS = {
    "delivered": UpdateStatus.DELIVERED,
    "failed": UpdateStatus.FAILED,
    "delayed": UpdateStatus.SENT,
    "relayed": UpdateStatus.SENT,  # to a system that reports nothing further
    "expanded": UpdateStatus.SENT,
}

_STATUS = re.compile(r"\s*([245])\.([0-9]{1,3}\.[0-9]{1,3})\b", re.ASCII)
_DIAGNOSTIC = re.compile(r"\s*smtp\s*;\s*([245][0-9][0-9])\b[ -]?(.*)", re.ASCII | re.IGNORECASE | re.DOTALL)
_REF = re.compile(r"[0-9A-Za-z-]{1,64}", re.ASCII)
_MESSAGE_ID = re.compile(r"<[!-;=?-~]{1,240}>", re.ASCII)
_XTEXT = re.compile(r"\+([0-9A-F]{2})", re.ASCII)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


_UNENCODABLE = re.compile(r"[\ud800-\udfff]")
_PLAIN = re.compile(r"[ -~]{0,200}", re.ASCII)  # short enough for one line
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*", re.ASCII)
_FOLD = "\r\n "


class Smtp:
    """One mail server and one login."""

    kind = "smtp"
    fields_model = SmtpFields
    channel_types = frozenset({"email"})
    asking: Asking | None = None  # a mail server keeps nothing that could be asked for

    def __init__(self, name: str, fields: SmtpFields, public_url: str) -> None:
        """`public_url` is not used: mail carries no callback address."""
        self.name = self.account = name
        self._fields = fields
        # A report that nobody could bring us would keep each message waiting for it.
        self._ask_dsn = fields.dsn == "auto" and bool(fields.callback_secret)

    def parts(self, message: AgentMessage) -> Sequence[Part]:
        if message.type != "Email":
            raise Refused("not an email", reason=Reason.UNSUPPORTED)
        text, html = _alternatives(message)
        if not text and not html:
            if any(content.text.strip() for content in message.contents):
                raise Refused("no text and no html", reason=Reason.UNSUPPORTED)
            raise Refused("empty content", reason=Reason.INVALID_STRUCTURE)
        return [Part(0, 1, text or html)]

    def request(self, message: AgentMessage, part: Part) -> MailRequest:
        sender = _mailbox(message.sender)
        recipient = _mailbox(message.to)
        if sender is None:
            raise Refused("no sender address", reason=Reason.INVALID_STRUCTURE)
        if recipient is None:
            raise Refused("no recipient address", reason=Reason.INVALID_DESTINATION)
        fields = self._fields
        message_id = f"<{message_ref(message.channel_id, message.message_id)}@{sender.domain}>"
        return MailRequest(
            host=fields.host,
            port=fields.port,
            security=fields.security,
            username=fields.username,
            password=fields.password.get_secret_value(),
            verify_certificate=fields.verify_certificate,
            local_hostname=fields.local_hostname,
            mail_from=fields.mail_from or sender.addr_spec,
            rcpt_to=recipient.addr_spec,
            content=_written(message, sender, recipient, message_id),
            envelope_id=message.ref,
            ask_dsn=self._ask_dsn,
            timeout=fields.timeout,
            provider_id=_copy_id(message_id, recipient.addr_spec),
        )

    def taken(self, answer: Answer) -> Taken:
        assert isinstance(answer, MailAnswer)
        if answer.step == "done":
            return Taken(answer.provider_id, will_confirm=answer.dsn_asked)
        raise _error(answer)

    def verify(self, callback: Callback) -> None:
        secrets = self._fields.callback_secret
        if not secrets:
            raise BadSignature("no callback secret is configured")
        values = callback.headers.get("authorization", ())
        if len(values) != 1:
            raise BadSignature("more than one Authorization" if values else "missing")
        given = _credential(values[0])
        matched = False
        for secret in secrets:
            matched |= hmac.compare_digest(given, secret.get_secret_value().encode())
        if not matched:
            raise BadSignature("no secret matches")

    def event_id(self, callback: Callback) -> str:
        headers = BytesParser(policy=policy.compat32).parsebytes(callback.body, headersonly=True)
        found = _MESSAGE_ID.search(_text(headers, "Message-ID"))
        return found[0] if found else hashlib.blake2b(callback.body, digest_size=16).hexdigest()

    def events(self, callback: Callback) -> Sequence[DeliveryUpdate]:
        if callback.kind == "inbound":
            raise UnreadableEvent("inbound mail is not supported")
        report = _parsed(callback.body)
        blocks = _status_blocks(report)
        message_id = _returned_message_id(report)
        ref = _unxtext(_text(blocks[0], "Original-Envelope-Id")).strip()
        updates = [
            self._update(block, ref if _REF.fullmatch(ref) else "", message_id)
            for block in blocks[1:]
            if _text(block, "Action")
        ]
        if not updates:
            raise UnreadableEvent("no recipient in the report")
        return updates

    def _update(self, block: Message, ref: str, message_id: str) -> DeliveryUpdate:
        status = _ACTIONS.get(_text(block, "Action").strip().lower(), UpdateStatus.SENT)
        code, reason = _reported(block)
        original = _unxtext(_text(block, "Original-Recipient"))  # as ORCPT had it; the final one is never encoded
        recipient = (original or _text(block, "Final-Recipient")).partition(";")[2].strip()
        return DeliveryUpdate(
            provider=self.name,
            provider_id=_copy_id(message_id, recipient) if message_id else "",
            status=status,
            ref=ref,
            reason=reason if status is UpdateStatus.FAILED else None,
            detail=code,
        )

    def answer(self, callback: Callback) -> CallbackAnswer:
        return CallbackAnswer(200)


def _alternatives(message: AgentMessage) -> tuple[str, str]:
    """The plain text and the HTML; several pieces of one type follow each other."""
    text, html = (
        "\n".join(content.text for content in message.contents if content.type.lower() == wanted)
        for wanted in ("text", "html")
    )
    if not message.contents:
        text = message.text
    return text if text.strip() else "", html if html.strip() else ""


def _mailbox(address: Address | None) -> MailAddress | None:
    """Name and address as a header carries them, the domain in ASCII; None for what is no address."""
    found = _MAILBOX.fullmatch(address.id.strip()) if address else None
    if address is None or found is None or len(found[0].encode()) > _LONGEST_ADDRESS:
        return None
    name = _UNPRINTABLE.sub(" ", address.name).strip()
    try:
        return MailAddress(name, found[1], _ascii_domain(found[2]))
    except (idna.IDNAError, UnicodeError):
        return None


def _ascii_domain(address: str) -> str:
    """IDNA 2008, which keeps straße.de and strasse.de apart. Takes a domain or a whole address."""
    local, at, domain = address.rpartition("@")
    return local + at + (domain if domain.isascii() else idna.encode(domain, uts46=True).decode())


def _written(message: AgentMessage, sender: MailAddress, recipient: MailAddress, message_id: str) -> bytes:
    """The whole message with CRLF line ends, in ASCII unless a mailbox itself is not."""
    others = [found for found in map(_mailbox, message.recipients) if found is not None]
    reply_to = _mailbox(message.reply_to)
    if message.reply_to is not None and reply_to is None:
        raise Refused("no reply-to address", reason=Reason.INVALID_STRUCTURE)
    headers = [
        f"From: {_shown(sender)}",
        f"To: {_FOLD.join(f'{_shown(mailbox)},' for mailbox in others or [recipient])[:-1]}",
        *([f"Reply-To: {_shown(reply_to)}"] if reply_to else []),
        f"Subject: {_header_text(message.subject)}",
        f"Date: {format_datetime(datetime.now(UTC))}",
        f"Message-ID: {message_id}",
    ]
    body = EmailMessage(policy.SMTP)
    text, html = (_UNENCODABLE.sub("\ufffd", written) for written in _alternatives(message))
    if text:
        body.set_content(text, charset="utf-8", cte=_encoding(text))
    if html and text:
        body.add_alternative(html, subtype="html", charset="utf-8", cte=_encoding(html))
    elif html:
        body.set_content(html, subtype="html", charset="utf-8", cte=_encoding(html))
    return "\r\n".join([*headers, ""]).encode() + body.as_bytes()


# The standard library folds names wrongly now and then: Python 3.11 wrote the comma between two
# addresses as an encoded word. So our headers are written here, and only the body is left to it.
def _shown(mailbox: MailAddress) -> str:
    """A mailbox in a header: `Ana Ruiz <ana@example.com>`."""
    name = mailbox.display_name
    if not name:
        return mailbox.addr_spec
    if _PLAIN.fullmatch(name) and "=?" not in name:
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        name = name if _ATOMS.fullmatch(name) else f'"{escaped}"'
    else:
        name = _encoded_words(name)
    return f"{name} <{mailbox.addr_spec}>"


def _header_text(value: str) -> str:
    """A subject on one line: line ends and other control characters become a space."""
    value = _UNPRINTABLE.sub(" ", value).strip()
    return value if _PLAIN.fullmatch(value) and "=?" not in value else _encoded_words(value)


def _encoded_words(value: str) -> str:
    """RFC 2047: words of at most 75 characters, one a line, no character cut in two."""
    words, word = [], b""
    for char in value:
        if len(word) + len(char.encode()) > 45:
            words.append(word)
            word = b""
        word += char.encode()
    return _FOLD.join(f"=?utf-8?b?{base64.b64encode(each).decode()}?=" for each in [*words, word])


def _encoding(text: str) -> Literal["quoted-printable", "base64"]:
    """Readable where most of it is ASCII, short where it is not."""
    ascii_share = sum(map(str.isascii, text)) / len(text)
    return "quoted-printable" if ascii_share > 0.7 else "base64"


def _copy_id(message_id: str, recipient: str) -> str:
    """Tells the copies of one email apart without naming anybody."""
    digest = hashlib.blake2b(f"{message_id}\0{recipient.lower()}".encode("utf-8", "replace"), digest_size=8)
    return f"{message_id}{digest.hexdigest()}"


def _error(answer: MailAnswer) -> SendError:
    found = _STATUS.match(answer.text)
    status = found[2] if found and found[1] == str(answer.code // 100) else ""
    code = f"{answer.code} {answer.code // 100}.{status}" if status else str(answer.code)
    if answer.code < 500:
        if status.startswith("7.") or status in _RATE_STATUSES:
            return Throttled(code)
        return Deferred(code, reason=Reason.EXPIRED if status == "4.7" else Reason.GENERAL)
    if answer.step in ("connect", "auth") or answer.code in _LOGIN_CODES or status in _LOGIN_STATUSES:
        return AccountFault(code)
    bare = _BARE_REASONS if answer.step == "rcpt" else _BARE_REASONS_ELSEWHERE
    return Refused(code, reason=_reason(status) if status else bare.get(answer.code, Reason.GENERAL))


def _reason(status: str) -> Reason:
    return _REASONS.get(status, _REASONS.get(status.partition(".")[0], Reason.GENERAL))


def _credential(header: str) -> bytes:
    """The Bearer token, or the password of Basic; b"" for anything else."""
    scheme, _, value = header.strip().partition(" ")
    if scheme.lower() == "bearer":
        return value.strip().encode("utf-8", "replace")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return b""


def _parsed(body: bytes) -> Message:
    """Any bytes as a message. Raises UnreadableEvent for parts within parts within parts without end."""
    try:
        # compat32 reads any header; the newer policies raise on some.
        return BytesParser(policy=policy.compat32).parsebytes(body)
    except RecursionError:
        raise UnreadableEvent("nested too deep") from None


def _text(message: Message, name: str) -> str:
    return str(message.get(name, ""))


def _status_blocks(report: Message) -> list[Message]:
    """The message's own block, then one for each recipient. Raises UnreadableEvent."""
    for part in _parts_of(report):
        if part.get_content_type() == "message/delivery-status":
            blocks = [block for block in part.get_payload() if isinstance(block, Message)]
            if not blocks:
                raise UnreadableEvent("empty delivery status")
            return blocks
    raise UnreadableEvent("not a delivery report")


def _parts_of(report: Message) -> Iterator[Message]:
    payload = report.get_payload()
    if report.get_content_type() == "multipart/report" and isinstance(payload, list):
        yield from (part for part in payload if isinstance(part, Message))


def _returned_message_id(report: Message) -> str:
    """The Message-ID of what the report is about, from its third part."""
    for part in _parts_of(report):
        payload = part.get_payload()
        if part.get_content_type() == "message/rfc822" and isinstance(payload, list):
            returned = next((inner for inner in payload if isinstance(inner, Message)), Message())
        elif part.get_content_type() == "text/rfc822-headers":
            decoded = part.get_payload(decode=True)
            returned = _parsed(decoded if isinstance(decoded, bytes) else b"")
        else:
            continue
        found = _MESSAGE_ID.search(_text(returned, "Message-ID"))
        return found[0] if found else ""
    return ""


def _reported(block: Message) -> tuple[str, Reason]:
    """The status code, and what it means: of Status and Diagnostic-Code the one that says more."""
    found = _STATUS.match(_text(block, "Status"))
    diagnostic = _DIAGNOSTIC.match(_text(block, "Diagnostic-Code"))
    if found and not found[2].startswith("0."):
        return f"{found[1]}.{found[2]}", _reason(found[2])
    if diagnostic:
        enhanced = _STATUS.match(diagnostic[2])
        if enhanced and not enhanced[2].startswith("0."):
            return f"{enhanced[1]}.{enhanced[2]}", _reason(enhanced[2])
        return diagnostic[1], _BARE_REASONS.get(int(diagnostic[1]), Reason.GENERAL)
    return f"{found[1]}.{found[2]}" if found else "", Reason.GENERAL


def _unxtext(value: str) -> str:
    """Undo xtext (RFC 3461, 4); what is none stays as it is."""
    raw = _XTEXT.sub(lambda pair: bytes.fromhex(pair[1]).decode("latin-1"), value)
    return raw.encode("latin-1", "replace").decode("utf-8", "replace")
