"""Events as messages to RabbitMQ (AMQP 0-9-1), confirmed by the broker. The client: aio-pika.

https://www.rabbitmq.com/docs/confirms
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, SecretStr

from dcbridge.errors import AccountFault, Deferred, OutcomeUnknown, SendError, Unreachable
from dcbridge.events.envelope import Packed, pack, type_of
from dcbridge.events.sinks.base import Event
from dcbridge.events.sinks.connections import SharedConnection, leave
from dcbridge.events.sinks.fields import Template, TlsFields, filled, server_url, shown
from dcbridge.events.sinks.options import SinkOptions
from dcbridge.events.sinks.places import broker, meet
from dcbridge.settings.types import Secret

if TYPE_CHECKING:  # aio-pika is there only where it was asked for
    from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange
    from aio_pika.exceptions import AMQPError


HEARTBEAT = 10  # seconds; a broker that is silent for about twice as long is gone
# No such exchange or vhost, or not for us.
_A_PERSON_MUST = frozenset({"ChannelAccessRefused", "ChannelNotFoundEntity", "ConnectionNotAllowed"})


def _amqp_url(value: SecretStr) -> SecretStr:
    server_url(value.get_secret_value(), ("amqp", "amqps"), "amqps://user:password@rabbit.example.com/vhost")
    return value


class Amqp(TlsFields):
    """An exchange of a RabbitMQ."""

    example: ClassVar[Mapping[str, object]] = {
        "url": "amqps://dcbridge:${RABBITMQ_PASSWORD}@rabbit.example.com/",
        "exchange": "interactions",
    }

    kind: Literal["amqp"] = Field(description="This kind of sink.")
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

    @classmethod
    def same_place(cls, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        same = broker(one["url"]) == broker(other["url"]) and cls._equal("exchange", one, other)
        return same and meet(*cls._both("routing_key", one, other))

    @property
    def place(self) -> str:
        return shown(self.url)


class AmqpSink:
    """One subscriber's exchange. What a queue has is on its disk: messages are persistent and confirmed."""

    def __init__(self, fields: Amqp, options: SinkOptions) -> None:
        self._fields = fields
        self._options = options
        self._broker = SharedConnection(lambda: _open(fields))

    async def deliver(self, event: Event) -> bool:
        """Returns when the broker has confirmed it. Raises a SendError."""
        packed = pack(event, self._options.envelope, self._options.public_url)
        headers = {f"ce-{name}": value for name, value in packed.attributes.items()}
        routing_key = filled(self._fields.routing_key, event)

        async def publish(broker: _Broker) -> None:
            await broker.publish(event, packed, headers, routing_key)

        await self._broker.send(self._fields.timeout, publish)
        return False  # RabbitMQ recognises no repetition

    async def close(self) -> None:
        await self._broker.close()


@dataclass(frozen=True, slots=True)
class _Broker:
    """An open channel with confirms, and the exchange on it."""

    connection: AbstractConnection
    channel: AbstractChannel
    exchange: AbstractExchange

    @property
    def alive(self) -> bool:
        return not (self.channel.is_closed or self.connection.is_closed)

    async def close(self) -> None:
        await self.connection.close()

    async def publish(self, event: Event, packed: Packed, headers: Mapping[str, str], routing_key: str) -> None:
        from aio_pika import DeliveryMode, Message
        from aio_pika import exceptions as said

        message = Message(
            packed.body,
            headers=dict(headers),
            content_type=packed.content_type,
            delivery_mode=DeliveryMode.PERSISTENT,
            message_id=event.id,
            timestamp=event.received_at,
            type=type_of(event),
            app_id="dcbridge",
        )
        try:
            await self.exchange.publish(message, routing_key, mandatory=True)
        except said.PublishError:  # came back: no queue is bound for this routing key
            raise Deferred("unroutable") from None
        except said.DeliveryError:
            raise Deferred("not confirmed") from None
        except said.ChannelClosed as error:
            # Whoever had a message under way hears this, and for only one of them it is true.
            raise OutcomeUnknown(_code(error)) from None
        except (said.AMQPError, said.ChannelInvalidStateError, OSError):
            raise OutcomeUnknown("connection lost") from None


async def _open(fields: Amqp) -> _Broker:
    """Connect, and look whether the exchange is there."""
    from aio_pika import connect
    from aio_pika import exceptions as said

    url = fields.url.get_secret_value()
    tls = fields.tls() if url.startswith("amqps:") else None
    connection = None
    try:
        connection = await connect(
            url, ssl_context=tls, heartbeat=HEARTBEAT, client_properties={"connection_name": "dcbridge"}
        )
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        exchange = await channel.get_exchange(fields.exchange) if fields.exchange else channel.default_exchange
        return _Broker(connection, channel, exchange)
    except BaseException as error:
        if connection is not None:
            await leave(connection.close)
        if isinstance(error, said.AuthenticationError | said.ProbableAuthenticationError):
            raise AccountFault("login") from None
        if isinstance(error, said.InvalidFrameError) and "Connection.OpenOk" in str(error):
            # aiormq 7.2 reads the broker's no to a virtual host as a frame out of place.
            raise AccountFault("virtual host") from None
        if isinstance(error, said.ChannelClosed | said.ConnectionClosed):
            raise _refused(error) from None
        if isinstance(error, ssl.SSLError):
            raise Unreachable("tls") from None
        if isinstance(error, said.AMQPError | OSError | said.ChannelInvalidStateError):
            raise Unreachable("connect") from None
        raise


def _refused(error: AMQPError) -> SendError:
    """Why the broker closed what was just opened."""
    code = _code(error)
    return AccountFault(code) if code in _A_PERSON_MUST else Unreachable(code)


def _code(error: AMQPError) -> str:
    """The client's word, and the broker's number where the client has no word; the broker's text may quote names."""
    first = error.args[0] if error.args else ""
    return str(first) if isinstance(first, int) else type(error).__name__
