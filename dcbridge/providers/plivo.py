"""Plivo: JSON out, forms in, signed over the address and all parameters.

https://www.plivo.com/docs/messaging/api/message/send-a-message
https://www.plivo.com/docs/messaging/concepts/signature-validation
https://www.plivo.com/docs/messaging/troubleshooting/error-codes

Plivo cuts a long text into SMS and reports each by itself. The address of a report is signed, and holds our reference.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

import httpx
import orjson
from pydantic import Field

from dcbridge.errors import AccountFault, BadSignature, Refused, Unreadable, UnreadableEvent
from dcbridge.messages import AgentMessage, ConsumerMessage, DeliveryUpdate, Reason, UpdateStatus
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
from dcbridge.providers.http_words import MOST_FORM, a_list, a_text, code, codes, json_object, reasons
from dcbridge.providers.phone import Senders
from dcbridge.providers.posts import Posts
from dcbridge.providers.prices import price
from dcbridge.providers.sms_fields import MmsFields, consumer_message, sms_parts
from dcbridge.settings.types import CompanyUrl, Secret

SENDERS = Senders(short_codes=True, names=True)
MOST_SMS = 10  # in one request; Plivo takes 1,600 characters of GSM-7, 737 of UCS-2
_CURRENCY = "USD"  # of all its prices
MOST_MEDIA = 10
# https://support.plivo.com/hc/en-us/sections/360008302871-MMS: less than 5 MB in all.
_MMS = 4_900_000  # bytes
_TYPES = ("image/jpeg", "image/png", "image/gif", "audio/", "video/", "application/pdf", "text/vcard")


class PlivoFields(MmsFields):
    """An account at Plivo."""

    senders = SENDERS
    usual_media_hosts = login_hosts = (".plivo.com",)

    auth_id: str = Field(pattern=r"^[0-9A-Za-z]{1,64}$", description="Auth id of the account or subaccount.")
    auth_token: Secret = Field(description="Auth token, which signs callbacks as well.")
    base_url: CompanyUrl = Field("https://api.plivo.com", description="URL before /v1/Account.")


# An answer that is no success has a sentence and no code.
_CODES = {
    **codes(Refused, Reason.INVALID_STRUCTURE, "E400 E405"),
    **codes(AccountFault, Reason.GENERAL, "E404"),  # no such auth id
}
# https://www.plivo.com/docs/messaging/troubleshooting/error-codes: ErrorCode of a report.
_ERRORS = {
    **reasons(Reason.INVALID_STRUCTURE, "10 110"),
    **reasons(Reason.NOT_ALLOWED, "30 40 60 100 200 201 300 450 451"),
    **reasons(Reason.INVALID_DESTINATION, "50 70"),
    **reasons(Reason.EXPIRED, "420"),
}
_STATUSES = {
    **dict.fromkeys(("undelivered", "failed", "rejected"), UpdateStatus.FAILED),
    **dict.fromkeys(("delivered", "read"), UpdateStatus.DELIVERED),
}
_ID = re.compile(r"[0-9A-Za-z._-]{1,100}", re.ASCII)
_PIECES = re.compile(r"[0-9]{1,3} of ([1-9][0-9]{0,2})", re.ASCII)


class Plivo(Adapter):
    """One account."""

    kind = "plivo"
    fields_model = PlivoFields
    can = Can(
        channel_types=frozenset({"sms"}),
        units=segmentation.room(MOST_SMS, gsm7=True),
        callbacks={"status": MOST_FORM, "inbound": MOST_FORM},
        media=MediaLimits(MOST_MEDIA, _MMS, dict.fromkeys(_TYPES, _MMS)),
        templates=True,
    )
    senders = SENDERS

    def __init__(self, name: str, fields: PlivoFields, public_url: str) -> None:
        self.name, self._fields = name, fields
        self._token = fields.auth_token.get_secret_value()
        self._login = b"Basic " + base64.b64encode(f"{fields.auth_id}:{self._token}".encode())
        self._url = url = httpx.URL(f"{fields.base_url}/v1/Account/{fields.auth_id}/Message/")
        self._posts = Posts(url, [(b"Authorization", self._login), (b"Content-Type", b"application/json")])
        self._reports = callback_url(public_url, name, "status")
        self.account = str(url)

    def parts(self, message: AgentMessage) -> Sequence[Part]:
        return sms_parts(message, MOST_SMS)

    def build_request(self, turn: Turn) -> httpx.Request:
        files = turn.media if turn.part.number == 0 else ()
        body: dict[str, object] = {
            "src": self._fields.sender(turn.message),
            "dst": self._fields.recipient(turn.message),
            "type": "mms" if files else "sms",
            "url": f"{self._reports}?{urlencode({'m': turn.key})}",
            "method": "POST",
        }
        if turn.part.text or not files:
            body["text"] = http_words.writable(turn.part.text)
        if files:
            body["media_urls"] = [file.url for file in files]
        if turn.template:
            body |= {"dlt_entity_id": turn.template.entity_id, "dlt_template_id": turn.template.id}
        return self._posts.with_body(orjson.dumps(body))

    def parse_response(self, answer: Answer) -> Submission:
        assert isinstance(answer, httpx.Response)
        if not answer.is_success:
            known = f"E{answer.status_code}"
            raise http_words.error_of(answer, known if known in _CODES else "", _CODES)
        provider_id = next(map(a_text, a_list(json_object(answer.content).get("message_uuid"))), "")
        if not _ID.fullmatch(provider_id):
            raise Unreadable(f"HTTP {answer.status_code}")
        return Submission(provider_id)

    def media_request(self, url: str) -> httpx.Request | None:
        return self._fields.media_request(url, self._url, {"Authorization": self._login.decode()})

    def verify(self, callback: Callback) -> str:
        """The parameters are joined without separators: others may be signed alike, and are no other callback."""
        nonce = callback.header("x-plivo-signature-v3-nonce")
        given = [callback.header(f"x-plivo-signature-{one}").split(",") for one in ("v3", "ma-v3")]
        if not nonce or not any(map(any, given)):
            raise BadSignature("missing")
        text = f"{_signed(callback)}.{nonce}".encode("utf-8", "replace")
        right = base64.b64encode(hmac.digest(self._token.encode(), text, hashlib.sha256))
        matched = False
        for one in [one for some in given for one in some[:4]]:
            matched |= hmac.compare_digest(right, one.strip().encode("utf-8", "replace"))
        if not matched:
            raise BadSignature("no secret matches")
        return right.decode()

    def event_id(self, callback: Callback) -> str:
        said = http_words.parameters(callback)
        return ":".join(said.get(name, "") for name in ("MessageUUID", "Status")) if said.get("MessageUUID") else ""

    def parse_callback(self, callback: Callback) -> Sequence[ConsumerMessage | DeliveryUpdate]:
        said = http_words.parameters(callback)
        provider_id = said.get("MessageUUID", "")
        if not _ID.fullmatch(provider_id):
            raise UnreadableEvent("no MessageUUID")
        if callback.kind == "status":
            return [self._update(callback, said, provider_id)]
        media = tuple(filter(None, (said.get(f"Media{number}", "") for number in range(MOST_MEDIA))))
        if "Text" not in said and not media:
            raise UnreadableEvent("no Text")
        ends, text = (said.get("From", ""), said.get("To", "")), said.get("Text", "")
        return [consumer_message(self.name, self._fields, provider_id, *ends, text, media)]

    def _update(self, callback: Callback, said: Mapping[str, str], provider_id: str) -> DeliveryUpdate:
        word, error = said.get("Status", "").lower(), code(said.get("ErrorCode", ""))
        if not word:
            raise UnreadableEvent("no Status")
        status, reason = _STATUSES.get(word, UpdateStatus.SENT), None
        if status is UpdateStatus.FAILED:
            reason = _ERRORS.get(error, Reason.GENERAL)
        found = _PIECES.fullmatch(said.get("PartInfo", ""))
        ref, part = named_by(http_words.decoded(http_words.query(callback)).get("m", ""))
        pieces = int(found[1]) if found else 1
        cost = price(self.name, said.get("TotalAmount"), _CURRENCY, said.get("Units"))
        if cost and pieces > 1 and cost.segments != pieces:
            cost = None  # that of one SMS, or of nobody knows how many
        return DeliveryUpdate(self.name, provider_id, status, ref, part, reason, error, pieces=pieces, cost=cost)


def _signed(callback: Callback) -> str:
    """The address, its query and the form, each sorted by name."""
    base, _, _ = callback.url.partition("?")
    query = http_words.decoded(http_words.query(callback))
    asked = "&".join(f"{name}={query[name]}" for name in sorted(query))
    if callback.method != "POST":
        return f"{base}?{asked}" if asked else base
    form = http_words.parameters(callback)
    if not form:
        return f"{base}?{asked}" if asked else base
    return f"{base}?{asked}{'.' if asked else ''}" + "".join(f"{name}{form[name]}" for name in sorted(form))
