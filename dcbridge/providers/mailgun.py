"""Mailgun: an email as a MIME file, events whose signature covers a time and a token.

https://documentation.mailgun.com/docs/mailgun/api-reference/send/mailgun/messages
https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks
https://documentation.mailgun.com/docs/mailgun/user-manual/events/event-structure

The signature says nothing of the rest of an event. So the reference that we send along has a code of ours, and a token
counts once. Events of mail that others send through the same domain have nothing of ours, and are passed over.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Annotated

import httpx
from pydantic import Field

from dcbridge.errors import AccountFault, BadSignature, Refused, Throttled, Unreadable, UnreadableEvent
from dcbridge.messages import AgentMessage, DeliveryUpdate, Reason, Suppression, UpdateStatus
from dcbridge.providers import http_words, multipart
from dcbridge.providers.base import (
    Adapter,
    Answer,
    Callback,
    Can,
    MediaLimits,
    Part,
    PostedMail,
    Submission,
    Turn,
    named_by,
)
from dcbridge.providers.email_fields import (
    MOST_RECIPIENTS,
    EmailFields,
    as_mime,
    bounced,
    email_parts,
    recipients_of,
    with_message_id,
)
from dcbridge.providers.http_words import a_text, an_object, code, codes, json_object, json_value
from dcbridge.providers.phone import Senders
from dcbridge.providers.rebuilt_mail import rebuilt, with_missing
from dcbridge.providers.shared_secret import OneOrMore
from dcbridge.settings.types import CompanyUrl, HeaderSecret, Secret

MOST_ATTACHED = 15_000_000  # bytes of all files; a message may have 25 MB, and base64 adds a third


class MailgunFields(EmailFields):
    """A domain at Mailgun."""

    domain: str = Field(pattern=r"^[A-Za-z0-9.-]{1,253}$", description="Domain that emails are sent from.")
    api_key: HeaderSecret = Field(description="Sending key of the domain, or API key of the account.")
    signing_keys: Annotated[tuple[Secret, ...], OneOrMore, Field(min_length=1)] = Field(
        description="HTTP webhook signing key of the account; during a rotation several."
    )
    tracking: bool = Field(
        False, description="Whether links and opens are tracked as the domain says; without it, they are not."
    )
    signature_age: float = Field(
        86400.0,
        gt=0,
        allow_inf_nan=False,
        description="Seconds by which the time of a webhook may differ from now; Mailgun repeats one for eight hours.",
    )
    base_url: CompanyUrl = Field(
        "https://api.mailgun.net", description="URL before /v3; in the EU https://api.eu.mailgun.net."
    )


_CODES = {
    **codes(Refused, Reason.INVALID_DESTINATION, "to"),
    **codes(Refused, Reason.UNSUPPORTED, "413"),
    **codes(Refused, Reason.INVALID_STRUCTURE, "400"),
    **codes(AccountFault, Reason.GENERAL, "401 403 404"),  # of a domain that is not there, too
}
_EVENTS = {
    "delivered": UpdateStatus.DELIVERED,
    "rejected": UpdateStatus.FAILED,
    "complained": UpdateStatus.DELIVERED,  # which proves that it arrived
    "unsubscribed": UpdateStatus.DELIVERED,
}  # accepted, opened, clicked and whatever comes: not final
_STOPS: Mapping[str, Suppression] = {"complained": "complaint", "unsubscribed": "unsubscribe"}
# `reason` of a permanent failure, else `delivery-status.code`.
_FAILED: Mapping[str, tuple[Reason, Suppression | None]] = {
    "suppress-bounce": (Reason.INVALID_DESTINATION, "bounce"),
    "suppress-complaint": (Reason.NOT_ALLOWED, "complaint"),
    "suppress-unsubscribe": (Reason.NOT_ALLOWED, "unsubscribe"),
    "old": (Reason.EXPIRED, None),
    "605": (Reason.INVALID_DESTINATION, "bounce"),
    "606": (Reason.NOT_ALLOWED, "unsubscribe"),
    "607": (Reason.NOT_ALLOWED, "complaint"),
    "602": (Reason.EXPIRED, None),
}
_AGAIN = re.compile(r"try again after ([0-9]{1,6}) second", re.ASCII | re.IGNORECASE)
_ID = re.compile(r"<([!-;=?A-~]{1,240}@[!-;=?-~]{1,250})>", re.ASCII)
_FILE = re.compile(r"attachment-[0-9]{1,3}", re.ASCII)
_TOKEN = re.compile(r"[0-9A-Za-z]{16,100}", re.ASCII)
_SIGNATURE = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Mailgun(Adapter):
    """One domain."""

    kind = "mailgun"
    fields_model = MailgunFields
    can = Can(
        channel_types=frozenset({"email"}),
        callbacks={"status": http_words.MOST_FORM, "inbound": None},
        secret_in_path=True,  # of a route, whose URL has to end in "mime"
        mail=3.1,  # as a form where it has no files, in which each byte may be three
        media=MediaLimits(10, MOST_ATTACHED, {"": MOST_ATTACHED}, as_data=True),
    )
    senders = Senders()

    def __init__(self, name: str, fields: MailgunFields, public_url: str) -> None:
        """`public_url` is not used: the domain has the addresses of its webhooks."""
        self.name, self._fields = name, fields
        self._url = httpx.URL(f"{fields.base_url}/v3/{fields.domain}/messages.mime")
        self._secret = fields.api_key.get_secret_value()
        self._login = httpx.BasicAuth("api", self._secret)
        self.account = str(self._url)

    def parts(self, message: AgentMessage) -> Sequence[Part]:
        return email_parts(message)

    def build_request(self, turn: Turn) -> httpx.Request:
        content, recipient, message_id = as_mime(turn)
        fields = {"to": recipient.addr_spec, "v:dcbridge": f"{turn.key} {self._code(turn.key)}"}
        if not self._fields.tracking:
            fields["o:tracking"] = "no"
        kind, body = multipart.written(fields, ("message", "message.eml", "message/rfc822", content))
        request = httpx.Request("POST", self._url, headers={"Content-Type": kind}, content=body)
        return with_message_id(next(self._login.auth_flow(request)), message_id)

    def _code(self, key: str) -> str:
        """Ours, for the reference: what an event says is not signed."""
        return hmac.digest(self._secret.encode(), f"callback {key}".encode(), hashlib.sha256).hex()[:32]

    def parse_response(self, answer: Answer) -> Submission:
        assert isinstance(answer, httpx.Response)
        said = json_object(answer.content)
        if answer.is_success:
            found = _ID.fullmatch(a_text(said.get("id")))
            if not found:
                raise Unreadable(f"HTTP {answer.status_code}")
            return Submission(found[1], message_id=found[1])
        words = a_text(said.get("message"))[:1000]
        about = "to" if words.lower().startswith(("to parameter", "'to' parameter")) else str(answer.status_code)
        error = http_words.error_of(answer, about if about in _CODES else "", _CODES, trusted=True)
        if isinstance(error, Throttled) and error.retry_after is None and (again := _AGAIN.search(words)):
            error.retry_after = float(again[1])
        raise error

    def verify(self, callback: Callback) -> str:
        """The token, which is another for everything that is signed."""
        if callback.kind == "inbound":
            form = _form(callback)
            return self.proven(*(_said(form, name) for name in ("timestamp", "token", "signature")))
        if callback.secret:
            raise BadSignature("another address")
        proof = an_object(json_object(callback.body).get("signature"))
        return self.proven(*(a_text(proof.get(name)) for name in ("timestamp", "token", "signature")))

    def proven(self, moment: str, token: str, signature: str) -> str:
        """The token. Raises BadSignature unless one of the keys has signed it with its time."""
        if not signature or not token:
            raise BadSignature("missing")
        if not _SIGNATURE.fullmatch(signature) or not _TOKEN.fullmatch(token):
            raise BadSignature("not a signature")
        http_words.check_time(moment, self._fields.signature_age)
        matched = False
        for key in self._fields.signing_keys:
            right = hmac.digest(key.get_secret_value().encode(), f"{moment}{token}".encode(), hashlib.sha256).hex()
            matched |= hmac.compare_digest(right, signature)
        if not matched:
            raise BadSignature("no key matches")
        return token

    def proven_by_head(self, head: Callback) -> bool:
        return False  # the signature is in the form

    def event_id(self, callback: Callback) -> str:
        return a_text(an_object(json_object(callback.body).get("event-data")).get("id"))

    def mails(self, callback: Callback) -> Sequence[PostedMail]:
        """Of a route whose URL ends in "mime" the raw mail; of another one that is written of its parts."""
        form = _form(callback)
        to = recipients_of(*_said(form, "recipient").split(",")[:MOST_RECIPIENTS])
        if not to or not ("body-mime" in form or "message-headers" in form):
            raise UnreadableEvent("neither body-mime nor message-headers, or no recipient")
        raw = bytes(form["body-mime"]) if "body-mime" in form else _rebuilt(form, _files(callback))
        return [PostedMail(raw, _said(form, "sender") if "sender" in form else None, to)]

    def parse_callback(self, callback: Callback) -> Sequence[DeliveryUpdate]:
        event = an_object(json_object(callback.body).get("event-data"))
        word = a_text(event.get("event"))
        if not word:
            raise UnreadableEvent("no event")
        key, _, shown = a_text(an_object(event.get("user-variables")).get("dcbridge")).partition(" ")
        right = hmac.compare_digest(self._code(key).encode(), shown.encode("utf-8", "replace"))
        ref, part = named_by(key if right else "")
        if not ref:
            return ()
        status, reason, detail, stop = _EVENTS.get(word, UpdateStatus.SENT), None, "", _STOPS.get(word)
        if word == "failed" and event.get("severity") != "temporary":
            status = UpdateStatus.FAILED
            reason, detail, stop = _failure(event)
        elif word == "rejected":
            reason, detail = Reason.NOT_ALLOWED, "rejected"
        headers = an_object(an_object(event.get("message")).get("headers"))
        found = _ID.fullmatch(f"<{a_text(headers.get('message-id'))}>")
        return [
            DeliveryUpdate(
                self.name, found[1] if found else "", status, ref, part, reason, detail,
                recipients=recipients_of(event.get("recipient")), suppress=stop,
            )
        ]  # fmt: skip


_OF_A_ROUTE = frozenset(
    (
        *("timestamp", "token", "signature", "recipient", "sender", "body-mime"),
        *("message-headers", "from", "subject", "body-plain", "body-html"),
    )
)


def _form(callback: Callback) -> dict[str, bytes | memoryview]:
    """What a route posts, in either way of writing a form; of a repeated name the first."""
    if http_words.is_form(callback):
        pairs = islice(http_words.pairs(callback.body), http_words.MOST_PARAMETERS)
        found = [(name.decode("utf-8", "replace"), value) for name, value in pairs]
        return {name: value for name, value in reversed(found) if name in _OF_A_ROUTE}
    fields = multipart.fields_of(callback.body, multipart.boundary_of(callback.header("content-type")))
    return {one.name: one.value for one in reversed(list(fields)) if one.name in _OF_A_ROUTE}


def _said(form: Mapping[str, bytes | memoryview], name: str) -> str:
    return bytes(form.get(name, b""))[:20_000].decode("utf-8", "replace").strip()


def _rebuilt(form: Mapping[str, bytes | memoryview], files: Sequence[tuple[str, str, bytes]]) -> bytes:
    """https://documentation.mailgun.com/docs/mailgun/user-manual/receive-forward-store/#parsed-messages-parameters"""
    said = json_value(bytes(form["message-headers"]))
    pairs = [one for one in said if isinstance(one, list) and len(one) == 2] if isinstance(said, list) else []
    headers = [(a_text(name), a_text(value)) for name, value in pairs]
    own = {"From": _said(form, "from"), "Subject": _said(form, "subject")}
    text, html = (bytes(form.get(name, b"")).decode("utf-8", "replace") for name in ("body-plain", "body-html"))
    return rebuilt(with_missing(headers, own), text, html, files)


def _files(callback: Callback) -> list[tuple[str, str, bytes]]:
    """Of a form in which files can stand: name, type, bytes."""
    if http_words.is_form(callback):
        return []
    fields = multipart.fields_of(callback.body, multipart.boundary_of(callback.header("content-type")))
    return [(one.filename, one.kind, bytes(one.value)) for one in fields if _FILE.fullmatch(one.name)]


def _failure(event: Mapping[str, object]) -> tuple[Reason, str, Suppression | None]:
    """Why an email was given up, the code that says so, and whether its consumer should get none any more."""
    said = an_object(event.get("delivery-status"))
    word, number = a_text(event.get("reason")), code(said.get("code"))
    for known in (word, number):
        if known in _FAILED:
            reason, stop = _FAILED[known]
            return reason, known, stop
    reason, detail = bounced(a_text(said.get("enhanced-code")), f"{number} {a_text(said.get('message'))}")
    return reason, detail or number or "failed", "bounce" if reason is Reason.INVALID_DESTINATION else None
