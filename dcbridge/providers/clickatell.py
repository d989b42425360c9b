"""Clickatell: its One API, lists in both directions, and one address for all callbacks.

https://www.clickatell.com/developers/api-documentation/one-api-send-plain-text-message/
https://www.clickatell.com/developers/api-documentation/one-api-error-messages/
https://www.clickatell.com/developers/api-documentation/one-api-received-message-callback/

Clickatell signs nothing: each callback carries our secret, in its path or as a password.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Annotated
from urllib.parse import unquote_to_bytes

import httpx
import orjson
from pydantic import Field

from dcbridge.errors import AccountFault, OutcomeUnknown, Refused, RouteRefused, Throttled, Unreadable, UnreadableEvent
from dcbridge.messages import AgentMessage, ConsumerMessage, DeliveryUpdate, Reason, UpdateStatus
from dcbridge.providers import http_words, segmentation, shared_secret
from dcbridge.providers.base import Adapter, Answer, Callback, Can, Part, Submission, Turn, Unread, named_by
from dcbridge.providers.http_words import a_list, a_text, an_object, code, codes, json_object, reasons
from dcbridge.providers.phone import Senders
from dcbridge.providers.posts import Posts
from dcbridge.providers.sms_fields import SmsFields, consumer_message, sms_parts
from dcbridge.settings.types import CompanyUrl, HeaderSecret

SENDERS = Senders(short_codes=True, names=True)
MOST_SMS = 4  # in one request


class ClickatellFields(SmsFields):
    """An SMS integration at Clickatell."""

    senders = SENDERS

    api_key: HeaderSecret = Field(description="API key of the integration.")
    callback_secret: Annotated[shared_secret.PathSecrets, Field(min_length=1)] = Field(
        description="Secret in the path of callbacks, or their password; during a rotation several."
    )
    two_way: bool = Field(True, description="Whether the integration has numbers: each message then names its sender.")
    base_url: CompanyUrl = Field("https://platform.clickatell.com", description="URL before /v1/message.")


# `code` of an error, of the whole request or of its message.
_CODES = {
    **codes(Throttled, Reason.RATE_LIMIT, "43"),
    **codes(AccountFault, Reason.GENERAL, "1 2 3 7 20 38 39 110 111"),
    **codes(OutcomeUnknown, Reason.GENERAL, "18 19"),
    **codes(RouteRefused, Reason.NOT_ALLOWED, "44 45 101"),
    **codes(Refused, Reason.NOT_ALLOWED, "26 28"),
    **codes(Refused, Reason.INVALID_DESTINATION, "25 27"),
    **codes(Refused, Reason.INVALID_STRUCTURE, "21 22 23 24 40 100"),
    **codes(Refused, Reason.UNSUPPORTED, "30 31 32"),
}
# `statusCode` of a report that a message failed.
_FAILURES = {
    **reasons(Reason.EXPIRED, "20"),
    **reasons(Reason.GENERAL, "23 25 60 61 100"),
    **reasons(Reason.RATE_LIMIT, "26 27 28"),
    **reasons(Reason.NOT_ALLOWED, "22"),  # stopped by an administrator
    **reasons(Reason.INVALID_DESTINATION, "29"),
    **reasons(Reason.UNSUPPORTED, "80 81 82 83 84 85"),
}
_STATUSES = {
    **dict.fromkeys(("5", "6"), UpdateStatus.DELIVERED),
    "21": UpdateStatus.REMOVED,
    **dict.fromkeys(_FAILURES, UpdateStatus.FAILED),
}  # 2 queued, 3 scheduled, 4 sent to the supplier, and whatever comes: not final
_CHARSETS = {"utf-16be": "utf-16-be", "iso-8859-1": "latin-1"}
_QUOTED = re.compile(r"[!-~]*", re.ASCII)
_ID = re.compile(r"[0-9A-Za-z._-]{1,100}", re.ASCII)


class Clickatell(Adapter):
    """One integration."""

    kind = "clickatell"
    fields_model = ClickatellFields
    can = Can(
        channel_types=frozenset({"sms"}),
        units=segmentation.room(MOST_SMS, gsm7=True),
        callbacks={"events": None},
        secret_in_path=True,
        named_by_id=True,
        opt_out_codes=frozenset({"26"}),
    )
    senders = SENDERS

    def __init__(self, name: str, fields: ClickatellFields, public_url: str) -> None:
        self.name, self._fields = name, fields
        url = httpx.URL(f"{fields.base_url}/v1/message")
        login = fields.api_key.get_secret_value().encode()
        self._posts = Posts(url, [(b"Authorization", login), (b"Content-Type", b"application/json")])
        self.account = f"{url} {name}"

    def parts(self, message: AgentMessage) -> Sequence[Part]:
        return sms_parts(message, MOST_SMS)

    def build_request(self, turn: Turn) -> httpx.Request:
        message = {
            "channel": "sms",
            "to": self._fields.recipient(turn.message).removeprefix("+"),
            "content": http_words.writable(turn.part.text),
            "clientMessageId": turn.key,
        }
        if self._fields.two_way:
            message["from"] = self._fields.sender(turn.message).removeprefix("+")
        return self._posts.with_body(orjson.dumps({"messages": [message]}))

    def parse_response(self, answer: Answer) -> Submission:
        """An error is of the whole request, or of its one message."""
        assert isinstance(answer, httpx.Response)
        said = json_object(answer.content)
        one = next(map(an_object, a_list(said.get("messages"))), {})
        error = code(an_object(one.get("error")).get("code")) or code(an_object(said.get("error")).get("code"))
        if not answer.is_success or error or one.get("accepted") is False:
            raise http_words.error_of(answer, error or ("" if not answer.is_success else "rejected"), _CODES)
        provider_id = a_text(one.get("apiMessageId"))
        if not _ID.fullmatch(provider_id):
            raise Unreadable(f"HTTP {answer.status_code}")
        return Submission(provider_id)

    def verify(self, callback: Callback) -> str:
        shared_secret.check(callback, self._fields.callback_secret)
        return ""

    def event_id(self, callback: Callback) -> str:
        return hashlib.blake2b(callback.body, digest_size=16).hexdigest()  # each event in it has an id and a time

    def parse_callback(self, callback: Callback) -> Sequence[ConsumerMessage | DeliveryUpdate | Unread]:
        event = an_object(json_object(callback.body).get("event"))
        updates, texts = a_list(event.get("messageStatusUpdate")), a_list(event.get("moText"))
        if not updates and not texts:
            raise UnreadableEvent("no report and no text")
        return [
            *http_words.each(updates, self._update, lambda one: {"event": {"messageStatusUpdate": [one]}}),
            *http_words.each(texts, self._consumer_message, lambda one: {"event": {"moText": [one]}}),
        ]

    def _update(self, said: Mapping[str, object]) -> DeliveryUpdate:
        provider_id, word = _id(said), code(said.get("statusCode"))
        if not word:
            raise UnreadableEvent("no statusCode")
        status = _STATUSES.get(word, UpdateStatus.SENT)
        ref, part = named_by(a_text(said.get("clientMessageId")))
        failed = status is UpdateStatus.FAILED
        return DeliveryUpdate(
            self.name, provider_id, status, ref, part, _FAILURES.get(word) if failed else None, word if failed else ""
        )

    def _consumer_message(self, said: Mapping[str, object]) -> ConsumerMessage:
        provider_id, text = _id(said), said.get("content")
        if not isinstance(text, str):
            raise UnreadableEvent("no content")
        charset = _CHARSETS.get(a_text(said.get("charset")).lower())
        if charset and _QUOTED.fullmatch(text):  # bytes of that charset, quoted as in a URL
            text = unquote_to_bytes(text.replace("+", " ")).decode(charset, "replace")
        ends = a_text(said.get("from")), a_text(said.get("to"))
        return consumer_message(self.name, self._fields, provider_id, *ends, text)


def _id(said: Mapping[str, object]) -> str:
    found = a_text(said.get("messageId"))
    if not _ID.fullmatch(found):
        raise UnreadableEvent("no messageId")
    return found
