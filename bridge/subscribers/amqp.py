"""Events as messages to RabbitMQ (AMQP 0-9-1), confirmed by the broker. The client: aio-pika.

https://www.rabbitmq.com/docs/confirms
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from bridge.configuration_types import Secret
from bridge.subscribers.base import Event
from bridge.subscribers.fields import Template, TlsFields, server_url, shown


def _amqp_url(value: SecretStr) -> SecretStr:
    server_url(value.get_secret_value(), ("amqp", "amqps"), "amqps://user:password@rabbit.example.com/vhost")
    return value


class Amqp(TlsFields):
    """An exchange of a RabbitMQ."""

    kind: Literal["amqp"]
    url: Annotated[Secret, AfterValidator(_amqp_url)] = Field(
        description="URL of the broker: amqps://user:password@host/vhost."
    )
    exchange: str = Field(
        "",
        max_length=255,
        description="Exchange to publish to; left out, the default one, whose routing key is a queue.",
    )
    routing_key: Template = Field(
        "interactions.{media}.{event}",
        description="Routing key; {endpoint}, {media}, {subtype} and {event} stand for words of the event.",
    )

    @property
    def place(self) -> str:
        return shown(self.url)


class AmqpSink:
    """One subscriber's exchange."""

    def __init__(self, fields: Amqp, envelope: str, public_url: str) -> None:
        self._fields = fields

    async def deliver(self, event: Event) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError
