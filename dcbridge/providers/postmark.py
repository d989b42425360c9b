"""Postmark: an email as JSON; webhooks of one event each, which carry our secret.

https://postmarkapp.com/developer/api/email-api
https://postmarkapp.com/developer/api/overview#error-codes
https://postmarkapp.com/developer/webhooks/webhooks-overview

Postmark signs nothing. With X-PM-KeepID an email leaves under our Message-ID. Metadata comes back with each event;
events of mail that others send through the same server have nothing of ours, and are passed over.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Annotated

import httpx
import orjson
from pydantic import Field

from dcbridge.errors import AccountFault, OutcomeUnknown, Refused, RouteRefused, Throttled, Unreadable, UnreadableEvent
from dcbridge.messages import AgentMessage, DeliveryUpdate, Reason, Suppression, UpdateStatus
from dcbridge.providers import http_words, shared_secret
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
    named_by,
)
from dcbridge.providers.email_fields import (
    MOST_RECIPIENTS,
    EmailFields,
    email_of,
    email_parts,
    in_base64,
    recipients_of,
    shown,
    with_message_id,
)
from dcbridge.providers.http_words import a_list, a_text, an_object, code, codes, json_object
from dcbridge.providers.phone import Senders
from dcbridge.providers.rebuilt_mail import rebuilt
from dcbridge.settings.types import CompanyUrl, HeaderSecret

MOST_ATTACHED = 7_000_000  # bytes of all files; a request may have 10 MB, and base64 adds a third


class PostmarkFields(EmailFields):
    """A server of Postmark."""

    server_token: HeaderSecret = Field(description="API token of the server.")
    message_stream: str = Field(
        "outbound", pattern=r"^[A-Za-z0-9_-]{1,64}$", description="Message stream that emails go through."
    )
    callback_secret: Annotated[shared_secret.PathSecrets, Field(min_length=1)] = Field(
        description="Secret of webhooks, in their path or as password of Basic; during a rotation several."
    )
    tracking: bool = Field(
        False, description="Whether links and opens are tracked as the server says; without it, they are not."
    )
    base_url: CompanyUrl = Field("https://api.postmarkapp.com", description="URL before /email.")


# `ErrorCode`
_CODES = {
    **codes(AccountFault, Reason.GENERAL, "10 405 412 413"),
    **codes(OutcomeUnknown, Reason.GENERAL, "100"),
    **codes(Refused, Reason.INVALID_STRUCTURE, "300 402 403 409 410"),
    **codes(RouteRefused, Reason.NOT_ALLOWED, "400 401"),  # a sender that is not confirmed there
    **codes(Refused, Reason.NOT_ALLOWED, "406"),
    **codes(Refused, Reason.UNSUPPORTED, "411 701"),
    **codes(Throttled, Reason.RATE_LIMIT, "429"),
}
# `Type` of a Bounce: https://postmarkapp.com/developer/api/bounce-api#bounce-types
_FAILED: Mapping[str, tuple[Reason, Suppression | None]] = {
    "HardBounce": (Reason.INVALID_DESTINATION, "bounce"),
    "BadEmailAddress": (Reason.INVALID_DESTINATION, "bounce"),
    "SoftBounce": (Reason.GENERAL, None),
    "Blocked": (Reason.NOT_ALLOWED, None),
    "SpamNotification": (Reason.NOT_ALLOWED, None),
    "DMARCPolicy": (Reason.NOT_ALLOWED, None),
    "ManuallyDeactivated": (Reason.NOT_ALLOWED, None),
    "Unsubscribe": (Reason.NOT_ALLOWED, "unsubscribe"),
    "SMTPApiError": (Reason.INVALID_STRUCTURE, None),
    "TemplateRenderingFailed": (Reason.INVALID_STRUCTURE, None),
}  # Transient, DnsError, AutoResponder and whatever comes: not final
_SUPPRESSED: Mapping[str, Suppression] = {
    "HardBounce": "bounce",
    "SpamComplaint": "complaint",
    "ManualSuppression": "unsubscribe",
}
_ID = re.compile(r"[0-9A-Za-z-]{1,64}", re.ASCII)


class Postmark(Adapter):
    """One server."""

    kind = "postmark"
    fields_model = PostmarkFields
    can = Can(
        channel_types=frozenset({"email"}),
        callbacks={"status": None, "inbound": None},
        secret_in_path=True,
        mail=3.0,  # the raw mail, and its files in base64 beside it
        opt_out_codes=frozenset({"406"}),
        media=MediaLimits(10, MOST_ATTACHED, {"": MOST_ATTACHED}, as_data=True),
    )
    senders = Senders()

    def __init__(self, name: str, fields: PostmarkFields, public_url: str) -> None:
        """`public_url` is not used: the server has the addresses of its webhooks."""
        self.name, self._fields = name, fields
        self._url = httpx.URL(f"{fields.base_url}/email")
        token = fields.server_token.get_secret_value()
        self._headers = {
            "X-Postmark-Server-Token": token, "Accept": "application/json", "Content-Type": "application/json",
        }  # fmt: skip
        self.account = f"{self._url} {hashlib.blake2b(token.encode(), digest_size=8).hexdigest()}"

    def parts(self, message: AgentMessage) -> Sequence[Part]:
        return email_parts(message)

    def build_request(self, turn: Turn) -> httpx.Request:
        email = email_of(turn)
        headers = [("Message-ID", email.message_id), ("X-PM-KeepID", "true"), *email.headers]
        body: dict[str, object] = {
            "From": shown(email.sender),
            "To": shown(email.recipient),
            "Subject": email.subject,
            "Headers": [{"Name": name, "Value": value} for name, value in headers],
            "Metadata": {"dcbridge": turn.key},
            "MessageStream": self._fields.message_stream,
        }
        if email.text or not email.html:
            body["TextBody"] = email.text or " "  # one of the two has to say something
        if email.html:
            body["HtmlBody"] = email.html
        if email.reply_to:
            body["ReplyTo"] = shown(email.reply_to)
        if turn.media:
            body["Attachments"] = [
                {"Name": file.name, "Content": in_base64(file), "ContentType": file.mimetype} for file in turn.media
            ]
        if not self._fields.tracking:
            body |= {"TrackOpens": False, "TrackLinks": "None"}
        request = httpx.Request("POST", self._url, headers=self._headers, content=orjson.dumps(body))
        return with_message_id(request, email.message_id)

    def parse_response(self, answer: Answer) -> Submission:
        assert isinstance(answer, httpx.Response)
        said = json_object(answer.content)
        error = code(said.get("ErrorCode"))
        if answer.is_success and error in ("0", ""):
            provider_id = a_text(said.get("MessageID"))
            if not _ID.fullmatch(provider_id):
                raise Unreadable(f"HTTP {answer.status_code}")
            return Submission(provider_id)
        raise http_words.error_of(answer, error if error != "0" else "", _CODES, trusted=answer.status_code < 500)

    def verify(self, callback: Callback) -> str:
        shared_secret.check(callback, self._fields.callback_secret)
        return ""

    def proven_by_head(self, head: Callback) -> bool:
        self.verify(head)
        return True

    def event_id(self, callback: Callback) -> str:
        return hashlib.blake2b(callback.body, digest_size=16).hexdigest()  # with its own id, or its time

    def mails(self, callback: Callback) -> Sequence[PostedMail]:
        """The raw mail, where Postmark is set up to post it; else one that is written of its parts."""
        said = json_object(callback.body)
        people = [*map(an_object, a_list(said.get("ToFull"))[:MOST_RECIPIENTS]),
                  *map(an_object, a_list(said.get("CcFull"))[:MOST_RECIPIENTS])]  # fmt: skip
        to = recipients_of(said.get("OriginalRecipient")) or recipients_of(*(one.get("Email") for one in people))
        headers = [
            (a_text(one.get("Name")), a_text(one.get("Value"))) for one in map(an_object, a_list(said.get("Headers")))
        ]
        if not to or not (headers or said.get("RawEmail")):
            raise UnreadableEvent("no mail")
        path = next((value.strip(" <>") for name, value in headers if name.lower() == "return-path"), None)
        raw = a_text(said.get("RawEmail")).encode("utf-8", "replace")
        return [PostedMail(raw or _rebuilt(said, headers), path, to)]

    def parse_callback(self, callback: Callback) -> Sequence[DeliveryUpdate]:
        event = json_object(callback.body)
        word = a_text(event.get("RecordType"))
        if not word:
            raise UnreadableEvent("no RecordType")
        ref, part = named_by(a_text(an_object(event.get("Metadata")).get("dcbridge")))
        if not ref:
            return ()
        stop: Suppression | None = None
        status, reason, detail = UpdateStatus.SENT, None, ""
        kind = a_text(event.get("Type"))
        if word == "Delivery":
            status = UpdateStatus.DELIVERED
        elif word == "SpamComplaint" or (word == "Bounce" and kind == "SpamComplaint"):
            status, stop = UpdateStatus.DELIVERED, "complaint"  # which proves that it arrived
        elif word == "Bounce" and kind in _FAILED:
            status, detail = UpdateStatus.FAILED, kind
            reason, stop = _FAILED[kind]
        elif word == "SubscriptionChange" and event.get("SuppressSending") is True:
            stop = _SUPPRESSED.get(a_text(event.get("SuppressionReason")))
        provider_id = a_text(event.get("MessageID"))
        return [
            DeliveryUpdate(
                self.name, provider_id if _ID.fullmatch(provider_id) else "", status, ref, part, reason, detail,
                recipients=recipients_of(event.get("Recipient") or event.get("Email")), suppress=stop,
            )
        ]  # fmt: skip


def _rebuilt(said: Mapping[str, object], headers: Sequence[tuple[str, str]]) -> bytes:
    named = {name.lower() for name, _ in headers}
    own = [(name, a_text(said.get(name))) for name in ("From", "To", "Cc", "Subject", "Date")]
    message_id = a_text(said.get("MessageID"))
    more = [(name, value) for name, value in own if value and name.lower() not in named]
    if message_id and "message-id" not in named:
        more.append(("Message-ID", f"<{message_id}@inbound.postmarkapp.com>"))
    files = [
        (a_text(one.get("Name")), a_text(one.get("ContentType")), _decoded(one.get("Content") or one.get("Data")))
        for one in map(an_object, a_list(said.get("Attachments"))[:100])
    ]
    return rebuilt([*more, *headers], a_text(said.get("TextBody")), a_text(said.get("HtmlBody")), files)


def _decoded(value: object) -> bytes:
    """b"" for what is no base64."""
    try:
        return base64.b64decode(a_text(value))
    except (binascii.Error, ValueError):
        return b""
