"""What an entry in Redis holds: a name and a sentence for each of its one- to three-letter fields.

An entry of 40 fields with full names takes a third more memory, so the short names stay in Redis. They stand
here and nowhere else: Lua says F.attempts, S.sent, T.waiting and K.receipt (`dcbridge.ledger.lua` puts the words in
their place when the script is loaded), Python says `entry.attempts`, and docs/architecture.md gets its tables from
`python -m dcbridge.ledger.fields_page`.

A field or a state keeps its meaning for ever: processes of two versions work on the same entries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import cache
from typing import Any, ClassVar, Generic, Self, TypeVar, overload

from dcbridge.messages import UpdateStatus, channel_of, is_own

T = TypeVar("T")


class Word(StrEnum):
    """A word as it is stored, and what it means."""

    says: str

    def __new__(cls, value: str, says: str) -> Self:
        word = str.__new__(cls, value)
        word._value_, word.says = value, says
        return word


class State(Word):
    """Where an agent message is in its life."""

    ACCEPTED = "accepted", "it waits for its first attempt, or for that of its next part"
    SENDING = "sending", "a worker has claimed it, and its request may be under way"
    SENT = "sent", "the provider has all its parts, and nothing is known of their delivery"
    RETRY = "retry", "the provider does not have it; it is sent again when its time comes"
    UNKNOWN = "unknown", "a request was written, and it is not known whether the provider has it"
    DELIVERED = "delivered", "the end: the provider has said so, or the channel takes its acceptance for that"
    FAILED = "failed", "the end: the receipt says so, with a reason"
    REMOVED = "removed", "the end: the provider has dropped it before it reached anybody"
    UNCONFIRMED = "unconfirmed", "the end: it was sent, and no word came in time"


class TaskState(Word):
    """Where a callback, a consumer's message or the delivery of an event is in its life."""

    WAITING = "waiting", "it waits for its turn, or for its next attempt"
    RUNNING = "running", "a worker has claimed it"
    DONE = "done", "the end: nothing is left to do; it is remembered, so that a repetition is recognised"
    DEAD = "dead", "the end: it could not be done; its content is a dead letter"


class Kind(Word):
    """What a dead letter holds. Lua says K.agent_message."""

    AGENT_MESSAGE = "agent message", "an agent message that could not be carried, or its raw bytes"
    RECEIPT = "receipt", "a receipt that Digital Channels refused for good"
    CALLBACK = "callback", "a provider's callback that could not be read"
    MAIL = "mail", "a mail that could not be read, or for no channel"
    CONSUMER = "consumer", "a consumer's message that Digital Channels refused for good"
    BOOK = "book", "a call that Genesys refused to book"
    DELIVERY_UPDATE = "delivery update", "a provider's word about a message that nobody knows"
    INTERACTION_BATCH = "interaction batch", "an interactions webhook that could not be split"
    INTERACTION_ENTITY = "interaction entity", "one entity of such a webhook that has neither an id nor an event"
    DELIVERY = "delivery", "an event that its subscriber did not take"

    @property
    def option(self) -> str:
        """As the command line writes it."""
        return self.value.replace(" ", "-")


class Field(Generic[T]):
    """One field: an attribute of an entry, read when it is asked for."""

    name: str

    def __init__(self, wire: str, says: str, read: Callable[[bytes | None], T], *, is_number: bool = False) -> None:
        self.wire, self.says, self.is_number = wire, says, is_number
        self._key, self._read = wire.encode(), read

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self.name = name

    @overload
    def __get__(self, entry: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(self, entry: Entry, owner: type[Any]) -> T: ...
    def __get__(self, entry: Entry | None, owner: type[Any]) -> Self | T:
        return self if entry is None else self._read(entry.hash.get(self._key))


class Each:
    """One field for each part of a message, or for each line of its history: a letter and a number from 0."""

    name: str

    def __init__(self, wire: str, says: str) -> None:
        self.wire, self.says, self.is_number = wire, says, False

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self.name = name

    @overload
    def __get__(self, entry: None, owner: type[Any]) -> Self: ...
    @overload
    def __get__(self, entry: Entry, owner: type[Any]) -> Callable[[int], str | None]: ...
    def __get__(self, entry: Entry | None, owner: type[Any]) -> Self | Callable[[int], str | None]:
        if entry is None:
            return self
        found = entry.hash
        return lambda n: None if (value := found.get(f"{self.wire}{n}".encode())) is None else _text(value)


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace")


def _number(value: bytes | None) -> int:
    return int(value or 0)


def _moment(value: bytes | None) -> int | None:
    return int(value) if value else None


def text(wire: str, says: str) -> Field[str]:
    """ "" where there is none."""
    return Field(wire, says, _text)


def number(wire: str, says: str) -> Field[int]:
    """0 where there is none."""
    return Field(wire, says, _number, is_number=True)


def moment(wire: str, says: str) -> Field[int | None]:
    """Milliseconds since 1970 by the ledger's time, None where there is none."""
    return Field(wire, says, _moment, is_number=True)


def flag(wire: str, says: str) -> Field[bool]:
    """Whether it is there; what is stored is a 1."""
    return Field(wire, says, lambda value: value is not None, is_number=True)


def _channel(value: bytes | None) -> str:
    return channel_of(_text(value))


def content(wire: str, says: str) -> Field[bytes]:
    """Bytes as they came, b"" where there are none."""
    return Field(wire, says, lambda value: value or b"")


class Entry:
    """One hash in Redis, read by names. It is false where there is none."""

    key: ClassVar[str]
    __slots__ = ("hash",)

    def __init__(self, found: Mapping[bytes, bytes]) -> None:
        """`found`: as Redis answers HGETALL."""
        self.hash = found

    @classmethod
    def fields(cls) -> list[Field[Any] | Each]:
        """In the order of this file."""
        return [one for part in reversed(cls.__mro__) for one in vars(part).values() if isinstance(one, Field | Each)]

    def __bool__(self) -> bool:
        return bool(self.hash)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entry) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(tuple(sorted(self.hash.items())))


class _Shared(Entry):
    """What messages and tasks have in common."""

    __slots__ = ()
    state = text("s", "one of the states")
    channel_id = Field(
        "ch", "the channel, behind `own/` of an own message; of a delivery `subscribers/` and its subscriber", _channel
    )
    consumer = text(
        "cn", "what stands for the consumer's number or address, where messages are searched by it (index.lua)"
    )
    lane = text("ln", "the lane in which it waits for those before it, empty for none")
    trace_id = text("tr", "the trace id of the webhook or callback that brought it")
    accepted_at = number("at", "when it was accepted; of a delivery when its event was received")
    attempts = number("a", "attempts; of a message those of the part whose turn it is")
    token = text("tok", "who has claimed it: the worker, a dot, and a random word")
    lease_ends = moment("le", "when that claim ends")
    not_before = moment("nb", "when the next attempt is due")
    last_code = text("e", "the code of the last failure")
    queued_at = moment("qa", "when its job was queued, until it is claimed or put off")
    jobs = number("w", "jobs queued for it so far; the next one gets the next number")
    slot = moment("sl", "the place in time that its rate limit has given it, or when it was dispatched")
    ended_at = moment("end", "when it ended")
    history_length = number("hn", "lines of history written so far")
    history = Each("h", "a line of its history, from a ring of 32 (history.lua)")


class MessageEntry(_Shared):
    """One agent message to one recipient."""

    key = "dcb:m:<ref>"
    __slots__ = ()
    message_id = text("mid", "the messageId of Digital Channels")
    sender_id = text("from", "the sender's id, until the receipt is posted")
    to_id = text("to", "the recipient's id, until the receipt is posted")
    expires_at = moment("exp", "when its time to live ends")
    payload_ref = text("ps", "the ref of its first copy, under which the payload is kept while it is needed")
    part = number("pt", "the part whose turn it is, from 0")
    parts = number("n", "how many parts it has, once that is known")
    total_attempts = number("ta", "attempts of all parts together")
    began_at = moment("hs", "when its first attempt began")
    attempt_began_at = moment("cs", "when the last attempt began that was not the first")
    line = text("q", "the line in which it waits (lines.lua)")
    held_by = text("hd", "version 0.1.0 and earlier: the list in which it waits for a place in flight")
    provider = text("v", "the provider that it goes through, or went through")
    provider_why = text("vw", "why this one of several, in a word or two of routes.lua")
    booked_by = text("vb", "of several providers the one in whose books it is, since a claim of it")
    left_providers = text("vx", "those of them that it went to before, and left")
    chosen_for = number(
        "vn", "the attempt that this one was chosen for; another one is of a process that does not choose"
    )
    sender_kept = text(
        "fk", "of a channel with several numbers what its conversation remembered when it was claimed first"
    )
    sent_from = text("fs", "the number that it was sent from, behind a letter that says why (config/senders.py)")
    tried = text("vr", "those that it was tried at in this round")
    cancelled = moment("ca", "when an operator cancelled it while its request was under way: it is not sent again")
    released = moment("rl", "when an operator released it from the review of its channel")
    stood_until = moment("ss", "up to when its time to live has been prolonged, because it stood still")
    throttled_since = moment("vt", "since when this one has put it off")
    parked_provider = text("vp", "one of those it left that says it has it, while another one has been asked")
    doubled_by = text("vd", "one of those it left that has delivered it as well")
    provider_id = Each("x", "the provider's id of a part")
    part_status = Each("u", "the last delivery update about a part")
    pieces = Each("g", "ids of its SMS that were delivered, where each is reported by itself")
    cost = Each("k", "what a part costs: provider, currency, hundred-millionths of it, SMS (0: not known)")
    parked_provider_id = text("px", "the provider's id in an update that came before the answer to the request")
    parked_confirm_ms = number("pc", "the time to wait for a confirmation, of that same update")
    sent_at = moment("sent", "when the provider had all its parts")
    reason = text("r", "why it failed, as a reason of Digital Channels")
    detail = text("d", "why it failed, in the provider's code or a few words of ours")
    receipt_status = text("rs", "the receipt that is owed or posted, empty for none")
    receipt_tries = number("rt", "attempts to post it that failed")
    receipt_posted_at = moment("rp", "when it was posted")
    receipt_refused = text("rx", "the code with which Digital Channels refused it for good")
    receipt_owed_at = moment("ro", "when an operator put a refused one back")
    times_unknown = number("unk", "how often its outcome was unknown")
    times_absent = number("ua", "how often the provider said that it has no such message")
    unknown_since = moment("us", "when the first request for this part began whose outcome is not known")
    unknown_requests = number("un", "how many such requests there are")
    unknown_at = moment("ut", "when the last of them was given up")
    lookups = number("qn", "lookups queued so far")
    lookup_queued_at = moment("qj", "when the job of the present lookup was queued")
    lookup_token = text("qk", "who has claimed the lookup")
    lookup_lease_ends = moment("qe", "when that claim ends")
    lookup_failures = number("qf", "lookups in a row that failed")
    lookup_is_probe = flag("qp", "the lookup is the probe of an open breaker")
    cause = text("oc", "of an own message what caused it; its beginning")
    kept_for = number("ok", "of an own message the ms for which it is remembered after its end")
    content_mark = text("om", "of an own message that a trigger caused a digest of what it was called with")

    @property
    def is_own(self) -> bool:
        """Whether no agent wrote it."""
        return is_own(_text(self.hash.get(MessageEntry.channel_id.wire.encode())))


class ClaimedMessage(MessageEntry):
    """An entry and what comes along with a claim of it."""

    __slots__ = ()
    payload = content("p", "the message as it came, up to 64 KiB")
    payload_size = number("pz", "the bytes of a larger one, which is fetched by itself")
    now = number("now", "the ledger's time, with the claim of a lookup")


class TaskEntry(_Shared):
    """A raw callback, a consumer's message, or the delivery of an event to a subscriber."""

    key = "dcb:t:<id>"
    __slots__ = ()
    job = text("j", "the job that does it")
    payload = content("p", "its content, until it is done; a delivery's is its event")
    replayed = flag("rp", "an operator asked for this delivery")
    piece_count = number("n", "of how many pieces a consumer's long message consists")
    posted_ids = text(
        "di", "of a consumer's message the ids that Digital Channels gave it, if asked to keep them; `-` for none"
    )
    pieces_here = number("g", "how many of them have come")
    booking = text("bk", "how far its request for a call has come (bookings.lua): creating, booked or unknown")
    posting = text(
        "po", "the claim that has begun a request which may be written once, a blank, and when (requests.lua)"
    )


class Successes(Entry):
    """What a provider took lately, as a sliding count."""

    key = "dcb:took:<provider>"
    __slots__ = ()
    period = number("k", "the number of the current period of ten seconds")
    in_period = number("c", "messages taken in it")
    in_period_before = number("p", "messages taken in the one before")
    last_success_at = moment("at", "when the last one was taken")


class Interaction(Entry):
    """What the events of one interaction say of each other."""

    key = "dcb:i:<interaction>"
    __slots__ = ()
    events = number("n", "events so far")
    started_at = moment("s", "when its STARTED came")
    finished_at = moment("f", "when its FINISHED came")
    last_event = text("e", "the id of its last event")


KINDS: tuple[type[Entry], ...] = (MessageEntry, TaskEntry, Successes, Interaction)
READ: tuple[type[Entry], ...] = (*KINDS, ClaimedMessage)


@cache
def words() -> Mapping[str, str]:
    """What stands in Lua -> what is put in its place."""
    fields = {f"F.{one.name}": one.wire for kind in READ for one in kind.fields()}
    return fields | {f"{of}.{one.name.lower()}": one.value for of, kind in _WORDS.items() for one in kind}


_WORDS: dict[str, type[StrEnum]] = {"S": State, "T": TaskState, "U": UpdateStatus, "K": Kind}
