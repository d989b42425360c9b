"""The life of a message or a task as a page shows it: each hop with its kind, and its facts in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dcbridge.console.filters import day
from dcbridge.ledger.history import Fact, Hop

_WORDS = {
    "seconds": "took {} s",
    "then_in_seconds": "next step in {} s",
    "for_seconds": "for {} s",
    "provider_id": "provider id {}",
    "says": "{}",
    "reason": "reason {}",
}
_RESULTS = {
    "repeated": "known already, no change",
    "late": "after the end, no change",
    "left": "it goes through another provider now, no change",
    "doubled": "delivered by another provider as well",
    "other_provider": "of a provider that never had it, no change",
    "parked": "kept until the response to the request is known",
    "next": "the next part can be sent",
    "noted": "recorded",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One line. `kind`: good, bad, warn, wait, due or "" (components' badge kinds); `day`: where a new day begins."""

    at: float
    after: float  # seconds since it was accepted
    what: str
    facts: tuple[str, ...]
    kind: str
    day: str = ""


def steps(hops: Sequence[Hop], parts: int) -> list[Step]:
    """In order. `parts`: how many the message has."""
    found: list[Step] = []
    last = ""
    began = hops[0].at if hops else 0.0
    for hop in hops:
        today = day(hop.at)
        facts = tuple(words for name, value in hop.facts.items() if (words := _fact(name, value, parts)))
        found.append(Step(hop.at, hop.at - began, hop.what, facts, _kind(hop.what), today if today != last else ""))
        last = today
    return found


def _kind(what: str) -> str:
    head, _, rest = what.partition(": ")
    if head == "due":
        return "due"
    if rest.startswith(("failed", "given up", "refused")) or what == "cancelled by an operator":
        return "bad"
    if rest.startswith(("not accepted", "no answer", "no clear", "removed", "resend", "under way")) or head.startswith(
        ("waits", "outcome")
    ):
        return "warn"
    if rest.startswith(("accepted by the provider", "delivered", "Delivered", "it has the message", "done")):
        return "good"
    return "wait" if what in ("accepted", "its turn came") else ""


def _fact(name: str, value: Fact, parts: int) -> str:
    match name:
        case "part" if parts < 2:
            return ""
        case "result":
            return _RESULTS.get(str(value), f"now {value}")
        case "tries":
            return "" if value in (0, 1) else f"after {value} tries"
        case "code" if value == "lease ended":
            return "the worker stopped responding"
        case "says":
            return str(value).removesuffix(".")
        case _:
            return _WORDS.get(name, name.replace("_", " ") + " {}").format(value)
