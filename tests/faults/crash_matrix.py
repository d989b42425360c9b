"""Every point of the path × every way to fail there: nothing lost, nothing doubled, nothing out of order.

python -m tests.faults.crash_matrix                    # all cells with the product's own leases, as a table
python -m tests.faults.crash_matrix --markdown         # … and the table of docs/crash-matrix.md written anew
python -m tests.faults.crash_matrix --only "claim" --short
python -m tests.faults.crash_matrix --ways             # the other ways alone: mail, work items, calls, Open Messaging
"""

from __future__ import annotations

import argparse
import queue
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console

from tests.faults import call_crashes, cloud_crashes, item_crashes, mail_crashes, secure_crashes
from tests.faults.crash_cell import CELLS, QUARTERS, Bridges, Cell, Outcome, quarter
from tests.faults.crash_rows import FAULTS_HERE, Row
from tests.faults.crash_table import said, summary, table, write_page

WAYS = (mail_crashes, item_crashes, secure_crashes, call_crashes, cloud_crashes)
PAGE = Path(__file__).parent.parent.parent / "docs" / "crash-matrix.md"


def play_all(
    cells: Sequence[Cell], only: str, *, jobs: int, short: bool, tell: Callable[[Outcome | Row], None]
) -> tuple[list[Outcome], list[Row]]:
    """`jobs` bridges at once, each taking the next cell; the outcomes in the order of the cells. Before them come the
    rows of the other ways, with a bridge for each way, whose names hold `only`.
    """
    waiting: queue.SimpleQueue[Cell] = queue.SimpleQueue()
    for cell in cells:
        waiting.put(cell)
    played: dict[Cell, Outcome] = {}

    def work() -> None:
        with Bridges(short=short) as bridges:
            while True:
                try:
                    cell = waiting.get_nowait()
                except queue.Empty:
                    return
                played[cell] = bridges.play(cell)
                tell(played[cell])

    with ThreadPoolExecutor(jobs) as threads:
        ways = [
            threads.submit(way.play, chosen, tell)
            for way in WAYS
            if (chosen := [(point, fault) for point in way.POINTS for fault in FAULTS_HERE
                           if only in f"{way.WAY}, {point.name}-{fault}"])
        ]  # fmt: skip
        for done in [threads.submit(work) for _ in range(jobs)]:
            done.result()
        return [played[cell] for cell in cells], [row for way in ways for row in way.result()]


def main(arguments: Sequence[str]) -> int:
    """Print the table; 1 when a cell is red."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--only", default="", help="cells whose name holds this: a point, or point-FAULT")
    options.add_argument("--ways", action="store_true", help="the other ways alone, none of the cells")
    options.add_argument("--suite", action="store_true", help="the cells that the tests play, no others")
    options.add_argument("--jobs", type=int, default=2, help="bridges at once")
    options.add_argument("--short", action="store_true", help="short leases, as the tests have them")
    options.add_argument("--markdown", action="store_true", help=f"write {PAGE.name} anew")
    asked = options.parse_args(arguments)
    chosen = [cell for number in range(QUARTERS) for cell in quarter(number)] if asked.suite else CELLS
    cells = [cell for cell in chosen if asked.only in str(cell) and not asked.ways]
    screen = Console(width=None if sys.stdout.isatty() else 240)
    began = time.monotonic()

    def tell(outcome: Outcome | Row) -> None:
        if isinstance(outcome, Row):
            screen.print(f"[{'green' if outcome.good else 'red'}]{outcome}[/]", highlight=False)
            return
        colour = "red" if outcome.wrong() else "green"
        screen.print(f"[{colour}]{outcome.cell}[/]: {said(outcome)}", highlight=False)

    only = "no way" if asked.suite else asked.only
    played, rows = play_all(cells, only, jobs=asked.jobs, short=asked.short, tell=tell)
    seconds = time.monotonic() - began
    if played:
        screen.print(table(played))
        for line in summary(played, seconds):
            screen.print(line, highlight=False)
    if asked.markdown:
        write_page(PAGE, played, rows, seconds)
    return 1 if any(outcome.wrong() for outcome in played) or not all(row.good for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
