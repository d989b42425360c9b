"""Events as records of a Kafka topic, by an idempotent producer. The client: confluent-kafka.

https://kafka.apache.org/documentation/#producerconfigs
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from dcbridge.errors import AccountFault, Deferred, OutcomeUnknown, Refused, SendError, Unreachable
from dcbridge.events.envelope import pack
from dcbridge.events.sinks.base import Event
from dcbridge.events.sinks.connections import SharedConnection
from dcbridge.events.sinks.fields import TlsFields
from dcbridge.events.sinks.options import SinkOptions
from dcbridge.events.sinks.places import any_in_common
from dcbridge.settings.problems import refuse
from dcbridge.settings.types import Secret

if TYPE_CHECKING:  # confluent-kafka is there only where it was asked for
    from confluent_kafka import KafkaError


PUMP_SECONDS = 0.005  # between two looks for reports, while any are awaited

_NOT_FOR_US = """
    _AUTHENTICATION SASL_AUTHENTICATION_FAILED TOPIC_AUTHORIZATION_FAILED CLUSTER_AUTHORIZATION_FAILED
    UNKNOWN_TOPIC_OR_PART _UNKNOWN_TOPIC _UNKNOWN_PARTITION TOPIC_EXCEPTION _INVALID_ARG
"""
_A_PERSON_MUST = frozenset(_NOT_FOR_US.split())
_NEVER = frozenset({"MSG_SIZE_TOO_LARGE", "INVALID_MSG_SIZE", "RECORD_LIST_TOO_LARGE"})
_SAYS_MORE = _A_PERSON_MUST | {"_SSL", "_RESOLVE"}  # than that all brokers are down, which is heard next
_NOBODY_THERE = frozenset({"_ALL_BROKERS_DOWN", "_RESOLVE", "_SSL", "_TRANSPORT"})

Headers = dict[str, str | bytes | None]

# librdkafka would write to standard error, with hosts and the paths of files.
_SILENT = logging.getLogger("dcbridge.events.sinks.kafka.client")
_SILENT.disabled = True


def _server(value: str) -> str:
    if not re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]]+):[0-9]{1,5}", value):
        raise ValueError("should be a host and a port, such as kafka.example.com:9092")
    return value


class Kafka(TlsFields):
    """A topic of a Kafka."""

    example: ClassVar[Mapping[str, object]] = {"servers": ["kafka.example.com:9093"], "topic": "interactions"}

    kind: Literal["kafka"] = Field(description="This kind of sink.")
    servers: Annotated[tuple[Annotated[str, AfterValidator(_server)], ...], Field(min_length=1)] = Field(
        description="Brokers to begin with: host:port."
    )
    topic: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+$", max_length=249)] = Field(
        description="Topic; the interaction is the key, so that its events stay in order in one partition."
    )
    security: Literal["tls", "plaintext"] = Field("tls", description="Whether connections to the brokers use TLS.")
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, description="SASL mechanism, where the brokers ask for one."
    )
    username: str | None = Field(None, min_length=1, description="SASL user.")
    password: Secret | None = Field(None, description="SASL password.")

    @classmethod
    def same_place(cls, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        return any_in_common(one["servers"], other["servers"]) and cls._equal("topic", one, other)

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
    """One subscriber's topic. What the client repeats within `timeout` is added once; what we repeat may be twice."""

    def __init__(self, fields: Kafka, options: SinkOptions) -> None:
        self._fields = fields
        self._options = options
        self._brokers = SharedConnection(lambda: _open(fields))

    async def deliver(self, event: Event) -> bool:
        """Returns when all replicas in sync have it. Raises a SendError."""
        packed = pack(event, self._options.envelope, self._options.public_url)
        headers: Headers = {"content-type": packed.content_type, "webhook-id": event.id}
        headers.update({f"ce_{name}": value for name, value in packed.attributes.items()})
        key = (event.interaction or event.id).encode()
        await self._brokers.send(
            self._fields.timeout, lambda brokers: brokers.publish(self._fields.topic, key, packed.body, headers)
        )
        return False

    async def close(self) -> None:
        await self._brokers.close()


class _Brokers:
    """A producer. Its reports are fetched from this event loop, so that no thread of ours ever waits for it."""

    def __init__(self, settings: dict[str, object]) -> None:
        from confluent_kafka import Producer

        self._trouble = ""  # the client's last word about its connections
        self._dead = False
        self._waiting = 0
        self._pump: asyncio.Task[None] | None = None
        self._producer = Producer({**settings, "error_cb": self._heard}, logger=_SILENT)

    @property
    def alive(self) -> bool:
        return not self._dead

    async def close(self) -> None:
        """What is still under way is given up: whoever waited for it has been told, and tries again."""
        self._dead = True
        self._producer.purge()
        while self._waiting:
            self._producer.poll(0)
            await asyncio.sleep(PUMP_SECONDS)
        await asyncio.to_thread(self._producer.close)

    async def publish(self, topic: str, key: bytes, body: bytes, headers: Headers) -> None:
        from confluent_kafka import KafkaException

        report: asyncio.Future[KafkaError | None] = asyncio.get_running_loop().create_future()

        def reported(error: KafkaError | None, _message: object) -> None:
            self._waiting -= 1
            if not report.done():
                report.set_result(error)

        try:
            self._producer.produce(topic, value=body, key=key, headers=headers, on_delivery=reported)
        except BufferError:
            raise Deferred("queue full") from None
        except KafkaException as error:
            raise self._refused(error.args[0]) from None
        self._waiting += 1
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._fetch_reports())
        if (failed := await report) is not None:
            raise self._refused(failed)
        self._trouble = ""

    async def _fetch_reports(self) -> None:
        while self._waiting:
            self._producer.poll(0)
            await asyncio.sleep(PUMP_SECONDS)

    def _heard(self, error: KafkaError) -> None:
        name = error.name()
        if name in _SAYS_MORE or self._trouble not in _SAYS_MORE:
            self._trouble = name
        self._dead = self._dead or error.fatal()

    def _refused(self, error: KafkaError) -> SendError:
        """What became of a record, in our words. The names are librdkafka's and the protocol's own."""
        name = error.name()
        if error.fatal():
            self._dead = True
        if name in _NEVER:
            return Refused(name)
        if name == "_MSG_TIMED_OUT" and self._trouble:
            name = self._trouble
        if name in _A_PERSON_MUST:
            return AccountFault(name)
        return Unreachable(name) if name in _NOBODY_THERE else OutcomeUnknown(name)


async def _open(fields: Kafka) -> _Brokers:
    """The client connects in the background; what it meets there is told with the first event."""
    from confluent_kafka import KafkaException

    encrypted, named = fields.security == "tls", fields.mechanism is not None
    wanted = {
        "bootstrap.servers": ",".join(fields.servers),
        "client.id": "dcbridge",
        "enable.idempotence": True,  # acks=all with it
        "linger.ms": 0,
        # The client looks once a second who is out of time, and knows better than we do how it ended.
        "message.timeout.ms": max(1, round(max(fields.timeout - 3, fields.timeout / 2) * 1000)),
        "reconnect.backoff.max.ms": 2000,
        "security.protocol": ("SASL_" if named else "") + ("SSL" if encrypted else "PLAINTEXT"),
        "sasl.mechanism": fields.mechanism,
        "sasl.username": fields.username,
        "sasl.password": fields.password.get_secret_value() if fields.password else None,
        "ssl.ca.location": fields.ca_file if encrypted else None,
        "ssl.certificate.location": fields.client_certificate if encrypted else None,
        "ssl.key.location": (fields.client_key or fields.client_certificate) if encrypted else None,
    }
    if encrypted:
        fields.tls()  # the same files, read by us first: the client's words about them would quote paths
    try:
        return _Brokers({name: value for name, value in wanted.items() if value is not None})
    except KafkaException as error:
        raise AccountFault(error.args[0].name()) from None
