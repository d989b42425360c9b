"""The contract of a sink: where the events of one subscriber go.

A sink holds connections, so one is opened for each subscriber and kept. It says what became of one event
with the errors of `dcbridge.errors`, and decides nothing about trying again:

    returned           the other side has it
    Unreachable        nobody was spoken to                         again
    Throttled          "later"                                      again, not before retry_after
    Deferred           "not now", or not this one                   again
    OutcomeUnknown     nobody knows; the same id goes out again     again: at least once
    AccountFault       address, credentials, topic: a person must   again; page, and hold the others back
    Refused            this event will never be taken               dead letter
    Gone               the receiver wants no more                   disable the subscriber
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


@dataclass(frozen=True, slots=True)
class Event:
    """What is delivered: one thing that happened to one interaction, or to dcbridge itself.

    `fields` is the entity as it came, or what an event of our own has to say; it is not ours to print.
    """

    id: str  # stable over redelivery, attempts and replays; also the webhook-id: letters, digits, "-" and "_"
    name: str  # "STARTED", "FINISHED", whatever came; "interaction.gap" and "subscriber.…" of our own
    endpoint: str = ""  # of the interactions webhook; "" for an event about dcbridge
    interaction: str = ""
    media: str = ""
    subtype: str = ""
    sequence: int = 0  # within the interaction, from 1; 0 for none
    received_at: datetime = field(kw_only=True)  # with a time zone
    fields: Mapping[str, object] = field(default_factory=dict, repr=False)
    replayed: int = 0  # ms since 1970 when somebody asked to have it again; 0 where nobody did
    enriched: Mapping[str, object] | None = field(default=None, repr=False)  # what Genesys knows of the interaction
    own: bool = False  # made by dcbridge: delivered to those alone who name it

    def __post_init__(self) -> None:
        """The id stands in headers and in what is signed, so nothing in it may divide."""
        if not _ID.fullmatch(self.id):
            raise ValueError("an event's id has 1 to 128 letters, digits, - and _")
        if self.received_at.tzinfo is None:
            raise ValueError("an event's received_at has a time zone")


def delivery_key(subscriber: str, event: Event) -> str:
    """What a broker recognises a repetition of one delivery by.

    Several subscribers may share one stream, and each is owed the event; somebody who replays it asks to have it again.
    So the event's id alone is not enough: the stream would keep the event for one of them and drop it for the rest.
    """
    return f"{subscriber}:{event.id}" + (f":{event.replayed}" if event.replayed else "")


class Sink(Protocol):
    """One subscriber's destination. May be called by many tasks of one event loop at once."""

    async def deliver(self, event: Event) -> bool:
        """Returns when the other side has it: True where it says that it had this delivery already, and so kept
        nothing. Raises a SendError.
        """

    async def close(self) -> None:
        """Leave the connections. A sink that is closed delivers nothing."""
