"""Subscribers of interaction events, and the sinks that carry events to them: the table is in `kinds.py`."""

from __future__ import annotations

from dcbridge.events.sinks import kinds
from dcbridge.events.sinks.base import Event, Sink
from dcbridge.events.sinks.kinds import KINDS, MissingClient
from dcbridge.events.sinks.options import Letters, OpenClient, SinkOptions
from dcbridge.events.subscription import EventPace, Schedule, Subscriber

__all__ = [
    "KINDS",
    "Event",
    "EventPace",
    "Letters",
    "MissingClient",
    "OpenClient",
    "Schedule",
    "Sink",
    "Subscriber",
    "open_sink",
]


def open_sink(
    name: str,
    subscriber: Subscriber,
    public_url: str,
    letters: Letters | None = None,
    client: OpenClient | None = None,
) -> Sink:
    """The sink of the subscriber of that name. Raises MissingClient."""
    options = SinkOptions(name, subscriber.envelope, public_url, subscriber.pace.in_flight, letters, client)
    return kinds.open_sink(subscriber.sink, options)
