"""What a sink is made with besides its own fields."""

from __future__ import annotations

from dataclasses import dataclass

from dcbridge.events.envelope import Envelope


@dataclass(frozen=True, slots=True)
class SinkOptions:
    """What the subscriber says of its sink, and the installation."""

    subscriber: str = ""  # its name
    envelope: Envelope = "standard"
    public_url: str = ""  # where CloudEvents say that they come from
    in_flight: int = 20  # events at one time
