"""Counts the signatures that this process refuses, until they are reported: a flood of them asks nothing of Redis."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from dcbridge.ledger.signatures import Refusals

MOST = 500  # places and reasons between two reports; both are words of ours, so there are fewer


@dataclass(slots=True)
class RefusalCounts:
    """Of one process. Its reports are numbered, so that one whose answer was lost may be sent again."""

    clock: Callable[[], float] = time.time
    _counted: dict[tuple[str, str], Refusals] = field(default_factory=dict)
    _reported: list[Refusals] = field(default_factory=list)  # sent, and perhaps not stored
    _number: int = 0

    def note(self, where: str, why: str) -> None:
        """One more. `where` without blanks, of the configuration; `why` a fixed word."""
        now = self.clock()
        before = self._counted.get((where, why))
        if before is not None:
            self._counted[where, why] = replace(before, count=before.count + 1, last=now)
        elif len(self._counted) < MOST:
            self._counted[where, why] = Refusals(where, why, 1, now, now)

    def report(self) -> tuple[int, list[Refusals]]:
        """The next report and its number; the one before again until `stored`. An empty one has nothing to tell."""
        if not self._reported and self._counted:
            # Larger than those of a process of the same name that ran before.
            self._number = max(self._number + 1, round(self.clock() * 1000))
            self._reported, self._counted = list(self._counted.values()), {}
        return self._number, self._reported

    def stored(self) -> None:
        """The report has arrived."""
        self._reported = []
