"""`make bench`: every figure beside its baseline, in one run. Quote the ratios; the machine is part of the rest."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import beside_bullmq, door, drain, events, machine, mails, media, relay, smpp, updates, whole
from benchmarks.machine import Noise
from benchmarks.stage import CannotRun, leave_nothing_running
from benchmarks.table import Line, markdown, text

Measure = Callable[[Path, int], list[Line]]

# By name: how it is measured, and the same so small that only its working is seen.
ROWS: dict[str, tuple[Measure, Measure]] = {
    "door": (door.measure, partial(door.measure, size=door.SMALL)),
    "relay": (relay.measure, partial(relay.measure, size=relay.SMALL)),
    "slow": (relay.measure_slow, partial(relay.measure_slow, size=relay.SMALL)),
    "two": (relay.measure_two, partial(relay.measure_two, size=relay.SMALL)),
    "whole": (whole.measure, partial(whole.measure, size=whole.SMALL)),
    "drain": (drain.measure, partial(drain.measure, size=drain.SMALL)),
    "updates": (updates.measure, partial(updates.measure, size=updates.SMALL)),
    "events": (events.measure, partial(events.measure, size=events.SMALL)),
    "mails": (mails.measure, partial(mails.measure, size=mails.SMALL)),
    "media": (media.measure, partial(media.measure, size=media.SMALL)),
    "smpp": (smpp.measure, partial(smpp.measure, size=smpp.SMALL)),
    "bullmq": (beside_bullmq.measure, partial(beside_bullmq.measure, size=beside_bullmq.SMALL)),
}
ASKED_FOR = {"bullmq"}  # it installs packages of others: measured where it is named, and not with all rows


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    options.add_argument("--row", action="append", choices=list(ROWS), help="only this one; may be repeated")
    options.add_argument("--runs", type=int, default=3, help="runs of each row (default 3)")
    options.add_argument("--small", action="store_true", help="so little of each that its figures mean nothing")
    options.add_argument("--json", type=Path, metavar="FILE", help="write every figure of every run to a file")
    options.add_argument("--markdown", action="store_true", help="print the table of docs/performance.md")
    asked = options.parse_args()
    leave_nothing_running()
    began = time.monotonic()
    table: list[Line] = []
    heading = f"{machine.name()}; {asked.runs} runs: median (least–most)"
    if not asked.markdown:
        print(heading, flush=True)
    with tempfile.TemporaryDirectory(prefix="dcbridge-bench-") as name:
        folder = Path(name)
        noise = Noise(folder)
        noise.look()
        for row in asked.row or [row for row in ROWS if row not in ASKED_FOR]:
            try:
                lines = ROWS[row][asked.small](folder, asked.runs)
            except CannotRun as why:
                print(f"\n{row}: not measured: {why}", flush=True)
                continue
            noise.look()
            table += lines
            if not asked.markdown:
                print(f"\n{text(lines)}", flush=True)
    table += noise.lines()
    if asked.markdown:
        print(f"{heading}.\n\n{markdown(table)}")
    else:
        print(f"\n{text(noise.lines())}\n\n{time.monotonic() - began:.0f} seconds")
    if asked.json:
        written = {"machine": heading, "lines": [line.json() for line in table]}
        asked.json.write_text(json.dumps(written, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
