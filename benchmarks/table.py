"""Figures and how they are told: the median of all runs, the least and the most, and the ratio to a baseline.

A ratio is made of the two figures of one run, which met the same machine; the median is of these ratios.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table. `values` and, where there is a baseline, `beside` have one figure a run, in order."""

    what: str
    values: tuple[float, ...]
    digits: int = 0
    baseline: str = ""
    beside: tuple[float, ...] = ()
    aim: str = ""

    @property
    def ratios(self) -> list[float]:
        return [value / base for value, base in zip(self.values, self.beside, strict=True) if base]

    @property
    def cells(self) -> tuple[str, str, str, str, str]:
        """What, the figure, the baseline with its figure, the ratio, the aim."""
        beside = f"{self.baseline}: {number(statistics.median(self.beside), self.digits)}" if self.beside else ""
        ratio = _spread(self.ratios, 2) if self.beside and self.ratios else ""
        return self.what, _spread(self.values, self.digits), beside, ratio, self.aim

    def json(self) -> dict[str, object]:
        return asdict(self) | {"ratios": self.ratios if self.beside else []}


def column(runs: Sequence[dict[str, float]], name: str) -> tuple[float, ...]:
    """One figure of every run."""
    return tuple(run[name] for run in runs)


def number(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}"


def _spread(values: Sequence[float], digits: int) -> str:
    """The median, and the least and the most where there are several."""
    if digits == 2 and min(values) >= 100:
        digits = 0
    middle = number(statistics.median(values), digits)
    if len(values) == 1:
        return middle
    return f"{middle} ({number(min(values), digits)}–{number(max(values), digits)})"


HEADINGS = ("", "figure", "beside", "ratio", "aim")


def text(lines: Sequence[Line]) -> str:
    """For a terminal: what on a line of its own where the columns would not fit."""
    rows = []
    for line in lines:
        what, figure, beside, ratio, aim = line.cells
        rows.append(f"{what:<66} {figure:>24}")
        details = [d for d in (f"{beside}, ratio {ratio}" if beside else "", f"aim {aim}" if aim else "") if d]
        if details:
            rows.append("    " + "; ".join(details))
    return "\n".join(rows)


def markdown(lines: Sequence[Line]) -> str:
    """For docs/performance.md."""
    rows = [f"| {' | '.join(HEADINGS)} |", "|---|--:|---|--:|--:|"]
    rows += [f"| {' | '.join(line.cells)} |" for line in lines]
    return "\n".join(rows)
