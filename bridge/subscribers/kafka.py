"""Events as records of a Kafka topic, by an idempotent producer. The client: aiokafka.

https://kafka.apache.org/documentation/#producerconfigs
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from bridge.configuration_types import Secret
from bridge.problems import refuse
from bridge.subscribers.base import Event
from bridge.subscribers.fields import TlsFields


def _server(value: str) -> str:
    if not re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+):[0-9]{1,5}", value):
        raise ValueError("should be a host and a port, such as kafka.example.com:9092")
    return value


class Kafka(TlsFields):
    """A topic of a Kafka."""

    kind: Literal["kafka"]
    servers: Annotated[tuple[Annotated[str, AfterValidator(_server)], ...], Field(min_length=1)] = Field(
        description="Brokers to begin with: host:port."
    )
    topic: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+$", max_length=249)] = Field(
        description="Topic; the interaction is the key, so that its events stay in order in one partition."
    )
    security: Literal["tls", "plaintext"] = Field("tls", description="Whether the brokers are spoken to with TLS.")
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, description="SASL mechanism, where the brokers ask for one."
    )
    username: str | None = Field(None, min_length=1, description="SASL user.")
    password: Secret | None = Field(None, description="SASL password.")

    @property
    def place(self) -> str:
        return f"{' '.join(self.servers)} {self.topic}"

    @model_validator(mode="after")
    def _sense(self) -> Self:
        given = {"mechanism": self.mechanism, "username": self.username, "password": self.password}
        if any(given.values()):
            refuse(
                *(
                    ((name,), "is missing: SASL has mechanism, username and password")
                    for name in given
                    if not given[name]
                )
            )
        return self


class KafkaSink:
    """One subscriber's topic."""

    def __init__(self, fields: Kafka, envelope: str, public_url: str) -> None:
        self._fields = fields

    async def deliver(self, event: Event) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError
