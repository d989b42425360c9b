"""What is read out of the ledger, and what in it this version cannot read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

from dcbridge.ledger.fields import ClaimedMessage, Entry, MessageEntry, TaskEntry
from dcbridge.ledger.script import Script
from dcbridge.messages import Reason, ReceiptStatus

E = TypeVar("E", ClaimedMessage, TaskEntry)

_NUMBERS = {  # that are read from a claim
    one.wire: one.wire.encode()
    for one in (
        *(MessageEntry.attempts, MessageEntry.accepted_at, MessageEntry.part, MessageEntry.parts),
        *(MessageEntry.unknown_since, MessageEntry.unknown_requests, MessageEntry.unknown_at),
        *(MessageEntry.sent_at, MessageEntry.lookup_failures),
    )
}


@dataclass(frozen=True, slots=True)
class Claimed(Generic[E]):
    """A message or task that is ours, or `why` it is not; then its entry is empty."""

    why: str
    entry: E

    @property
    def ours(self) -> bool:
        return self.why == "go"


MessageClaim = Claimed[ClaimedMessage]
TaskClaim = Claimed[TaskEntry]


@dataclass(frozen=True, slots=True)
class Decision:
    """What the sweep found and cannot decide without the configuration."""

    kind: str  # "m" or "t"
    id: str
    state: str
    channel_id: str
    provider: str = ""  # of a message, the one that it went through


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep found."""

    looked: int  # members that were due: as many as were asked for means that there may be more
    decisions: Sequence[Decision]
    ahead: float  # seconds that the ledger's time is ahead of Redis' clock, which stepped back
    store: str  # its name, and when it got it: another one is another store
    latest: float  # seconds since 1970: the latest time that the sweeps before this one have written
    heard: bool  # False: the store does not know this worker, and perhaps nothing that it announced


@dataclass(frozen=True, slots=True)
class OwedReceipt:
    """A receipt taken for posting. `accepted_at` in ms since 1970, by Redis' clock."""

    ref: str
    message_id: str
    sender_id: str
    to_id: str
    status: str
    reason: str
    detail: str
    accepted_at: int
    tries: int
    trace_id: str

    @classmethod
    def read(cls, row: Sequence[bytes]) -> Self:
        """As the script answers. Raises ValueError where this version cannot read it."""
        ref, mid, sender, to, status, reason, detail, at, tries, trace = [value.decode() for value in row]
        if reason:
            Reason(int(reason))
        return cls(ref, mid, sender, to, ReceiptStatus(status).value, reason, detail, int(at), int(tries), trace)


def unreadable(entry: Entry) -> str:
    """Why an entry that was claimed cannot be read, or ""."""
    found = entry.hash
    try:
        b" ".join(value for name, value in found.items() if name != b"p").decode()
    except UnicodeDecodeError:
        return "a field is not UTF-8"
    for name, key in _NUMBERS.items():
        if not found.get(key, b"0").removeprefix(b"-").isdigit():
            return f"its field {name} is no number"
    return ""


async def read_claim(script: Script, member: str, answer: Sequence[Any], kind: type[E]) -> Claimed[E]:
    """What was claimed; set aside where this version cannot read it."""
    if answer[0] != b"go":
        return Claimed(answer[0].decode(), kind({}))
    pairs = answer[1]
    entry = kind(dict(zip(pairs[::2], pairs[1::2], strict=True)))
    why = unreadable(entry)
    if not why:
        return Claimed("go", entry)
    await script.record("aside", member, why, "")
    return Claimed("aside", kind({}))
