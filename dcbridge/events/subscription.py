"""One subscriber of interaction events, as bridge.yaml describes it: which events, where to, how patiently."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, StringConstraints, model_validator

from dcbridge.events.envelope import Envelope
from dcbridge.events.sinks.base import Event
from dcbridge.events.sinks.fields import SinkFields
from dcbridge.events.sinks.kinds import KINDS
from dcbridge.events.sinks.redis_stream import RedisStream
from dcbridge.settings.problems import did_you_mean, kind_is_missing, other, refuse, shape
from dcbridge.settings.types import Model, Seconds, SomeSeconds

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
EVERYTHING = "*"  # every event of the webhook, in a list that also names events of our own

Word = Annotated[str, StringConstraints(min_length=1, max_length=200)]


def _by_kind(value: Any) -> Any:
    """The fields of the kind that is named, so that an error says where it is and nothing about unions."""
    if not isinstance(value, Mapping):
        return value
    kind = value.get("kind")
    if not isinstance(kind, str):
        refuse((("kind",), f"should be a text, and is {shape(kind)}" if "kind" in value else kind_is_missing(value)))
    elif kind not in KINDS:
        near = did_you_mean(kind, KINDS)
        words = ", ".join(KINDS)
        refuse((("kind",), f"should be one of {words}, and is {other(kind)}" + (f"; {near}" if near else "")))
    else:
        return KINDS[kind].fields.model_validate(value)
    return value


class Schedule(Model):
    """When a failed event is tried again. The default is the schedule of Standard Webhooks: 3 days and 4 hours."""

    waits: Annotated[tuple[SomeSeconds, ...], Field(max_length=50)] = Field(
        (5.0, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR),
        description="Seconds before the second, third … attempt; after the last one the event is a dead letter.",
    )
    jitter: float = Field(0.2, ge=0, le=1, description="Random share of a wait, 0 to 1.")

    def wait(self, attempt: int, at_least: float | None = None) -> float | None:
        """Seconds after attempt number `attempt` (from 1) until the next, never less than a Retry-After.

        None when that was the last attempt.
        """
        if attempt > len(self.waits):
            return None
        return max(self.waits[attempt - 1] * (1 - self.jitter * random.random()), at_least or 0.0)


class EventPace(Model):
    """How fast events leave to one subscriber. Those that wait for their turn hold no worker."""

    per_second: float = Field(0.0, ge=0, allow_inf_nan=False, description="Events a second; 0 is no limit.")
    burst: int = Field(1, ge=1, description="Events that may be sent at once after an idle time.")
    in_flight: int = Field(
        20, ge=1, le=1000, description="Events in flight at one time; a subscriber that hangs delays no others."
    )


class Subscriber(Model):
    """Who gets which interaction events, where and how."""

    on: bool = Field(True, description="Whether it gets events; if false, none are stored for it.")
    sink: Annotated[SerializeAsAny[SinkFields], BeforeValidator(_by_kind)] = Field(
        description="Where the events go: `kind`, and the fields of that kind."
    )
    events: tuple[Word, ...] = Field(
        (),
        description="Names of the events it gets; `*` is every event of the webhook."
        " dcbridge's own, such as interaction.gap, come only where they are named.",
        json_schema_extra={"default": "every event of the webhook"},
    )
    media: tuple[Word, ...] = Field(
        (), description="Media types it gets, such as chat and email.", json_schema_extra={"default": "all"}
    )
    subtypes: tuple[Word, ...] = Field(
        (), description="Interaction subtypes it gets, such as InboundNew.", json_schema_extra={"default": "all"}
    )
    envelope: Envelope = Field("standard", description="Format of an event: Standard Webhooks or CloudEvents 1.0.")
    retry: Schedule = Field(Schedule(), description="When a failed event is tried again.")
    pace: EventPace = Field(EventPace(), description="Limits of this subscriber, shared by all workers.")
    longest_pause: SomeSeconds = Field(3600.0, le=DAY, description="Seconds for which a Retry-After is kept at most.")
    ordered: bool = Field(
        False,
        description="Whether an event waits until the one before it, of the same interaction or dead letter, is"
        " delivered. A sink of kind openmedia always has that.",
    )
    disable_after: Seconds = Field(
        5 * DAY, description="Seconds after which it is disabled if every delivery failed; 0 is never."
    )
    keep_backlog: SomeSeconds = Field(14 * DAY, description="Seconds that events are kept for it while it is disabled.")

    enrich: bool = Field(
        False, description="Whether events of interactions come with data of Genesys; see `genesys.enrichment`."
    )
    enrich_fields: Annotated[tuple[Word, ...], Field(max_length=50)] = Field(
        (), description="Names of the fields that it gets then, such as firstName or userData.segment; no others."
    )

    def wants(self, event: Event) -> bool:
        """Does this event pass the filters? Capitals and small letters are the same. `on` is not asked."""
        named = {name.casefold() for name in self.events or self.sink.only}
        if self.sink.only and not event.own:
            return False  # whatever a webhook calls it
        if event.own:
            asked = event.name.casefold() in named
        else:
            asked = not named or EVERYTHING in named or event.name.casefold() in named
        if not event.interaction and event.own:
            return asked  # about dcbridge: it has neither media nor subtype
        return asked and _among(event.media, self.media) and _among(event.subtype, self.subtypes)

    @property
    def in_order(self) -> bool:
        return self.ordered or self.sink.in_order

    @model_validator(mode="after")
    def _sense(self) -> Self:
        if self.sink.only and any(name.casefold() not in self.sink.only for name in self.events):
            known = ", ".join(self.sink.only)
            refuse((("events",), f"should be some of {known} for a sink of kind {self.sink.kind}, or left out"))
        if self.enrich != bool(self.enrich_fields):
            missing, other_one = ("enrich_fields", "enrich") if self.enrich else ("enrich", "enrich_fields")
            refuse(((missing,), f"is missing: it belongs to {other_one}"))
        if self.envelope == "cloudevents-binary" and isinstance(self.sink, RedisStream):
            refuse(
                (("envelope",), "should not be cloudevents-binary for a redis-stream, whose entries have no headers")
            )
        return self


def _among(value: str, wanted: tuple[str, ...]) -> bool:
    return not wanted or value.casefold() in {word.casefold() for word in wanted}
