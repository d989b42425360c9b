"""The client libraries that some sinks need and a bare installation does not have."""

from __future__ import annotations

from importlib.util import find_spec

CLIENTS = {"amqp": "aio_pika", "nats": "nats", "kafka": "confluent_kafka"}  # kind, which is also the extra: its module


class MissingClient(Exception):
    """The sentence says what to install."""


def missing(kind: str) -> tuple[str, str] | None:
    """What a sink of this kind lacks, and how to get it; None where nothing is missing."""
    module = CLIENTS.get(kind)
    if module is None or find_spec(module) is not None:
        return None
    return "needs a client that is not installed", f"pip install 'dcbridge[{kind}]'"


def need(kind: str) -> None:
    """Raises MissingClient."""
    if absent := missing(kind):
        raise MissingClient(f"a sink of kind {kind} {'; '.join(absent)}")
