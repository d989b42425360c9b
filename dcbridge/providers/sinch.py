"""Sinch SMS: batches of one recipient each, a token for a project, callbacks signed with their time.

https://developers.sinch.com/docs/sms/api-reference/sms/tag/Batches/
https://developers.sinch.com/docs/sms/api-reference/sms/tag/Delivery-reports/
https://developers.sinch.com/docs/sms/api-reference/sms/tag/Webhooks/

Sinch signs where its support has switched that on; else each callback carries our secret in its path.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Self

import httpx
import orjson
from pydantic import Field, model_validator

from dcbridge.errors import AccountFault, BadSignature, Refused, Throttled, Unreadable, UnreadableEvent
from dcbridge.messages import AgentMessage, ConsumerMessage, DeliveryUpdate, Reason, UpdateStatus
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
    callback_url,
    named_by,
)
from dcbridge.providers.http_words import a_list, a_text, an_object, code, codes, json_object, reasons
from dcbridge.providers.oauth2 import ClientCredentials
from dcbridge.providers.phone import Senders
from dcbridge.providers.posts import Posts
from dcbridge.providers.sms_fields import MmsFields, consumer_message, sms_parts
from dcbridge.settings.types import CompanyUrl, HeaderSecret, Secret

SENDERS = Senders(short_codes=True, names=True)
MOST_SMS = 10  # in one request; Sinch takes 2,000 characters
# https://developers.sinch.com/docs/sms/api-reference/mms-support: one file, which most networks carry up to 1 MB.
_MMS = 1_000_000  # bytes
_TYPES = ("image/jpeg", "image/png", "image/gif", "audio/", "video/", "application/pdf", "text/vcard")


class SinchFields(MmsFields):
    """An account at Sinch."""

    senders = SENDERS
    usual_media_hosts = (".sinch.com",)

    project_id: str = Field(pattern=r"^[0-9A-Za-z-]{1,64}$", description="Id of the project.")
    key_id: str = Field(pattern=r"^[!-9;-~]+$", description="Key id of an access key of the project.")
    key_secret: HeaderSecret = Field(description="Its key secret.")
    base_url: CompanyUrl = Field(
        description="URL of the region, https://zt.us.sms.api.sinch.com or https://zt.eu.sms.api.sinch.com."
    )
    token_url: CompanyUrl = Field(
        "https://auth.sinch.com/oauth2/token", description="URL that gives tokens to the access key."
    )
    signature_secret: Secret | None = Field(None, description="Secret with which Sinch signs callbacks.")
    signature_age: float = Field(
        300.0, gt=0, allow_inf_nan=False, description="Seconds by which the time in a callback may differ from now."
    )
    callback_secret: shared_secret.PathSecrets = Field(
        (), description="Secret in the path of callbacks, or several; for an account whose callbacks are not signed."
    )

    mms: bool = Field(
        False,
        description="Whether agents' files go as MMS (mt_media): Sinch has to enable it, and has announced its end.",
    )

    @model_validator(mode="after")
    def _proven(self) -> Self:
        if self.signature_secret is None and not self.callback_secret:
            raise ValueError("signature_secret or callback_secret is needed: something has to prove a callback")
        return self


# `code` of an answer that is no success.
_CODES = {
    **codes(Throttled, Reason.RATE_LIMIT, "too_many_requests"),
    **codes(AccountFault, Reason.GENERAL, "unauthorized forbidden missing_gateway_mapping missing_callback_url"),
    **codes(
        Refused,
        Reason.INVALID_STRUCTURE,
        "syntax_invalid_json syntax_invalid_parameter_format syntax_constraint_violation conditions_not_fulfilled",
    ),
}
# https://developers.sinch.com/docs/sms/api-reference/sms/tag/Delivery-reports/#section/Delivery-report-error-codes
_ERRORS = {
    **reasons(Reason.INVALID_STRUCTURE, "405 411"),
    **reasons(Reason.EXPIRED, "406"),
    **reasons(Reason.NOT_ALLOWED, "410 412 413 415"),
    **reasons(Reason.UNSUPPORTED, "414 416"),
    **reasons(Reason.INVALID_DESTINATION, "417"),
}
_STATUSES = {
    **dict.fromkeys(("ABORTED", "FAILED", "REJECTED", "EXPIRED"), UpdateStatus.FAILED),
    **dict.fromkeys(("CANCELLED", "DELETED"), UpdateStatus.REMOVED),
    "DELIVERED": UpdateStatus.DELIVERED,
}
_REPORTS = ("recipient_delivery_report_sms", "recipient_delivery_report_mms")
_ID = re.compile(r"[0-9A-Za-z._-]{1,100}", re.ASCII)


class Sinch(Adapter):
    """One account."""

    kind = "sinch"
    fields_model = SinchFields
    can = Can(
        channel_types=frozenset({"sms"}),
        units=segmentation.room(MOST_SMS, gsm7=True),
        callbacks={"events": http_words.MOST_FORM},
        secret_in_path=True,
    )
    senders = SENDERS

    def __init__(self, name: str, fields: SinchFields, public_url: str) -> None:
        self.name, self._fields = name, fields
        if fields.mms:
            self.can = replace(Sinch.can, media=MediaLimits(1, _MMS, dict.fromkeys(_TYPES, _MMS)))
        self._url = url = httpx.URL(f"{fields.base_url}/xms/v1/{fields.project_id}/batches")
        self._posts = Posts(url, [(b"Content-Type", b"application/json")])
        secret = fields.key_secret.get_secret_value()
        self.login: ClientCredentials = ClientCredentials(httpx.URL(fields.token_url), fields.key_id, secret)
        in_path = "" if fields.signature_secret else fields.callback_secret[0].get_secret_value()
        self._reports = callback_url(public_url, name, "events", in_path)
        self.account = str(url)

    def parts(self, message: AgentMessage) -> Sequence[Part]:
        return sms_parts(message, MOST_SMS)

    def build_request(self, turn: Turn) -> httpx.Request:
        text: object = http_words.writable(turn.part.text)
        files = turn.media if turn.part.number == 0 else ()
        body = {
            "to": [self._fields.recipient(turn.message)],
            "from": self._fields.sender(turn.message),
            "body": {"url": files[0].url, **({"message": text} if text else {})} if files else text,
            "type": "mt_media" if files else "mt_text",
            "delivery_report": "per_recipient",
            "callback_url": self._reports,
            "client_reference": turn.key,
        }
        return self._posts.with_body(orjson.dumps(body))

    def parse_response(self, answer: Answer) -> Submission:
        assert isinstance(answer, httpx.Response)
        said = json_object(answer.content)
        if not answer.is_success:
            raise http_words.error_of(answer, code(said.get("code")), _CODES)
        provider_id = a_text(said.get("id"))
        if not _ID.fullmatch(provider_id):
            raise Unreadable(f"HTTP {answer.status_code}")
        return Submission(provider_id)

    def media_request(self, url: str) -> httpx.Request | None:
        return self._fields.media_request(url, self._url, {})  # with the token of `login`

    def verify(self, callback: Callback) -> str:
        secret = self._fields.signature_secret
        if secret is None:
            shared_secret.check(callback, self._fields.callback_secret)
            return ""
        given, nonce, moment = (
            callback.header(f"x-sinch-webhook-signature{one}") for one in ("", "-nonce", "-timestamp")
        )
        if not given or not nonce:
            raise BadSignature("missing")
        http_words.check_time(moment, self._fields.signature_age)
        signed = callback.body + f".{nonce}.{moment}".encode("utf-8", "replace")
        right = base64.b64encode(hmac.digest(secret.get_secret_value().encode(), signed, hashlib.sha256))
        if not hmac.compare_digest(right, given.encode("utf-8", "replace")):
            raise BadSignature("no secret matches")
        return ""  # the whole body is signed, its id as well

    def event_id(self, callback: Callback) -> str:
        return hashlib.blake2b(callback.body, digest_size=16).hexdigest()  # an id, a status and a time are in it

    def parse_callback(self, callback: Callback) -> Sequence[ConsumerMessage | DeliveryUpdate]:
        said = json_object(callback.body)
        kind = a_text(said.get("type"))
        if not kind:
            raise UnreadableEvent("no type")
        provider_id = a_text(said.get("batch_id" if kind in _REPORTS else "id"))
        if not _ID.fullmatch(provider_id):
            raise UnreadableEvent("no id of a message, or a report of no recipient")
        return [self._update(said, provider_id) if kind in _REPORTS else self._consumer_message(said, provider_id)]

    def _update(self, said: Mapping[str, object], provider_id: str) -> DeliveryUpdate:
        word, error = a_text(said.get("status")).upper(), code(said.get("code"))  # "Delivered" in some of its pages
        if not word:
            raise UnreadableEvent("no status")
        status, reason = _STATUSES.get(word, UpdateStatus.SENT), None
        if status is UpdateStatus.FAILED:
            reason = Reason.EXPIRED if word == "EXPIRED" else _ERRORS.get(error, Reason.GENERAL)
        ref, part = named_by(a_text(said.get("client_reference")))
        return DeliveryUpdate(self.name, provider_id, status, ref, part, reason, "" if error == "0" else error)

    def _consumer_message(self, said: Mapping[str, object], provider_id: str) -> ConsumerMessage:
        """A picture that Sinch could not keep has no URL."""
        body, inner = said.get("body"), an_object(said.get("body"))
        media = tuple(filter(None, (a_text(an_object(one).get("url")) for one in a_list(inner.get("media")))))
        if said.get("type") == "mo_binary" or (not isinstance(body, str) and not inner):
            raise UnreadableEvent("no text")
        text = body if isinstance(body, str) else a_text(inner.get("message")) or a_text(inner.get("subject"))
        sender, to = a_text(said.get("from")), a_text(said.get("to"))
        return consumer_message(self.name, self._fields, provider_id, sender, to, text, media)
