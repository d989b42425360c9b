"""The table of sinks: a kind, its fields in bridge.yaml, what delivers, and the library that it needs.

A new kind is one file and one line here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from dcbridge.events.sinks.amqp import Amqp, AmqpSink
from dcbridge.events.sinks.base import Sink
from dcbridge.events.sinks.fields import SinkFields
from dcbridge.events.sinks.http import Http, HttpSink
from dcbridge.events.sinks.kafka import Kafka, KafkaSink
from dcbridge.events.sinks.nats import Nats, NatsSink
from dcbridge.events.sinks.openmedia import Openmedia, OpenmediaSink
from dcbridge.events.sinks.options import SinkOptions
from dcbridge.events.sinks.redis_stream import RedisStream, RedisStreamSink


@dataclass(frozen=True, slots=True)
class Kind:
    """`client` is the module that a bare installation does not have; the extra with the kind's name installs it."""

    fields: type[SinkFields]
    sink: Callable[[Any, SinkOptions], Sink]  # the fields are of the type beside it
    client: str = ""

    @property
    def installed(self) -> bool:
        return not self.client or find_spec(self.client) is not None


KINDS: Mapping[str, Kind] = {
    "http": Kind(Http, HttpSink),
    "redis-stream": Kind(RedisStream, RedisStreamSink),
    "amqp": Kind(Amqp, AmqpSink, client="aio_pika"),
    "nats": Kind(Nats, NatsSink, client="nats"),
    "openmedia": Kind(Openmedia, OpenmediaSink),
    "kafka": Kind(Kafka, KafkaSink, client="confluent_kafka"),
}


class MissingClient(Exception):
    """The sentence says what to install."""


def missing(kind: str) -> tuple[str, str] | None:
    """What a sink of this kind lacks, and how to get it; None where nothing is missing, or the kind is unknown."""
    if kind not in KINDS or KINDS[kind].installed:
        return None
    return "needs a client that is not installed", f"pip install 'dcbridge[{kind}]'"


def open_sink(fields: SinkFields, options: SinkOptions) -> Sink:
    """A sink for the running event loop; it connects when it first delivers. Raises MissingClient."""
    if absent := missing(fields.kind):
        raise MissingClient(f"a sink of kind {fields.kind} {'; '.join(absent)}")
    return KINDS[fields.kind].sink(fields, options)
