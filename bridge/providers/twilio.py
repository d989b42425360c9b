"""Twilio Programmable Messaging, and every company that speaks the same API at another address.

https://www.twilio.com/docs/messaging/api/message-resource        sending
https://www.twilio.com/docs/usage/webhooks/webhooks-security      signature
https://www.twilio.com/docs/messaging/guides/track-outbound-message-status
https://www.twilio.com/docs/messaging/guides/webhook-request      consumer messages

Our own reference travels in the query of StatusCallback, which Twilio signs and sends back: an
update that arrives before the answer to the send still finds its message.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterator, Sequence
from typing import Annotated
from urllib.parse import unquote_to_bytes, urlencode, urlsplit

import httpx
import orjson
from pydantic import Field, SecretStr, field_validator, model_validator

from bridge import phone, retry_after, sms
from bridge.errors import (
    AccountFault,
    BadSignature,
    OutcomeUnknown,
    Refused,
    SendError,
    Throttled,
    Unreadable,
    UnreadableEvent,
)
from bridge.messages import Address, AgentMessage, ConsumerMessage, DeliveryUpdate, Reason, UpdateStatus
from bridge.providers.base import Answer, Callback, CallbackAnswer, Fields, Part, Taken

Secret = Annotated[SecretStr, Field(min_length=1)]

# Body is refused above 1,600 characters (code 21617).
MOST_CHARACTERS = 1600


class TwilioFields(Fields):
    """An account at Twilio or at a company with the same API."""

    account_sid: str = Field(
        pattern=r"^[A-Za-z0-9-]+$", description="Account SID, AC and 32 hex digits; it is part of the URL."
    )
    auth_token: Secret = Field(
        description="Auth token; signs callbacks, and is the password of requests when no API key is given."
    )
    previous_auth_tokens: tuple[Secret, ...] = Field(
        (), description="Auth tokens whose callback signatures are still accepted during a rotation."
    )
    signing_keys: dict[str, Secret] = Field(
        {}, description="Shared keys by key id, for an account whose callbacks are signed with HMAC_SHA256."
    )
    api_key_sid: str | None = Field(
        None, pattern=r"^[^:\s]+$", description="API key SID, the user name of requests in place of the account SID."
    )
    api_key_secret: Secret | None = Field(None, description="Secret of the API key.")
    base_url: str = Field(
        "https://api.twilio.com",
        pattern=r"^https?://[^\s?#@]+$",
        description="URL before /2010-04-01, another one for a company with the same API.",
    )
    messaging_service_sid: str | None = Field(
        None, min_length=1, description="Messaging service that picks the sender from its pool."
    )
    from_number: str | None = Field(
        None, min_length=1, description="Sender for every message; without it, the sender that Digital Channels names."
    )
    validity_period: int | None = Field(
        None,
        ge=1,
        le=36000,
        description="Seconds that Twilio may queue a message, 1 to 36000; its default is 36000.",
    )
    callback_retries: int = Field(
        5,
        ge=0,
        le=5,
        description="Times that Twilio is asked to repeat a status callback that was not answered with 200.",
    )
    status_callbacks: bool = Field(True, description="Whether Twilio is asked to report what became of each message.")
    default_region: str | None = Field(
        None,
        pattern=r"^[A-Z]{2}$",
        description="Country in two capital letters whose national numbers are read; else all are international.",
    )

    @field_validator("base_url")
    @classmethod
    def _no_slash_at_the_end(cls, value: str) -> str:
        return value.rstrip("/")

    @model_validator(mode="after")
    def _whole_api_key(self) -> TwilioFields:
        if (self.api_key_sid is None) != (self.api_key_secret is None):
            raise ValueError("api_key_sid and api_key_secret should be given together")
        return self


_STATUSES = {
    "accepted": UpdateStatus.SENT,
    "scheduled": UpdateStatus.SENT,
    "queued": UpdateStatus.SENT,
    "sending": UpdateStatus.SENT,
    "sent": UpdateStatus.SENT,
    "delivered": UpdateStatus.DELIVERED,
    "read": UpdateStatus.DELIVERED,
    "undelivered": UpdateStatus.FAILED,
    "failed": UpdateStatus.FAILED,
    "partially_delivered": UpdateStatus.FAILED,
    "canceled": UpdateStatus.REMOVED,
}


def _codes(error: type[SendError], reason: Reason, codes: str) -> dict[str, tuple[type[SendError], Reason]]:
    return dict.fromkeys(codes.split(), (error, reason))


# https://www.twilio.com/docs/api/errors: what follows from a code, and what the agent is told.
# On a status callback only the reason counts. A code that is not here: Refused, 500.
_CODES: dict[str, tuple[type[SendError], Reason]] = {
    **_codes(Throttled, Reason.RATE_LIMIT, "429 20429 14107 21611 30001 30017 63018"),
    # 20404: of what the URL names only the account can be missing.
    **_codes(AccountFault, Reason.GENERAL, "20003 20005 20403 20404 30002"),
    **_codes(Refused, Reason.RATE_LIMIT, "30022 30023 30027 63017 63038"),
    **_codes(Refused, Reason.EXPIRED, "30036"),
    **_codes(
        Refused,
        Reason.NOT_ALLOWED,
        "21212 21408 21606 21607 21608 21610 21703 30004 30007 30010 30018 30024 30032 30034 63033",
    ),
    **_codes(
        Refused,
        Reason.INVALID_DESTINATION,
        "21211 21214 21217 21604 21612 21614 30005 30006 63024",
    ),
    **_codes(
        Refused,
        Reason.INVALID_STRUCTURE,
        "21602 21603 21609 21617 21620 21623 21624 21656 30012 30013 30400",
    ),
    **_codes(Refused, Reason.UNSUPPORTED, "11751 12300 21621 21622 30011 30019 63005 63034"),
    **_codes(Refused, Reason.GENERAL, "30003 30008 30009 30410"),
    **dict.fromkeys(map(str, range(11200, 11238)), (Refused, Reason.GENERAL)),
}

_HASHES = {"HMAC_SHA1": hashlib.sha1, "HMAC_SHA256": hashlib.sha256}
_FORM = "application/x-www-form-urlencoded"
_EMPTY_TWIML = b'<?xml version="1.0" encoding="UTF-8"?><Response/>'
_REF = re.compile(r"[0-9A-Za-z-]{1,64}", re.ASCII)
_CODE = re.compile(r"[0-9]{1,6}", re.ASCII)
_MEDIA_URL = re.compile(r"MediaUrl([0-9]{1,3})", re.ASCII)


class Twilio:
    """One account."""

    kind = "twilio"
    fields_model = TwilioFields
    channel_types = frozenset({"sms"})

    def __init__(self, name: str, fields: TwilioFields, public_url: str) -> None:
        """`public_url` is where providers reach the bridge. Raises ValueError for one that Twilio will not call."""
        self.name = name
        self._fields = fields
        self._status_url = f"{public_url.rstrip('/')}/callbacks/{name}/status"
        # Twilio tries a status callback once unless the URL's fragment asks for more; the fragment itself is not sent.
        # https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides
        self._override = f"#rc={fields.callback_retries}&rp=all" if fields.callback_retries else ""
        if fields.status_callbacks and "_" in (urlsplit(public_url).hostname or ""):
            raise ValueError("public_url: Twilio calls no host with an underscore in its name")
        user = fields.api_key_sid or fields.account_sid
        password = (fields.api_key_secret or fields.auth_token).get_secret_value()
        authorization = b"Basic " + base64.b64encode(f"{user}:{password}".encode())
        # Made once: reading a URL and packing headers would be a tenth of what a message costs.
        self._headers = [
            (b"Authorization", authorization),
            (b"Content-Type", _FORM.encode()),
            (b"Accept", b"application/json"),
        ]
        self._url = httpx.URL(f"{fields.base_url}/2010-04-01/Accounts/{fields.account_sid}/Messages.json")
        self._tokens = [_bytes(token) for token in (fields.auth_token, *fields.previous_auth_tokens)]

    def parts(self, message: AgentMessage) -> Sequence[Part]:
        # A type that we do not know is carried by its text, which Genesys says always accompanies it.
        if message.type == "Email" or (message.type != "Text" and not message.text):
            raise Refused("not a text message", reason=Reason.UNSUPPORTED)
        if not message.text.strip():
            raise Refused("empty text", reason=Reason.INVALID_STRUCTURE)
        pieces = sms.split(message.text, MOST_CHARACTERS)
        return [Part(number, len(pieces), piece) for number, piece in enumerate(pieces)]

    def request(self, message: AgentMessage, part: Part) -> httpx.Request:
        fields = self._fields
        form = {"To": phone.to_e164(message.to.id, fields.default_region), "Body": part.text}
        if fields.messaging_service_sid:
            form["MessagingServiceSid"] = fields.messaging_service_sid
        if fields.from_number or not fields.messaging_service_sid:
            sender = fields.from_number or message.sender.id
            if not sender:
                raise Refused("no sender", reason=Reason.INVALID_STRUCTURE)
            form["From"] = phone.sender_id(sender, fields.default_region)
        if fields.status_callbacks:
            ours = urlencode({"m": message.ref, "p": part.number})
            form["StatusCallback"] = f"{self._status_url}?{ours}{self._override}"
        if fields.validity_period is not None:
            form["ValidityPeriod"] = str(fields.validity_period)
        return httpx.Request(
            "POST", self._url, headers=self._headers, content=urlencode(form, errors="replace").encode()
        )

    def taken(self, answer: Answer) -> Taken:
        assert isinstance(answer, httpx.Response)
        body = _object(answer.content)
        if answer.is_success:
            sid = body.get("sid")
            if not isinstance(sid, str) or not sid:
                raise Unreadable(f"HTTP {answer.status_code}")
            return Taken(sid, will_confirm=self._fields.status_callbacks)
        raise _error(answer, str(body.get("code", "")))

    def verify(self, callback: Callback) -> None:
        given = callback.headers.get("x-twilio-signature", ())
        if len(given) != 1:
            raise BadSignature("more than one signature" if given else "missing")
        algorithm, secrets = self._signed_with(callback)
        payload = _signed_parameters(callback)
        matched = False
        urls = list(_with_and_without_port(callback.url))
        for url in [*urls, *(url + self._override for url in urls if self._override)]:
            for secret in secrets:
                digest = hmac.new(secret, url.encode("utf-8", "replace") + payload, _HASHES[algorithm]).digest()
                matched |= hmac.compare_digest(base64.b64encode(digest), given[0].strip().encode("utf-8", "replace"))
        if not matched:
            raise BadSignature("no secret matches")

    def _signed_with(self, callback: Callback) -> tuple[str, list[bytes]]:
        """The algorithm and the secrets that may have been used. Raises BadSignature for others."""
        settings = callback.headers.get("x-twilio-webhooks-signature-settings", ())
        if len(settings) > 1:
            raise BadSignature("more than one signature settings")
        words = dict(_word(item) for item in reversed("".join(settings).split(",")))
        algorithm = words.get("algorithm", "").upper() or "HMAC_SHA1"
        if algorithm not in _HASHES:
            raise BadSignature("unknown algorithm")
        if algorithm == "HMAC_SHA1":
            return algorithm, self._tokens
        key = self._fields.signing_keys.get(words.get("key", ""))
        if key is None:
            raise BadSignature("unknown signing key")
        return algorithm, [_bytes(key)]

    def event_id(self, callback: Callback) -> str:
        said = _parameters(callback)
        sid = said.get("MessageSid", "")
        if callback.kind == "inbound" or not sid:
            return sid
        if "MessageStatus" not in said:
            return ""
        return f"{sid}:{said['MessageStatus']}:{said.get('ErrorCode', '')}"

    def events(self, callback: Callback) -> Sequence[ConsumerMessage | DeliveryUpdate]:
        said = _parameters(callback)
        if not said.get("MessageSid"):
            raise UnreadableEvent("no MessageSid")
        return [self._update(callback, said) if callback.kind == "status" else self._consumer_message(said)]

    def _update(self, callback: Callback, said: dict[str, str]) -> DeliveryUpdate:
        if not said.get("MessageStatus"):
            raise UnreadableEvent("no MessageStatus")
        status = _STATUSES.get(said["MessageStatus"].lower(), UpdateStatus.SENT)
        code = said.get("ErrorCode", "")
        code = code if _CODE.fullmatch(code) and code != "0" else ""
        reason = _CODES.get(code, (Refused, Reason.GENERAL))[1] if status is UpdateStatus.FAILED else None
        ours = _decoded(_query(callback))
        ref, part = ours.get("m", ""), ours.get("p", "")
        return DeliveryUpdate(
            provider=self.name,
            provider_id=said["MessageSid"],
            status=status,
            ref=ref if _REF.fullmatch(ref) else "",
            part=int(part) if _CODE.fullmatch(part) else 0,
            reason=reason,
            detail=code,
        )

    def _consumer_message(self, said: dict[str, str]) -> ConsumerMessage:
        media = sorted((int(found[1]), said[found[0]]) for found in map(_MEDIA_URL.fullmatch, said) if found)
        media_urls = tuple(url for _, url in media if url)
        if "Body" not in said and not media_urls:
            raise UnreadableEvent("no Body")  # a status that was sent to the wrong URL has none
        for name in ("From", "To"):
            if not said.get(name):
                raise UnreadableEvent(f"no {name}")
        return ConsumerMessage(
            provider=self.name,
            provider_id=said["MessageSid"],
            sender=Address(phone.from_e164(said["From"])),
            to=Address(said["To"]),
            text=said.get("Body", ""),
            media_urls=media_urls,
        )

    def answer(self, callback: Callback) -> CallbackAnswer:
        if callback.kind == "inbound":
            return CallbackAnswer(200, _EMPTY_TWIML, "text/xml")
        return CallbackAnswer(200)


def _error(answer: httpx.Response, code: str) -> SendError:
    status = answer.status_code
    code = code if _CODE.fullmatch(code) else ""
    error, reason = _CODES.get(code, (Refused, Reason.GENERAL))
    if status == 429:
        error, reason = Throttled, Reason.RATE_LIMIT
    elif status >= 500 or status == 408:
        error, reason = OutcomeUnknown, Reason.GENERAL
    elif status in (401, 402) or (status == 403 and not code) or status < 400:
        error, reason = AccountFault, Reason.GENERAL  # a redirect is a wrong base_url: nothing was taken
    return error(
        code or f"HTTP {status}",
        reason=reason,
        retry_after=retry_after.seconds(answer.headers.get("Retry-After", "")),
        whole_account=status == 429,
    )


def _object(body: bytes) -> dict[str, object]:
    """A JSON object; {} for anything else."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _bytes(secret: SecretStr) -> bytes:
    return secret.get_secret_value().encode()


def _word(item: str) -> tuple[str, str]:
    name, _, value = item.partition("=")
    return name.strip(), value.strip()


def _query(callback: Callback) -> bytes:
    """The query as it was signed."""
    return callback.url.partition("?")[2].encode("utf-8", "replace")


def _is_form(callback: Callback) -> bool:
    return callback.header("content-type").partition(";")[0].strip().lower() == _FORM


def _signed_parameters(callback: Callback) -> bytes:
    """What is signed after the URL: names and values sorted, each pair once. Raises BadSignature.

    A body that is not a form is signed by its hash in the URL, and one that is neither is not signed at all.
    """
    if callback.method != "POST" or not callback.body:
        return b""
    if _is_form(callback):
        return b"".join(name + value for name, value in sorted(set(_pairs(callback.body))))
    expected = _decoded(_query(callback)).get("bodySHA256")
    if expected is None:
        raise BadSignature("the body is not signed")
    if not hmac.compare_digest(hashlib.sha256(callback.body).hexdigest().encode(), expected.encode("utf-8", "replace")):
        raise BadSignature("the body is not what was signed")
    return b""


def _with_and_without_port(url: str) -> tuple[str, str]:
    """Twilio is not consistent about the port; its own SDK tries both."""
    scheme, _, rest = url.partition("://")
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    bare = re.sub(r":[0-9]*$", "", host)
    other = bare if bare != host else f"{host}:{443 if scheme == 'https' else 80}"
    return url, f"{scheme}://{other}{rest[len(host) :]}"


def _parameters(callback: Callback) -> dict[str, str]:
    if callback.method != "POST":
        return _decoded(_query(callback))
    return _decoded(callback.body) if _is_form(callback) else {}


def _decoded(raw: bytes) -> dict[str, str]:
    """Names and values as text; of a repeated name the first."""
    return {name.decode("utf-8", "replace"): value.decode("utf-8", "replace") for name, value in [*_pairs(raw)][::-1]}


def _pairs(raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    for item in raw.split(b"&"):
        if item:
            name, _, value = item.replace(b"+", b" ").partition(b"=")
            yield unquote_to_bytes(name), unquote_to_bytes(value)
