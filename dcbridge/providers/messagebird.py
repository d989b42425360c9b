"""MessageBird, which is called Bird: its API v1, JSON both ways, one address for all callbacks, Standard Webhooks.

https://bird.com/docs/api/sms
https://bird.com/docs/api/idempotency
https://bird.com/docs/api/errors
https://www.standardwebhooks.com

A request has a key: with the same key and the same body, a second one is no second message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, Self

import httpx
import orjson
from pydantic import Field, model_validator

from dcbridge.errors import AccountFault, OutcomeUnknown, Refused, RouteRefused, Unreadable, UnreadableEvent
from dcbridge.messages import AgentMessage, ConsumerMessage, DeliveryUpdate, Reason, UpdateStatus
from dcbridge.providers import http_words, segmentation, standard_webhooks
from dcbridge.providers.base import Adapter, Answer, Callback, Can, Part, Submission, Turn, named_by
from dcbridge.providers.http_words import a_list, a_text, an_object, code, codes, json_object, reasons
from dcbridge.providers.phone import Senders
from dcbridge.providers.posts import Posts
from dcbridge.providers.prices import price
from dcbridge.providers.sms_fields import SmsFields, consumer_message, sms_parts
from dcbridge.providers.standard_webhooks import WebhookSecret
from dcbridge.settings.types import CompanyUrl, HeaderSecret

SENDERS = Senders(short_codes=True, names=True)
MOST_SMS = 10  # in one request; Bird takes 12
_REGION = re.compile(r"b[km]_([a-z]{2}[0-9]+)_.+", re.ASCII)


class MessageBirdFields(SmsFields):
    """A workspace at Bird."""

    senders = SENDERS

    api_key: HeaderSecret = Field(description="API key, which begins with bk_ and the region.")
    base_url: CompanyUrl | None = Field(
        None,
        description="URL before /v1.",
        json_schema_extra={"default": "https://<region>.platform.bird.com, of the region in the key"},
    )
    signature_secret: WebhookSecret = Field(description="Secret of the webhook, which begins with whsec_.")
    signature_age: float = Field(
        300.0, gt=0, allow_inf_nan=False, description="Seconds by which the time in a callback may differ from now."
    )
    category: Literal["transactional", "marketing", "authentication", "service"] = Field(
        "service", description="What messages of this account are, in Bird's words."
    )

    @model_validator(mode="after")
    def _at_a_region(self) -> Self:
        if self.base_url is not None:
            return self
        found = _REGION.fullmatch(self.api_key.get_secret_value())
        if not found:
            raise ValueError("base_url is needed: the API key names no region")
        return self.model_copy(update={"base_url": f"https://{found[1]}.platform.bird.com"})


# `name` of an error in an answer, and `code` of an error in a report or in a message that is rejected at once.
_CODES = {
    **codes(OutcomeUnknown, Reason.GENERAL, "RequestInProgress IdempotencyKeyReuse"),  # an earlier attempt has it
    **codes(RouteRefused, Reason.NOT_ALLOWED, "SMSSenderNotConfigured SenderCategoryNotPermitted sender_unregistered"),
    **codes(Refused, Reason.NOT_ALLOWED, "blocked_by_carrier blocked_by_fraud_protection blocked_by_recipient"),
    **codes(Refused, Reason.NOT_ALLOWED, "content_rejected recipient_opted_out"),
    **codes(Refused, Reason.INVALID_DESTINATION, "SMSInvalidRecipient to invalid_destination landline_unreachable"),
    **codes(Refused, Reason.INVALID_STRUCTURE, "ValidationError InvalidRequest"),
    **codes(Refused, Reason.UNSUPPORTED, "SMSUnsupportedFeature"),
    **codes(AccountFault, Reason.GENERAL, "insufficient_balance"),
}
_ERRORS = {word: reason for word, (_, reason) in _CODES.items()} | reasons(Reason.GENERAL, "insufficient_balance")
_STATUSES = {
    **dict.fromkeys(("undelivered", "failed", "rejected", "expired"), UpdateStatus.FAILED),
    "delivered": UpdateStatus.DELIVERED,
    "canceled": UpdateStatus.REMOVED,
}  # scheduled, accepted, sent and whatever comes: not final
_ID = re.compile(r"sms_[0-9a-z]{1,60}", re.ASCII)
_OURS = "dcbridge"  # of metadata, which Bird sends back with every event


class MessageBird(Adapter):
    """One workspace."""

    kind = "messagebird"
    fields_model = MessageBirdFields
    can = Can(
        channel_types=frozenset({"sms"}),
        units=segmentation.room(MOST_SMS, gsm7=True),
        callbacks={"events": http_words.MOST_FORM},
        idempotent_for=9000.0,  # Bird keeps a key for roughly three hours
        opt_out="theirs",
        opt_out_codes=frozenset({"recipient_opted_out"}),
    )
    senders = SENDERS

    def __init__(self, name: str, fields: MessageBirdFields, public_url: str) -> None:
        self.name, self._fields = name, fields
        self._key = standard_webhooks.key_of(fields.signature_secret)
        url = httpx.URL(f"{fields.base_url}/v1/sms/messages")
        login = b"Bearer " + fields.api_key.get_secret_value().encode()
        self._posts = Posts(url, [(b"Authorization", login), (b"Content-Type", b"application/json")])
        self.account = f"{url} {name}"

    def parts(self, message: AgentMessage) -> Sequence[Part]:
        return sms_parts(message, MOST_SMS)

    def build_request(self, turn: Turn) -> httpx.Request:
        body = {
            "to": self._fields.recipient(turn.message),
            "from": self._fields.sender(turn.message),
            "text": http_words.writable(turn.part.text),
            "category": self._fields.category,
            "metadata": {_OURS: turn.key},
        }
        return self._posts.with_body(orjson.dumps(body), (b"Idempotency-Key", turn.key.encode()))

    def parse_response(self, answer: Answer) -> Submission:
        assert isinstance(answer, httpx.Response)
        said = json_object(answer.content)
        if not answer.is_success:
            error = an_object(said.get("error"))
            wrong = any(an_object(one).get("param") == "to" for one in a_list(error.get("details")))
            word = "to" if wrong else code(error.get("name") or error.get("code"))
            if answer.status_code == 403:
                word = ""  # of the key, whatever it is called
            raise http_words.error_of(answer, word, _CODES, trusted=answer.status_code == 409)
        provider_id = a_text(said.get("id"))
        if not _ID.fullmatch(provider_id):
            raise Unreadable(f"HTTP {answer.status_code}")
        if _STATUSES.get(a_text(said.get("status"))) is UpdateStatus.FAILED:
            word = code(an_object(said.get("last_error")).get("code"))
            raise http_words.error_of(answer, word or "rejected", _CODES)
        return Submission(provider_id)

    def verify(self, callback: Callback) -> str:
        standard_webhooks.check(callback, self._key, self._fields.signature_age)
        return ""  # all of it is signed, its id as well

    def event_id(self, callback: Callback) -> str:
        return callback.header("webhook-id")

    def parse_callback(self, callback: Callback) -> Sequence[ConsumerMessage | DeliveryUpdate]:
        said = json_object(callback.body)
        of, _, word = a_text(said.get("type")).partition(".")
        data = an_object(said.get("data"))
        provider_id = a_text(data.get("sms_id"))
        if of != "sms" or not word:
            raise UnreadableEvent("no event of an SMS")
        if not _ID.fullmatch(provider_id):
            raise UnreadableEvent("no sms_id")
        if word == "received":
            return [self._consumer_message(data, provider_id)]
        return [self._update(data, word, provider_id)]

    def _update(self, data: Mapping[str, object], word: str, provider_id: str) -> DeliveryUpdate:
        status, reason, why = (
            _STATUSES.get(word, UpdateStatus.SENT),
            None,
            code(an_object(data.get("error")).get("code")),
        )
        if status is UpdateStatus.FAILED:
            reason = Reason.EXPIRED if word == "expired" else _ERRORS.get(why, Reason.GENERAL)
        ref, part = named_by(a_text(an_object(data.get("metadata")).get(_OURS)))
        of, segments = an_object(data.get("cost")), an_object(data.get("segments"))
        cost = price(self.name, of.get("amount"), of.get("currency_code"), segments.get("count"))
        return DeliveryUpdate(self.name, provider_id, status, ref, part, reason, why, cost=cost)

    def _consumer_message(self, data: Mapping[str, object], provider_id: str) -> ConsumerMessage:
        text = data.get("text") or data.get("subject")
        if not isinstance(text, str):
            raise UnreadableEvent("no text")  # a picture, whose address Bird does not give
        ends = a_text(data.get("from")), a_text(data.get("to"))
        return consumer_message(self.name, self._fields, provider_id, *ends, text)
