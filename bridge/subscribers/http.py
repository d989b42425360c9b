"""Events as webhooks: an HTTP POST, signed as Standard Webhooks has it.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from bridge.configuration_types import Secret
from bridge.problems import Path, refuse
from bridge.subscribers.base import Event
from bridge.subscribers.fields import TlsFields, server_url, shown
from bridge.subscribers.safety import Allowed
from bridge.subscribers.signing import SigningSecret

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
    return value


class Http(TlsFields):
    """Where webhooks are posted, how they are signed, and how we show who we are."""

    kind: Literal["http"]
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
        refuse(*complaints)
        return self


class HttpSink:
    """One subscriber's webhooks, with connections of its own."""

    def __init__(self, fields: Http, envelope: str, public_url: str, connections: int) -> None:
        self._fields = fields

    async def deliver(self, event: Event) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError
