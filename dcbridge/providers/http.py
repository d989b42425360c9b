"""Any company with an HTTP API, described in bridge.yaml: the request, the answer, the callbacks.

docs/providers/http.md has the fields and whole descriptions: Kannel, jasmin, and a company that nobody has heard of.
The language of templates and places is `http_template`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any, Literal, Self
from urllib.parse import quote, urlencode

import httpx
import orjson
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from dcbridge.errors import (
    AccountFault,
    BadSignature,
    Deferred,
    OutcomeUnknown,
    Refused,
    SendError,
    Throttled,
    Unreadable,
    UnreadableEvent,
)
from dcbridge.messages import AgentMessage, ConsumerMessage, DeliveryUpdate, Reason, UpdateStatus
from dcbridge.providers import http_template, http_words, segmentation, shared_secret
from dcbridge.providers.base import (
    Adapter,
    Answer,
    Callback,
    CallbackAnswer,
    Can,
    MediaLimits,
    Part,
    Submission,
    Turn,
    Unread,
    callback_url,
    named_by,
)
from dcbridge.providers.http_template import Expression, Place, Source, Template
from dcbridge.providers.http_words import a_text
from dcbridge.providers.phone import Senders
from dcbridge.providers.sms_fields import MmsFields, consumer_message, sms_parts
from dcbridge.settings.types import HeaderSecret, Secret, company_url, is_loopback

SENDERS = Senders(short_codes=True, names=True)
MOST_ID = 128  # characters
LONGEST_URL = 8192  # characters; many servers read no longer one, and `dcbridge.transport.sender` sends none

Json = Any  # of bridge.yaml: texts in it are templates


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Send(_Part):
    """The request for one part of a message."""

    method: Literal["GET", "POST", "PUT"] = Field("POST", description="Method of the request.")
    url: Template = Field(pattern=r"^https?://[^\s#@]+$", description="URL, with values in it where there are any.")
    query: dict[str, Template] = Field({}, description="Parameters of the query, by name.")
    form: dict[str, Template] | None = Field(None, description="Fields of a form, by name.")
    json_: Json = Field(
        None,
        alias="json",
        description="A JSON body; a text in it is a template, or a value such as =1, =true.",
    )
    headers: dict[str, HeaderSecret] = Field({}, description="Headers of each request, by name.")
    sms: int = Field(
        10,
        ge=1,
        le=25,
        description="SMS in one request at most; 1 where the company reports each of them.",
    )

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        if self.form is not None and self.json_ is not None:
            raise ValueError("form and json should not be given together")
        if self.method == "GET" and (self.form is not None or self.json_ is not None):
            raise ValueError("method GET has no body: move form or json to query, or write POST")
        for text in texts(self.json_):
            if text.startswith("="):
                json_literal(text)
            else:
                http_template.template(text)
        if "{" in "/".join(self.url.split("/")[:3]):
            raise ValueError("url should have no value before its path: the host is the company's")
        company_url(self.url)
        for name, value in self.headers.items():
            if http_template.NAMED.search(value.get_secret_value()):
                raise ValueError("headers are no templates: write the value itself, such as ${NAME} of the environment")
            if not re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", name):
                raise ValueError("headers has a name that is not the name of a header")
            if name.lower() in _WRITTEN_BY_US:
                raise ValueError(f"headers has {name.lower()}, which is a header that dcbridge writes itself")
        return self

    @property
    def templates(self) -> list[str]:
        """Everything that values are put into."""
        written = [self.url, *self.query.values(), *(self.form or {}).values(), *texts(self.json_)]
        return [text for text in written if not text.startswith("=")]


_WRITTEN_BY_US = frozenset({"host", "content-length", "transfer-encoding", "connection"})


class Taken(_Part):
    """How an answer is recognised that says the message was accepted."""

    status: tuple[int, ...] = Field((200, 201, 202), description="Its status.")
    body: Expression | None = Field(None, description="Regular expression that is found in its body.")
    id: Place | None = Field(None, description="Where its id stands.")


class ErrorRow(_Part):
    """One kind of answer that says something else. All that is given has to fit."""

    status: int | None = Field(None, ge=100, le=599, description="Status of the answer.")
    body: Expression | None = Field(None, description="Regular expression that is found in its body.")
    code: tuple[str, ...] = Field((), description="Codes of the company, one of which stands at code.")
    is_: Literal["refused", "throttled", "deferred", "account", "unknown"] = Field(
        alias="is", description="What follows: failed, again later, the account is faulty, or the outcome is unknown."
    )
    reason: Reason | None = Field(None, description="Reason that the agent sees.")

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if self.status is None and self.body is None and not self.code:
            raise ValueError(
                "status, body or code should be given: every answer fits, also one that accepts the message"
            )
        return self


class Status(_Part):
    """Where a delivery report says what."""

    each: Place | None = Field(None, description="Where a list of reports stands; other places are then in each.")
    reference: Place | None = Field(None, description="Our reference.")
    id: Place | None = Field(None, description="The company's id of the message.")
    word: Place = Field(description="The status.")
    words: dict[str, Literal["sent", "delivered", "failed", "removed"]] = Field(
        description="What each status means; one that is not named is not final."
    )
    code: Place | None = Field(None, description="The code of an error.")
    reasons: dict[str, Reason] = Field({}, description="Reason that the agent sees, by code; 500 for any other.")

    @model_validator(mode="after")
    def _found(self) -> Self:
        if self.reference is None and self.id is None:
            raise ValueError("reference or id should be given: nothing else says which message a report is about")
        return self


class Inbound(_Part):
    """Where a callback says what a consumer wrote."""

    each: Place | None = Field(None, description="Where a list of messages stands; other places are then in each.")
    id: Place = Field(description="The company's id of the message, by which a repetition is known.")
    from_: Place = Field(alias="from", description="The consumer's number.")
    to: Place = Field(description="Our number.")
    text: Place = Field(description="The text.")
    media: Place | None = Field(None, description="Where the URL of a file stands, or a list of them.")


class Signature(_Part):
    """An HMAC over the body of a callback."""

    header: str = Field(pattern=r"^[A-Za-z0-9-]+$", description="Header that carries it.")
    secret: Secret = Field(description="Its key.")
    hash: Literal["sha1", "sha256", "sha512"] = Field("sha256", description="Its hash.")
    encoding: Literal["hex", "base64"] = Field("hex", description="How it is written.")
    prefix: str = Field("", description="What stands before it, such as sha256=.")


class Mms(Send):
    """The request for a message with a file, and what the company carries."""

    bytes_: int = Field(600_000, alias="bytes", ge=1, description="Bytes of the file at most.")
    types: tuple[str, ...] = Field(
        ("image/jpeg", "image/png", "image/gif"), description='Types that are carried; "image/" is every image.'
    )


class HttpFields(MmsFields):
    """A company that is described here."""

    senders = SENDERS

    send: Send = Field(description="The request for one part of a message.")
    mms: Mms | None = Field(
        None, description="The request for a message with one file, which is {media_url} and {media_type} there."
    )
    secrets: dict[str, Secret] = Field({}, description="Secrets that templates name as {secret.NAME}, by name.")
    username: str = Field("", description="User name of Basic login.")
    password: SecretStr = Field(SecretStr(""), description="Password of Basic login.")
    taken: Taken = Field(Taken(), description="The answer that says the message was accepted.")
    code: Place | None = Field(None, description="Where an answer has the company's code of an error.")
    errors: tuple[ErrorRow, ...] = Field((), description="Other answers; the first that fits counts.")
    status: Status | None = Field(None, description="What a delivery report says, at the status callback.")
    inbound: Inbound | None = Field(None, description="What a consumer wrote, at the inbound callback.")
    callback_secret: shared_secret.PathSecrets = Field(
        (), description="Secret in the path of callbacks, or several during a rotation; the first stands in status_url."
    )
    signature: Signature | None = Field(None, description="Signature over the body of each callback.")
    callback_answer: str = Field("", description="Body of the response to a callback.")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for name in sorted(self._names_sent()):
            if name.startswith("secret.") and name.removeprefix("secret.") not in self.secrets:
                raise ValueError(f"secrets should have {name.removeprefix('secret.')}, which send names")
        for part in (self.status, self.inbound):
            if part is not None and part.each is not None and not part.each.startswith("json:"):
                raise ValueError("each should be a place such as json:/results")
        if self.reads("header."):
            raise ValueError("header. is a place of an answer, and not of a callback")
        if (self.status or self.inbound) and not self.callback_secret and self.signature is None:
            raise ValueError("callback_secret or signature should be given: nothing else proves a callback")
        if not self.callback_secret and self.reads("query."):
            raise ValueError("callback_secret should be given: a signature does not cover the query, which is read")
        return self

    @model_validator(mode="after")
    def _can_work(self) -> Self:
        if ":" in self.username:
            raise ValueError("username should have no colon: what follows it would be the password")
        if self.username and any(name.lower() == "authorization" for name in self.send.headers):
            raise ValueError("send.headers has Authorization, which does not go with username")
        for index, row in enumerate(self.errors):
            if row.status in self.taken.status and row.body is None and not row.code:
                raise ValueError(
                    f"errors[{index}] fits an answer that says the message was accepted: give body or code"
                )
            if row.code and self.code is None:
                raise ValueError(
                    f"code should be given: errors[{index}] has codes, and nothing says where an answer has one"
                )
        if self.status is not None:
            ours = self.status.reference is not None and self._names_sent() & {"reference", "status_url"}
            if not ours and (self.status.id is None or self.taken.id is None):
                raise ValueError(
                    "status.reference needs {reference} or {status_url} in send, and status.id needs taken.id: without"
                    " either no report finds its message"
                )
        return self

    def reads(self, kind: str) -> bool:
        """Whether a place of this kind is read of a callback."""
        described = [part for part in (self.status, self.inbound) if part is not None]
        return any(str(place).startswith(kind) for part in described for place in part.model_dump().values())

    def _names_sent(self) -> set[str]:
        sent = [*self.send.templates, *(self.mms.templates if self.mms else [])]
        return {name for template in sent for name in http_template.names_in(template)}

    def doubts(self) -> Iterator[tuple[str, str]]:
        if self.send.url.startswith("http://") and not is_loopback(self.send.url):
            yield "send.url", "is http: messages and the login travel unencrypted; write https://"
        if self.status is None:
            yield "status", "is not given: no report is read, so its channels need delivered_when: taken"


def texts(value: Json) -> list[str]:
    """Every text in a JSON value."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for one in inner for text in texts(one)]


_ERRORS: Mapping[str, type[SendError]] = {
    "refused": Refused, "throttled": Throttled, "deferred": Deferred, "account": AccountFault, "unknown": OutcomeUnknown
}  # fmt: skip


class Http(Adapter):
    """One account."""

    kind = "http"
    fields_model = HttpFields
    can = Can(
        channel_types=frozenset({"sms"}),
        callbacks={"status": None, "inbound": None},
        secret_in_path=True,
        named_by_id=True,
    )
    senders = SENDERS

    def __init__(self, name: str, fields: HttpFields, public_url: str) -> None:
        """`public_url` is where providers reach the bridge."""
        self.name, self._fields = name, fields
        self.account = f"{fields.send.url} {name}"
        secret = fields.callback_secret[0].get_secret_value() if fields.callback_secret else ""
        self._reports = callback_url(public_url, name, "status", secret)
        self._headers = {key: value.get_secret_value() for key, value in fields.send.headers.items()}
        if fields.username:
            login = f"{fields.username}:{fields.password.get_secret_value()}"
            self._headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
        self._secrets = {f"secret.{key}": value.get_secret_value() for key, value in fields.secrets.items()}
        self._reads_query = fields.reads("query.")
        self._url = httpx.URL(fields.send.url.partition("{")[0])
        if fields.mms is not None:
            most = fields.mms.bytes_
            self.can = replace(Http.can, media=MediaLimits(1, most, dict.fromkeys(fields.mms.types, most)))

    def parts(self, message: AgentMessage) -> Sequence[Part]:
        return sms_parts(message, self._fields.send.sms)

    def build_request(self, turn: Turn) -> httpx.Request:
        fields, text = self._fields, http_words.writable(turn.part.text)
        file = next(iter(turn.media), None) if turn.part.number == 0 else None
        send = fields.mms if file is not None and fields.mms is not None else fields.send
        sender, to = fields.sender(turn.message), fields.recipient(turn.message)
        values = {
            "to": to, "to_digits": to.removeprefix("+"), "sender": sender, "sender_digits": sender.removeprefix("+"),
            "text": text, "reference": turn.key, "status_url": f"{self._reports}?m={turn.key}", **self._secrets,
            "media_url": file.url if file else "", "media_type": file.mimetype if file else "",
        }  # fmt: skip
        fill = partial(http_template.fill, values=values, gsm7=segmentation.is_gsm7(text))
        url = fill(send.url, encode=partial(quote, safe=""))
        if send.query:
            url += ("&" if "?" in url else "?") + urlencode({name: fill(one) for name, one in send.query.items()})
        headers, content = self._headers | {n: v.get_secret_value() for n, v in send.headers.items()}, b""
        if send.form is not None:
            headers.setdefault("Content-Type", http_words.FORM)
            content = urlencode({name: fill(one) for name, one in send.form.items()}).encode()
        elif send.json_ is not None:
            headers.setdefault("Content-Type", "application/json")
            content = orjson.dumps(_filled(send.json_, fill))
        if len(url) > LONGEST_URL:
            raise Refused("URL too long", reason=Reason.INVALID_STRUCTURE)
        return httpx.Request(send.method, url, headers=headers, content=content or None)

    def parse_response(self, answer: Answer) -> Submission:
        assert isinstance(answer, httpx.Response)
        taken, body = self._fields.taken, answer.content
        headers = {name.lower(): value for name, value in answer.headers.items()}
        source = Source(
            body, cache(lambda: http_words.json_value(body)), lambda: http_words.decoded(body), dict, headers
        )
        code = http_words.code(source.value(self._fields.code)) if self._fields.code else ""
        row = next((row for row in self._fields.errors if _fits(row, answer.status_code, code, body)), None)
        if row is None and answer.status_code in taken.status and _found(taken.body, body):
            return Submission(_id(source.text(taken.id)))
        if row is None and answer.is_success:
            raise Unreadable(code or f"HTTP {answer.status_code}")
        usual = http_words.error_of(answer, code, {})
        if row is None:
            raise usual
        raise _ERRORS[row.is_](
            usual.code, reason=row.reason, retry_after=usual.retry_after, whole_account=answer.status_code == 429
        )

    def media_request(self, url: str) -> httpx.Request | None:
        return self._fields.media_request(url, self._url, self._headers)

    def verify(self, callback: Callback) -> str:
        signature, secrets = self._fields.signature, self._fields.callback_secret
        if secrets or signature is None:
            shared_secret.check(callback, secrets)
        if signature is None:
            return ""
        given = callback.header(signature.header).strip()
        if not given or not callback.body:
            raise BadSignature("missing")
        made = hmac.digest(signature.secret.get_secret_value().encode(), callback.body, signature.hash)
        right = signature.prefix + (made.hex() if signature.encoding == "hex" else base64.b64encode(made).decode())
        if signature.encoding == "hex":  # some write it in capitals
            right, given = right.lower(), given.lower()
        if not hmac.compare_digest(right.encode(), given.encode("utf-8", "replace")):
            raise BadSignature("no secret matches")
        if self._reads_query:  # the same body may be about another message, which the query names
            return ""
        return made.hex()

    def event_id(self, callback: Callback) -> str:
        said = http_words.query(callback) + b"\0" + callback.body  # what a consumer wrote has an id in it
        return hashlib.blake2b(said, digest_size=16).hexdigest()

    def parse_callback(self, callback: Callback) -> Sequence[ConsumerMessage | DeliveryUpdate | Unread]:
        fields = self._fields
        where = fields.status if callback.kind == "status" else fields.inbound
        if where is None:
            raise UnreadableEvent(f"{callback.kind} is not configured")
        query = cache(lambda: http_words.decoded(http_words.query(callback)))
        form = cache(lambda: http_words.decoded(callback.body))

        def read(whole: object) -> ConsumerMessage | DeliveryUpdate:
            source = Source(callback.body, lambda: whole, form, query, {})
            return self._update(source, where) if isinstance(where, Status) else self._consumer_message(source, where)

        whole = http_words.json_value(callback.body)
        if where.each is None:
            return [read(whole)]
        pointer = where.each.removeprefix("json:")
        listed = http_words.a_list(http_template.pointed(whole, pointer))
        if not listed:
            raise UnreadableEvent("no list")
        return http_words.each(listed, read, partial(_alone, pointer))

    def _update(self, source: Source, where: Status) -> DeliveryUpdate:
        word, code = source.text(where.word), http_words.code(source.text(where.code))
        if not word:
            raise UnreadableEvent("no status")
        status = UpdateStatus(where.words.get(word, "sent"))
        reason = where.reasons.get(code, Reason.GENERAL) if status is UpdateStatus.FAILED else None
        ref, part = named_by(source.text(where.reference))
        return DeliveryUpdate(self.name, _id(source.text(where.id)), status, ref, part, reason, code)

    def _consumer_message(self, source: Source, where: Inbound) -> ConsumerMessage:
        provider_id, text = _id(source.text(where.id)), source.value(where.text)
        if not provider_id:
            raise UnreadableEvent("no id")
        found = source.value(where.media) if where.media is not None else None
        media = tuple(filter(None, map(a_text, found if isinstance(found, list) else [found])))
        if not isinstance(text, str) or not (text or media):
            if not media:
                raise UnreadableEvent("no text")
            text = ""
        ends = source.text(where.from_), source.text(where.to)
        return consumer_message(self.name, self._fields, provider_id, *ends, text, media)

    def callback_response(self, callback: Callback) -> CallbackAnswer:
        body = self._fields.callback_answer.encode()
        return CallbackAnswer(200, body, "text/plain" if body else "")


def _filled(value: Json, fill: Any) -> Json:
    """The same value with its texts filled."""
    if isinstance(value, str):
        return json_literal(value) if value.startswith("=") else fill(value)
    if isinstance(value, dict):
        return {name: _filled(one, fill) for name, one in value.items()}
    return [_filled(one, fill) for one in value] if isinstance(value, list) else value


def json_literal(text: str, where: str = "json") -> Json:
    """What stands after "=". Raises ValueError where that is no JSON."""
    try:
        return orjson.loads(text[1:])
    except orjson.JSONDecodeError:
        raise ValueError(f"{where} has a text with = that is no JSON value, such as =1 or =true") from None


def _alone(pointer: str, element: object) -> object:
    """A body that has this element alone in its list."""
    whole: object = [element]
    for step in reversed(pointer.split("/")[1:]):
        whole = {step.replace("~1", "/").replace("~0", "~"): whole}
    return whole


def _found(expression: str | None, body: bytes) -> bool:
    return expression is None or http_template.searched(expression, body) is not None


def _fits(row: ErrorRow, status: int, code: str, body: bytes) -> bool:
    return row.status in (None, status) and (not row.code or code in row.code) and _found(row.body, body)


def _id(found: str) -> str:
    """An id of the company's; "" for none, or for one that is none."""
    return found if len(found) <= MOST_ID and found.isprintable() and found.isascii() and " " not in found else ""
