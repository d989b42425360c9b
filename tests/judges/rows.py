"""What a judge has to say, and how it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


class CannotJudge(Exception):
    """Something that a judge needs cannot be had; says what."""


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was looked at."""

    what: str
    outcome: str
    why: str = ""


def table(title: str, rows: Sequence[Row]) -> str:
    """As Markdown, so that it can stand in docs/."""
    lines = [f"\n### {title}\n", "| what | outcome |", "|---|---|"]
    lines += [f"| {row.what} | {row.outcome}{f': {row.why}' if row.why else ''} |" for row in rows]
    return "\n".join(lines) + "\n"
