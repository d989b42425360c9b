"""What a platform of Genesys' does for a channel: it takes receipts and consumers' messages, and has agents' files.

Two platforms do: Digital Channels and Genesys Cloud's Open Messaging. `dcbridge.platforms` knows at which of them a
channel is, and nothing else asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from dcbridge.ledger.uploads import Uploaded
from dcbridge.messages import Receipt
from dcbridge.transport.sender import Streamed


@dataclass(frozen=True, slots=True)
class Media:
    """A file that a platform keeps, or is shown by a link. `url`: as a message names it; `length` in bytes."""

    id: str
    url: str
    filename: str
    mimetype: str
    length: int


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a consumer's message comes from: our id of it, the same at each attempt, and when it came, since 1970."""

    message_id: str = ""
    at: float = 0.0


UNKNOWN_ORIGIN = Origin()


class Platform(Protocol):
    """Every call raises a SendError when it was not taken."""

    @property
    def name(self) -> str:
        """In metrics and logs: "digital-channels"."""

    @property
    def longest_pause(self) -> float:
        """Seconds for which its Retry-After is kept at most."""

    @property
    def receipts_at_once(self) -> int:
        """Receipts that one request may carry."""

    async def post_receipts(
        self, channel_id: str, receipts: Sequence[Receipt], trace_id: str = "", endpoint: str = ""
    ) -> None:
        """All of them, or none. `endpoint`: where a message of a channel came to that is not configured."""

    async def post_consumer_message(
        self, channel_id: str, consumer_id: str, text: str, trace_id: str = "",
        others: Sequence[Mapping[str, Any]] = (), origin: Origin = UNKNOWN_ORIGIN,
    ) -> list[str]:  # fmt: skip
        """Hand a consumer's text to the agent, and what `carrying` made of files; the ids that the platform gave."""

    async def post_consumer_email(
        self, channel_id: str, consumer_id: str, email: Mapping[str, str], text: str, trace_id: str = "",
        others: Sequence[Mapping[str, Any]] = (), origin: Origin = UNKNOWN_ORIGIN,
    ) -> list[str]:  # fmt: skip
        """The same of a mail, as an email."""

    async def upload(self, channel_id: str, filename: str, mimetype: str, data: bytes, trace_id: str = "") -> Media:
        """Keep a consumer's file for the agent."""

    def carrying(self, files: Sequence[Uploaded]) -> Sequence[Mapping[str, Any]] | None:
        """What shows these files to the agent beside the text; None where links in the text do."""

    def file(
        self, channel_id: str, media_id: str, most: int, trace_id: str = ""
    ) -> AbstractAsyncContextManager[Streamed]:
        """An agent's file of at most `most` bytes, piece by piece."""

    async def delete(self, channel_id: str, media_id: str, trace_id: str = "") -> None:
        """Forget what `upload` kept."""
