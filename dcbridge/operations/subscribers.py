"""Subscribers as an operator sees them: what bridge.yaml and the ledger say of each, and an event to try one."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dcbridge.errors import SendError
from dcbridge.events.event import TEST
from dcbridge.events.sinks import Event, MissingClient, Subscriber, open_sink
from dcbridge.ledger.reports.books import SubscriberBooks
from dcbridge.operations.session import Session
from dcbridge.operations.wording import format_duration

_HINTS = {"address not allowed": "; add it to sink.allow if it is intended"}


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of a test event."""

    accepted: bool
    says: str


async def try_one(session: Session, name: str, subscriber: Subscriber) -> Tried:
    """Deliver one event, subscriber.test, at once and once; it is not stored."""
    event = Event(
        id=f"own_{secrets.token_hex(12)}",
        name=TEST,
        received_at=datetime.now(UTC),
        fields={"subscriber": name},
        own=True,
    )
    from dcbridge.interfaces import Interfaces
    from dcbridge.runtime.metrics import Metrics

    began = time.monotonic()
    try:
        sink = open_sink(
            name,
            subscriber,
            session.configuration.public_url,
            client=lambda key, sender: Interfaces(key, None, sender, session.ledger, Metrics()),
        )
        try:
            await sink.deliver(event)
        finally:
            await sink.close()
    except MissingClient as error:
        return Tried(False, str(error))
    except SendError as error:
        return Tried(False, f"{name} did not accept it: {error.outcome} ({error.code}){_HINTS.get(error.code, '')}")
    ms = round((time.monotonic() - began) * 1000)
    return Tried(True, f"{name} accepted {event.id} in {ms} ms.")


def facts(name: str, configured: Subscriber | None, books: SubscriberBooks | None) -> dict[str, Any]:
    """Of one subscriber, for a table and for machines."""
    return {
        "name": name,
        "kind": configured.sink.kind if configured else "",
        "place": configured.sink.place if configured else "",
        "state": state(configured, books),
        "waiting": books.waiting if books else 0,
        "oldest_seconds": round(books.oldest_age, 1) if books else 0.0,
        "delivered": books.delivered if books else 0,
        "dead": books.dead if books else 0,
        "dropped": books.dropped if books else 0,
        "difference": books.difference if books else 0,
    }


def state(configured: Subscriber | None, books: SubscriberBooks | None) -> str:
    """Whether it gets events, and why not."""
    if configured is None:
        return "not in bridge.yaml"
    if not configured.on:
        return "off in bridge.yaml"
    if books and books.disabled_for:
        return f"disabled for {format_duration(books.disabled_for)}: {books.why}"
    if books and books.failing_for:
        return f"failing for {format_duration(books.failing_for)}"
    return "on"
