"""Plots as numbers for an inline SVG: the template draws, a table beside it says the same to a screen reader."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 720.0, 150.0  # of the drawing
LEFT, RIGHT, BOTTOM, TOP = 44.0, 16.0, 20.0, 8.0  # room for the labels


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a bar: where it begins and how wide it is, of 1000."""

    name: str
    count: int
    x: float
    width: float


def bar(counts: Mapping[str, int]) -> list[Part]:
    """Parts that fill the bar, in their order. One that is not 0 is wide enough to be seen."""
    whole = sum(counts.values())
    if whole <= 0:
        return []
    least = 4.0
    shown = {name: count for name, count in counts.items() if count > 0}
    wide = {name: max(least, 1000 * count / whole) for name, count in shown.items()}
    scale = 1000 / sum(wide.values())
    found, x = [], 0.0
    for name, count in shown.items():
        width = wide[name] * scale
        found.append(Part(name, count, round(x, 2), round(width, 2)))
        x += width
    return found


@dataclass(frozen=True, slots=True)
class Box:
    """One rectangle of a plot."""

    x: float
    y: float
    width: float
    height: float
    kind: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A label of an axis, and where it is."""

    at: float
    words: str


@dataclass(frozen=True, slots=True)
class Plot:
    """What a template draws."""

    boxes: Sequence[Box]
    lines: Sequence[Sequence[tuple[float, float]]]  # one for each series, of what is known of it
    across: Sequence[Tick]  # along the bottom
    up: Sequence[Tick]
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    floor: float = HEIGHT - BOTTOM


def stacked(hours: Sequence[str], series: Mapping[str, Sequence[int]], every: int = 4) -> Plot:
    """Bars, one an hour, stacked in the order of `series`."""
    sums = [sum(values[n] for values in series.values()) for n in range(len(hours))]
    top = _nice(max(sums, default=0))
    step = (WIDTH - LEFT - RIGHT) / max(1, len(hours))
    boxes = []
    for n in range(len(hours)):
        y = HEIGHT - BOTTOM
        for name, values in series.items():
            tall = values[n] / top * (HEIGHT - BOTTOM - TOP) if top else 0.0
            if tall:
                y -= tall
                boxes.append(Box(round(LEFT + n * step + 1, 1), round(y, 1), round(step - 2, 1), round(tall, 1), name))
    return Plot(boxes, [], _across(hours, step, every), _up(top))


def lines(hours: Sequence[str], series: Sequence[Sequence[float | None]], every: int = 4) -> Plot:
    """Lines over the hours; None where nothing is known."""
    top = _nice(max((value for values in series for value in values if value is not None), default=0.0))
    step = (WIDTH - LEFT - RIGHT) / max(1, len(hours))
    drawn = [
        [
            (round(LEFT + (n + 0.5) * step, 1), round(HEIGHT - BOTTOM - value / top * (HEIGHT - BOTTOM - TOP), 1))
            for n, value in enumerate(values)
            if value is not None and top
        ]
        for values in series
    ]
    return Plot([], drawn, _across(hours, step, every), _up(top, " s"))


def _across(hours: Sequence[str], step: float, every: int) -> list[Tick]:
    last = len(hours) - 1
    return [Tick(round(LEFT + (n + 0.5) * step, 1), word) for n, word in enumerate(hours) if (last - n) % every == 0]


def _up(top: float, unit: str = "") -> list[Tick]:
    if not top:
        return [Tick(HEIGHT - BOTTOM, f"0{unit}")]
    tall = HEIGHT - BOTTOM - TOP
    return [Tick(round(HEIGHT - BOTTOM - tall * part, 1), f"{top * part:,.10g}{unit}") for part in (0.0, 0.5, 1.0)]


def _nice(most: float) -> float:
    """The next of 1, 2, 4, 10 × 10ⁿ that is not less: half of it can be read as well."""
    if most <= 0 or not math.isfinite(most):
        return 0.0
    size = 10.0 ** math.floor(math.log10(most))
    return next(size * step for step in (1, 2, 4, 10) if most <= size * step * (1 + 1e-9))
