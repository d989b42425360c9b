"""Telnyx: JSON both ways, one address for all callbacks, signed with Ed25519.

https://developers.telnyx.com/api/messaging/send-message
https://developers.telnyx.com/docs/messaging/messages/receiving-webhooks
https://developers.telnyx.com/api/errors

A callback is signed over its body and not over its address. So the reference in the address has a code of our own,
which nobody else can make for another message.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import time
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

import httpx
import orjson
from pydantic import Field, field_validator

from dcbridge.errors import AccountFault, BadSignature, Refused, Throttled, Unreadable, UnreadableEvent
from dcbridge.messages import AgentMessage, ConsumerMessage, Cost, DeliveryUpdate, Reason, UpdateStatus
from dcbridge.providers import http_words, segmentation
from dcbridge.providers.base import (
    Adapter,
    Answer,
    Callback,
    Can,
    MediaLimits,
    Part,
    Submission,
    Turn,
    callback_url,
    named_by,
)
from dcbridge.providers.http_words import a_list, a_text, an_object, code, codes, json_object
from dcbridge.providers.opt_outs import ListedOptOut, OptOutPage, moment
from dcbridge.providers.phone import Senders
from dcbridge.providers.prices import price
from dcbridge.providers.sms_fields import MmsFields, consumer_message, sms_parts
from dcbridge.settings.types import CompanyUrl, HeaderSecret

SENDERS = Senders(short_codes=True, names=True)
MOST_SMS = 10  # in one request


# https://developers.telnyx.com/docs/messaging/messages/send-receive-mms
_MMS = 1_000_000  # bytes of all files


class TelnyxFields(MmsFields):
    """An account at Telnyx."""

    senders = SENDERS
    usual_media_hosts = (".telnyx.com", ".telnyxstorage.com")

    api_key: HeaderSecret = Field(description="API key, which begins with KEY.")
    public_key: str = Field(description="Public key of the account, with which its callbacks are verified; in base64.")
    messaging_profile_id: str | None = Field(
        None, min_length=1, description="Messaging profile; needed where the sender is a name."
    )
    status_callbacks: bool = Field(True, description="Whether each request names the address for its own reports.")
    signature_age: float = Field(
        300.0, gt=0, allow_inf_nan=False, description="Seconds by which the time in a callback may differ from now."
    )
    base_url: CompanyUrl = Field("https://api.telnyx.com", description="URL before /v2/messages.")

    @field_validator("public_key")
    @classmethod
    def _a_key(cls, value: str) -> str:
        if len(_base64(value.strip())) != 32:
            raise ValueError("should be 32 bytes in base64, as Telnyx shows it")
        return value.strip()


# https://developers.telnyx.com/api/errors; on a callback only the reason counts.
_CODES = {
    **codes(Throttled, Reason.RATE_LIMIT, "10011 40011"),
    **codes(AccountFault, Reason.GENERAL, "10009 10010 20100"),
    **codes(Refused, Reason.UNKNOWN_MESSAGE, "10005 10006"),
    **codes(Refused, Reason.INVALID_DESTINATION, "10002 40001 40012 40310"),
    **codes(Refused, Reason.INVALID_STRUCTURE, "10003 10004 40009"),
    **codes(Refused, Reason.NOT_ALLOWED, "40002 40003 40013 40015 40300 40333"),
    **codes(Refused, Reason.EXPIRED, "40005 40014"),
}
_STATUSES = {
    "delivered": UpdateStatus.DELIVERED,
    "read": UpdateStatus.DELIVERED,
    "sending_failed": UpdateStatus.FAILED,
    "delivery_failed": UpdateStatus.FAILED,
    "expired": UpdateStatus.FAILED,
}  # queued, sending, sent, delivery_unconfirmed and whatever comes: not final
_ID = re.compile(r"[0-9A-Za-z-]{1,64}", re.ASCII)
_SIGNATURE = re.compile(r"[0-9A-Za-z+/]{86}==", re.ASCII)  # 64 bytes
_MOMENT = re.compile(r"[0-9]{1,12}", re.ASCII)


class Telnyx(Adapter):
    """One account."""

    kind = "telnyx"
    fields_model = TelnyxFields
    can = Can(
        channel_types=frozenset({"sms"}),
        units=segmentation.room(MOST_SMS, gsm7=True),
        callbacks={"events": http_words.MOST_FORM},
        named_by_id=True,  # a report to the address of the messaging profile has no reference of ours
        opt_out="theirs",
        opt_out_codes=frozenset({"40300"}),
        media=MediaLimits(10, _MMS, {"image/": _MMS, "audio/": _MMS, "video/": _MMS, "text/vcard": _MMS}),
    )
    senders = SENDERS

    def __init__(self, name: str, fields: TelnyxFields, public_url: str) -> None:
        """`public_url` is where providers reach the bridge."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        self.name, self._fields = name, fields
        self._secret = fields.api_key.get_secret_value().encode()
        self._reports = callback_url(public_url, name, "events")
        self._headers = [(b"Authorization", b"Bearer " + self._secret), (b"Content-Type", b"application/json")]
        self._url = httpx.URL(f"{fields.base_url}/v2/messages")
        self.opt_out_list = TelnyxOptOuts(f"{fields.base_url}/v2/messaging_optouts", self._headers)
        self._key = Ed25519PublicKey.from_public_bytes(_base64(fields.public_key))
        self.account = f"{self._url} {fields.public_key}"

    def parts(self, message: AgentMessage) -> Sequence[Part]:
        return sms_parts(message, MOST_SMS)

    def build_request(self, turn: Turn) -> httpx.Request:
        fields = self._fields
        files = turn.media if turn.part.number == 0 else ()
        body: dict[str, object] = {"from": fields.sender(turn.message), "to": fields.recipient(turn.message)}
        if turn.part.text or not files:
            body["text"] = http_words.writable(turn.part.text)
        if files:
            body |= {"media_urls": [file.url for file in files], "type": "MMS"}
        if fields.messaging_profile_id:
            body["messaging_profile_id"] = fields.messaging_profile_id
        if fields.status_callbacks:
            ours = urlencode({"m": turn.key, "c": self._code(turn.key)})
            body["webhook_url"] = f"{self._reports}?{ours}"
        return httpx.Request("POST", self._url, headers=self._headers, content=orjson.dumps(body))

    def _code(self, key: str) -> str:
        """Ours, for the reference in an address."""
        return hmac.digest(self._secret, f"callback {key}".encode(), hashlib.sha256).hex()[:32]

    def parse_response(self, answer: Answer) -> Submission:
        assert isinstance(answer, httpx.Response)
        said = json_object(answer.content)
        if answer.is_success:
            data = an_object(said.get("data"))
            provider_id = a_text(data.get("id"))
            if not _ID.fullmatch(provider_id):
                raise Unreadable(f"HTTP {answer.status_code}")
            return Submission(provider_id, self._price(data))
        raise http_words.error_of(answer, _error(said), _CODES)

    def media_request(self, url: str) -> httpx.Request | None:
        return self._fields.media_request(url, self._url, {})  # its links are signed themselves

    def verify(self, callback: Callback) -> str:
        from cryptography.exceptions import InvalidSignature

        signature, moment = callback.header("telnyx-signature-ed25519"), callback.header("telnyx-timestamp")
        if not signature or not moment:
            raise BadSignature("missing")
        if not _SIGNATURE.fullmatch(signature) or not _MOMENT.fullmatch(moment):
            raise BadSignature("not a signature")
        if abs(time.time() - int(moment)) > self._fields.signature_age:
            raise BadSignature("too old or too new")
        try:
            self._key.verify(_base64(signature), moment.encode() + b"|" + callback.body)
        except InvalidSignature:
            raise BadSignature("the key does not match") from None
        return ""  # the whole body is signed, its id as well

    def event_id(self, callback: Callback) -> str:
        return a_text(_data(callback).get("id"))

    def parse_callback(self, callback: Callback) -> Sequence[ConsumerMessage | DeliveryUpdate]:
        data = _data(callback)
        event, payload = a_text(data.get("event_type")), an_object(data.get("payload"))
        if not event:
            raise UnreadableEvent("no event_type")
        if not event.startswith("message."):
            return ()  # of another product: a call, a fax
        if not _ID.fullmatch(a_text(payload.get("id"))):
            raise UnreadableEvent("no id of a message")
        return [self._consumer_message(payload) if event == "message.received" else self._update(callback, payload)]

    def _update(self, callback: Callback, payload: Mapping[str, object]) -> DeliveryUpdate:
        to = [an_object(one) for one in a_list(payload.get("to"))]
        word = a_text(to[0].get("status")) if to else ""
        if not word:
            raise UnreadableEvent("no status")
        status, error = _STATUSES.get(word, UpdateStatus.SENT), _error(payload)
        reason = None
        if status is UpdateStatus.FAILED:
            reason = Reason.EXPIRED if word == "expired" else _CODES.get(error, (Refused, Reason.GENERAL))[1]
        ours = http_words.decoded(http_words.query(callback))
        key = ours.get("m", "")
        right = hmac.compare_digest(self._code(key).encode(), ours.get("c", "").encode("utf-8", "replace"))
        ref, part = named_by(key if right else "")
        cost = self._price(payload)
        return DeliveryUpdate(self.name, a_text(payload["id"]), status, ref, part, reason, error, cost=cost)

    def _price(self, said: Mapping[str, object]) -> Cost | None:
        """Of all its SMS; null until it is known."""
        cost = an_object(said.get("cost"))
        return price(self.name, cost.get("amount"), cost.get("currency"), said.get("parts"))

    def _consumer_message(self, payload: Mapping[str, object]) -> ConsumerMessage:
        media = tuple(a_text(an_object(one).get("url")) for one in a_list(payload.get("media")))
        if not isinstance(payload.get("text"), str) and not any(media):
            raise UnreadableEvent("no text")
        sender = a_text(an_object(payload.get("from")).get("phone_number"))
        to = next((a_text(an_object(one).get("phone_number")) for one in a_list(payload.get("to"))), "")
        text = a_text(payload.get("text"))
        return consumer_message(
            self.name, self._fields, a_text(payload["id"]), sender, to, text, tuple(filter(None, media))
        )


class TelnyxOptOuts:
    """https://developers.telnyx.com/api-reference/opt-out-management/list-opt-outs"""

    PAGE = 100

    def __init__(self, url: str, headers: list[tuple[bytes, bytes]]) -> None:
        self._url, self._headers = url, headers

    def page_request(self, page: str) -> httpx.Request:
        query = {"page[number]": page or "1", "page[size]": str(self.PAGE)}
        return httpx.Request("GET", self._url, params=query, headers=self._headers)

    def parse_page(self, answer: httpx.Response) -> OptOutPage:
        said = json_object(answer.content)
        if not answer.is_success:
            raise http_words.error_of(answer, _error(said), _CODES)
        if not isinstance(said.get("data"), list):
            raise Unreadable("no list")
        found = [an_object(one) for one in a_list(said["data"])]
        rows = [
            ListedOptOut(a_text(one.get("to")), moment(one.get("created_at")), a_text(one.get("from"))) for one in found
        ]
        number, pages = (an_object(said.get("meta")).get(name) for name in ("page_number", "total_pages"))
        more = isinstance(number, int) and isinstance(pages, int) and 0 < number < pages and bool(rows)
        return OptOutPage(rows, str(int(str(number)) + 1) if more else "")


def _data(callback: Callback) -> dict[str, object]:
    return an_object(json_object(callback.body).get("data"))


def _error(said: Mapping[str, object]) -> str:
    """The first code of `errors`."""
    return next((code(an_object(one).get("code")) for one in a_list(said.get("errors"))), "")


def _base64(text: str) -> bytes:
    """b"" for what is none."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
