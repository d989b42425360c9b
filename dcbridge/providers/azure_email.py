"""Azure Communication Services Email: signed requests, a long-running operation for each email, events of Event Grid.

https://learn.microsoft.com/en-us/rest/api/communication/email/email/send
https://learn.microsoft.com/en-us/rest/api/communication/email/email/get-send-result
https://learn.microsoft.com/en-us/azure/event-grid/communication-services-email-events

The id of an operation is ours, made of the reference, so a request without an answer can be asked for. An event names
its email by that id alone.
"""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import httpx
import orjson
from pydantic import AfterValidator, Field

from dcbridge.errors import AccountFault, Refused, RouteRefused, SendError, Throttled, Unreadable, UnreadableEvent
from dcbridge.messages import AgentMessage, DeliveryUpdate, MessageStatus, Reason, Suppression, UpdateStatus
from dcbridge.providers import event_grid, http_words, shared_secret
from dcbridge.providers.azure_sms import HmacLogin, base64_key
from dcbridge.providers.base import (
    Adapter,
    Answer,
    Callback,
    CallbackAnswer,
    Can,
    ListedMessage,
    MediaLimits,
    Page,
    Part,
    Submission,
    Turn,
    Unread,
)
from dcbridge.providers.email_fields import (
    EmailFields,
    bounced,
    email_of,
    email_parts,
    in_base64,
    recipients_of,
    with_message_id,
)
from dcbridge.providers.http_words import a_text, an_object, code, codes, json_object
from dcbridge.providers.phone import Senders
from dcbridge.settings.types import CompanyUrl, Secret

if TYPE_CHECKING:
    from email.headerregistry import Address as MailAddress

VERSION = "2025-09-01"
MOST_ATTACHED = 7_000_000  # bytes of all files; a request may have 10 MB, and base64 adds a third
NO_SUBJECT = "(no subject)"  # it takes no email without one
_OUR_IDS = uuid.UUID("1c7a5f0e-5a3f-5d53-8a55-9f0d3c6b1e42")  # the namespace of Operation-Id


class AzureEmailFields(EmailFields):
    """A resource of Azure Communication Services."""

    base_url: CompanyUrl = Field(description="Endpoint of the resource, https://….communication.azure.com.")
    access_key: Annotated[Secret, AfterValidator(base64_key)] = Field(
        description="Access key of the resource, in base64."
    )
    callback_secret: Annotated[shared_secret.PathSecrets, Field(min_length=1)] = Field(
        description="Secret in the path of callbacks; during a rotation several."
    )
    tracking: bool = Field(
        False, description="Whether links and opens are tracked as the domain says; without it, they are not."
    )


# `error.code` of a request that is refused
_CODES = {
    **codes(AccountFault, Reason.GENERAL, "401 403 404 Unauthorized Forbidden Denied ResourceNotFound"),
    **codes(Throttled, Reason.RATE_LIMIT, "429 TooManyRequests"),
    **codes(RouteRefused, Reason.NOT_ALLOWED, "DomainNotLinked InvalidSenderUserName"),
    **codes(Refused, Reason.NOT_ALLOWED, "EmailDroppedAllRecipientsSuppressed"),
    **codes(Refused, Reason.UNSUPPORTED, "RequestEntityTooLarge 413 InvalidAttachmentType"),
    **codes(Refused, Reason.INVALID_STRUCTURE, "BadRequest InvalidRequest 400"),
}
_STATUSES = {"delivered": UpdateStatus.DELIVERED, "expanded": UpdateStatus.SENT, "outfordelivery": UpdateStatus.SENT}
# Everything else is a failure; of these it is known why.
_FAILED: Mapping[str, tuple[Reason, Suppression | None]] = {
    "bounced": (Reason.INVALID_DESTINATION, "bounce"),
    "suppressed": (Reason.NOT_ALLOWED, "bounce"),
    "filteredspam": (Reason.NOT_ALLOWED, None),
    "quarantined": (Reason.NOT_ALLOWED, None),
    "failed": (Reason.GENERAL, None),
}
_OPERATIONS = {
    "failed": UpdateStatus.FAILED,
    "canceled": UpdateStatus.REMOVED,
}  # NotStarted, Running; Succeeded means handed on
_REPORT = "Microsoft.Communication.EmailDeliveryReportReceived"
_ID = re.compile(r"[0-9A-Za-z-]{1,64}", re.ASCII)


class AzureEmail(Adapter):
    """One resource."""

    kind = "azure-email"
    fields_model = AzureEmailFields
    can = Can(
        channel_types=frozenset({"email"}),
        callbacks={"status": None},
        secret_in_path=True,
        handshake=True,
        named_by_id=True,
        media=MediaLimits(10, MOST_ATTACHED, {"": MOST_ATTACHED}, as_data=True),
    )
    senders = Senders()

    def __init__(self, name: str, fields: AzureEmailFields, public_url: str) -> None:
        """`public_url` is not used: the subscription has the address."""
        self.name, self._fields, self.account = name, fields, f"{fields.base_url} email"
        self._url = httpx.URL(f"{fields.base_url}/emails:send?api-version={VERSION}")
        self.login: HmacLogin = HmacLogin(base64.b64decode(fields.access_key.get_secret_value()))
        self.status_lookup = _Operations(fields.base_url)

    def parts(self, message: AgentMessage) -> Sequence[Part]:
        return email_parts(message)

    def build_request(self, turn: Turn) -> httpx.Request:
        email = email_of(turn)
        content = {"subject": email.subject or NO_SUBJECT}
        if email.text or not email.html:
            content["plainText"] = email.text or " "  # one of the two has to say something
        if email.html:
            content["html"] = email.html
        body: dict[str, object] = {
            "senderAddress": email.sender.addr_spec,
            "content": content,
            "recipients": {"to": [_address(email.recipient)]},
            "userEngagementTrackingDisabled": not self._fields.tracking,
        }
        if email.headers:
            body["headers"] = dict(email.headers)
        if email.reply_to:
            body["replyTo"] = [_address(email.reply_to)]
        if turn.media:
            body["attachments"] = [
                {"name": file.name, "contentType": file.mimetype, "contentInBase64": in_base64(file)}
                for file in turn.media
            ]
        headers = {"Content-Type": "application/json", "Operation-Id": operation_of(turn)}
        # Azure makes a Message-ID and does not say which; what is said is known all the same when it is quoted.
        return with_message_id(
            httpx.Request("POST", self._url, headers=headers, content=orjson.dumps(body)), email.message_id
        )

    def parse_response(self, answer: Answer) -> Submission:
        assert isinstance(answer, httpx.Response)
        if not answer.is_success:
            raise _error(answer)
        provider_id = a_text(json_object(answer.content).get("id"))
        if not _ID.fullmatch(provider_id):
            raise Unreadable(f"HTTP {answer.status_code}")
        return Submission(provider_id)

    def verify(self, callback: Callback) -> str:
        shared_secret.check(callback, self._fields.callback_secret)
        return ""

    def event_id(self, callback: Callback) -> str:
        return hashlib.blake2b(callback.body, digest_size=16).hexdigest()  # each event in it has an id

    def callback_response(self, callback: Callback) -> CallbackAnswer:
        return event_grid.response(callback)

    def parse_callback(self, callback: Callback) -> Sequence[DeliveryUpdate | Unread]:
        events = event_grid.events(callback)
        if not events:
            raise UnreadableEvent("no event")
        reports = [one for one in events if event_grid.type_of(one) != event_grid.VALIDATION]
        return http_words.each(reports, self._update, lambda event: [event])  # type: ignore[return-value]

    def _update(self, event: Mapping[str, object]) -> DeliveryUpdate:
        data = event_grid.data_of(event)
        provider_id, word = a_text(data.get("messageid")), a_text(data.get("status")).lower()
        if not _ID.fullmatch(provider_id) or (event_grid.type_of(event) == _REPORT and not word):
            raise UnreadableEvent("no event of an email")
        status, reason, detail, stop = UpdateStatus.SENT, None, "", None
        if event_grid.type_of(event) == _REPORT:
            status = _STATUSES.get(word, UpdateStatus.FAILED)
        if status is UpdateStatus.FAILED:
            reason, stop = _FAILED.get(word, (Reason.GENERAL, None))
            said = a_text(an_object(data.get("deliverystatusdetails")).get("statusMessage"))
            told, detail = bounced("", said)
            if word in ("bounced", "failed") and told is not Reason.GENERAL:
                reason, stop = told, "bounce" if told is Reason.INVALID_DESTINATION else None
            detail = detail or code(word)
        recipients = recipients_of(data.get("recipient"))
        return DeliveryUpdate(
            self.name, provider_id, status, reason=reason, detail=detail, recipients=recipients, suppress=stop
        )


class _Operations:
    """What became of an email, by the id of its operation."""

    lag = 5.0  # seconds

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url

    def status_request(self, provider_id: str) -> httpx.Request:
        return httpx.Request("GET", f"{self._base_url}/emails/operations/{provider_id}?api-version={VERSION}")

    def parse_status(self, answer: Answer) -> MessageStatus | None:
        assert isinstance(answer, httpx.Response)
        said = json_object(answer.content)
        if answer.status_code == 404:
            return None
        if not answer.is_success:
            raise _error(answer)
        provider_id, word = a_text(said.get("id")), a_text(said.get("status")).lower()
        if not _ID.fullmatch(provider_id) or not word:
            raise Unreadable(f"HTTP {answer.status_code}")
        status = _OPERATIONS.get(word, UpdateStatus.SENT)
        if status is not UpdateStatus.FAILED:
            return MessageStatus(provider_id, status)
        detail = code(an_object(said.get("error")).get("code"))
        return MessageStatus(provider_id, status, _CODES.get(detail, (Refused, Reason.GENERAL))[1], detail)

    def list_request(self, turn: Turn) -> httpx.Request:
        """Its id is known before it is sent: no list is needed."""
        return self.status_request(operation_of(turn))

    def parse_list(self, answer: Answer, turn: Turn, age: float) -> Page:
        found = self.parse_status(answer)
        return Page([ListedMessage(found, same=True)] if found else [], None)


def operation_of(turn: Turn) -> str:
    """The same on every attempt."""
    return str(uuid.uuid5(_OUR_IDS, turn.key))


def _error(answer: httpx.Response) -> SendError:
    word = code(answer.headers.get("x-ms-error-code")) or code(
        an_object(json_object(answer.content).get("error")).get("code")
    )
    known = word if word in _CODES else str(answer.status_code)
    return http_words.error_of(answer, known if known in _CODES else word, _CODES, trusted=answer.status_code < 500)


def _address(mailbox: MailAddress) -> dict[str, str]:
    named = {"displayName": mailbox.display_name} if mailbox.display_name else {}
    return {"address": mailbox.addr_spec, **named}
