"""Two well subscribers beside one that hangs, one that fails and one that throttles: does anybody wait for these?

python -m tests.faults.events_sick --events 10000 --seconds 40 --rounds 3

Each round runs twice, without and with the sick ones, in turn. Every event has to reach each well
subscriber exactly once; the 99th percentile of their delay is compared.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.faults.events import SICK, WELL, EventStack, batches_of
from tests.stack import until


@dataclass
class Figures:
    """One run. Delays in milliseconds, of the well subscribers."""

    events: int
    heard: dict[str, int] = field(default_factory=dict)  # requests, by subscriber
    delays: list[float] = field(default_factory=list)
    lost: int = 0
    doubled: int = 0
    difference: int = 0  # accepted less everything accounted for, of all subscribers
    waiting: dict[str, int] = field(default_factory=dict)

    def percentile(self, share: float) -> float:
        ordered = sorted(self.delays)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0

    def wrong(self) -> list[str]:
        """What breaks a promise."""
        found = [
            f"{name} is {getattr(self, name)}" for name in ("lost", "doubled", "difference") if getattr(self, name)
        ]
        sick = [name for name in self.heard if name not in WELL]
        return found + [f"{name} waits for nothing" for name in sick if self.waiting.get(name) != self.events]


def run(events: int, seconds: float, sick: Mapping[str, str], per_batch: int = 2) -> Figures:
    """One run with processes of its own."""
    with EventStack(sick) as bridge:
        bridge.tell(batches_of(20, per_batch), 1.0)  # what starting up costs is not an event's
        bridge.wait_for(40, 30.0)
        before = {name: len(bridge.heard(name)) for name in WELL}
        bridge.tell(batches_of(events // 2, per_batch), seconds)
        bridge.wait_for(events + 40, 120.0)
        figures = Figures(events + 40)
        for name in WELL:
            heard = bridge.heard(name)
            ids = {one[0] for one in heard}
            figures.lost += events + 40 - len(ids)
            figures.doubled += len(heard) - len(ids)
            figures.delays += [one[2] for one in heard[before[name] :]]
        until(
            lambda: all(one.waiting == 0 for one in bridge.stack.books().subscribers if one.name in WELL), "books", 10
        )
        figures.heard = bridge.counts()
        for one in bridge.stack.books().subscribers:
            figures.difference += abs(one.difference)
            figures.waiting[one.name] = one.waiting
        return figures


def main() -> int:
    """Print the figures; 1 when a promise was broken."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--events", type=int, default=10_000)
    options.add_argument("--seconds", type=float, default=40.0)
    options.add_argument("--rounds", type=int, default=3)
    asked = options.parse_args()
    ratios, wrong = [], []
    for turn in range(asked.rounds):
        well = run(asked.events, asked.seconds, {})
        sick = run(asked.events, asked.seconds, SICK)
        wrong += well.wrong() + sick.wrong()
        ratios.append(sick.percentile(0.99) / well.percentile(0.99))
        for word, figures in (("well ones alone", well), ("beside sick ones", sick)):
            shares = " / ".join(f"{figures.percentile(share):.0f}" for share in (0.5, 0.9, 0.99, 1.0))
            print(f"round {turn + 1}, {word:>16}: delay p50 / p90 / p99 / most {shares} ms; {figures.heard}")  # noqa: T201
    print(f"p99 with the sick ones by p99 without: {statistics.median(ratios):.2f} (each round: {ratios})")  # noqa: T201
    for one in wrong:
        print(f"wrong: {one}")  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
