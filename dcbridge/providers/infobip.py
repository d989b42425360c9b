"""Infobip: lists in both directions, and message ids of our own.

https://www.infobip.com/docs/api/channels/sms/outbound-sms/send-sms-messages
https://www.infobip.com/docs/essentials/response-status-and-error-codes
https://www.infobip.com/docs/api/channels/sms/inbound-sms

Each message has the id that we give it, the same on every attempt: a second one is rejected as a duplicate, which
proves that the first was accepted. Infobip signs nothing that is documented, so each callback carries our secret.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Annotated

import httpx
import orjson
from pydantic import Field

from dcbridge.errors import AccountFault, OutcomeUnknown, Refused, RouteRefused, Throttled, Unreadable, UnreadableEvent
from dcbridge.messages import AgentMessage, ConsumerMessage, Cost, DeliveryUpdate, Reason, UpdateStatus
from dcbridge.providers import http_words, segmentation, shared_secret
from dcbridge.providers.base import (
    Adapter,
    Answer,
    Callback,
    Can,
    MediaLimits,
    Part,
    Submission,
    Turn,
    Unread,
    callback_url,
    named_by,
)
from dcbridge.providers.http_words import a_list, a_text, an_object, code, codes, json_object, reasons
from dcbridge.providers.phone import Senders
from dcbridge.providers.prices import price
from dcbridge.providers.sms_fields import MmsFields, consumer_message, sms_parts
from dcbridge.settings.types import CompanyUrl, HeaderSecret

SENDERS = Senders(short_codes=True, names=True)
MOST_SMS = 10  # in one request


_MMS = 300_000  # bytes, which every network carries: https://www.infobip.com/docs/mms


class InfobipFields(MmsFields):
    """An account at Infobip."""

    senders = SENDERS
    usual_media_hosts = (".infobip.com",)

    base_url: CompanyUrl = Field(description="URL of the account, https://xxxxx.api.infobip.com, before /sms/3.")
    api_key: HeaderSecret = Field(description="API key with the scope sms:message:send.")
    callback_secret: Annotated[shared_secret.PathSecrets, Field(min_length=1)] = Field(
        description="Secret in the path of callbacks; during a rotation several, of which requests name the first."
    )
    validity_period: int | None = Field(
        None, ge=30, le=172800, description="Seconds that Infobip may try to deliver a message, 30 to 172800."
    )


# https://www.infobip.com/docs/essentials/response-status-and-error-codes: ids of statuses in an answer, HTTP's codes.
_CODES = {
    **codes(Throttled, Reason.RATE_LIMIT, "E429 TOO_MANY_REQUESTS"),
    **codes(AccountFault, Reason.GENERAL, "12 17 E401 E403 UNAUTHORIZED FORBIDDEN"),
    **codes(OutcomeUnknown, Reason.GENERAL, "21 100"),
    **codes(Refused, Reason.EXPIRED, "15 29"),
    **codes(Refused, Reason.RATE_LIMIT, "20"),
    **codes(Refused, Reason.NOT_ALLOWED, "10 14 87"),
    **codes(RouteRefused, Reason.NOT_ALLOWED, "11 13 19"),  # the sender, or no route
    **codes(RouteRefused, Reason.INVALID_DESTINATION, "6"),  # a network that the account does not cover
    **codes(Refused, Reason.INVALID_DESTINATION, "8 18 51 52"),
    **codes(Refused, Reason.INVALID_STRUCTURE, "24 25 E400 BAD_REQUEST"),
}
_DUPLICATE = "23"
# The same page, ids of errors in a report.
_ERRORS = {
    **reasons(Reason.INVALID_DESTINATION, "1 9 11 351 352 568 569 629 3041"),
    **reasons(Reason.INVALID_STRUCTURE, "355"),
    **reasons(Reason.RATE_LIMIT, "541 542 630 4103 4104 4202"),
    **reasons(Reason.NOT_ALLOWED, "560 561 562 563 564 565 566 573 603 604 607 608 2049 2050 2051 2052 2053"),
    **reasons(Reason.EXPIRED, "811 4098 4101"),
}
_GROUPS = {
    "2": UpdateStatus.FAILED, "3": UpdateStatus.DELIVERED, "4": UpdateStatus.FAILED, "5": UpdateStatus.FAILED
}  # fmt: skip
_TO_OPERATOR = "2"  # a status of group 3 that says no more than that an operator has it
_ACCEPTED = ("0", "1", "3")
_ID = re.compile(r"[0-9A-Za-z._-]{1,200}", re.ASCII)


class Infobip(Adapter):
    """One account."""

    kind = "infobip"
    fields_model = InfobipFields
    can = Can(
        channel_types=frozenset({"sms"}),
        units=segmentation.room(MOST_SMS, gsm7=True),
        callbacks={"status": None, "inbound": None},
        secret_in_path=True,
        media=MediaLimits(10, _MMS, {"image/": _MMS, "audio/": _MMS, "video/": _MMS, "text/vcard": _MMS}),
        templates=True,
    )
    senders = SENDERS

    def __init__(self, name: str, fields: InfobipFields, public_url: str) -> None:
        """`public_url` is where providers reach the bridge."""
        self.name, self._fields = name, fields
        login = b"App " + fields.api_key.get_secret_value().encode()
        self._headers = [(b"Authorization", login), (b"Content-Type", b"application/json")]
        self._url = httpx.URL(f"{fields.base_url}/sms/3/messages")
        self._mms = httpx.URL(f"{fields.base_url}/mms/2/messages")
        secret = fields.callback_secret[0].get_secret_value()
        self._reports = {"url": callback_url(public_url, name, "status", secret)}
        self.account = f"{self._url} {name}"

    def parts(self, message: AgentMessage) -> Sequence[Part]:
        return sms_parts(message, MOST_SMS)

    def build_request(self, turn: Turn) -> httpx.Request:
        fields = self._fields
        text = http_words.writable(turn.part.text)
        destination = {"to": fields.recipient(turn.message).removeprefix("+"), "messageId": turn.key}
        message: dict[str, object] = {
            "sender": fields.sender(turn.message).removeprefix("+"),
            "destinations": [destination],
            "content": {"text": text},
            "webhooks": {"delivery": self._reports, "contentType": "application/json"},
        }
        options: dict[str, object] = {}
        if fields.validity_period is not None:
            options["validityPeriod"] = {"amount": fields.validity_period, "timeUnit": "SECONDS"}
        if one := turn.template:
            india = {"contentTemplateId": one.id, "principalEntityId": one.entity_id}
            options["regional"] = {"indiaDlt": india}
        if options:
            message["options"] = options
        url = self._url
        if turn.media and turn.part.number == 0:
            url = self._mms
            segments = [{"type": "LINK", "contentUrl": file.url, "contentType": file.mimetype} for file in turn.media]
            message["content"] = {"messageSegments": [*([{"type": "TEXT", "text": text}] if text else []), *segments]}
        return httpx.Request("POST", url, headers=self._headers, content=orjson.dumps({"messages": [message]}))

    def parse_response(self, answer: Answer) -> Submission:
        assert isinstance(answer, httpx.Response)
        said = json_object(answer.content)
        if not answer.is_success:
            exception = an_object(an_object(said.get("requestError")).get("serviceException"))
            raise http_words.error_of(answer, code(said.get("errorCode") or exception.get("messageId")), _CODES)
        one = next(map(an_object, a_list(said.get("messages"))), {})
        status, provider_id = an_object(one.get("status")), a_text(one.get("messageId"))
        group, word = a_text(status.get("groupId")), code(status.get("id"))
        if not group or not _ID.fullmatch(provider_id):
            raise Unreadable(f"HTTP {answer.status_code}")
        if group in _ACCEPTED or word == _DUPLICATE:  # it has that id, which only an earlier attempt of ours can have
            return Submission(provider_id)
        raise http_words.error_of(answer, word or "rejected", _CODES, trusted=True)

    def media_request(self, url: str) -> httpx.Request | None:
        return self._fields.media_request(url, self._url, {"Authorization": self._headers[0][1].decode()})

    def verify(self, callback: Callback) -> str:
        shared_secret.check(callback, self._fields.callback_secret)
        return ""

    def event_id(self, callback: Callback) -> str:
        return hashlib.blake2b(callback.body, digest_size=16).hexdigest()  # each message in it has an id

    def parse_callback(self, callback: Callback) -> Sequence[ConsumerMessage | DeliveryUpdate | Unread]:
        results = a_list(json_object(callback.body).get("results"))
        if not results:
            raise UnreadableEvent("no results")
        read = self._update if callback.kind == "status" else self._consumer_message
        return http_words.each(results, read, lambda result: {"results": [result]})

    def _update(self, said: Mapping[str, object]) -> DeliveryUpdate:
        provider_id = _id(said)
        status, error = an_object(said.get("status")), an_object(said.get("error"))
        group, word, why = a_text(status.get("groupId")), code(status.get("id")), code(error.get("id"))
        if not group:
            raise UnreadableEvent("no status")
        becomes, reason = _GROUPS.get(group, UpdateStatus.SENT), None
        if word == _TO_OPERATOR:
            becomes = UpdateStatus.SENT
        if becomes is UpdateStatus.FAILED:
            usual = Reason.EXPIRED if group == "4" else _CODES.get(word, (Refused, Reason.GENERAL))[1]
            reason = _ERRORS.get(why, usual)
        ref, part = named_by(provider_id)
        detail = "" if why == "0" else why
        cost = self._price(said)
        return DeliveryUpdate(self.name, provider_id, becomes, ref, part, reason, detail, cost=cost)

    def _price(self, said: Mapping[str, object]) -> Cost | None:
        """It is that of one SMS."""
        of_one, count = an_object(said.get("price")), said.get("messageCount", said.get("smsCount"))
        return price(self.name, of_one.get("pricePerMessage"), of_one.get("currency"), count, each=True)

    def _consumer_message(self, said: Mapping[str, object]) -> ConsumerMessage:
        provider_id, text, media = _id(said), said.get("text"), tuple[str, ...]()
        if text is None and said.get("message"):  # an MMS
            text, media = _mms(said)
        if not isinstance(text, str):
            raise UnreadableEvent("no text")
        ends = a_text(said.get("from")), a_text(said.get("to"))
        return consumer_message(self.name, self._fields, provider_id, *ends, text, media)


def _mms(said: Mapping[str, object]) -> tuple[str, tuple[str, ...]]:
    """Text and files of MO_MMS_2, whose layout (SMIL) is left out."""
    pieces = [an_object(one) for one in a_list(said.get("message"))]
    texts = [a_text(one.get("value")) for one in pieces if a_text(one.get("contentType")).startswith("text/plain")]
    files = [a_text(one.get("url")) for one in pieces if a_text(one.get("contentType")) != "application/smil"]
    return "\n".join(filter(None, texts)), tuple(filter(None, files))


def _id(said: Mapping[str, object]) -> str:
    found = a_text(said.get("messageId"))
    if not _ID.fullmatch(found):
        raise UnreadableEvent("no messageId")
    return found
