"""Events as messages of a NATS JetStream, acknowledged by the stream. The client: nats-py.

https://docs.nats.io/nats-concepts/jetstream
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from bridge.configuration_types import Secret
from bridge.problems import refuse
from bridge.subscribers.base import Event
from bridge.subscribers.fields import Template, TlsFields, server_url, shown


def _nats_url(value: str) -> str:
    server_url(value, ("nats", "tls"), "nats://nats.example.com:4222")
    if "@" in value:
        raise ValueError("should have no user: there are username, password, token and credentials_file")
    return value


class Nats(TlsFields):
    """A subject that a stream of JetStream holds."""

    kind: Literal["nats"]
    servers: Annotated[tuple[Annotated[str, AfterValidator(_nats_url)], ...], Field(min_length=1)] = Field(
        description="URLs of the servers: nats://host:4222, or tls:// for TLS."
    )
    subject: Template = Field(
        "interactions.{media}.{event}",
        description="Subject; {endpoint}, {media}, {subtype} and {event} stand for words of the event.",
    )
    stream: str | None = Field(
        None, min_length=1, description="Name of the stream that has to take it; left out, whichever holds the subject."
    )
    username: str | None = Field(None, min_length=1, description="User.")
    password: Secret | None = Field(None, description="Password.")
    token: Secret | None = Field(None, description="Token, where the server asks for one.")
    credentials_file: str | None = Field(None, min_length=1, description="File of credentials (JWT and NKey).")

    @property
    def place(self) -> str:
        return " ".join(shown(server) for server in self.servers)

    @model_validator(mode="after")
    def _sense(self) -> Self:
        if (self.username is None) != (self.password is None):
            refuse((("password" if self.username else "username",), "is missing: a user has both"))
        return self


class NatsSink:
    """One subscriber's subject."""

    def __init__(self, fields: Nats, envelope: str, public_url: str) -> None:
        self._fields = fields

    async def deliver(self, event: Event) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError
