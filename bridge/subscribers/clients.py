"""The client libraries that some sinks need and a bare installation does not have."""

from __future__ import annotations

from importlib.util import find_spec

CLIENTS = {"amqp": "aio_pika", "nats": "nats", "kafka": "aiokafka"}  # kind, which is also the extra: its module


class MissingClient(Exception):
    """The sentence says what to install."""


def missing(kind: str) -> str:
    """What is missing for a sink of this kind, and how to get it; "" where nothing is."""
    module = CLIENTS.get(kind)
    if module is None or find_spec(module) is not None:
        return ""
    return f"needs a client that is not installed; pip install 'dcbridge[{kind}]'"


def need(kind: str) -> None:
    """Raises MissingClient."""
    if sentence := missing(kind):
        raise MissingClient(f"a sink of kind {kind} {sentence}")
