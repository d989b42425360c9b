"""What a sink is made with besides its own fields."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from dcbridge.events.envelope import Envelope
from dcbridge.genesys.operations import Client

if TYPE_CHECKING:
    from dcbridge.transport.sender import Sender


@dataclass(frozen=True, slots=True)
class Content:
    """What stands in a dead letter: private. Either may be ""."""

    address: str = field(repr=False)  # of the consumer
    text: str = field(repr=False)


class Letters(Protocol):
    """The dead letters that events tell of."""

    async def content(self, letter: str, at: int) -> Content | None:
        """None where it has left. `at`: ms since 1970 when it was written."""

    async def trace(self, letter: str) -> str:
        """The trace id of the webhook or callback that brought what is in it; "" where that is not known."""

    async def item_opened(self, letter: str, at: int, subscriber: str) -> None:
        """Genesys has a work item for it."""


# A client of Genesys' interfaces, with this x-api-key, over these connections.
OpenClient = Callable[[str, "Sender"], Client]


@dataclass(frozen=True, slots=True)
class SinkOptions:
    """What the subscriber says of its sink, and the installation."""

    subscriber: str = ""  # its name
    envelope: Envelope = "standard"
    public_url: str = ""  # where CloudEvents say that they come from
    in_flight: int = 20  # events at one time
    letters: Letters | None = None  # None where no ledger is there to be asked
    client: OpenClient | None = None  # for a sink that is one of Genesys' interfaces
