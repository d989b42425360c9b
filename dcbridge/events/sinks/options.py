"""What a sink is made with besides its own fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from dcbridge.events.envelope import Envelope


@dataclass(frozen=True, slots=True)
class Content:
    """What stands in a dead letter: private. Either may be ""."""

    address: str = field(repr=False)  # of the consumer
    text: str = field(repr=False)


class Letters(Protocol):
    """The dead letters that events tell of."""

    async def content(self, letter: str, at: int) -> Content | None:
        """None where it has left. `at`: ms since 1970 when it was written."""

    async def item_opened(self, letter: str, at: int, subscriber: str) -> None:
        """Genesys has a work item for it."""


@dataclass(frozen=True, slots=True)
class SinkOptions:
    """What the subscriber says of its sink, and the installation."""

    subscriber: str = ""  # its name
    envelope: Envelope = "standard"
    public_url: str = ""  # where CloudEvents say that they come from
    in_flight: int = 20  # events at one time
    letters: Letters | None = None  # None where no ledger is there to be asked
