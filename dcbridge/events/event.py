"""From a batch of the Interactions webhook to events, to what the ledger keeps of one, and back.

An event is named by its endpoint, its operation, its interaction and what happened, so that a batch
which comes again changes nothing, whatever its bytes. Where one of these is missing, the place in
the batch stands for it; without an operation, the bytes do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from dcbridge.events.sinks import Event, Subscriber
from dcbridge.genesys import payloads
from dcbridge.ledger import lane_of
from dcbridge.ledger.events import NewEvent

TEST = "subscriber.test"
_PARTS = {"STARTED": "s", "FINISHED": "f"}


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event with what belongs to dcbridge alone."""

    event: Event
    trace_id: str = ""


@dataclass(frozen=True, slots=True)
class UnidentifiedEntity:
    """An entity with neither an id nor an event, which nobody can be told of."""

    letter_id: str
    raw: bytes


def split(
    endpoint: str, body: bytes, received_at: datetime, trace_id: str = ""
) -> tuple[list[StoredEvent], list[UnidentifiedEntity]]:
    """Every event of a batch, in its order. Raises payloads.NotJson."""
    operation, entities = payloads.read_interactions(body)
    origin = operation or hashlib.sha256(body).hexdigest()
    found: list[StoredEvent] = []
    nameless: list[UnidentifiedEntity] = []
    for place, told in enumerate(entities):
        index = "" if operation and told.interaction else str(place)
        digest = _digest(endpoint, origin, told.interaction, told.name, index)
        if not told.interaction and not told.name:
            raw = payloads.dumps({"endpoint": endpoint, "operationId": operation, "entity": told.item})
            nameless.append(UnidentifiedEntity(f"e-{digest}", raw))
            continue
        event = Event(
            id=f"evt_{digest}",
            name=told.name,
            endpoint=endpoint,
            interaction=told.interaction,
            media=told.media,
            subtype=told.subtype,
            received_at=received_at,
            fields=told.fields,
        )
        found.append(StoredEvent(event, trace_id))
    return found, nameless


def own(name: str, facts: Mapping[str, str], entry: str, at: datetime, about: Event | None = None) -> Event:
    """An event of ours, from the entry of the stream that tells of it; `about` is the event that it is about."""
    fields: dict[str, object] = {key: value for key, value in facts.items() if key != "of"}
    if "of" in facts:
        fields["eventId"] = facts["of"]
    if about is None:
        return Event(f"own_{_digest(entry, name)}", name, received_at=at, fields=fields, own=True)
    return Event(
        id=f"own_{_digest(entry, name)}",
        name=name,
        endpoint=about.endpoint,
        interaction=about.interaction,
        media=about.media,
        subtype=about.subtype,
        sequence=about.sequence,
        received_at=at,
        fields={"event": about.name, **fields},
        own=True,
    )


def for_ledger(kept: StoredEvent, subscribers: Mapping[str, Subscriber]) -> NewEvent:
    """What the ledger is to hold: the event once, and a delivery for each subscriber that wants it.

    Raises payloads.NotJson for fields that are nested too deeply to be written.
    """
    event = kept.event
    whose = f"{event.endpoint}\0{event.interaction}"
    return NewEvent(
        id=event.id,
        received_at=round(event.received_at.timestamp() * 1000),
        interaction=_digest(whose)[:18] if event.interaction and not event.own else "",
        part="" if event.own else _PARTS.get(event.name.upper(), ""),
        content=_written(
            {
                "name": event.name,
                "endpoint": event.endpoint,
                "interaction": event.interaction,
                "media": event.media,
                "subtype": event.subtype,
                "sequence": event.sequence,
                "fields": event.fields,
                "own": event.own,
                "trace": kept.trace_id,
                **({} if event.enriched is None else {"enriched": event.enriched}),
            }
        ),
        lanes={name: lane(name, one, event) for name, one in subscribers.items() if one.on and one.wants(event)},
    )


def _written(content: Mapping[str, object]) -> bytes:
    """Only what a sink can write again may be kept: a number beyond 64 bits becomes a float on the way."""
    try:
        return orjson.dumps(content)
    except TypeError:
        pass
    text = payloads.dumps(content)
    try:
        return orjson.dumps(orjson.loads(text))
    except (TypeError, ValueError):
        raise payloads.NotJson("nested too deeply") from None


def lane(name: str, subscriber: Subscriber, event: Event) -> str:
    """What an event waits in: the deliveries of its interaction, or of its dead letter, to an ordered subscriber."""
    if not subscriber.in_order:
        return ""
    if event.interaction:
        return lane_of("events", name, event.endpoint, event.interaction)
    letter = event.fields.get("letter") if event.own else None
    return lane_of("events", name, "dead letter", letter) if isinstance(letter, str) else ""


def read(event_id: str, stored: bytes) -> StoredEvent:
    """The event, from what the ledger kept: "<ms received> <sequence> <JSON>"."""
    received, number, content = stored.split(b" ", 2)
    value = orjson.loads(content)
    event = Event(
        id=event_id,
        name=value["name"],
        endpoint=value["endpoint"],
        interaction=value["interaction"],
        media=value["media"],
        subtype=value["subtype"],
        sequence=value["sequence"] or int(number),
        received_at=moment(int(received)),
        fields=value["fields"],
        own=value["own"],
        enriched=value.get("enriched"),
    )
    return StoredEvent(event, value["trace"])


def moment(ms: int) -> datetime:
    """A time of Redis' clock."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def _digest(*words: str) -> str:
    return hashlib.blake2b("\0".join(words).encode(), digest_size=12).hexdigest()
