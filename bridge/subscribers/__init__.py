"""Subscribers of interaction events, and the sinks that carry events to them.

A new kind of sink is one file, one line in `configuration.KINDS` and one in `open_sink`, one section of
docs/subscribers.md.
"""

from __future__ import annotations

from bridge.subscribers.amqp import Amqp, AmqpSink
from bridge.subscribers.base import Event, Sink
from bridge.subscribers.clients import MissingClient, need
from bridge.subscribers.configuration import KINDS, EventPace, Schedule, Subscriber
from bridge.subscribers.http import Http, HttpSink
from bridge.subscribers.kafka import Kafka, KafkaSink
from bridge.subscribers.nats import Nats, NatsSink
from bridge.subscribers.redis_stream import RedisStream, RedisStreamSink

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
