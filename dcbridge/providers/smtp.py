"""Plain SMTP submission to any mail system, and its delivery status notifications.

RFC 5321, 6409   submission          RFC 3461, 3464   delivery status notifications (DSN)

The message is written in `mail_message`, a report is read in `delivery_status`, and what codes mean stands in
`smtp_codes`.

One message goes to one recipient in one transaction. All copies of an email have the same Message-ID; what tells them
apart is the envelope id (ENVID), our own reference, which a delivery report carries back. Where a server loses it, the
report names the copy by Message-ID, which is made of our reference, and by recipient.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from email.headerregistry import Address as MailAddress
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from dcbridge.errors import UnreadableEvent
from dcbridge.messages import Address, AgentMessage, DeliveryUpdate, Reason
from dcbridge.providers import mail_message, phone, shared_secret
from dcbridge.providers.base import (
    Adapter,
    Answer,
    Callback,
    Can,
    Fields,
    MailAnswer,
    MailRequest,
    MediaLimits,
    Part,
    StatusLookup,
    Submission,
    Turn,
)
from dcbridge.providers.delivery_status import Outcome, Report, own_message_id, read_report
from dcbridge.providers.email_fields import email_parts, ends, message_id_of
from dcbridge.providers.oauth2 import OAuth2Fields
from dcbridge.providers.shared_secret import OneOrMore
from dcbridge.providers.smtp_codes import error_of, verdict_of
from dcbridge.settings.types import Secret


class SmtpFields(Fields):
    """A mail server that takes mail from us."""

    host: str = Field(pattern=r"^[^\s/@]+$", description="Host name of the mail server.")
    port: int = Field(587, ge=1, le=65535, description="Port of the mail server.")
    security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="How the connection is encrypted: STARTTLS, TLS from the first byte, or not at all."
    )
    verify_certificate: bool = Field(True, description="Whether the server's certificate must be valid for its host.")
    username: str = Field("", description="User name for AUTH; without it, there is no login.")
    password: SecretStr = Field(SecretStr(""), description="Password for AUTH; or `oauth2`.")
    oauth2: OAuth2Fields | None = Field(
        None, description="How a token for AUTH XOAUTH2 is got, for servers that take no password."
    )
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
        15.0,
        gt=0,
        le=600,
        description="Seconds for everything before the content, and again for the content and its response.",
    )

    @field_validator("mail_from")
    @classmethod
    def _a_mailbox(cls, value: str | None) -> str | None:
        if value is None:
            return None
        mailbox = mail_message.mailbox_of(Address(value))
        if mailbox is None:
            raise ValueError("should be an address such as bounces@example.com")
        return mailbox.addr_spec

    @model_validator(mode="after")
    def _no_password_in_the_clear(self) -> SmtpFields:
        if self.username and self.security == "none":
            raise ValueError("username needs security starttls or tls: a password does not travel in the clear")
        if self.oauth2 and (not self.username or self.password.get_secret_value()):
            raise ValueError("oauth2 needs username, and stands in the place of password")
        return self

    def doubts(self) -> Iterator[tuple[str, str]]:
        if self.username and not self.verify_certificate:
            yield "verify_certificate", "is false: a server in between can read the password; set it to true"


_REF = re.compile(r"[0-9a-f]{24}(?:-[0-9]{1,6})?", re.ASCII)  # as `message_ref` writes it
_OUR_MESSAGE_ID = re.compile(r"<([0-9a-f]{24})@[^<>@]+>", re.ASCII)


NAMED = "x-dcbridge-copy"  # of a report that was mailed: which copy it is about

# Bytes of all files; base64 adds a third, and many servers take 25 MB.
MOST_ATTACHED = 15_000_000


class Smtp(Adapter):
    """One mail server and one login."""

    kind = "smtp"
    fields_model = SmtpFields
    # A Message-ID is made of our reference: no id has to be kept to find its message.
    can = Can(
        channel_types=frozenset({"email"}),
        callbacks={"status": None, "inbound": None},
        media=MediaLimits(10, MOST_ATTACHED, {"": MOST_ATTACHED}, as_data=True),
    )
    senders = phone.Senders()
    status_lookup: StatusLookup | None = None  # a mail server keeps nothing that could be asked for

    def __init__(self, name: str, fields: SmtpFields, public_url: str) -> None:
        """`public_url` is not used: mail carries no callback address."""
        self.name = self.account = name
        self._fields = fields
        # A report that nobody could bring us would keep each message waiting for it.
        self._last: dict[bool, tuple[AgentMessage, bytes] | None] = {True: None, False: None}
        self.shared_login = fields.oauth2.credentials() if fields.oauth2 else None
        self._ask_dsn = fields.dsn == "auto" and bool(fields.callback_secret)

    def parts(self, message: AgentMessage) -> Sequence[Part]:
        return email_parts(message)

    def build_request(self, turn: Turn) -> MailRequest:
        message = turn.message
        sender, recipient = ends(message)
        fields = self._fields
        message_id = message_id_of(message, sender)
        return MailRequest(
            host=fields.host,
            port=fields.port,
            security=fields.security,
            username=fields.username,
            password=fields.password.get_secret_value(),
            verify_certificate=fields.verify_certificate,
            local_hostname=fields.local_hostname,
            mail_from=fields.mail_from or turn.return_path or sender.addr_spec,
            rcpt_to=recipient.addr_spec,
            content=self._content(turn, sender, recipient, message_id),
            envelope_id=message.ref,
            ask_dsn=self._ask_dsn,
            timeout=fields.timeout,
            provider_id=_copy_id(message_id, recipient.addr_spec),
        )

    def _content(self, turn: Turn, sender: MailAddress, recipient: MailAddress, message_id: str) -> bytes:
        """Written once for the copies of one message that were read together; they differ in nothing but their To.

        The last one is remembered, for each of the two forms that a copy may have.
        """
        message = turn.message
        plain = sender.addr_spec.isascii() and recipient.addr_spec.isascii()
        before, content = self._last[plain] or (None, b"")
        together = before is not None and before.recipients is message.recipients
        if turn.unsubscribe:  # each copy has a link of its own
            return self._written(turn, sender, recipient, message_id)
        if before and together and replace(before, to=message.to, index=message.index) == message:
            return content
        content = self._written(turn, sender, recipient, message_id)
        if len(message.recipients) > 1:
            self._last[plain] = (message, content)
        return content

    def _written(self, turn: Turn, sender: MailAddress, recipient: MailAddress, message_id: str) -> bytes:
        return mail_message.write(
            turn.message, sender, recipient, message_id, turn.accepted_at, turn.media, turn.thread, turn.unsubscribe
        )

    def parse_response(self, answer: Answer) -> Submission:
        assert isinstance(answer, MailAnswer)
        if answer.step == "done":
            return Submission(answer.provider_id)
        raise error_of(answer)

    def verify(self, callback: Callback) -> str:
        shared_secret.check(callback, self._fields.callback_secret)
        return ""

    def event_id(self, callback: Callback) -> str:
        return own_message_id(callback.body) or hashlib.blake2b(callback.body, digest_size=16).hexdigest()

    def parse_callback(self, callback: Callback) -> Sequence[DeliveryUpdate]:
        if callback.kind == "inbound":
            raise UnreadableEvent("inbound mail is not supported")
        report = read_report(callback.body)
        # Of a report that came to an address which names the copy: a worker says so, and has proven it.
        named = callback.header(NAMED) if not callback.url else ""
        delivered_to = named if _REF.fullmatch(named) else ""
        return [self._update(report, outcome, delivered_to) for outcome in report.outcomes]

    def _update(self, report: Report, outcome: Outcome, delivered_to: str) -> DeliveryUpdate:
        verdict = verdict_of(outcome)
        ref = next((one.lower() for one in report.envelope_ids if _REF.fullmatch(one.lower())), delivered_to)
        ours = next(filter(None, map(_OUR_MESSAGE_ID.fullmatch, report.message_ids)), None)
        message_id = ours[0] if ours else next(iter(report.message_ids), "")
        recipients = tuple(map(_plain_address, outcome.recipients))
        return DeliveryUpdate(
            provider=self.name,
            provider_id=_copy_id(message_id, recipients[0]) if message_id and recipients else "",
            status=verdict.status,
            ref=ref,
            reason=verdict.reason,
            detail=verdict.code,
            first_ref=ours[1] if ours and not ref else "",
            recipients=recipients if ours and not ref else (),
            suppress="bounce" if verdict.reason is Reason.INVALID_DESTINATION else None,
        )


def _plain_address(written: str) -> str:
    """A report's address with its domain in ASCII, as a copy was sent to it; what is no address stays."""
    mailbox = mail_message.mailbox_of(Address(written))
    return mailbox.addr_spec if mailbox else written


def _copy_id(message_id: str, recipient: str) -> str:
    """Tells the copies of one email apart without naming anybody."""
    digest = hashlib.blake2b(f"{message_id}\0{recipient.lower()}".encode("utf-8", "replace"), digest_size=8)
    return f"{message_id}{digest.hexdigest()}"
