"""What a consumer wrote, for whoever answers it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Heard:
    """`id`: of the task that posts it to the agent, the same whenever the callback is read."""

    id: str
    channel_id: str
    consumer: str = field(repr=False)  # as Digital Channels writes the number
    text: str = field(repr=False)
    trace: str = ""
