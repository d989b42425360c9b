"""The form by which something is paused, held or drained, and what is in force."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.exceptions import HTTPException

from dcbridge.console.context import ConsoleContext, Person
from dcbridge.ledger.controls import Control, Target
from dcbridge.operations import controls
from dcbridge.operations.controls import LONGEST, WORDS, Who
from dcbridge.printable import printable

LASTS = (
    ("1800", "30 minutes"),
    ("7200", "2 hours"),
    ("28800", "8 hours"),
    ("86400", "1 day"),
    ("604800", "7 days"),
    ("0", "until it is ended"),
)
NO_REASON = "should say why, for those who read the audit"
FULL = "1,000 pauses are in force; end some of them first"


@dataclass(frozen=True, slots=True)
class Asked:
    """What was filled in. `lasts` in seconds, 0 for no end."""

    lasts: float
    why: str
    stands_still: bool


def read(form: Mapping[str, str], now: float) -> tuple[Asked, dict[str, str]]:
    """What was filled in, and what is wrong with it by field. `now`: seconds since 1970."""
    why = reason(form)
    errors = {} if why else {"why": NO_REASON}
    lasts = 0.0
    until, chosen = form.get("until", "").strip(), form.get("lasts", "0")
    if until:
        lasts = _until(until) - now
        if not 1.0 <= lasts <= LONGEST:
            errors["until"] = "should be a time in the future, 30 days at most, such as 2026-11-27T06:00Z"
    elif chosen in dict(LASTS):
        lasts = float(chosen)
    else:
        errors["lasts"] = "should be one of the list"
    return Asked(lasts, why, form.get("still") == "on"), errors


def _until(text: str) -> float:
    """Seconds since 1970, UTC unless it says otherwise; 0 for no time."""
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def reason(form: Mapping[str, str]) -> str:
    """Why somebody does it, in one line."""
    return printable(form.get("why", "").strip())[:WORDS]


def who(person: Person, why: str = "") -> Who:
    """As the record names whoever acts in the console."""
    return Who(printable(person.name)[:WORDS], why)


async def begin(context: ConsoleContext, person: Person, target: Target, asked: Asked) -> None:
    """In force from now on. Raises HTTPException where too many are."""
    of = who(person, asked.why)
    ends = await context.ledger.controls.begin(
        target, lasts=asked.lasts, stands_still=asked.stands_still, by=of.by, why=of.why
    )
    if ends is None:
        raise HTTPException(409, FULL)


async def end(context: ConsoleContext, person: Person, target: Target, why: str = "") -> bool:
    """Over from now on; False where it was not in force."""
    return (await controls.resume(context.ledger, target, who(person, why)))[0]


def in_force(found: Iterable[Control], *targets: Target) -> dict[str, Control]:
    """Those of these targets that are stopped, by what they are: "channel", "hold" …"""
    return {one.target.what.value: one for one in found if one.target in targets}
