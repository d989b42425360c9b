"""The life of one message or task, hop by hop: what its entry's fields tell, and the lines beside them.

A plain message leaves hardly a line: acceptance, hand-over and end stand in the fields. The lines
(history.lua) add what fields would overwrite: attempts that failed, parts, delivery updates,
refused receipts. Nothing here is text, a number, an address or a subject.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from dcbridge.ledger.controls import Target
from dcbridge.ledger.fields import MessageEntry, State, TaskEntry, TaskState
from dcbridge.messages import Reason

KEPT = 32  # lines, as in history.lua
_COST = re.compile(r"\S+ ([A-Z]{3}) ([0-9]{1,18}) ([0-9]{1,3})", re.ASCII)
WAITED = 1.0  # seconds before the first attempt that are worth a hop

Fact = str | int | float


@dataclass(frozen=True, slots=True)
class Hop:
    """One step. `at` in seconds since 1970, in the future for what is due; `facts` in the order to be shown."""

    at: float
    what: str
    facts: Mapping[str, Fact] = field(default_factory=dict)


def hops_of(entry: MessageEntry, *, due: float | None = None, receipt_due: float | None = None) -> list[Hop]:
    """The hops of a message's entry, oldest first. `due` and `receipt_due`: when somebody looks at it next."""
    lines = _lines(entry)
    found = [Hop(_at(entry, entry.accepted_at), "accepted")]
    attempts = [hop for hop in lines if hop.what.startswith("attempt")]
    began = _at(entry, entry.began_at)
    if entry.began_at and not attempts and not older_lines_are_gone(entry):  # one attempt, which needed no line
        if entry.sent_at:
            sent = _at(entry, entry.sent_at)
            facts = {"seconds": round(sent - began, 3)} | _part_id(parts_of(entry), 0)
            found.append(Hop(sent, "attempt 1: accepted by the provider", facts))
        elif entry.ended_at:
            found.append(Hop(began, "attempt 1: started, then ended by a delivery update"))
    found += lines
    if entry.began_at and began - _at(entry, entry.accepted_at) >= WAITED:
        found.append(Hop(began, "its turn came"))
    if entry.state == State.SENDING:
        attempt = _at(entry, entry.attempt_began_at or entry.began_at)
        found.append(Hop(attempt, f"attempt {entry.total_attempts or 1}: under way"))
    found += _what_is_next(entry, due)
    if entry.ended_at:
        found.append(Hop(_at(entry, entry.ended_at), f"ended: {entry.state}", _why(entry)))
    found += _receipt(entry, receipt_due)
    return _in_order(found)


def hops_of_task(entry: TaskEntry) -> list[Hop]:
    """The hops of a task's entry: a raw callback or a consumer's message."""
    found = [Hop(_at(entry, entry.accepted_at), "accepted"), *_lines(entry)]
    if entry.state == TaskState.RUNNING:
        found.append(Hop(_at(entry, entry.queued_at), f"attempt {entry.attempts or 1}: under way since it was queued"))
    if entry.state == TaskState.WAITING and entry.not_before:
        found.append(Hop(_at(entry, entry.not_before), "due: next attempt"))
    if entry.ended_at:
        found.append(Hop(_at(entry, entry.ended_at), f"ended: {entry.state}", {"attempts": entry.attempts}))
    return _in_order(found)


def _in_order(hops: list[Hop]) -> list[Hop]:
    """By milliseconds; what happened in one script stays in the order of its causes."""
    return sorted(hops, key=lambda hop: round(hop.at * 1000))


def parts_of(entry: MessageEntry | TaskEntry) -> list[dict[str, Fact]]:
    """Each part that is known: the provider's id, and the last word about it."""
    if isinstance(entry, TaskEntry):
        return []
    is_begun = entry.provider_id(0) is not None or entry.part_status(0) is not None
    count = max(entry.parts, 1 if is_begun else 0)
    found: list[dict[str, Fact]] = []
    for part in range(count):
        provider_id, status = entry.provider_id(part), entry.part_status(part) or ""
        known = "accepted by the provider" if provider_id is not None else "not accepted yet"
        found.append({"part": part + 1, "provider_id": provider_id or "", "status": status or known})
    return found


def costs_of(entry: MessageEntry) -> list[tuple[str, int]]:
    """What its parts cost together, by currency, "0.0333 EUR", and the number of SMS; 0 where that is not known."""
    sums: dict[str, tuple[int, int, bool]] = {}
    for part in range(max(entry.parts, 1)):
        if found := _COST.fullmatch(entry.cost(part) or ""):
            units, segments, known = sums.get(found[1], (0, 0, True))
            sums[found[1]] = units + int(found[2]), segments + int(found[3]), known and found[3] != "0"
    return [
        (f"{Decimal(units).scaleb(-8).normalize():f} {currency}", segments if known else 0)
        for currency, (units, segments, known) in sums.items()
    ]


def older_lines_are_gone(entry: MessageEntry | TaskEntry) -> bool:
    """True when more happened than is kept."""
    return entry.history_length > KEPT


def _at(entry: MessageEntry | TaskEntry, ms: int | None) -> float:
    """In seconds; what is not known was as early as the entry."""
    return (ms or entry.accepted_at) / 1000


def _lines(entry: MessageEntry | TaskEntry) -> list[Hop]:
    """The ring, oldest first."""
    written = entry.history_length
    began = _at(entry, entry.accepted_at)
    found = []
    for n in range(max(0, written - KEPT), written):
        offset, _, words = (entry.history(n % KEPT) or "").partition(" ")
        if offset.isdigit():
            found.append(_hop(began + int(offset) / 1000, words, entry))
    return found


def _hop(at: float, line: str, entry: MessageEntry | TaskEntry) -> Hop:
    """One line. The last word of a line may hold blanks, or be cut short."""
    kind, *words = line.split(" ", 1)
    rest = words[0] if words else ""
    match kind:
        case "try":
            number, took, outcome, figure, code = _split(rest, 5)
            facts: dict[str, Fact] = {"seconds": _seconds(took)} if _seconds(took) else {}
            facts |= {"code": code} if code else {}
            if outcome in ("retry", "unknown"):
                facts["then_in_seconds"] = _seconds(figure)
            elif outcome == "failed":
                facts["reason"] = figure
            elif outcome == "taken":
                facts |= _part_id(parts_of(entry), int(figure) if figure.isdigit() else 0)
            return Hop(at, f"attempt {number}: {_OUTCOMES.get(outcome, outcome)}", facts)
        case "update":
            part, status, result, code = _split(rest, 4)
            place: dict[str, Fact] = {"part": int(part) + 1 if part.isdigit() else part}
            return Hop(at, f"delivery update: {status}", place | {"result": result} | ({"code": code} if code else {}))
        case "asked":
            part, answer, provider, detail = _split(rest, 4)
            facts = _part_id(parts_of(entry), int(part) if part.isdigit() else 0) if answer == "found" else {}
            about = "status" if answer == "found" else "code"
            return Hop(
                at, f"asked {provider}: {_ANSWERS.get(answer, answer)}", facts | ({about: detail} if detail else {})
            )
        case "switched":
            before, now, why = _split(rest, 3)
            return Hop(at, f"from {before} to {now}", {"reason": why} if why else {})
        case "doubled":
            return Hop(at, f"{rest} has it as well")
        case "settled":
            return Hop(at, f"outcome still unknown: {_SETTLED.get(rest, rest)}")
        case "stopped":
            return Hop(at, f"waits for an operator: {Target.of(rest) or rest} is paused or held")
        case "again":
            return Hop(at, f"sent again by an operator as {rest}")
        case "cancelled":
            return Hop(at, "cancelled by an operator")
        case "released":
            return Hop(at, "released by an operator")
        case "woken":
            return Hop(at, "the next attempt is made now, as an operator wants")
        case "quiet":
            return Hop(at, "waits for quiet hours to end", {"for_seconds": round(_seconds(rest) - at)})
        case "receipt":
            word, code = _split(rest, 2)
            return Hop(at, f"receipt: {_RECEIPTS.get(word, word)}", {"code": code} if code else {})
        case _:
            return Hop(at, line)


_SETTLED = {"same_key": "sent again with the same key", "by hand": "sent again by an operator"}
_OUTCOMES = {
    "taken": "accepted by the provider",
    "retry": "not accepted",
    "unknown": "no answer",
    "told": "no clear answer, but an update says that the provider accepted it",
    "dead": "given up",
    "nothing": "nothing to do",
}
_ANSWERS = {
    "found": "it has the message",
    "absent": "it has no such message",
    "not_yet": "it does not have the message yet",
    "unclear": "the answer does not decide it",
    "failed": "no answer",
}
_RECEIPTS = {"refused": "refused by Digital Channels", "again": "owed again by an operator"}


def _split(text: str, count: int) -> list[str]:
    words = text.split(" ", count - 1)
    return words + [""] * (count - len(words))


def _seconds(ms: str) -> float:
    return round(int(ms) / 1000, 3) if ms.isdigit() else 0.0


def _part_id(parts: list[dict[str, Fact]], number: int) -> dict[str, Fact]:
    """The part where there are several, and the provider's id of it."""
    facts: dict[str, Fact] = {"part": number + 1} if len(parts) > 1 else {}
    if number < len(parts) and parts[number]["provider_id"]:
        facts["provider_id"] = parts[number]["provider_id"]
    return facts


def _what_is_next(entry: MessageEntry, due: float | None) -> list[Hop]:
    match entry.state:
        case State.RETRY:
            return [Hop(_at(entry, entry.not_before), "due: next attempt")]
        case State.UNKNOWN if due is not None:
            return [Hop(due, "due: a status lookup at the provider, or the channel's policy")]
        case State.SENT if due is not None:
            return [Hop(due, "due: a status lookup at the provider, or unconfirmed")]
        case _:
            return []


_REASONS = {str(int(reason)): reason.text for reason in Reason}


def _why(entry: MessageEntry) -> dict[str, Fact]:
    facts: dict[str, Fact] = {}
    if reason := entry.reason:
        facts["reason"] = reason
        if reason in _REASONS:
            facts["says"] = _REASONS[reason]
    return facts | ({"detail": entry.detail} if entry.detail else {})


def _receipt(entry: MessageEntry, receipt_due: float | None) -> list[Hop]:
    status, tries = entry.receipt_status, entry.receipt_tries
    if not status:
        return []
    if entry.receipt_posted_at:
        return [Hop(_at(entry, entry.receipt_posted_at), f"receipt: {status} posted", {"tries": tries + 1})]
    if entry.receipt_refused or receipt_due is None:
        return []
    return [Hop(receipt_due, f"due: receipt {status}", {"tries": tries})]
