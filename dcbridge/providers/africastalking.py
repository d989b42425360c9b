"""Africa's Talking: forms both ways, and a JSON answer that says inside of HTTP 201 whether the message was taken.

https://developers.africastalking.com/docs/sms/sending/bulk
https://developers.africastalking.com/docs/sms/notifications

It signs nothing, so each callback carries our secret in its path. It sends back no reference of ours: a report names
the message by its id alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

import httpx
from pydantic import Field

from dcbridge.errors import AccountFault, OutcomeUnknown, Refused, Unreadable, UnreadableEvent
from dcbridge.messages import AgentMessage, ConsumerMessage, DeliveryUpdate, Reason, UpdateStatus
from dcbridge.providers import http_words, segmentation, shared_secret
from dcbridge.providers.base import Adapter, Answer, Callback, Can, Part, Submission, Turn
from dcbridge.providers.http_words import MOST_FORM, a_list, a_text, an_object, code, codes, json_object, reasons
from dcbridge.providers.phone import Senders
from dcbridge.providers.posts import Posts, form
from dcbridge.providers.prices import price
from dcbridge.providers.sms_fields import SmsFields, consumer_message, sms_parts
from dcbridge.settings.types import CompanyUrl, HeaderSecret

SENDERS = Senders(short_codes=True, names=True)
MOST_SMS = 6  # in one request
_SANDBOX = "sandbox"  # the user name of its own trial accounts, which have another host


class AfricasTalkingFields(SmsFields):
    """An account at Africa's Talking."""

    senders = SENDERS

    username: str = Field(pattern=r"^[0-9A-Za-z._-]{1,100}$", description="Name of the application.")
    api_key: HeaderSecret = Field(description="API key of the application.")
    callback_secret: Annotated[shared_secret.PathSecrets, Field(min_length=1)] = Field(
        description="Secret in the path of callbacks; during a rotation several."
    )
    shared_sender: bool = Field(
        False, description="Send from what Africa's Talking shares among its accounts: no sender is named."
    )
    base_url: CompanyUrl = Field("https://api.africastalking.com", description="URL before /version1.")

    def doubts(self) -> Iterator[tuple[str, str]]:
        yield from super().doubts()
        if self.username == _SANDBOX and self.base_url == "https://api.africastalking.com":
            yield "base_url", "is not that of the user sandbox: write https://api.sandbox.africastalking.com"


_TAKEN = frozenset(("100", "101", "102"))  # processed, sent, queued
# `statusCode` of a recipient, and what stands in `Message` where there is none.
_CODES = {
    **codes(AccountFault, Reason.GENERAL, "405 InsufficientBalance InvalidUsername"),
    **codes(Refused, Reason.NOT_ALLOWED, "401 402 406 409 InvalidSenderId"),
    **codes(Refused, Reason.INVALID_DESTINATION, "403 404 407"),
    **codes(OutcomeUnknown, Reason.GENERAL, "500 501"),  # inside of it, or at a gateway behind it
}
# `failureReason` of a report.
_REASONS = {
    **reasons(Reason.NOT_ALLOWED, "UserInBlackList UserInBlacklist DoNotDisturbRejection UserNotSubscribedToProduct"),
    **reasons(
        Reason.INVALID_DESTINATION, "UserDoesNotExist NotNetworkSubscriber NotNetworkSubcriber UserAccountSuspended"
    ),
    **reasons(Reason.UNSUPPORTED, "InvalidLinkId"),
}
_STATUSES = {
    **dict.fromkeys(("failed", "rejected", "expired", "absentsubscriber"), UpdateStatus.FAILED),
    "success": UpdateStatus.DELIVERED,
}  # Sent, Submitted, Buffered, Queued and whatever comes: not final
_ID = re.compile(r"[0-9A-Za-z._:-]{1,100}", re.ASCII)
_NONE_TAKEN = re.compile(r"Sent to 0/", re.ASCII)


class AfricasTalking(Adapter):
    """One account."""

    kind = "africastalking"
    fields_model = AfricasTalkingFields
    can = Can(
        channel_types=frozenset({"sms"}),
        units=segmentation.room(MOST_SMS, gsm7=True),
        callbacks={"status": MOST_FORM, "inbound": MOST_FORM},
        secret_in_path=True,
        named_by_id=True,
    )
    senders = SENDERS

    def __init__(self, name: str, fields: AfricasTalkingFields, public_url: str) -> None:
        self.name, self._fields = name, fields
        url = httpx.URL(f"{fields.base_url}/version1/messaging")
        key = fields.api_key.get_secret_value().encode()
        headers = [(b"apiKey", key), (b"Accept", b"application/json")]
        self._posts = Posts(url, [*headers, (b"Content-Type", http_words.FORM.encode())])
        self.account = f"{url} {fields.username}"

    def parts(self, message: AgentMessage) -> Sequence[Part]:
        return sms_parts(message, MOST_SMS)

    def build_request(self, turn: Turn) -> httpx.Request:
        fields = self._fields
        body = {
            "username": fields.username,
            "to": fields.recipient(turn.message),
            "message": turn.part.text,
            "bulkSMSMode": "1",
        }
        if not fields.shared_sender:
            body["from"] = fields.sender(turn.message)
        return self._posts.with_body(form(body))

    def parse_response(self, answer: Answer) -> Submission:
        """The list has one recipient, ours. Where it is empty, the sentence above it says why."""
        assert isinstance(answer, httpx.Response)
        if not answer.is_success:
            raise http_words.error_of(answer, "", {})
        said = an_object(json_object(answer.content).get("SMSMessageData"))
        one = next(map(an_object, a_list(said.get("Recipients"))), {})
        word, sentence = code(one.get("statusCode")), a_text(said.get("Message"))
        if not word and (code(sentence) in _CODES or _NONE_TAKEN.match(sentence)):
            raise http_words.error_of(answer, code(sentence), _CODES, trusted=True)
        if word in _TAKEN or (word not in _CODES and a_text(one.get("status")) == "Success"):
            provider_id = a_text(one.get("messageId"))
            if not _ID.fullmatch(provider_id) or provider_id == "None":
                raise Unreadable(f"HTTP {answer.status_code}")
            currency, _, amount = a_text(one.get("cost")).partition(" ")
            return Submission(provider_id, price(self.name, amount, currency, one.get("messageParts")))
        if not word:
            raise OutcomeUnknown("no recipient")
        raise http_words.error_of(answer, word, _CODES, trusted=True)

    def verify(self, callback: Callback) -> str:
        shared_secret.check(callback, self._fields.callback_secret)
        return ""

    def event_id(self, callback: Callback) -> str:
        said = http_words.parameters(callback)
        return ":".join(said.get(name, "") for name in ("id", "status")) if said.get("id") else ""

    def parse_callback(self, callback: Callback) -> Sequence[ConsumerMessage | DeliveryUpdate]:
        said = http_words.parameters(callback)
        provider_id = said.get("id", "")
        if not _ID.fullmatch(provider_id):
            raise UnreadableEvent("no id")
        if callback.kind == "status":
            return [self._update(said, provider_id)]
        if "text" not in said:
            raise UnreadableEvent("no text")
        ends = said.get("from", ""), said.get("to", "")
        return [consumer_message(self.name, self._fields, provider_id, *ends, said["text"])]

    def _update(self, said: Mapping[str, str], provider_id: str) -> DeliveryUpdate:
        word, why = said.get("status", "").lower(), code(said.get("failureReason", ""))
        if not word:
            raise UnreadableEvent("no status")
        status, reason = _STATUSES.get(word, UpdateStatus.SENT), None
        if status is UpdateStatus.FAILED:
            reason = Reason.EXPIRED if word == "expired" else _REASONS.get(why, Reason.GENERAL)
        return DeliveryUpdate(self.name, provider_id, status, reason=reason, detail=why)
