"""Azure Communication Services: signed requests, requests that may be repeated, events of Event Grid.

https://learn.microsoft.com/en-us/rest/api/communication/sms/sms/send
https://learn.microsoft.com/en-us/rest/api/communication/authentication
https://learn.microsoft.com/en-us/azure/event-grid/communication-services-telephony-sms-events

Events come by Event Grid (`event_grid`), which signs nothing: each callback carries our secret in its path.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import uuid
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from typing import Annotated

import httpx
import orjson
from pydantic import AfterValidator, Field

from dcbridge.errors import AccountFault, OutcomeUnknown, Refused, Throttled, Unreadable, UnreadableEvent
from dcbridge.messages import AgentMessage, ConsumerMessage, DeliveryUpdate, Reason, UpdateStatus
from dcbridge.providers import event_grid, http_words, segmentation, shared_secret
from dcbridge.providers.base import (
    Adapter,
    Answer,
    Callback,
    CallbackAnswer,
    Can,
    Part,
    Submission,
    Turn,
    Unread,
    named_by,
)
from dcbridge.providers.http_words import a_list, a_text, an_object, code, codes, json_object, reasons
from dcbridge.providers.phone import Senders
from dcbridge.providers.posts import Posts
from dcbridge.providers.sms_fields import SmsFields, consumer_message, sms_parts
from dcbridge.settings.types import CompanyUrl, Secret

SENDERS = Senders(short_codes=True, names=True)
MOST_SMS = 10  # in one request; Azure takes 2,048 characters
_OUR_IDS = uuid.UUID("6c0b1a52-6f0f-5d3a-9a34-0e5b8f2b7d11")  # the namespace of repeatabilityRequestId


def base64_key(value: Secret) -> Secret:
    try:
        base64.b64decode(value.get_secret_value(), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("should be in base64, as Azure shows it") from None
    return value


class AzureSmsFields(SmsFields):
    """A resource of Azure Communication Services."""

    senders = SENDERS

    base_url: CompanyUrl = Field(description="Endpoint of the resource, https://….communication.azure.com.")
    access_key: Annotated[Secret, AfterValidator(base64_key)] = Field(
        description="Access key of the resource, in base64."
    )
    callback_secret: Annotated[shared_secret.PathSecrets, Field(min_length=1)] = Field(
        description="Secret in the path of callbacks; during a rotation several."
    )


# `httpStatusCode` of the one recipient, and `error.code` of a request that is refused as a whole.
_CODES = {
    **codes(Refused, Reason.INVALID_DESTINATION, "400"),
    **codes(AccountFault, Reason.GENERAL, "401 403 Unauthorized Forbidden Denied"),
    **codes(Throttled, Reason.RATE_LIMIT, "429 TooManyRequests"),
    **codes(OutcomeUnknown, Reason.GENERAL, "500 502 503 504"),
    **codes(Refused, Reason.INVALID_STRUCTURE, "BadRequest InvalidRequest"),
}
# Codes in deliveryStatusDetails: https://learn.microsoft.com/en-us/azure/communication-services/concepts/sms/sms-faq
_ERRORS = {
    **reasons(Reason.NOT_ALLOWED, "4000 4005 4007 4009 4010"),
    **reasons(Reason.INVALID_STRUCTURE, "4001"),
    **reasons(Reason.INVALID_DESTINATION, "4002 4003 4004 4006"),
    **reasons(Reason.RATE_LIMIT, "4008"),
}
_STATUSES = {"delivered": UpdateStatus.DELIVERED, "failed": UpdateStatus.FAILED}
_REPORT, _RECEIVED = "Microsoft.Communication.SMSDeliveryReportReceived", "Microsoft.Communication.SMSReceived"
_ID = re.compile(r"[0-9A-Za-z._-]{1,200}", re.ASCII)
_DETAIL = re.compile(r"\b[2459][0-9]{3}\b", re.ASCII)


class AzureSms(Adapter):
    """One resource."""

    kind = "azure-sms"
    fields_model = AzureSmsFields
    can = Can(
        channel_types=frozenset({"sms"}),
        units=segmentation.room(MOST_SMS, gsm7=True),
        callbacks={"events": None},
        secret_in_path=True,
        handshake=True,
        idempotent_for=300.0,  # the least that OASIS' Repeatable Requests has; Azure names no time
        opt_out="theirs",
        opt_out_codes=frozenset({"4007"}),
    )
    senders = SENDERS

    def __init__(self, name: str, fields: AzureSmsFields, public_url: str) -> None:
        self.name, self._fields, self.account = name, fields, fields.base_url
        url = httpx.URL(f"{fields.base_url}/sms?api-version=2021-03-07")
        self._posts = Posts(url, [(b"Content-Type", b"application/json")])
        self.login: HmacLogin = HmacLogin(base64.b64decode(fields.access_key.get_secret_value()))

    def parts(self, message: AgentMessage) -> Sequence[Part]:
        return sms_parts(message, MOST_SMS)

    def build_request(self, turn: Turn) -> httpx.Request:
        recipient = {
            "to": self._fields.recipient(turn.message),
            "repeatabilityRequestId": str(uuid.uuid5(_OUR_IDS, turn.key)),
            "repeatabilityFirstSent": formatdate(turn.began_at or turn.accepted_at, usegmt=True),
        }
        body = {
            "from": self._fields.sender(turn.message),
            "smsRecipients": [recipient],
            "message": http_words.writable(turn.part.text),
            "smsSendOptions": {"enableDeliveryReport": True, "tag": turn.key},
        }
        return self._posts.with_body(orjson.dumps(body))

    def parse_response(self, answer: Answer) -> Submission:
        assert isinstance(answer, httpx.Response)
        said = json_object(answer.content)
        if not answer.is_success:
            raise http_words.error_of(answer, code(an_object(said.get("error")).get("code")), _CODES)
        one = next(map(an_object, a_list(said.get("value"))), {})
        provider_id, word = a_text(one.get("messageId")), code(one.get("httpStatusCode"))
        if one.get("successful") is True and _ID.fullmatch(provider_id):
            return Submission(provider_id)
        if one.get("successful") is not False:
            raise Unreadable(f"HTTP {answer.status_code}")
        if a_text(one.get("repeatabilityResult")).lower() == "rejected":
            raise OutcomeUnknown("repetition rejected")  # it says nothing of the first request
        raise http_words.error_of(answer, word or "rejected", _CODES, trusted=True)

    def verify(self, callback: Callback) -> str:
        shared_secret.check(callback, self._fields.callback_secret)
        return ""

    def event_id(self, callback: Callback) -> str:
        return hashlib.blake2b(callback.body, digest_size=16).hexdigest()  # each event in it has an id

    def callback_response(self, callback: Callback) -> CallbackAnswer:
        return event_grid.response(callback)

    def parse_callback(self, callback: Callback) -> Sequence[ConsumerMessage | DeliveryUpdate | Unread]:
        events = [one for one in event_grid.events(callback) if event_grid.type_of(one) != event_grid.VALIDATION]
        if not events and not event_grid.events(callback):
            raise UnreadableEvent("no event")
        return http_words.each(events, self._event, lambda event: [event])

    def _event(self, event: Mapping[str, object]) -> ConsumerMessage | DeliveryUpdate:
        data = event_grid.data_of(event)
        if event_grid.type_of(event) == _RECEIVED:
            return self._consumer_message(event, data)
        provider_id, word = a_text(data.get("messageid")), a_text(data.get("deliverystatus")).lower()
        if event_grid.type_of(event) != _REPORT or not _ID.fullmatch(provider_id) or not word:
            raise UnreadableEvent("no event of a message")
        status, reason = _STATUSES.get(word, UpdateStatus.SENT), None
        found = _DETAIL.search(a_text(data.get("deliverystatusdetails"))[:200])
        error = found[0] if found and status is UpdateStatus.FAILED else ""
        if status is UpdateStatus.FAILED:
            reason = _ERRORS.get(error, Reason.GENERAL)
        ref, part = named_by(a_text(data.get("tag")))
        return DeliveryUpdate(self.name, provider_id, status, ref, part, reason, error)

    def _consumer_message(self, event: Mapping[str, object], data: Mapping[str, object]) -> ConsumerMessage:
        provider_id, text = a_text(event.get("id")), data.get("message")
        if not _ID.fullmatch(provider_id) or not isinstance(text, str):
            raise UnreadableEvent("no id or no text")
        sender, to = a_text(data.get("from")), a_text(data.get("to"))
        return consumer_message(self.name, self._fields, provider_id, sender, to, text)


class HmacLogin:
    """HMAC-SHA256 over the method, the path, the date, the host and the body's hash."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def signed(self, request: httpx.Request, now: float) -> httpx.Request:
        date, body = formatdate(now, usegmt=True), base64.b64encode(hashlib.sha256(request.content).digest()).decode()
        host = request.url.netloc.decode()
        text = f"{request.method}\n{request.url.raw_path.decode()}\n{date};{host};{body}"
        signature = base64.b64encode(hmac.digest(self._key, text.encode(), hashlib.sha256)).decode()
        shown = f"HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature={signature}"
        request.headers.update({"x-ms-date": date, "x-ms-content-sha256": body, "Authorization": shown})
        return request
