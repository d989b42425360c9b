"""Bandwidth: a token for a client id and a secret, and all callbacks as lists at one address.

https://dev.bandwidth.com/apis/messaging-apis/messaging/
https://dev.bandwidth.com/docs/messaging/webhooks/
https://dev.bandwidth.com/docs/messaging/errors/

Bandwidth signs nothing: each callback carries our secret, as the password of its application or in the path.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Annotated

import httpx
import orjson
from pydantic import Field

from dcbridge.errors import AccountFault, Refused, Throttled, Unreadable, UnreadableEvent
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
    Unread,
    named_by,
)
from dcbridge.providers.http_words import a_list, a_text, an_object, code, codes, json_object, json_value, reasons
from dcbridge.providers.oauth2 import ClientCredentials
from dcbridge.providers.phone import Senders
from dcbridge.providers.posts import Posts
from dcbridge.providers.sms_fields import MmsFields, consumer_message, sms_parts
from dcbridge.settings.types import CompanyUrl, HeaderSecret

SENDERS = Senders(short_codes=True, names=True)
MOST_SMS = 10  # in one request; Bandwidth takes 2,048 characters
_MMS = 3_750_000  # bytes of all files
_TYPES = ("image/jpeg", "image/png", "image/gif", "audio/", "video/", "application/pdf", "text/vcard")


class BandwidthFields(MmsFields):
    """An account at Bandwidth."""

    senders = SENDERS

    account_id: str = Field(pattern=r"^[0-9]{1,20}$", description="Id of the account, digits.")
    application_id: str = Field(min_length=1, description="Id of the messaging application that has the sender.")
    client_id: str = Field(pattern=r"^[!-9;-~]+$", description="Client id of the API credentials.")
    client_secret: HeaderSecret = Field(description="Client secret of the API credentials.")
    callback_secret: Annotated[shared_secret.PathSecrets, Field(min_length=1)] = Field(
        description="Password of the application's callbacks, or a secret in their path; during a rotation several."
    )
    base_url: CompanyUrl = Field("https://messaging.bandwidth.com/api/v2", description="URL before /users.")
    token_url: CompanyUrl = Field(
        "https://api.bandwidth.com/api/v1/oauth2/token", description="URL that gives tokens to the client id."
    )


# `type` of an answer that is no success, and the one of a field that is wrong.
_CODES = {
    **codes(Refused, Reason.INVALID_STRUCTURE, "request-validation malformed-invalid-request invalid-request"),
    **codes(Throttled, Reason.RATE_LIMIT, "too-many-requests"),
    **codes(AccountFault, Reason.GENERAL, "unauthorized forbidden access-denied payment-required"),
    **codes(Refused, Reason.INVALID_DESTINATION, "to"),
}
# https://dev.bandwidth.com/docs/messaging/errors/: errorCode of message-failed.
_ERRORS = {
    **reasons(Reason.INVALID_DESTINATION, "4404 4406 4408 4420 4492 4720 4721 4730"),
    **reasons(
        Reason.NOT_ALLOWED,
        "4403 4405 4407 4421 4431 4432 4433 4434 4470 4481 4482 4493 4740 4750 4770 4771 4772 4773 4774 4775 4790 4791"
        " 4792 4793 4794 4795",
    ),
    **reasons(Reason.UNSUPPORTED, "4409 4410 4411 4412 4700 4711 4712"),
    **reasons(Reason.INVALID_STRUCTURE, "4401 4435 4451 4452 4751 4752"),
    **reasons(Reason.RATE_LIMIT, "4780 4781 4785"),
}
_STATUSES = {"message-delivered": UpdateStatus.DELIVERED, "message-failed": UpdateStatus.FAILED}
_ID = re.compile(r"[0-9A-Za-z._-]{1,100}", re.ASCII)


class Bandwidth(Adapter):
    """One account."""

    kind = "bandwidth"
    fields_model = BandwidthFields
    can = Can(
        channel_types=frozenset({"sms"}),
        units=segmentation.room(MOST_SMS, gsm7=True),
        callbacks={"events": None},
        secret_in_path=True,
        media=MediaLimits(10, _MMS, dict.fromkeys(_TYPES, _MMS)),
    )
    senders = SENDERS

    def __init__(self, name: str, fields: BandwidthFields, public_url: str) -> None:
        self.name, self._fields = name, fields
        self._url = url = httpx.URL(f"{fields.base_url}/users/{fields.account_id}/messages")
        self._posts = Posts(url, [(b"Content-Type", b"application/json")])
        secret = fields.client_secret.get_secret_value()
        self.login: ClientCredentials = ClientCredentials(httpx.URL(fields.token_url), fields.client_id, secret)
        self.account = f"{url} {fields.application_id}"

    def parts(self, message: AgentMessage) -> Sequence[Part]:
        return sms_parts(message, MOST_SMS)

    def build_request(self, turn: Turn) -> httpx.Request:
        fields = self._fields
        files = turn.media if turn.part.number == 0 else ()
        body: dict[str, object] = {
            "applicationId": fields.application_id,
            "to": [fields.recipient(turn.message)],
            "from": fields.sender(turn.message),
            "tag": turn.key,
        }
        if turn.part.text or not files:
            body["text"] = http_words.writable(turn.part.text)
        if files:
            body["media"] = [file.url for file in files]
        return self._posts.with_body(orjson.dumps(body))

    def parse_response(self, answer: Answer) -> Submission:
        assert isinstance(answer, httpx.Response)
        said = json_object(answer.content)
        if answer.is_success:
            provider_id = a_text(said.get("id"))
            if not _ID.fullmatch(provider_id):
                raise Unreadable(f"HTTP {answer.status_code}")
            return Submission(provider_id)
        fields = [a_text(an_object(one).get("fieldName")) for one in a_list(said.get("fieldErrors"))]
        wrong = next((one for one in fields if re.match(r"to\b", one)), "")
        raise http_words.error_of(answer, "to" if wrong else code(said.get("type")), _CODES)

    def media_request(self, url: str) -> httpx.Request | None:
        return self._fields.media_request(url, self._url, {})  # with the token of `login`

    def verify(self, callback: Callback) -> str:
        shared_secret.check(callback, self._fields.callback_secret)
        return ""

    def event_id(self, callback: Callback) -> str:
        return hashlib.blake2b(callback.body, digest_size=16).hexdigest()  # each event in it has an id and a time

    def parse_callback(self, callback: Callback) -> Sequence[ConsumerMessage | DeliveryUpdate | Unread]:
        events = a_list(json_value(callback.body))
        if not events:
            raise UnreadableEvent("no list of events")
        return http_words.each(events, self._event, lambda event: [event])

    def _event(self, event: Mapping[str, object]) -> ConsumerMessage | DeliveryUpdate:
        kind, message = a_text(event.get("type")), an_object(event.get("message"))
        provider_id = a_text(message.get("id"))
        if not kind or not _ID.fullmatch(provider_id):
            raise UnreadableEvent("no type or no id of a message")
        if kind == "message-received":
            return self._consumer_message(event, message, provider_id)
        status, reason, error = _STATUSES.get(kind, UpdateStatus.SENT), None, code(event.get("errorCode"))
        if status is UpdateStatus.FAILED:
            reason = _ERRORS.get(error, Reason.GENERAL)
        ref, part = named_by(a_text(message.get("tag")))
        return DeliveryUpdate(self.name, provider_id, status, ref, part, reason, error)

    def _consumer_message(
        self, event: Mapping[str, object], message: Mapping[str, object], provider_id: str
    ) -> ConsumerMessage:
        media = tuple(filter(None, map(a_text, a_list(message.get("media")))))
        if not isinstance(message.get("text"), str) and not media:
            raise UnreadableEvent("no text")
        # `to` of the event is the one of our numbers that this copy is for; a message to a group has several.
        to = a_text(event.get("to")) or next(map(a_text, a_list(message.get("to"))), "")
        sender, text = a_text(message.get("from")), a_text(message.get("text"))
        return consumer_message(self.name, self._fields, provider_id, sender, to, text, media)
