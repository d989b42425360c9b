"""Rows of the crash matrix whose way is another than a text message's: a process ends at a point, and what came of it.

All rows of a way share one bridge: tests/faults/mail_crashes.py for a consumer's mail, item_crashes.py for work items,
secure_crashes.py for secure email, call_crashes.py for calls by text and missed calls, cloud_crashes.py for Open
Messaging. `python -m tests.faults.crash_matrix` plays them beside its cells.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.faults.crash_load import Unknown
from tests.faults.crash_points import FAULTS, KILL, TERM, Gate, Point, guard, watch
from tests.stack import Stack, until

FAULTS_HERE = (KILL, TERM)
COMMANDS = {"service": "serve"}  # of dcbridge, where a part is named otherwise
NTH = 2  # the pass at which it ends: there is something before it and behind it


@dataclass(frozen=True)
class Row:
    """One point and one fault, played. `count` things went this way; `seconds` from the fault until all had ended.
    `excused`: a killed process had posted so many to Digital Channels, had not noted it, and they came twice.
    """

    way: str
    point: Point
    fault: str
    count: int
    seconds: float
    wrong: Mapping[str, int]
    excused: int = 0

    @property
    def good(self) -> bool:
        return not any(self.wrong.values())

    @property
    def bad(self) -> str:
        return ", ".join(f"{name.replace('_', ' ')}: {count}" for name, count in self.wrong.items() if count)

    def __str__(self) -> str:
        became = self.bad or f"{self.count} well after {self.seconds:.1f} s"
        return f"{self.way}, {self.point.name}-{self.fault}: {became}"


class Victim:
    """Ends one part of a bridge at a point, and starts it again as it was."""

    def __init__(self, stack: Stack, module: str, parts: Iterable[str]) -> None:
        self._stack, self._module = stack, module
        self._plain = {part: list(stack._commands[part]) for part in parts}
        self.unknown = 0  # what the one that died last had posted to Digital Channels, and not noted

    def dies(self, point: Point, fault: str, cause: Callable[[], object]) -> float:
        """Once `cause` has brought it to the point; when that was, by time.monotonic()."""
        stack, part, witness = self._stack, point.part, self._stack.folder / "witness.jsonl"
        witness.unlink(missing_ok=True)
        stack.terminate(part)
        arguments = ["--at", point.name, "--do", fault, "--witness", str(witness)]
        stack._commands[part] = ["-m", self._module, *arguments, "--", COMMANDS.get(part, part)]
        stack.start(part)
        lost = stack.processes[part].pid
        cause()
        until(lambda: stack.processes[part].poll() is not None, f"it ends at: {point.name}", 60.0)
        died = time.monotonic()
        ended = stack.processes.pop(part).wait()
        told = [json.loads(line) for line in witness.read_text().splitlines()]
        self.unknown = Unknown(told, lost, math.inf).posts if fault == KILL else 0
        stack._commands[part] = self._plain[part]
        stack.start(part)
        assert ended == (-signal.SIGKILL if fault == KILL else 0), f"the {part} ended with {ended} at: {point.name}"
        return died


def each(
    way: str, chosen: Sequence[tuple[Point, str]], row: Callable[[Point, str], Row], tell: Callable[[Row], object]
) -> list[Row]:
    """Play them in one bridge. A row that does not end in time is red, and the last: nobody knows what it has left."""
    rows: list[Row] = []
    for point, fault in chosen:
        try:
            rows.append(row(point, fault))
        except AssertionError as late:
            what = str(late).partition(": not within")[0].splitlines()[0]
            rows.append(Row(way, point, fault, 0, 0.0, {f"not in time: {what}": 1}))
        tell(rows[-1])
        if not rows[-1].good:
            break
    return rows


def launch(points: Sequence[Point], arguments: Sequence[str]) -> None:
    """Be one process of the product, which is to end at a point."""
    options = argparse.ArgumentParser()
    options.add_argument("--at")
    options.add_argument("--do")
    options.add_argument("--witness")
    options.add_argument("command", nargs="+")
    asked = options.parse_args(arguments)
    gate = Gate(asked.witness)
    gate.arm(asked.at, NTH, asked.do)
    watch(gate)
    guard(gate, next(point for point in points if point.name == asked.at))

    from dcbridge.cli.app import main as product

    sys.argv = ["dcbridge", *asked.command]
    product()


def main(points: Sequence[Point], play: Callable[..., list[Row]]) -> int:
    """A way by itself: the rows whose points hold all words of the command line."""
    if "--at" in sys.argv:
        launch(points, sys.argv[1:])
        return 0
    began = time.monotonic()
    chosen = [(point, fault) for point in points for fault in FAULTS_HERE]
    rows = play([one for one in chosen if all(word in one[0].name for word in sys.argv[1:])], print)
    sys.stdout.write(f"{sum(row.good for row in rows)} of {len(rows)} good, {time.monotonic() - began:.0f} s\n")
    return 0 if all(row.good for row in rows) else 1


def markdown(rows: Sequence[Row]) -> str:
    """For the page: a line for each point."""
    by_cell = {(row.way, row.point.name, row.fault): row for row in rows}
    lines = [f"| | point | {' | '.join(FAULTS[fault] for fault in FAULTS_HERE)} |", "|---|---|---|---|"]
    points: dict[tuple[str, str], Any] = {(row.way, row.point.name): row.point for row in rows}
    for (way, name), point in points.items():
        cells = [_cell(by_cell.get((way, name, fault))) for fault in FAULTS_HERE]
        lines.append(f"| {way} | {name}{f' ({point.says})' if point.says else ''} | {' | '.join(cells)} |")
    good = [row for row in rows if row.good]
    went = sum(row.count for row in good)
    twice = sum(row.excused for row in good) or "none"
    said = f"{len(good)} of {len(rows)} cells green; {went} mails, letters, calls and texts in them:"
    said += f" none lost but as a point says, {twice} twice."
    return "\n".join([*lines, "", said, ""])


def _cell(row: Row | None) -> str:
    if row is None:
        return "–"
    excused = f", {row.excused} posted twice" if row.excused else ""
    return f"{row.seconds:.1f} s{excused}" if row.good else f"**red**: {row.bad}"
