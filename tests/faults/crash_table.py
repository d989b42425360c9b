"""The crash matrix as a person reads it: on a terminal, and in docs/crash-matrix.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from tests.faults import crash_rows
from tests.faults.crash_cell import Outcome
from tests.faults.crash_points import FAULTS, POINTS
from tests.faults.crash_rows import Row

BEGIN, END = "<!-- the table begins -->\n", "<!-- the table ends -->\n"
WAYS_BEGIN, WAYS_END = "<!-- the other ways begin -->\n", "<!-- the other ways end -->\n"
AIM = 30.0  # seconds within which an interrupted message should move again


def said(outcome: Outcome) -> str:
    """One cell in a line."""
    if wrong := outcome.wrong():
        return "; ".join([*wrong, outcome.proof])
    subject = outcome.subject.split()[0][:40]
    return f"{_short(outcome)}; {outcome.proof}; {subject}; all ended after {outcome.settled:.1f} s"


def _short(outcome: Outcome) -> str:
    """What a green cell shows: seconds until it moved, and every repetition."""
    found, moved = outcome.findings, outcome.moved or 0.0
    words = [f"{moved:.1f} s" if moved >= 0.05 else "at once"]
    if found.posted_twice_unknown:
        words.append(f"{found.posted_twice_unknown} posted twice")
    if found.receipts_repeated_unknown:
        words.append(f"{found.receipts_repeated_unknown} receipts repeated")
    return ", ".join(words)


def _rows(played: Sequence[Outcome]) -> list[tuple[str, str, list[Outcome | None]]]:
    """Point, what is said of it, and its outcomes by fault."""
    by_cell = {(one.cell.point.name, one.cell.fault): one for one in played}
    return [
        (point.name, point.says, [by_cell.get((point.name, fault)) for fault in FAULTS])
        for point in POINTS
        if any((point.name, fault) in by_cell for fault in FAULTS)
    ]


def table(played: Sequence[Outcome]) -> Table:
    """For a terminal."""
    shown = Table(title="the crash matrix")
    for column in ("point", *FAULTS.values()):
        shown.add_column(column)
    for name, _says, outcomes in _rows(played):
        cells = [
            "" if one is None else f"[red]{'; '.join(one.wrong())}[/]" if one.wrong() else f"[green]{_short(one)}[/]"
            for one in outcomes
        ]
        shown.add_row(name, *cells)
    return shown


def summary(played: Sequence[Outcome], seconds: float) -> list[str]:
    """All cells together."""
    green = [one for one in played if not one.wrong()]
    moved = sorted(one.moved or 0.0 for one in green)
    slow = sum(seconds > AIM for seconds in moved)
    messages = sum(one.findings.messages for one in green)
    return [
        f"{len(green)} of {len(played)} cells green in {seconds:.0f} s; {messages} messages in the green ones: none"
        f" lost, none sent twice, none out of order, none without its one terminal receipt, the books balanced at every"
        f" look.",
        f"Until the interrupted message moved again: {moved[len(moved) // 2]:.1f} s in the middle,"
        f" {moved[-1]:.1f} s at most; {slow} cells above {AIM:g} s."
        if moved
        else "Nothing moved.",
    ]


def markdown(played: Sequence[Outcome], seconds: float) -> str:
    """For the page."""
    lines = [f"| point | {' | '.join(FAULTS.values())} |", f"|---|{'---|' * len(FAULTS)}"]
    for name, says, outcomes in _rows(played):
        cells = [
            "–" if one is None else f"**red**: {'; '.join(one.wrong())}" if one.wrong() else _short(one)
            for one in outcomes
        ]
        lines.append(f"| {name}{f' ({says})' if says else ''} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *summary(played, seconds), ""])


def write_page(page: Path, played: Sequence[Outcome], rows: Sequence[Row], seconds: float) -> None:
    """Put each table between its two marks; one of which nothing was played stays as it is."""
    text = page.read_text(encoding="utf-8")
    if played:
        text = _between(BEGIN, END, text, markdown(played, seconds))
    if rows:
        text = _between(WAYS_BEGIN, WAYS_END, text, crash_rows.markdown(rows))
    page.write_text(text, encoding="utf-8")


def _between(begin: str, end: str, text: str, table: str) -> str:
    head, rest = text.split(begin)
    return f"{head}{begin}\n{table}\n{end}{rest.split(end)[1]}"
