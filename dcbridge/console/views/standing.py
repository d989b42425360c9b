"""Where a message stands, in plain sentences: what it waits for, why, and what happens next and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dcbridge.console.filters import counted, duration, utc
from dcbridge.ledger.controls import Control, What
from dcbridge.ledger.fields import MessageEntry, State
from dcbridge.ledger.reports.conversations import Head
from dcbridge.messages import Reason

_REASONS = {str(int(reason)): reason.text for reason in Reason}


@dataclass(frozen=True, slots=True)
class Seen:
    """What was read about one message. Times in seconds since 1970."""

    entry: MessageEntry
    now: float
    provider: str  # that it goes through, or would
    waits: Head | None = None  # what it waits for itself
    before: int = 0  # messages of its conversation before it
    first: Head | None = None  # the first of these
    stopping: Sequence[Control] = ()
    due: float | None = None
    receipt_due: float | None = None
    breaker_code: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """`now` says where it stands, `then` what happens next, `receipt` what Digital Channels knows of it."""

    now: str
    then: str = ""
    receipt: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.now, self.then, self.receipt)))


def standing(seen: Seen) -> Standing:
    """Of a message in any state."""
    entry = seen.entry
    match entry.state:
        case State.ACCEPTED | State.RETRY:
            return Standing(_waits(seen), _then(seen))
        case State.SENDING:
            began = _at(entry.attempt_began_at or entry.began_at)
            since = f" since {utc(began)}" if began else ""
            return Standing(
                f"Is being sent: attempt {entry.total_attempts or 1} to provider {seen.provider} is under way{since}.",
                _when("Its outcome is known by", _at(entry.lease_ends)),
            )
        case State.UNKNOWN:
            return Standing(
                f"It is not known whether provider {seen.provider} has it: attempt {entry.total_attempts or 1} got no"
                " clear answer.",
                _when("The provider is asked, or the channel's policy decides, at", seen.due),
            )
        case State.SENT:
            return Standing(
                f"Provider {seen.provider} has it since {utc(_at(entry.sent_at))}. No delivery report has come yet.",
                _when("The provider is asked, or it ends as unconfirmed, at", seen.due),
            )
        case _:
            return Standing(_ended(seen), "", _receipt(seen))


# ---------------------------------------------------------------- it waits


def _waits(seen: Seen) -> str:
    before = ""
    if seen.before:
        are = "is" if seen.before == 1 else "are"
        before = f" {counted(seen.before, 'message')} of its conversation {are} before it."
    if seen.stopping:
        return f"Waits: {stopped(seen.stopping[0], seen.now)}.{before}"
    if seen.before:
        first = f" The first of them waits for {_for(seen.first, seen)}." if seen.first else ""
        return f"Waits its turn.{before}{first}"
    return f"Waits for {_for(seen.waits, seen)}."


def stopped(control: Control, now: float) -> str:
    """ "provider twilio is paused by anna since … (12 min): wrong texts; without an end"."""
    named = {
        What.CONVERSATION: "its conversation",
        What.ALL: "this installation",
        What.HOLD: f"channel {control.target.name}",
    }.get(control.target.what, str(control.target))
    word = {What.HOLD: "held for review", What.ALL: "drained"}.get(control.target.what, "paused")
    why = f": {control.why}" if control.why else ""
    until = f", until {utc(control.until)}" if control.until else ", without an end"
    age = duration(max(0.0, now - control.since))
    return f"{named} is {word} by {control.by} since {utc(control.since)} ({age}){until}{why}"


def _for(head: Head | None, seen: Seen) -> str:
    """What it waits for, or what the first of its conversation does."""
    provider = seen.provider
    code = f" ({head.code})" if head and head.code else ""
    soon = f", in about {duration(head.due_in)}" if head and head.due_in >= 1 else ""
    match head.why if head else "":
        case "queued":
            return "a free worker"
        case "under way":
            return "the answer to its request"
        case "retry":
            return f"its next attempt{soon}: the last one was not accepted{code}"
        case "unknown":
            return "a delivery report, a status lookup or the channel's policy: its outcome is not known"
        case "paced":
            return f"its turn by the rate limit of its channel or of provider {provider}{soon}"
        case "held":
            return f"a free place in flight at provider {provider}"
        case "parked":
            why = f" ({seen.breaker_code})" if seen.breaker_code else ""
            return f"provider {provider}: its breaker is open{why}, after attempts that failed"
        case "paused":
            return f"provider {provider}: it has asked for a pause"
        case "no provider":
            return "its channel's providers: none of them is available"
        case "quiet":
            return f"its consumer's quiet hours to end{soon}"
        case "statistic":
            return "a statistic of the contact centre to fall (hold_while)"
        case "stopped":
            return "an operator to resume it"
        case "unconfigured":
            return "its channel to be configured: no worker has it in bridge.yaml"
        case "forgotten":
            return "nothing: this is a bug, or a damaged Redis. Report it, and cancel the message"
        case _:
            return "the next sweep, in a moment"


def _then(seen: Seen) -> str:
    """What comes next, and until when it may wait."""
    entry, said = seen.entry, []
    still = any(one.stands_still for one in seen.stopping)
    if seen.stopping:
        end = seen.stopping[0].until
        held = seen.stopping[0].target.what == What.HOLD
        if held:
            said.append("It is sent when it is released.")
        else:
            said.append(f"The next attempt is {f'at {utc(end)}' if end else 'made when the pause ends'}.")
    elif not seen.before and seen.due and seen.due > seen.now + 1:
        said.append(f"The next attempt is at {utc(seen.due)}.")
    if still:
        said.append("Its time to live stands still meanwhile.")
    elif entry.expires_at:
        said.append(f"If it is not sent by {utc(_at(entry.expires_at))}, it fails with reason 305.")
    return " ".join(said)


# ---------------------------------------------------------------- it has ended


def _ended(seen: Seen) -> str:
    entry = seen.entry
    at = f" at {utc(_at(entry.ended_at))}" if entry.ended_at else ""
    took = max(0.0, _at(entry.ended_at) - entry.accepted_at / 1000) if entry.ended_at else 0.0
    after = f", {duration(took)} after it was accepted" if took else ""
    match entry.state:
        case State.DELIVERED:
            return f"Was delivered by provider {seen.provider}{at}{after}."
        case State.UNCONFIRMED:
            return f"Was sent through provider {seen.provider}. No delivery report came; it ended as unconfirmed{at}."
        case State.REMOVED:
            return f"Was removed by provider {seen.provider}{at}: it did not reach the consumer{_why(entry)}."
        case State.FAILED:
            return f"Failed{at}{_why(entry)}."
        case _:
            return f"Its state is {entry.state or 'not known'}."


def _why(entry: MessageEntry) -> str:
    if not entry.reason:
        return f": {entry.detail}" if entry.detail else ""
    says = _REASONS.get(entry.reason, "").removesuffix(".").lower()
    detail = f" ({entry.detail})" if entry.detail else ""
    return f": reason {entry.reason}" + (f", {says}" if says else "") + detail


def _receipt(seen: Seen) -> str:
    entry = seen.entry
    if entry.is_own:
        return "It is dcbridge's own and owes no receipt."
    if not entry.receipt_status:
        return ""
    if entry.receipt_posted_at:
        return f"The agent sees {entry.receipt_status} since {utc(_at(entry.receipt_posted_at))}."
    if entry.receipt_refused:
        code = entry.receipt_refused
        return f"Digital Channels refused the receipt {entry.receipt_status} ({code}): it is a dead letter."
    again = f", next attempt at {utc(seen.receipt_due)}" if seen.receipt_due else ""
    tries = f" after {counted(entry.receipt_tries, 'failed attempt')}" if entry.receipt_tries else ""
    return f"The receipt {entry.receipt_status} is owed{tries}{again}."


def _at(ms: int | None) -> float:
    return (ms or 0) / 1000


def _when(words: str, at: float | None) -> str:
    return f"{words} {utc(at)}." if at else ""
