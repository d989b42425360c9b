"""What was sent to many is read once: the copies of one message share what was parsed, and what was written of it.

An email of 900 kB to 1,000 recipients is 1,000 messages of the ledger, of which some hundred are in flight at once.
Each with a payload, a parsed message and an email of its own, they would take hundreds of megabytes and seconds of the
event loop. A large payload is fetched apart from the claim, by the first of its copies that needs it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

from dcbridge.genesys import payloads
from dcbridge.ledger import Ledger, MessageClaim
from dcbridge.ledger.messages import LARGE
from dcbridge.messages import AgentMessage

KEPT = 8  # messages whose copies are remembered when no copy is in flight
KEPT_BYTES = 4 * 1024 * 1024  # and how much of them, as bytes of their payloads


@dataclass(slots=True)
class Shared:
    """A message that goes to several, or is large. `turn`: of whoever reads or writes it for the others."""

    copies: tuple[AgentMessage, ...] = ()
    size: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def large(self) -> bool:
        """Work on it would hold up the event loop: it is done in a thread."""
        return self.size > LARGE


class Payloads:
    """For one event loop. Nothing in it is changed once it is read, so copies in flight may outlive it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._shared: OrderedDict[str, Shared] = OrderedDict()

    async def shared(self, ref: str, claimed: MessageClaim) -> Shared | None:
        """What the copies of this message share; None for a small one whose only copy, or first, this is.

        Raises ValueError for a payload that holds no message, and RedisError.
        """
        first = claimed.entry.payload_ref or ref.partition("-")[0]
        if first == ref and not claimed.entry.payload_size and first not in self._shared:
            return None
        found = self._shared.setdefault(first, Shared())
        self._shared.move_to_end(first)
        async with found.turn:
            if not found.copies:
                payload = claimed.entry.payload or await self._ledger.messages.payload(first)
                found.size = len(payload)
                identity = (claimed.entry.message_id, claimed.entry.trace_id)
                if found.large:
                    found.copies = await asyncio.to_thread(payloads.read_copies, payload, *identity)
                else:
                    found.copies = payloads.read_copies(payload, *identity)
        self._forget()
        return found

    def _forget(self) -> None:
        """The oldest, but never the newest."""
        total = sum(one.size for one in self._shared.values())
        while len(self._shared) > 1 and (len(self._shared) > KEPT or total > KEPT_BYTES):
            _, gone = self._shared.popitem(last=False)
            total -= gone.size
