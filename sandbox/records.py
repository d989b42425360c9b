"""What the sandbox remembers: one class for each thing that happened. `view` is its JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

SHOWN_BODY = 8000  # bytes of a body that the wire panel shows


UNSEEN = "unseen"  # the state of an agent's message of which only receipts are known


class Record(Protocol):
    seq: int

    def view(self) -> object:
        """A value that orjson can write."""


@dataclass(slots=True)
class Receipt:
    """What the bridge said became of one recipient's copy. `repeated` counts identical ones after the first."""

    status: str
    reasons: list[dict[str, Any]]
    at: float
    repeated: int = 0


@dataclass(slots=True)
class AgentMessage:
    """A webhook that Digital Channels sent. `state`: sending, accepted, refused, given up or unseen."""

    seq: int
    at: float
    channel_id: str
    message_id: str
    type: str
    sender: str
    recipients: tuple[str, ...]
    text: str
    subject: str = ""
    state: str = "sending"
    attempts: int = 0
    ms: float = 0.0
    media: list[str] = field(default_factory=list)  # where the page finds its files
    receipts: dict[str, Receipt] = field(default_factory=dict)

    def view(self) -> object:
        return self


@dataclass(slots=True)
class SeenByAgent:
    """A consumer's message as it reached the agent."""

    seq: int
    at: float
    id: str
    channel_id: str
    sender: str
    to: str
    text: str
    media: list[str] = field(default_factory=list)  # where the page finds the files behind its links
    parts: dict[str, str] = field(default_factory=dict)  # of one that came as an email: its text and its html
    written: int = 0  # the consumer's mail that it was; 0 where it was none, or is not known
    left_out: list[str] = field(default_factory=list)  # lines of that mail which the agent does not see

    def view(self) -> object:
        return self


@dataclass(slots=True)
class SentByConsumer:
    """A consumer's message as it left the phone. `state`: sending, taken or refused (by the bridge)."""

    seq: int
    at: float
    sid: str
    sender: str
    to: str
    text: str
    state: str = "sending"
    answer: str = ""
    provider: str = ""
    media: list[str] = field(default_factory=list)  # where the page finds its files
    files: list[tuple[str, str]] = field(default_factory=list)  # their ids and types

    def view(self) -> object:
        return self


@dataclass(slots=True)
class Sms:
    """A message that the SMS provider accepted, with every status it has had."""

    seq: int
    at: float
    sid: str
    to: str
    sender: str
    service_sid: str
    body: str
    segments: int
    callback_url: str
    status: str
    error_code: int | None = None
    updated: float = 0.0
    statuses: list[str] = field(default_factory=list)
    callbacks: list[int] = field(default_factory=list)  # the bridge's answers; 0 is none
    provider: str = ""  # its account's name in bridge.yaml
    reference: str = ""  # of the bridge, which the company sends back
    provider_code: str = ""  # `error_code` in the company's words
    media: list[str] = field(default_factory=list)  # where the page finds the files that were fetched

    @property
    def handed_on(self) -> bool:
        """True once it has left for the carrier."""
        return any(status in ("sent", "delivered", "undelivered") for status in self.statuses)

    def view(self) -> object:
        return {
            "seq": self.seq,
            "sid": self.sid,
            "to": self.to,
            "from": self.sender,
            "body": self.body,
            "segments": self.segments,
            "status": self.status,
            "statuses": self.statuses,
            "error_code": self.error_code,
            "provider_code": self.provider_code,
            "callback_url": self.callback_url,
            "callbacks": self.callbacks,
            "provider": self.provider,
            "media": self.media,
            "at": self.at,
            "updated": self.updated,
        }


@dataclass(slots=True)
class Interaction:
    """One Interactions webhook. `state`: sending, taken or given up."""

    seq: int
    at: float
    operation_id: str
    events: list[dict[str, Any]]
    state: str = "sending"
    attempts: int = 0

    def view(self) -> object:
        return self


@dataclass(slots=True)
class WorkItem:
    """A work item of Genesys. `state`: open, stopped (by the bridge, with a `reason`), gone (finished by an agent)."""

    seq: int
    at: float
    id: str
    external: str
    data: dict[str, str]
    state: str = "open"
    reason: str = ""

    def view(self) -> object:
        return self


@dataclass(slots=True)
class SecureMail:
    """An email that was submitted. `files`: name, type and bytes of each."""

    seq: int
    at: float
    id: str
    operation: str
    securebox: str
    address: str
    name: str
    subject: str
    text: str
    data: dict[str, str]
    files: list[tuple[str, str, int]]

    def view(self) -> object:
        return self


@dataclass(slots=True)
class BookedCall:
    """A callback of Genesys. `state`: cancelled, completed, or "" while it lives; `time`: of the slot, 0 for now."""

    seq: int
    at: float
    id: str
    service: str
    number: str
    time: float
    data: dict[str, str]
    state: str = ""
    reason: str = ""

    def view(self) -> object:
        return self


@dataclass(slots=True)
class HeardEvent:
    """An event that it was told of. `status` of the last answer, 0 for none; `open` requests still wait for one."""

    seq: int
    at: float
    webhook_id: str
    type: str
    interaction: str
    number: int  # within the interaction
    attempts: int = 0
    status: int = 0
    open: int = 0

    def view(self) -> object:
        return self


@dataclass(slots=True)
class Violation:
    """A rule of the contract that the bridge broke."""

    seq: int
    at: float
    who: str
    rule: str
    detail: str

    def view(self) -> object:
        return self


@dataclass(slots=True)
class Exchange:
    """One request and its answer. `inward`: the bridge called the sandbox. Status 0 is no answer.

    `code` is what the protocol itself calls the answer, where `status` only says how HTTP would call it.
    """

    seq: int
    at: float
    who: str
    inward: bool
    method: str
    path: str
    status: int
    ms: float
    check: str  # what was verified, "" where nothing was
    sent: bytes
    answered: bytes
    code: str = ""

    def view(self) -> object:
        return {
            "seq": self.seq,
            "at": self.at,
            "who": self.who,
            "inward": self.inward,
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "code": self.code,
            "ms": round(self.ms, 1),
            "check": self.check,
            "sent": self.sent[:SHOWN_BODY].decode("utf-8", "replace"),
            "answered": self.answered[:SHOWN_BODY].decode("utf-8", "replace"),
        }
