"""Twilio Programmable Messaging, and every company that speaks the same API at another address.

https://www.twilio.com/docs/messaging/api/message-resource        sending
https://www.twilio.com/docs/usage/webhooks/webhooks-security      signature
https://www.twilio.com/docs/messaging/guides/track-outbound-message-status
https://www.twilio.com/docs/messaging/guides/webhook-request      consumer messages

What became of a message can also be asked: `twilio_lookup`. Words that both directions share: `twilio_codes`.

Our own reference travels in the query of StatusCallback, which Twilio signs and sends back: an
update that arrives before the answer to the send still finds its message.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal
from urllib.parse import urlsplit

import httpx
from pydantic import Field, SecretStr, model_validator

from dcbridge.errors import BadSignature, Unreadable, UnreadableEvent
from dcbridge.messages import AgentMessage, ConsumerMessage, DeliveryUpdate
from dcbridge.providers import http_words, phone, posts
from dcbridge.providers.base import (
    Adapter,
    Answer,
    Callback,
    CallbackAnswer,
    Can,
    MediaLimits,
    Part,
    StatusLookup,
    Submission,
    Turn,
    callback_url,
)
from dcbridge.providers.http_words import json_object
from dcbridge.providers.sms_fields import MmsFields, consumer_message, text_parts
from dcbridge.providers.twilio_codes import ANY_SID, error_of, status_of
from dcbridge.providers.twilio_lookup import TwilioLookup
from dcbridge.settings.types import CompanyUrl, Secret, is_loopback

# Short codes and alphanumeric senders are its From: https://www.twilio.com/docs/messaging/api/message-resource
# Other channels write a prefix before an address: https://www.twilio.com/docs/messaging/channels
SENDERS = phone.Senders(short_codes=True, names=True, prefixes=frozenset({"whatsapp:", "messenger:", "rcs:"}))

# Body is refused above 1,600 characters (code 21617).
MOST_CHARACTERS = 1600
MOST_SETTINGS = 1024  # characters of a header that says something of a signature


# https://www.twilio.com/docs/messaging/guides/accepted-mime-types: images are resized, others go as they are.
_IMAGE, _OTHER = 5_000_000, 600_000  # bytes
MEDIA = MediaLimits(
    10, _IMAGE,
    {"image/jpeg": _IMAGE, "image/png": _IMAGE, "image/gif": _IMAGE, "image/": _OTHER, "audio/": _OTHER,
     "video/": _OTHER, "application/pdf": _OTHER, "text/vcard": _OTHER},
)  # fmt: skip


class TwilioFields(MmsFields):
    """An account at Twilio or at a company with the same API."""

    senders = SENDERS
    usual_media_hosts = ("api.twilio.com", "media.twiliocdn.com", "mms.twiliocdn.com")

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
    base_url: CompanyUrl = Field(
        "https://api.twilio.com",
        pattern=r"^https?://[^\s?#@]+$",
        description="URL before /2010-04-01, another one for a company with the same API.",
    )
    messaging_service_sid: str | None = Field(
        None, min_length=1, description="Messaging service that picks the sender from its pool."
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
    status_callbacks: bool = Field(True, description="Whether Twilio is asked to report the status of each message.")
    ask: bool = Field(
        True,
        description="Whether Twilio is asked about messages whose outcome or delivery it did not report; needs the"
        " right to read Messages.",
    )
    list_lag: float = Field(
        10.0,
        ge=0,
        allow_inf_nan=False,
        description="Seconds after which a message that Twilio accepted appears in its list of messages.",
    )

    @model_validator(mode="after")
    def _whole_api_key(self) -> TwilioFields:
        if (self.api_key_sid is None) != (self.api_key_secret is None):
            raise ValueError("api_key_sid and api_key_secret should be given together")
        return self

    def doubts(self) -> Iterator[tuple[str, str]]:
        url = urlsplit(self.base_url)
        if url.scheme == "http" and not is_loopback(self.base_url):
            yield "base_url", "is http: messages and the auth token travel unencrypted; write https://"
        if (url.hostname or "").endswith("twilio.com"):
            for field, (begins, name) in _SIDS.items():
                value = getattr(self, field)
                if value and not re.fullmatch(begins + "[0-9a-fA-F]{32}", value):
                    yield field, f"is no {name} of Twilio: that is {begins} and 32 hex digits{_mistaken(field, value)}"


# https://www.twilio.com/docs/glossary/what-is-a-sid
_SIDS = {
    "account_sid": ("AC", "account SID"),
    "api_key_sid": ("SK", "API key SID"),
    "messaging_service_sid": ("MG", "messaging service SID"),
}


def _mistaken(field: str, value: str) -> str:
    """What it is instead, where that can be seen."""
    if re.fullmatch(r"\+?[0-9 ().-]{7,20}", value):
        return "; this is a phone number"
    other = {begins: field for field, (begins, _) in _SIDS.items()}.get(value[:2].upper(), "")
    if other == field:
        return "; count them"
    if not re.fullmatch(r"[A-Za-z]{2}[0-9a-fA-F]{32}", value):
        return ""
    return f"; this is a SID of another kind, for {other}" if other else "; this is a SID of another kind"


_HASHES = {"HMAC_SHA1": hashlib.sha1, "HMAC_SHA256": hashlib.sha256}
# The second is SignalWire's: https://developer.signalwire.com/guides/webhook-security
_SIGNATURES = ("x-twilio-signature", "x-signalwire-signature")
_SHAPES = {
    "HMAC_SHA1": re.compile(r"[A-Za-z0-9+/]{27}=", re.ASCII),
    "HMAC_SHA256": re.compile(r"[A-Za-z0-9+/]{43}=", re.ASCII),
}
# https://www.twilio.com/docs/messaging/tutorials/advanced-opt-out
_OPT_OUT_TYPES: dict[str, Literal["stop", "start", "help"]] = {"STOP": "stop", "START": "start", "HELP": "help"}
_EMPTY_TWIML = b'<?xml version="1.0" encoding="UTF-8"?><Response/>'
_REF = re.compile(r"[0-9A-Za-z-]{1,64}", re.ASCII)
# Twilio's ids.
_SID = re.compile(r"[A-Z]{2}[0-9a-f]{32}", re.ASCII)
_PART = re.compile(r"[0-9]{1,6}", re.ASCII)
_MEDIA_URL = re.compile(r"MediaUrl([0-9]{1,3})", re.ASCII)


class Twilio(Adapter):
    """One account."""

    kind = "twilio"
    fields_model = TwilioFields
    can = Can(
        channel_types=frozenset({"sms"}),
        units=MOST_CHARACTERS,
        callbacks={"status": None, "inbound": None},
        named_by_id=True,  # a status callback that is set at Twilio, on a number or a service, lacks our parameter
        opt_out="theirs",
        opt_out_codes=frozenset({"21610"}),
        media=MEDIA,
    )
    senders = SENDERS

    def __init__(self, name: str, fields: TwilioFields, public_url: str) -> None:
        """`public_url` is where providers reach the bridge. Raises ValueError for one that Twilio will not call."""
        self.name = name
        self._fields = fields
        self._status_url = callback_url(public_url, name, "status")
        # Twilio tries a status callback once unless the URL's fragment asks for more; the fragment itself is not sent.
        # https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides
        self._override = f"#rc={fields.callback_retries}&rp=all" if fields.callback_retries else ""
        if fields.status_callbacks and "_" in (urlsplit(public_url).hostname or ""):
            raise ValueError("public_url: Twilio calls no host with an underscore in its name")
        user = fields.api_key_sid or fields.account_sid
        password = (fields.api_key_secret or fields.auth_token).get_secret_value()
        login = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        headers = [
            (b"Authorization", login.encode()),
            (b"Content-Type", http_words.FORM.encode()),
            (b"Accept", b"application/json"),
        ]
        self._url = httpx.URL(f"{fields.base_url}/2010-04-01/Accounts/{fields.account_sid}/Messages.json")
        self._posts = posts.Posts(self._url, headers)
        self.account = str(self._url)
        self.status_lookup: StatusLookup | None = None
        if fields.ask:
            asks = {"Authorization": login, "Accept": "application/json"}
            self.status_lookup = TwilioLookup(str(self._url), asks, self._ends, fields.list_lag, name)
        self._is_twilio = f".{self._url.host}".endswith(".twilio.com") and bool(_SID.fullmatch(fields.account_sid))
        self._login = {"Authorization": login}
        self._tokens = [_bytes(token) for token in (fields.auth_token, *fields.previous_auth_tokens)]

    def parts(self, message: AgentMessage) -> Sequence[Part]:
        return text_parts(message, MOST_CHARACTERS)

    def _ends(self, message: AgentMessage) -> dict[str, str]:
        """To, and From or MessagingServiceSid or both."""
        fields = self._fields
        ends = {"To": fields.recipient(message)}
        if fields.messaging_service_sid:
            ends["MessagingServiceSid"] = fields.messaging_service_sid
        if fields.from_number or not fields.messaging_service_sid:
            ends["From"] = fields.sender(message)
        return ends

    def build_request(self, turn: Turn) -> httpx.Request:
        fields, message, part = self._fields, turn.message, turn.part
        form = self._ends(message)
        files = turn.media if part.number == 0 else ()
        if part.text or not files:
            form["Body"] = part.text
        if fields.status_callbacks:
            # Nothing in either needs to be quoted.
            form["StatusCallback"] = f"{self._status_url}?m={message.ref}&p={part.number}{self._override}"
        if fields.validity_period is not None:
            form["ValidityPeriod"] = str(fields.validity_period)
        return self._posts.with_body(posts.form(form, [("MediaUrl", file.url) for file in files]))

    def parse_response(self, answer: Answer) -> Submission:
        assert isinstance(answer, httpx.Response)
        if answer.is_success:
            sid = json_object(answer.content).get("sid")
            if not isinstance(sid, str) or not ANY_SID.fullmatch(sid):
                raise Unreadable(f"HTTP {answer.status_code}")
            return Submission(sid)
        raise error_of(answer)

    def _is_id(self, sid: str) -> bool:
        """Whether it looks like an id of this company: Twilio's own have one shape, those of others one of several."""
        return bool((_SID if self._is_twilio else ANY_SID).fullmatch(sid))

    def media_request(self, url: str) -> httpx.Request | None:
        return self._fields.media_request(url, self._url, self._login)

    def verify(self, callback: Callback) -> str:
        algorithm, secrets = self._signed_with(callback)
        given = _signatures(callback, algorithm)
        payload = _signed_parameters(callback)
        matched = ""
        urls = list(_with_and_without_port(callback.url))
        for url in [*urls, *(url + self._override for url in urls if self._override)]:
            for secret in secrets:
                made = hmac.new(secret, url.encode("utf-8", "replace") + payload, _HASHES[algorithm]).digest()
                digest = base64.b64encode(made).decode()
                for one in given:
                    matched = one if hmac.compare_digest(digest, one) else matched
        if not matched:
            raise BadSignature("no secret matches")
        if callback.method == "POST" and callback.body and not http_words.is_form(callback):
            _check_hash(callback)
        return matched

    def _signed_with(self, callback: Callback) -> tuple[str, list[bytes]]:
        """The algorithm and the secrets that may have been used. Raises BadSignature for others."""
        settings = callback.headers.get("x-twilio-webhooks-signature-settings", ())
        if len(settings) > 1:
            raise BadSignature("more than one signature settings")
        words = dict(_word(item) for item in reversed("".join(settings)[:MOST_SETTINGS].split(",")))
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
        said = http_words.parameters(callback)
        sid = said.get("MessageSid", "")
        if callback.kind == "inbound" or not sid:
            return sid
        if "MessageStatus" not in said:
            return ""
        return f"{sid}:{said['MessageStatus']}:{said.get('ErrorCode', '')}"

    def parse_callback(self, callback: Callback) -> Sequence[ConsumerMessage | DeliveryUpdate]:
        said = http_words.parameters(callback)
        if not said.get("MessageSid"):
            raise UnreadableEvent("no MessageSid")
        if not self._is_id(said["MessageSid"]):
            raise UnreadableEvent("MessageSid is not an id")
        return [self._update(callback, said) if callback.kind == "status" else self._consumer_message(said)]

    def _update(self, callback: Callback, said: dict[str, str]) -> DeliveryUpdate:
        if not said.get("MessageStatus"):
            raise UnreadableEvent("no MessageStatus")
        status, reason, code = status_of(said["MessageStatus"], said.get("ErrorCode", ""))
        ours = http_words.decoded(http_words.query(callback))
        ref, part = ours.get("m", ""), ours.get("p", "")
        return DeliveryUpdate(
            provider=self.name,
            provider_id=said["MessageSid"],
            status=status,
            ref=ref if _REF.fullmatch(ref) else "",
            part=int(part) if _PART.fullmatch(part) else 0,
            reason=reason,
            detail=code,
        )

    def _consumer_message(self, said: dict[str, str]) -> ConsumerMessage:
        media = sorted((int(found[1]), said[found[0]]) for found in map(_MEDIA_URL.fullmatch, said) if found)
        media_urls = tuple(url for _, url in media if url)
        if "Body" not in said and not media_urls:
            raise UnreadableEvent("no Body")  # a status that was sent to the wrong URL has none
        ends = said.get("From", ""), said.get("To", "")
        found = consumer_message(self.name, self._fields, said["MessageSid"], *ends, said.get("Body", ""), media_urls)
        word = _OPT_OUT_TYPES.get(said.get("OptOutType", "").upper())
        return replace(found, consent=word) if word else found

    def callback_response(self, callback: Callback) -> CallbackAnswer:
        if callback.kind == "inbound":
            return CallbackAnswer(200, _EMPTY_TWIML, "text/xml")
        return CallbackAnswer(200)


def _bytes(secret: SecretStr) -> bytes:
    return secret.get_secret_value().encode()


def _word(item: str) -> tuple[str, str]:
    name, _, value = item.partition("=")
    return name.strip(), value.strip()


def _signatures(callback: Callback, algorithm: str) -> list[str]:
    """The values that can be a signature, at most one from each header. Raises BadSignature where there is none."""
    sent = [callback.headers.get(name, ()) for name in _SIGNATURES]
    if any(len(values) > 1 for values in sent):
        raise BadSignature("more than one signature")
    if not any(sent):
        raise BadSignature("missing")
    given = [values[0][:MOST_SETTINGS].strip() for values in sent if values]
    found = [value for value in given if _SHAPES[algorithm].fullmatch(value)]
    if not found:
        raise BadSignature("no secret matches")
    return found


def _signed_parameters(callback: Callback) -> bytes:
    """What is signed after the URL: names and values of a form, sorted, each pair once. Raises BadSignature."""
    if callback.method != "POST" or not callback.body or not http_words.is_form(callback):
        return b""
    # Twilio's forms have some forty parameters and less than 20 kB.
    if len(callback.body) > http_words.MOST_FORM or callback.body.count(b"&") >= http_words.MOST_PARAMETERS:
        raise BadSignature("too large for a form")
    return b"".join(name + value for name, value in sorted(set(http_words.pairs(callback.body))))


def _check_hash(callback: Callback) -> None:
    """A body that is not a form is signed by its hash in the URL, or not at all. Raises BadSignature."""
    expected = http_words.decoded(http_words.query(callback)).get("bodySHA256")
    if expected is None:
        raise BadSignature("the body is not signed")
    if not hmac.compare_digest(hashlib.sha256(callback.body).hexdigest().encode(), expected.encode("utf-8", "replace")):
        raise BadSignature("the body is not what was signed")


def _with_and_without_port(url: str) -> tuple[str, str]:
    """Twilio is not consistent about the port; its own SDK tries both."""
    scheme, _, rest = url.partition("://")
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    bare = re.sub(r":[0-9]*$", "", host)
    other = bare if bare != host else f"{host}:{443 if scheme == 'https' else 80}"
    return url, f"{scheme}://{other}{rest[len(host) :]}"
