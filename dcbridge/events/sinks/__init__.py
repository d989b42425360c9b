"""Subscribers of interaction events, and the sinks that carry events to them.

A new kind of sink is one file, one line in `configuration.KINDS` and one in `open_sink`, one section of
docs/subscribers.md.
"""

from __future__ import annotations

from dcbridge.events.sinks.amqp import Amqp, AmqpSink
from dcbridge.events.sinks.base import Event, Sink
from dcbridge.events.sinks.clients import MissingClient, need
from dcbridge.events.sinks.http import Http, HttpSink
from dcbridge.events.sinks.kafka import Kafka, KafkaSink
from dcbridge.events.sinks.nats import Nats, NatsSink
from dcbridge.events.sinks.redis_stream import RedisStream, RedisStreamSink
from dcbridge.events.subscription import KINDS, EventPace, Schedule, Subscriber

__all__ = ["KINDS", "Event", "EventPace", "MissingClient", "Schedule", "Sink", "Subscriber", "open_sink"]


def open_sink(name: str, subscriber: Subscriber, public_url: str) -> Sink:
    """The sink of the subscriber of that name, for the running event loop; it connects when it first delivers.

    `public_url` is where CloudEvents say that they come from. Raises MissingClient.
    """
    need(subscriber.sink.kind)
    fields, envelope = subscriber.sink, subscriber.envelope
    match fields:
        case Http():
            return HttpSink(fields, envelope, public_url, connections=subscriber.pace.in_flight)
        case RedisStream():
            return RedisStreamSink(name, fields, envelope, public_url)
        case Amqp():
            return AmqpSink(fields, envelope, public_url)
        case Nats():
            return NatsSink(name, fields, envelope, public_url)
        case Kafka():
            return KafkaSink(fields, envelope, public_url)
        case _:
            raise TypeError(type(fields).__name__)
