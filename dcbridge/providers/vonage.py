"""Vonage, SMS API: in-band errors, and callbacks by GET, form or JSON as the account is set. Files go another way.

https://developer.vonage.com/en/api/sms
https://developer.vonage.com/en/messaging/sms/guides/troubleshooting-sms      codes of an answer
https://developer.vonage.com/en/messaging/sms/guides/delivery-receipts        codes of a delivery receipt
https://developer.vonage.com/en/getting-started/concepts/signing-messages

Vonage cuts a long text into SMS itself, and reports each of them by itself. The reference says how many they are, so
that the part is delivered when all of them are. A part with files goes by the Messages API (vonage_messages.py),
where the account has an application.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, Self
from urllib.parse import urlencode

import httpx
from pydantic import Field, SecretStr, model_validator

from dcbridge.errors import (
    AccountFault,
    BadSignature,
    OutcomeUnknown,
    Refused,
    RouteRefused,
    Throttled,
    Unreadable,
    UnreadableEvent,
)
from dcbridge.messages import AgentMessage, ConsumerMessage, Cost, DeliveryUpdate, Reason, UpdateStatus, piece_of
from dcbridge.providers import http_words, segmentation, shared_secret, vonage_messages
from dcbridge.providers.base import (
    Adapter,
    Answer,
    Callback,
    Can,
    Part,
    Submission,
    Turn,
    named_by,
)
from dcbridge.providers.http_words import a_list, a_text, an_object, code, codes, json_object
from dcbridge.providers.phone import Senders
from dcbridge.providers.prices import price
from dcbridge.providers.sms_fields import MmsFields, consumer_message, sms_parts
from dcbridge.settings.types import CompanyUrl, Secret

SENDERS = Senders(short_codes=True, names=True)
MOST_SMS = 10  # in one request
_CURRENCY = "EUR"  # of all its prices
MOST_PIECES = 99
MOST_FORM = 1 << 15  # bytes; the text of one SMS and its like, even where each byte is escaped


class VonageFields(MmsFields):
    """An account at Vonage, with its SMS API; with an application, files go by its Messages API."""

    senders = SENDERS
    usual_media_hosts = login_hosts = (".nexmo.com", ".vonage.com")

    api_key: str = Field(
        pattern=r"^[0-9A-Za-z]+$", description="API key of the account, in the dashboard's first line."
    )
    api_secret: Secret = Field(description="API secret of the account.")
    signature_secret: Secret | None = Field(None, description="Secret with which Vonage signs callbacks.")
    signature_method: Literal["md5hash", "md5", "sha1", "sha256", "sha512"] = Field(
        "sha256", description="How callbacks are signed, as the account is set; md5hash is the dashboard's MD5 HASH."
    )
    signature_age: float = Field(
        172800.0,
        gt=0,
        allow_inf_nan=False,
        description="Seconds by which the time in a signed callback may differ from now; Vonage repeats one for a day.",
    )
    callback_secret: shared_secret.PathSecrets = Field(
        (),
        description="Secret in the path of callbacks, or several during a rotation; for an account that does not sign.",
    )
    validity_period: int | None = Field(
        None, ge=20, le=604800, description="Seconds that Vonage may try to deliver a message, 20 to 604800."
    )
    base_url: CompanyUrl = Field("https://rest.nexmo.com", description="URL before /sms/json.")
    application_id: str | None = Field(
        None,
        pattern=r"^[0-9A-Fa-f-]{1,64}$",
        description="Id of an application with the Messages capability; without it, agents' files go as links.",
    )
    private_key: Secret | None = Field(None, description="Private key of that application, as its PEM file has it.")
    messages_url: CompanyUrl = Field("https://api.nexmo.com", description="URL before /v1/messages.")

    @model_validator(mode="after")
    def _proven(self) -> Self:
        if self.signature_secret is None and not self.callback_secret:
            raise ValueError("signature_secret or callback_secret should be given: nothing else proves a callback")
        if (self.application_id is None) != (self.private_key is None):
            raise ValueError("application_id and private_key should be given together")
        if self.private_key is not None:
            vonage_messages.private_key(self.private_key.get_secret_value())
        return self


# https://developer.vonage.com/en/messaging/sms/guides/troubleshooting-sms
_CODES = {
    **codes(Throttled, Reason.RATE_LIMIT, "1 10"),
    **codes(OutcomeUnknown, Reason.GENERAL, "5"),
    **codes(AccountFault, Reason.GENERAL, "4 8 9 11 14 32"),
    **codes(Refused, Reason.INVALID_STRUCTURE, "2 3 12 22 23"),
    **codes(Refused, Reason.INVALID_DESTINATION, "6 33"),
    **codes(Refused, Reason.NOT_ALLOWED, "7"),
    **codes(RouteRefused, Reason.NOT_ALLOWED, "15 29"),  # the sender, or a destination that is not enabled
}
# https://developer.vonage.com/en/messaging/sms/guides/delivery-receipts
_STATUSES = {
    "delivered": UpdateStatus.DELIVERED,
    "expired": UpdateStatus.FAILED,
    "failed": UpdateStatus.FAILED,
    "rejected": UpdateStatus.FAILED,
    "deleted": UpdateStatus.FAILED,
}  # accepted, buffered, unknown and whatever comes: not final
_REASONS = {
    **dict.fromkeys(("3", "5", "11", "12"), Reason.INVALID_DESTINATION),
    # 9 is an illegal number, and with opt-out assist a consumer who wrote STOP: an account cannot be asked which.
    **dict.fromkeys(("4", "6", "9", "13", "14", "50", "51", "52", "53", "54"), Reason.NOT_ALLOWED),
    "10": Reason.INVALID_STRUCTURE,
    "16": Reason.RATE_LIMIT,
}
_COUNT = re.compile(r"[1-9][0-9]{0,2}", re.ASCII)
_ID = re.compile(r"[0-9A-Za-z-]{1,64}", re.ASCII)


class Vonage(Adapter):
    """One account."""

    kind = "vonage"
    fields_model = VonageFields
    can = Can(
        channel_types=frozenset({"sms"}),
        units=segmentation.room(MOST_SMS, gsm7=True),
        callbacks={"status": MOST_FORM, "inbound": MOST_FORM},
        secret_in_path=True,
        templates=True,
    )
    senders = SENDERS

    def __init__(self, name: str, fields: VonageFields, public_url: str) -> None:
        """`public_url` is not used: Vonage takes a callback address of 100 characters, so the account names it."""
        self.name, self._fields = name, fields
        login = base64.b64encode(f"{fields.api_key}:{fields.api_secret.get_secret_value()}".encode())
        self._headers = [(b"Authorization", b"Basic " + login), (b"Content-Type", http_words.FORM.encode())]
        self._url = httpx.URL(f"{fields.base_url}/sms/json")
        self._messages = httpx.URL(f"{fields.messages_url}{vonage_messages.PATH}")
        self.account = f"{self._url} {fields.api_key}"
        if fields.application_id and fields.private_key:
            self.can = replace(Vonage.can, media=vonage_messages.MMS)
            key = vonage_messages.private_key(fields.private_key.get_secret_value(), known=True)
            self.login = vonage_messages.ApplicationLogin(fields.application_id, key)

    def parts(self, message: AgentMessage) -> Sequence[Part]:
        return sms_parts(message, MOST_SMS)

    def build_request(self, turn: Turn) -> httpx.Request:
        fields = self._fields
        sender, to = fields.sender(turn.message).removeprefix("+"), fields.recipient(turn.message).removeprefix("+")
        if turn.media and turn.part.number == 0:
            return vonage_messages.request_for(self._messages, turn, sender, to)
        form = {
            "from": sender,
            "to": to,
            "text": turn.part.text,
            "type": "text" if segmentation.is_gsm7(turn.part.text) else "unicode",
            "client-ref": f"{turn.key}.{segmentation.segments(turn.part.text)}",
            "status-report-req": "1",
        }
        if fields.validity_period is not None:
            form["ttl"] = str(fields.validity_period * 1000)
        if turn.template:
            form |= {"entity-id": turn.template.entity_id, "content-id": turn.template.id}
        return httpx.Request(
            "POST", self._url, headers=self._headers, content=urlencode(form, errors="replace").encode()
        )

    def parse_response(self, answer: Answer) -> Submission:
        assert isinstance(answer, httpx.Response)
        # The SMS API answers 200 whatever happens, and has a list.
        if answer.status_code == 202 or (answer.status_code >= 400 and "type" in json_object(answer.content)):
            return vonage_messages.submission(answer)
        if not answer.is_success:
            raise http_words.error_of(answer, "", _CODES)
        said = [an_object(one) for one in a_list(json_object(answer.content).get("messages"))]
        taken = next((a_text(one.get("message-id")) for one in said if a_text(one.get("status")) == "0"), None)
        if taken is not None and _ID.fullmatch(taken):
            # Of several SMS at least one was accepted: sending it again would double that.
            return Submission(taken, _price(self.name, said))
        status = code(a_text(said[0].get("status"))) if said and taken is None else ""
        if not status:
            raise Unreadable(f"HTTP {answer.status_code}")
        raise http_words.error_of(answer, status, _CODES, trusted=True)

    def media_request(self, url: str) -> httpx.Request | None:
        return self._fields.media_request(url, self._messages, {})  # with the application's token, which some ask for

    def verify(self, callback: Callback) -> str:
        secret, method = self._fields.signature_secret, self._fields.signature_method
        if secret is None:
            shared_secret.check(callback, self._fields.callback_secret)
            return ""
        if callback.header("authorization").startswith("Bearer "):
            vonage_messages.verify(callback, secret.get_secret_value(), self._fields.signature_age)
            return ""  # the whole body is signed, its id as well
        said = _parameters(callback)
        given = said.pop("sig", "").lower()
        if not given:
            raise BadSignature("missing")
        if not hmac.compare_digest(_signature(said, method, secret), given.encode("utf-8", "replace")):
            raise BadSignature("no secret matches")
        http_words.check_time(said.get("timestamp", ""), self._fields.signature_age)
        # "&" and "=" are signed as "_": another text may have the same signature, and is no other callback.
        return given

    def event_id(self, callback: Callback) -> str:
        if message := vonage_messages.said_by(callback):
            return vonage_messages.event_id(message)
        said = _parameters(callback)
        if not said.get("messageId"):
            return ""
        return ":".join(said.get(name, "") for name in ("messageId", "status", "err-code", "concat-part"))

    def parse_callback(self, callback: Callback) -> Sequence[ConsumerMessage | DeliveryUpdate]:
        if message := vonage_messages.said_by(callback):
            if callback.kind == "status":
                return [vonage_messages.update(self.name, message)]
            return [vonage_messages.received(self.name, self._fields, message)]
        said = _parameters(callback)
        if not _ID.fullmatch(said.get("messageId", "")):
            raise UnreadableEvent("no messageId")
        return [self._update(said) if callback.kind == "status" else self._consumer_message(said)]

    def _update(self, said: Mapping[str, str]) -> DeliveryUpdate:
        word, error = said.get("status", "").lower(), code(said.get("err-code", ""))
        if not word:
            raise UnreadableEvent("no status")
        status, reason = _STATUSES.get(word, UpdateStatus.SENT), None
        if status is UpdateStatus.FAILED:
            reason = Reason.EXPIRED if word == "expired" else _REASONS.get(error, Reason.GENERAL)
        key, _, count = said.get("client-ref", "").rpartition(".")
        pieces = int(count) if re.fullmatch(r"[1-9][0-9]?", count, re.ASCII) else 0
        ref, part = named_by(key) if pieces else ("", 0)
        detail = "" if error == "0" else error
        # Of several SMS each report has the price of one; the answer has told that of all.
        cost = price(self.name, said.get("price"), _CURRENCY, 1) if pieces == 1 else None
        return DeliveryUpdate(
            self.name, said["messageId"], status, ref, part, reason, detail, pieces=max(1, pieces), cost=cost
        )

    def _consumer_message(self, said: Mapping[str, str]) -> ConsumerMessage:
        if "text" not in said:
            raise UnreadableEvent("no text")  # a binary message, or a status at the wrong address
        piece = said.get("concat-part", "")
        provider_id = said["messageId"] + (f".{piece[:8]}" if piece else "")
        message = consumer_message(
            self.name, self._fields, provider_id, said.get("msisdn", ""), said.get("to", ""), said["text"]
        )
        number, count = said.get("concat-part", ""), said.get("concat-total", "")
        if not (_COUNT.fullmatch(number) and _COUNT.fullmatch(count)):
            return message
        return replace(message, piece=piece_of(said.get("concat-ref", "")[:64], int(number), int(count)))


def _price(provider: str, said: Sequence[Mapping[str, object]]) -> Cost | None:
    """Of all SMS together; None where one that was accepted has no price."""
    each = [price(provider, one.get("message-price"), _CURRENCY) for one in said if a_text(one.get("status")) == "0"]
    known = [one.units for one in each if one]
    return Cost(provider, _CURRENCY, sum(known)) if known and len(known) == len(each) <= MOST_SMS else None


def _parameters(callback: Callback) -> dict[str, str]:
    """All parameters, from where the account sends them; {} for anything else, or for more than anybody sends."""
    if callback.method == "POST" and http_words.content_type(callback) == "application/json":
        said = json_object(callback.body) if len(callback.body) <= MOST_FORM else {}
        return {name: a_text(value) for name, value in said.items()} if len(said) <= http_words.MOST_PARAMETERS else {}
    raw = http_words.query(callback) if callback.method != "POST" else callback.body
    if raw.count(b"&") >= http_words.MOST_PARAMETERS:
        return {}
    return http_words.parameters(callback)


def _signature(said: Mapping[str, str], method: str, secret: SecretStr) -> bytes:
    """In hex, over all parameters but `sig`, sorted by name."""
    signed = "".join(f"&{name}={value.translate(_JOINED)}" for name, value in sorted(said.items()))
    written, key = signed.encode("utf-8", "replace"), secret.get_secret_value().encode()
    if method == "md5hash":  # what an old account calls MD5 HASH
        return hashlib.md5(written + key, usedforsecurity=False).hexdigest().encode()
    return hmac.new(key, written, method).hexdigest().encode()


_JOINED = str.maketrans("&=", "__")
