"""SendGrid: an email as JSON, events in lists that are signed by ECDSA.

https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send
https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event
https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features

The Message-ID of a request is the one that leaves. An event names its message by what we sent along in custom_args;
events of mail that others send through the same account have nothing of ours, and are passed over.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import httpx
import orjson
from pydantic import AfterValidator, Field, model_validator

from dcbridge.errors import AccountFault, BadSignature, Refused, RouteRefused, Throttled, Unreadable, UnreadableEvent
from dcbridge.mail.charsets import decode
from dcbridge.messages import AgentMessage, DeliveryUpdate, Reason, Suppression, UpdateStatus
from dcbridge.providers import http_words, multipart, shared_secret
from dcbridge.providers.base import (
    Adapter,
    Answer,
    Callback,
    Can,
    MediaLimits,
    Part,
    PostedMail,
    Submission,
    Turn,
    Unread,
    named_by,
)
from dcbridge.providers.email_fields import (
    MOST_RECIPIENTS,
    EmailFields,
    bounced,
    email_of,
    email_parts,
    in_base64,
    recipients_of,
    with_message_id,
)
from dcbridge.providers.http_words import a_list, a_text, an_object, code, codes, json_object, json_value
from dcbridge.providers.phone import Senders
from dcbridge.providers.rebuilt_mail import header_lines, rebuilt, with_missing
from dcbridge.providers.shared_secret import OneOrMore
from dcbridge.settings.types import CompanyUrl, HeaderSecret

if TYPE_CHECKING:
    from email.headerregistry import Address as MailAddress

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

SIGNATURE = "x-twilio-email-event-webhook-signature"
TIMESTAMP = "x-twilio-email-event-webhook-timestamp"
MOST_ATTACHED = 20_000_000  # bytes of all files; a request may have 30 MB, and base64 adds a third
NO_SUBJECT = "(no subject)"  # it takes no email without one


def _a_key(value: str) -> str:
    try:
        _key(value)
    except ValueError:
        raise ValueError("should be the verification key that SendGrid shows, in base64") from None
    return value


class SendGridFields(EmailFields):
    """An account or subuser."""

    api_key: HeaderSecret = Field(description="API key with the permission Mail Send.")
    public_key: Annotated[tuple[Annotated[str, AfterValidator(_a_key)], ...], OneOrMore] = Field(
        (), description="Verification key of signed events, in base64; several where each webhook has its own."
    )
    callback_secret: shared_secret.PathSecrets = Field(
        (), description="Secret in the path of webhooks that are not signed; during a rotation several."
    )
    tracking: bool = Field(
        False, description="Whether links and opens are tracked as the account says; without it, they are not."
    )
    signature_age: float = Field(
        86400.0,
        gt=0,
        allow_inf_nan=False,
        description="Seconds by which the time of a signed webhook may differ from now.",
    )
    base_url: CompanyUrl = Field(
        "https://api.sendgrid.com", description="URL before /v3/mail/send; in the EU https://api.eu.sendgrid.com."
    )

    @model_validator(mode="after")
    def _events_are_proven(self) -> SendGridFields:
        if not self.public_key and not self.callback_secret:
            raise ValueError("public_key or callback_secret is missing: without one no event can be believed")
        return self


# The `field` of the first error.
_CODES = {
    **codes(Refused, Reason.INVALID_DESTINATION, "personalizations.0.to.0.email personalizations.0.to"),
    **codes(RouteRefused, Reason.NOT_ALLOWED, "from from.email"),
    **codes(Refused, Reason.INVALID_STRUCTURE, "subject content content.0.value content.1.value headers reply_to"),
    **codes(Refused, Reason.UNSUPPORTED, "attachments 413"),
    **codes(Throttled, Reason.RATE_LIMIT, "429"),
    **codes(AccountFault, Reason.GENERAL, "401"),
}
_EVENTS = {
    "processed": UpdateStatus.SENT,
    "deferred": UpdateStatus.SENT,
    "delivered": UpdateStatus.DELIVERED,
    "bounce": UpdateStatus.FAILED,
    "dropped": UpdateStatus.FAILED,
    # These come after delivery, and prove it.
    "spamreport": UpdateStatus.DELIVERED,
    "unsubscribe": UpdateStatus.DELIVERED,
    "group_unsubscribe": UpdateStatus.DELIVERED,
}  # open, click, group_resubscribe and whatever comes: not final
_STOPS: Mapping[str, Suppression] = {
    "spamreport": "complaint",
    "unsubscribe": "unsubscribe",
    "group_unsubscribe": "unsubscribe",
}
# Why an email was dropped: https://www.twilio.com/docs/sendgrid/ui/analytics-and-reporting/email-activity-feed
_DROPPED: Mapping[str, tuple[str, Reason, Suppression | None]] = {
    "bounced address": ("bounced-address", Reason.INVALID_DESTINATION, "bounce"),
    "invalid": ("invalid-address", Reason.INVALID_DESTINATION, "bounce"),
    "unsubscribed address": ("unsubscribed-address", Reason.NOT_ALLOWED, "unsubscribe"),
    "spam reporting address": ("spam-reporting-address", Reason.NOT_ALLOWED, "complaint"),
    "spam content (if spam checker app enabled)": ("spam-content", Reason.NOT_ALLOWED, None),
    "recipient list over package quota": ("package-quota", Reason.RATE_LIMIT, None),
    "invalid smtpapi header": ("smtpapi-header", Reason.INVALID_STRUCTURE, None),
    "expired": ("expired", Reason.EXPIRED, None),
}
_ID = re.compile(r"[0-9A-Za-z_-]{1,100}", re.ASCII)
_FILE = re.compile(r"attachment[0-9]{1,3}", re.ASCII)
_DER = re.compile(r"[A-Za-z0-9+/]{80,100}={0,2}", re.ASCII)  # of a signature over P-256
_SECONDS = re.compile(r"[0-9]{1,12}", re.ASCII)


class SendGrid(Adapter):
    """One account."""

    kind = "sendgrid"
    fields_model = SendGridFields
    can = Can(
        channel_types=frozenset({"email"}),
        callbacks={"status": None, "inbound": None},
        secret_in_path=True,
        mail=1.1,
        media=MediaLimits(10, MOST_ATTACHED, {"": MOST_ATTACHED}, as_data=True),
    )
    senders = Senders()

    def __init__(self, name: str, fields: SendGridFields, public_url: str) -> None:
        """`public_url` is not used: the account has the addresses of its webhooks."""
        self.name, self._fields = name, fields
        self._url = httpx.URL(f"{fields.base_url}/v3/mail/send")
        key = fields.api_key.get_secret_value()
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self.account = f"{self._url} {hashlib.blake2b(key.encode(), digest_size=8).hexdigest()}"
        self._keys = [_key(one) for one in fields.public_key]

    def parts(self, message: AgentMessage) -> Sequence[Part]:
        return email_parts(message)

    def build_request(self, turn: Turn) -> httpx.Request:
        email = email_of(turn)
        content = [("text/plain", email.text), ("text/html", email.html)]
        body: dict[str, object] = {
            "personalizations": [{"to": [_address(email.recipient)], "custom_args": {"dcbridge": turn.key}}],
            "from": _address(email.sender),
            "subject": email.subject or NO_SUBJECT,
            "content": [{"type": kind, "value": text} for kind, text in content if text]
            or [{"type": "text/plain", "value": " "}],
            "headers": {"Message-ID": email.message_id, **dict(email.headers)},
        }
        if email.reply_to:
            body["reply_to"] = _address(email.reply_to)
        if turn.media:
            body["attachments"] = [
                {"content": in_base64(file), "type": file.mimetype, "filename": file.name, "disposition": "attachment"}
                for file in turn.media
            ]
        if not self._fields.tracking:
            body["tracking_settings"] = {"click_tracking": {"enable": False}, "open_tracking": {"enable": False}}
        request = httpx.Request("POST", self._url, headers=self._headers, content=orjson.dumps(body))
        return with_message_id(request, email.message_id)

    def parse_response(self, answer: Answer) -> Submission:
        assert isinstance(answer, httpx.Response)
        if answer.is_success:
            provider_id = answer.headers.get("X-Message-Id", "")
            if not _ID.fullmatch(provider_id):
                raise Unreadable(f"HTTP {answer.status_code}")
            return Submission(provider_id)
        first = next(map(an_object, a_list(json_object(answer.content).get("errors"))), {})
        error = http_words.error_of(
            answer, str(answer.status_code) if answer.status_code == 413 else code(first.get("field")), _CODES
        )
        if isinstance(error, Throttled) and error.retry_after is None:
            reset = answer.headers.get("X-RateLimit-Reset", "")  # seconds since 1970
            error.retry_after = max(0.0, float(reset) - time.time()) if _SECONDS.fullmatch(reset) else None
        raise error

    def verify(self, callback: Callback) -> str:
        """The time and the signature of a signed one: each is sent with a signature of its own."""
        if callback.secret or not self._keys:
            shared_secret.check(callback, self._fields.callback_secret)
            return ""
        check_signature(callback, self._keys, self._fields.signature_age)
        return ""

    def proven_by_head(self, head: Callback) -> bool:
        """A secret; or a signature, which says nothing before the body is there."""
        if head.secret or not self._keys:
            self.verify(head)
            return True
        _shown(head, self._fields.signature_age)
        return False

    def event_id(self, callback: Callback) -> str:
        return hashlib.blake2b(callback.body, digest_size=16).hexdigest()  # each event in it has an id

    def mails(self, callback: Callback) -> Sequence[PostedMail]:
        """Of Inbound Parse: the raw mail, where it is set up to post that; else one that is written of its parts."""
        boundary = multipart.boundary_of(callback.header("content-type"))
        form = {field.name: field for field in multipart.fields_of(callback.body, boundary)}
        envelope = json_object(form["envelope"].text.encode("utf-8", "replace")) if "envelope" in form else {}
        to = recipients_of(*a_list(envelope.get("to"))[:MOST_RECIPIENTS])
        if not to or not ("email" in form or "headers" in form):
            raise UnreadableEvent("neither email nor headers, or no envelope")
        raw = bytes(form["email"].value) if "email" in form else _rebuilt(form)
        sender = envelope.get("from")
        return [PostedMail(raw, sender if isinstance(sender, str) else None, to)]

    def parse_callback(self, callback: Callback) -> Sequence[DeliveryUpdate | Unread]:
        said = json_value(callback.body)
        if not isinstance(said, list):
            raise UnreadableEvent("no list of events")
        ours = [one for one in said if not isinstance(one, dict) or "dcbridge" in one]
        return http_words.each(ours, self._update, lambda event: [event])  # type: ignore[return-value]

    def _update(self, event: Mapping[str, object]) -> DeliveryUpdate:
        word = a_text(event.get("event"))
        if not word:
            raise UnreadableEvent("no event")
        ref, part = named_by(a_text(event.get("dcbridge")))
        provider_id = a_text(event.get("sg_message_id")).partition(".")[0]
        if not ref:
            raise UnreadableEvent("no reference")
        status, reason, detail, stop = _EVENTS.get(word, UpdateStatus.SENT), None, "", _STOPS.get(word)
        if word == "dropped":
            said = a_text(event.get("reason"))[:100].strip().lower()
            detail, reason, stop = _DROPPED.get(said, ("dropped", Reason.GENERAL, None))
        elif word == "bounce":
            reason, detail = bounced(a_text(event.get("status")), a_text(event.get("reason")))
            blocked = event.get("type") == "blocked"
            if reason is Reason.GENERAL:
                reason = Reason.NOT_ALLOWED if blocked else Reason.INVALID_DESTINATION
            stop = "bounce" if reason is Reason.INVALID_DESTINATION and not blocked else None
        return DeliveryUpdate(
            self.name, provider_id if _ID.fullmatch(provider_id) else "", status, ref, part, reason, detail,
            recipients=recipients_of(event.get("email")), suppress=stop,
        )  # fmt: skip


def _rebuilt(form: Mapping[str, multipart.Field]) -> bytes:
    """https://www.twilio.com/docs/sendgrid/for-developers/parsing-email/setting-up-the-inbound-parse-webhook"""
    charsets = json_object(bytes(form["charsets"].value)) if "charsets" in form else {}
    about = json_object(bytes(form["attachment-info"].value)) if "attachment-info" in form else {}

    def text(name: str) -> str:
        return decode(bytes(form[name].value), a_text(charsets.get(name))) if name in form else ""

    files = []
    for name, field in form.items():
        if _FILE.fullmatch(name):
            said = an_object(about.get(name))
            kind = a_text(said.get("type")) or field.kind
            files.append((a_text(said.get("filename")) or field.filename, kind, bytes(field.value)))
    own = {name: text(name.lower()) for name in ("From", "To", "Cc", "Subject")}
    return rebuilt(with_missing(header_lines(text("headers")), own), text("text"), text("html"), files)


def check_signature(callback: Callback, keys: Sequence[EllipticCurvePublicKey], age: float) -> None:
    """Raises BadSignature unless one of the keys has signed the time and the body."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256

    raw, moment = _shown(callback, age)
    signed = moment.encode() + callback.body
    for key in keys:
        try:
            key.verify(raw, signed, ECDSA(SHA256()))
        except InvalidSignature:
            continue
        return
    raise BadSignature("no key matches")


def _shown(callback: Callback, age: float) -> tuple[bytes, str]:
    """The signature and its time, as the headers have them. Raises BadSignature."""
    signature, moment = callback.header(SIGNATURE), callback.header(TIMESTAMP)
    if not signature or not moment:
        raise BadSignature("missing")
    if not _DER.fullmatch(signature):
        raise BadSignature("not a signature")
    http_words.check_time(moment, age)
    try:
        return base64.b64decode(signature, validate=True), moment
    except (binascii.Error, ValueError):
        raise BadSignature("not a signature") from None


def _address(mailbox: MailAddress) -> dict[str, str]:
    named = {"name": mailbox.display_name} if mailbox.display_name else {}
    return {"email": mailbox.addr_spec, **named}


def _key(written: str) -> EllipticCurvePublicKey:
    """Raises ValueError for what is no public key over P-256."""
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        key = load_der_public_key(base64.b64decode(written, validate=True))
    except Exception as error:  # binascii's, ValueError, and cryptography's own
        raise ValueError("no key") from error
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise ValueError("no key")  # noqa: TRY004  # what pydantic makes a problem of bridge.yaml
    return key
