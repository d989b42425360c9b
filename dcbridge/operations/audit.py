"""The record of what people did and looked at: selected, in words, and as a file for a spreadsheet or a program."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from enum import StrEnum

import orjson

from dcbridge.ledger import Ledger
from dcbridge.ledger.controls import Action, Target
from dcbridge.operations.wording import utc
from dcbridge.printable import printable, safe_json

LOOKED = 500  # lines of the record that are read in one round trip
MOST = 11_000  # lines that one export looks at: the record has about 10,000
_LAST = 253402300800000  # ms since 1970: no date is later
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
FIELDS = ("at", "by", "action", "what", "result", "why")


class About(StrEnum):
    """Kinds of lines."""

    CHANGES = "changes"
    REVEALS = "reveals"
    SIGN_INS = "sign-ins"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines. An empty text means any; times in seconds since 1970."""

    by: str = ""  # a part of the name, in any case
    action: str = ""  # a part of it
    about: About | None = None
    since: float = 0.0
    until: float | None = None

    def has(self, one: Action) -> bool:
        return (
            self.by.casefold() in one.by.casefold()
            and self.action.casefold() in one.action.casefold()
            and self.about in (None, about(one))
            and one.at >= self.since
            and (self.until is None or one.at < self.until)
        )


def about(one: Action) -> About:
    """Which kind of line it is, by its action."""
    if "reveal" in one.action:
        return About.REVEALS
    return About.SIGN_INS if "sign-" in one.action else About.CHANGES


@dataclass(frozen=True, slots=True)
class Page:
    """Lines, the newest first, and the cursor of those after them: "" at the end."""

    lines: tuple[Action, ...]
    cursor: str


async def page(ledger: Ledger, wanted: Wanted, cursor: str, count: int) -> Page:
    """At most `count` lines that are wanted: one command where all are, and at most MOST / LOOKED otherwise."""
    found: list[Action] = []
    looked = 0
    step = count + 1 if wanted == Wanted(since=wanted.since) else LOOKED
    while looked < MOST:
        lines = await ledger.controls.recorded(cursor, step, wanted.since)
        for entry, one in lines:
            if len(found) == count:
                return Page(tuple(found), cursor)
            cursor = entry
            if wanted.has(one):
                found.append(one)
        looked += len(lines)
        if len(lines) < step:
            return Page(tuple(found), "")
    return Page(tuple(found), cursor)


async def every(ledger: Ledger, wanted: Wanted) -> AsyncIterator[Action]:
    """All lines that are wanted, the newest first; of the newest MOST."""
    cursor = ""
    for _ in range(MOST // LOOKED):
        lines = await ledger.controls.recorded(cursor, LOOKED, wanted.since)
        for entry, one in lines:
            cursor = entry
            if wanted.has(one):
                yield one
        if len(lines) < LOOKED:
            return


# ---------------------------------------------------------------- in words


def subject(one: Action) -> str:
    """What it is about; what was stopped stands there as the ledger writes it."""
    return str(Target.of(one.what) or one.what)


def result(one: Action) -> str:
    """What came of it. The end of a pause stands there in milliseconds since 1970."""
    found = re.fullmatch(r"until ([0-9]{1,15})", one.result, re.ASCII)
    return f"until {utc(int(found[1]) / 1000)[:19]}Z" if found and int(found[1]) < _LAST else one.result


# ---------------------------------------------------------------- files


def cells(one: Action) -> dict[str, str]:
    """One line, by its columns."""
    return {
        "at": f"{utc(one.at)[:19]}Z",
        "by": one.by,
        "action": one.action,
        "what": subject(one),
        "result": result(one),
        "why": one.why,
    }


async def as_csv(lines: AsyncIterator[Action]) -> AsyncIterator[bytes]:
    """With a heading. What a spreadsheet would take for a formula has an apostrophe before it."""
    yield _row(FIELDS)
    async for one in lines:
        yield _row([_no_formula(printable(cell)) for cell in cells(one).values()])


def _row(values: Iterable[str]) -> bytes:
    written = io.StringIO()
    csv.writer(written, lineterminator="\r\n").writerow(values)
    return written.getvalue().encode("utf-8", "replace")


def _no_formula(cell: str) -> str:
    return f"'{cell}" if cell.lstrip(" \u00a0").startswith(_FORMULA) else cell


async def as_json_lines(lines: AsyncIterator[Action]) -> AsyncIterator[bytes]:
    """One object a line."""
    async for one in lines:
        yield safe_json(orjson.dumps(cells(one)).decode()).encode() + b"\n"
