"""Our own words, as frozen values. Everything outside is translated to and from these at the edge.

Addresses stay exactly as the other side wrote them ("16504661149", no plus): a receipt must
carry them back unchanged. An adapter converts to E.164 only in the request it builds.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Literal


class Reason(IntEnum):
    """Why a message failed, in Digital Channels' codes (contract/third-party-messaging.txt)."""

    EXPIRED = 305
    RATE_LIMIT = 310
    NOT_ALLOWED = 350
    GENERAL = 500
    UNSUPPORTED = 510
    UNKNOWN_MESSAGE = 512
    INVALID_STRUCTURE = 520
    INVALID_DESTINATION = 530

    @property
    def text(self) -> str:
        """The documented description, fit to be shown to an agent."""
        return _REASON_TEXTS[self]


_REASON_TEXTS = {
    Reason.EXPIRED: "The message has expired.",
    Reason.RATE_LIMIT: "Rate limit reached.",
    Reason.NOT_ALLOWED: "Message not allowed.",
    Reason.GENERAL: "General error.",
    Reason.UNSUPPORTED: "Unsupported message.",
    Reason.UNKNOWN_MESSAGE: "Unknown message.",
    Reason.INVALID_STRUCTURE: "Invalid message structure.",
    Reason.INVALID_DESTINATION: "Invalid destination.",
}


class ReceiptStatus(StrEnum):
    """The three statuses that Digital Channels documents for a receipt."""

    DELIVERED = "Delivered"
    REMOVED = "Removed"
    FAILED = "Failed"


class UpdateStatus(StrEnum):
    """What a provider says of a message that it took, reduced to what the ledger acts on."""

    SENT = "sent"  # taken or on its way; not final
    DELIVERED = "delivered"
    FAILED = "failed"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Address:
    """One end of a message: a phone number or a mailbox, and the name shown beside it."""

    id: str = field(repr=False)
    name: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Content:
    """One alternative of an email body. `type` is "text" or "html"; others are kept, not sent."""

    type: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class AgentMessage:
    """One agent message to **one** recipient: the unit of sending, of the ledger and of receipts.

    An email to three people is three of these with the same `message_id`, and `recipients`
    names all three so that each copy shows the same To line.
    """

    channel_id: str
    message_id: str
    sender: Address = field(repr=False)
    to: Address = field(repr=False)
    recipients: tuple[Address, ...] = field(repr=False)
    type: str  # "Text", "Email", or what the sender wrote
    text: str = field(default="", repr=False)
    subject: str = field(default="", repr=False)
    contents: tuple[Content, ...] = field(default=(), repr=False)
    reply_to: Address | None = field(default=None, repr=False)
    trace_id: str = ""
    index: int = 0  # place of `to` in `recipients`
    media: tuple[str, ...] = ()  # ids of the agent's files at Digital Channels
    region: str | None = None  # country, "GB", whose national numbers its addresses may be; None: the provider's own

    @property
    def ref(self) -> str:
        """Our own id of this copy: letters, digits and "-", the same on every delivery."""
        return message_ref(self.channel_id, self.message_id, self.index)


def message_ref(channel_id: str, message_id: str, index: int = 0) -> str:
    """The ledger's id of one recipient's copy of a message; 24 hex digits, "-n" from the second on."""
    digest = hashlib.blake2b(f"{channel_id}\0{message_id}".encode(), digest_size=12).hexdigest()
    return f"{digest}-{index}" if index else digest


_OWN = "own/"


def own_books(channel_id: str) -> str:
    """In whose books messages of dcbridge's own on a channel are, and what their entries say that their channel is. No
    channel id has a slash.
    """
    return _OWN + channel_id


def is_own(books: str) -> bool:
    """Whether these books are of messages of dcbridge's own."""
    return books.startswith(_OWN)


def channel_of(books: str) -> str:
    """The channel id behind the name of its books, the agents' or its own messages'."""
    return books.removeprefix(_OWN)


MOST_PIECES = 255  # of one long SMS: they are counted in 8 bits


@dataclass(frozen=True, slots=True)
class Piece:
    """Which piece of a long SMS this is. `key` is the same for all of them, among what one consumer writes to us."""

    key: str
    number: int  # from 1
    count: int


def piece_of(key: str, number: int, count: int) -> Piece | None:
    """None where the numbers make no sense, or there is only one: then it is a message by itself."""
    return Piece(key, number, count) if 1 <= number <= count and 2 <= count <= MOST_PIECES else None


@dataclass(frozen=True, slots=True)
class ConsumerMessage:
    """What a consumer wrote, named by the provider's own id for it."""

    provider: str
    provider_id: str
    sender: Address = field(repr=False)  # the consumer
    to: Address = field(repr=False)  # our number or mailbox, in the provider's spelling
    text: str = field(repr=False)
    media_urls: tuple[str, ...] = field(default=(), repr=False)
    consent: Literal["", "stop", "start", "help"] = ""  # what the provider says that the consumer asked for
    piece: Piece | None = None  # of a long SMS, each piece of which the provider tells by itself


LONGEST_PIECE = 1000  # characters; one SMS has 160


def is_piece(message: ConsumerMessage) -> bool:
    """Whether it has to wait for others: not what no SMS can be a piece of."""
    return message.piece is not None and not message.media_urls and len(message.text) <= LONGEST_PIECE


@dataclass(frozen=True, slots=True)
class Cost:
    """What a provider says that a part of a message costs. Made by `dcbridge.providers.prices`, which bounds it."""

    provider: str
    currency: str  # three capital letters
    units: int  # of 0.00000001
    segments: int = 0  # of how many SMS; 0 where that is not known

    @property
    def amount(self) -> Decimal:
        """Exact."""
        return Decimal(self.units).scaleb(-8)

    @property
    def words(self) -> str:
        """As an entry keeps it."""
        return f"{self.provider} {self.currency} {self.units} {self.segments}"


Suppression = Literal["bounce", "complaint", "unsubscribe"]


@dataclass(frozen=True, slots=True)
class DeliveryUpdate:
    """What a provider says became of a message that it took (DLR, bounce, event).

    `ref` is our own reference where the provider carried it back, and then `provider_id` is not
    needed to find the message. `detail` is the provider's code, never text that a person wrote.
    Without it a mail report may still name the message (`first_ref`, of its first copy) and the copy's
    recipients, as they were addressed first.
    """

    provider: str
    provider_id: str
    status: UpdateStatus
    ref: str = ""
    part: int = 0
    reason: Reason | None = None
    detail: str = ""
    first_ref: str = ""
    recipients: tuple[str, ...] = field(default=(), repr=False)
    pieces: int = 1  # of how many SMS of the part, each of which is reported by itself, this is one
    cost: Cost | None = None  # of the whole part
    suppress: Suppression | None = None  # why this consumer should get no more emails


@dataclass(frozen=True, slots=True)
class MessageStatus:
    """What a provider that is asked says of one message that it has. `detail` is its code, nothing that was written."""

    provider_id: str
    status: UpdateStatus
    reason: Reason | None = None
    detail: str = ""
    cost: Cost | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What we tell Digital Channels about one copy of an agent message.

    `sender` and `to` keep the direction of the agent message.
    """

    channel_id: str
    message_id: str
    sender_id: str = field(repr=False)
    to_id: str = field(repr=False)
    status: ReceiptStatus
    reason: Reason | None = None
    detail: str = ""  # added to the reason's text; provider codes only
