"""Events as webhooks: an HTTP POST, signed as Standard Webhooks has it.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

import httpx
from pydantic import AfterValidator, Field, SecretStr, model_validator

from dcbridge import retry_after
from dcbridge.errors import AccountFault, Deferred, Gone, OutcomeUnknown, Refused, Throttled, Undecodable
from dcbridge.events.envelope import header_value, pack
from dcbridge.events.sinks.base import Event
from dcbridge.events.sinks.fields import TlsFields, server_url, shown
from dcbridge.events.sinks.options import SinkOptions
from dcbridge.events.sinks.places import web_address
from dcbridge.events.sinks.signing import SigningSecret, key_of, signature
from dcbridge.events.sinks.web import open_sender
from dcbridge.settings.problems import Path, refuse
from dcbridge.settings.types import Secret
from dcbridge.transport.ssrf import Allowed, Guard, literal, network_of, plain

if TYPE_CHECKING:
    from aiohttp.abc import AbstractResolver

    from dcbridge.transport.sender import Sender

_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_OURS = """
    host content-length content-type content-encoding transfer-encoding connection keep-alive te trailer upgrade
    expect proxy-authorization proxy-connection user-agent accept-encoding
"""
_WRITTEN_BY_US = frozenset(_OURS.split())


def _webhook_url(value: SecretStr) -> SecretStr:
    url = server_url(value.get_secret_value(), ("https", "http"), "https://crm.example.com/hooks/dcbridge")
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise ValueError("should have no user: there are username, password and bearer")
    if "#" in url:
        raise ValueError("should have no fragment")
    literal(urlsplit(url).hostname or "")
    try:
        literal(httpx.URL(url).host)
    except httpx.InvalidURL:
        raise ValueError("should be a whole URL: https://, a host and a path") from None
    return value


# Wrong credentials, path or method: true of every event, so that one is enough to stop and ask a person. A redirect is
# one of these: it is not followed, because nobody judged where it leads.
_A_PERSON_MUST = frozenset({401, 403, 404, 405, 407, 501})
_NEVER = frozenset({413, 431})  # this event is too large and will stay so


class Http(TlsFields):
    """Where webhooks are posted, how they are signed, and how we show who we are."""

    example: ClassVar[Mapping[str, object]] = {
        "url": "https://crm.example.com/hooks/dcbridge",
        "secrets": ["${CRM_SIGNING_SECRET}"],
    }

    kind: Literal["http"] = Field(description="This kind of sink.")
    url: Annotated[Secret, AfterValidator(_webhook_url)] = Field(
        description="URL that each event is posted to; it may have a query."
    )
    secrets: Annotated[tuple[SigningSecret, ...], Field(min_length=1, max_length=10)] = Field(
        description="Signing secrets, `whsec_` and base64; each of them signs, so that a receiver can change over."
    )
    headers: dict[str, Secret] = Field({}, description="More headers of each request, by name.")
    username: str | None = Field(None, min_length=1, description="User of HTTP basic authentication.")
    password: Secret | None = Field(None, description="Password of HTTP basic authentication.")
    bearer: Secret | None = Field(None, description="Token of HTTP bearer authentication.")
    allow: tuple[Allowed, ...] = Field(
        (),
        description="What may be reached although it is not public: a host as it stands in url, an address, or a range"
        " such as 10.1.0.0/16.",
    )

    @classmethod
    def same_place(cls, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        return web_address(one["url"]) == web_address(other["url"])

    @property
    def place(self) -> str:
        return shown(self.url)

    @model_validator(mode="after")
    def _sense(self) -> Self:
        complaints: list[tuple[Path, str]] = []
        if (self.username is None) != (self.password is None):
            complaints.append(
                (("password" if self.username else "username",), "is missing: basic authentication has both")
            )
        if self.username and self.bearer:
            complaints.append((("bearer",), "does not go with username: a request has one Authorization"))
        for name, value in self.headers.items():
            low = name.lower()
            if not _HEADER_NAME.fullmatch(name):
                complaints.append((("headers", name), "is not the name of a header"))
            elif low in _WRITTEN_BY_US or low.startswith(("webhook-", "ce-")):
                complaints.append((("headers", name), "is a header that dcbridge writes itself"))
            elif low == "authorization" and (self.username or self.bearer):
                complaints.append((("headers", name), "does not go with username or bearer"))
            if not re.fullmatch(r"[\x20-\x7e]+", value.get_secret_value()):
                complaints.append((("headers", name), "should be printable ASCII on one line"))
        host = httpx.URL(self.url.get_secret_value()).host
        if Guard(host, self.allow).refuses(host):
            complaints.append((("url",), "is not a public address; one that is meant has to be named in allow"))
        for index, word in enumerate(self.allow):
            if network_of(word) is None and plain(word) != plain(host):
                complaints.append((("allow", index), "is a host, and not that of url"))
        refuse(*complaints)
        return self


class HttpSink:
    """One subscriber's webhooks, with connections of its own: one that hangs holds no place in another's pool."""

    def __init__(self, fields: Http, options: SinkOptions, *, names: AbstractResolver | None = None) -> None:
        """`names` resolves the host in place of the system."""
        self._fields = fields
        self._options = options
        self._url = httpx.URL(fields.url.get_secret_value())
        self._keys = [key_of(secret) for secret in fields.secrets]
        self._steady = _steady_headers(fields)
        self._guard = Guard(self._url.host, fields.allow, names)
        self._sender: Sender | None = None

    async def deliver(self, event: Event) -> bool:
        """Post it once. Raises a SendError for everything but an answer of 2xx."""
        try:
            answer = await self._open().http(self._request(event))
        except Undecodable:  # 2xx is enough: what stands in the body means nothing
            return False
        _read(answer)
        return False

    async def close(self) -> None:
        if self._sender:
            await self._sender.close()

    def _open(self) -> Sender:
        """Made with the first event: certificates that cannot be read are a failed attempt and not a dead worker."""
        if self._sender is None:
            self._sender = open_sender(self._fields, self._options, self._guard)
        return self._sender

    def _request(self, event: Event) -> httpx.Request:
        """The request of one attempt: id and body are those of every attempt, time and signature its own."""
        packed = pack(event, self._options.envelope, self._options.public_url)
        now = int(time.time())
        headers = {
            **self._steady,
            "Content-Type": packed.content_type,
            "webhook-id": event.id,
            "webhook-timestamp": str(now),
            "webhook-signature": signature(self._keys, event.id, now, packed.body),
            **{f"ce-{name}": header_value(value) for name, value in packed.attributes.items()},
        }
        return httpx.Request("POST", self._url, headers=headers, content=packed.body)


def _steady_headers(fields: Http) -> dict[str, str]:
    """What every request carries: the operator's headers, and who we are."""
    headers = {name: value.get_secret_value() for name, value in fields.headers.items()}
    if fields.username and fields.password:
        pair = f"{fields.username}:{fields.password.get_secret_value()}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    if fields.bearer:
        headers["Authorization"] = f"Bearer {fields.bearer.get_secret_value()}"
    return headers


def _read(answer: httpx.Response) -> None:
    """What an answer means. Its body means nothing and is shown to nobody: it may hold anything."""
    status, code = answer.status_code, str(answer.status_code)
    if 200 <= status < 300:
        return
    if status == 410:
        raise Gone(code)
    later = retry_after.longest(answer.headers.get_list("retry-after"))
    if status == 429 or (status == 503 and later is not None):
        raise Throttled(code, retry_after=later, whole_account=True)
    if 300 <= status < 400 or status in _A_PERSON_MUST:
        raise AccountFault(code)
    if status in _NEVER:
        raise Refused(code)
    if 400 <= status < 500:
        raise Deferred(code, retry_after=later)
    raise OutcomeUnknown(code, retry_after=later)
