"""What an event looks like on its way: as Standard Webhooks have it, or as CloudEvents 1.0 do.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#payload-structure
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md, formats/json-format.md and
extensions/sequence.md beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC
from typing import Literal
from urllib.parse import quote

import orjson

from dcbridge.events.sinks.base import Event

Envelope = Literal["standard", "cloudevents-structured", "cloudevents-binary"]

JSON = "application/json"
STRUCTURED = "application/cloudevents+json; charset=utf-8"
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F))).replace('"', "").replace("%", "")


@dataclass(frozen=True, slots=True)
class Packed:
    """An event as bytes. `attributes` are those of CloudEvents that travel beside the body, each sink's own way."""

    body: bytes = field(repr=False)
    content_type: str
    attributes: Mapping[str, str] = field(default_factory=dict)


def pack(event: Event, envelope: Envelope, public_url: str) -> Packed:
    """The same event always gives the same bytes."""
    if envelope == "standard":
        body = {"type": type_of(event), "timestamp": _time(event), "data": data_of(event)}
        return Packed(orjson.dumps(body), JSON)
    attributes = _attributes(event, public_url)
    if envelope == "cloudevents-binary":
        return Packed(orjson.dumps(data_of(event)), JSON, attributes)
    whole = {**attributes, "datacontenttype": JSON, "data": data_of(event)}
    return Packed(orjson.dumps(whole), STRUCTURED)


def type_of(event: Event) -> str:
    """ "interaction.started"; an event of our own is its name. Words divided by full stops, in small letters."""
    if event.own:
        return event.name
    return f"interaction.{re.sub(r'[^a-z0-9_]', '_', event.name.lower()) or 'unnamed'}"


def data_of(event: Event) -> Mapping[str, object]:
    """What happened; `entity` is what Digital Channels sent about it, whole and unchanged."""
    if event.own and not event.interaction:
        return {**event.fields, "id": event.id, "event": event.name}
    return {
        "id": event.id,
        "event": event.name,
        "endpoint": event.endpoint,
        "interactionId": event.interaction,
        "mediaType": event.media,
        "interactionSubtype": event.subtype,
        "sequence": event.sequence,
        "receivedAt": _time(event),
        "entity": event.fields,
        **({} if event.enriched is None else {"enriched": event.enriched}),
    }


def header_value(value: str) -> str:
    """An attribute as a header of HTTP or NATS: percent-encoded where it is not printable ASCII."""
    return quote(value, safe=_PRINTABLE)


def _attributes(event: Event, public_url: str) -> dict[str, str]:
    source = f"{public_url}/webhooks/interactions/{quote(event.endpoint, safe='')}" if event.endpoint else public_url
    found = {
        "specversion": "1.0",
        "id": event.id,
        "source": source,
        "type": f"dcbridge.{type_of(event)}",
        "time": _time(event),
    }
    if event.interaction:
        found |= {"subject": event.interaction, "partitionkey": event.interaction}
    if event.sequence:
        found["sequence"] = f"{event.sequence:010}"  # compared as text, says the extension
    return found


def _time(event: Event) -> str:
    return event.received_at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
