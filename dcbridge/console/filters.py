"""How a template puts times and counts. Times always have their zone; a future one says `in`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

FIRST, LAST = 0.0, 253402300799.0  # the seconds since 1970 that a date can be made of


def iso(seconds: float) -> str:
    """ "2026-11-22T02:03:54Z"; "" for what is no time."""
    at = _date(seconds)
    return f"{at:%Y-%m-%dT%H:%M:%SZ}" if at else ""


def utc(seconds: float) -> str:
    """ "2026-11-22 02:03:54 UTC"."""
    at = _date(seconds)
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else "–"


def clock(seconds: float) -> str:
    """ "02:03:54.123", where the day is said beside it."""
    at = _date(round(seconds, 3))
    return f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}" if at else "–"


def day(seconds: float) -> str:
    """ "2026-11-22"."""
    at = _date(seconds)
    return f"{at:%Y-%m-%d}" if at else "–"


def duration(seconds: float) -> str:
    """ "0.41 s", "42 s", "5 min", "3 h" or "12 d": two figures are enough for a person."""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.0f} s" if abs(seconds) >= 10 else f"{seconds:.2g} s"


def ago(at: float, now: float) -> str:
    """ "5 min ago", "in 3 s" or "now"."""
    apart = now - at
    if abs(apart) < 1:
        return "now"
    return f"{duration(apart)} ago" if apart > 0 else f"in {duration(-apart)}"


def count(number: float) -> str:
    """ "12,345"."""
    return f"{number:,.0f}"


def counted(number: int, noun: str) -> str:
    """ "1 message", "12,345 messages"."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _date(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if FIRST <= seconds <= LAST else None


FILTERS: dict[str, Callable[..., Any]] = {
    "iso": iso,
    "utc": utc,
    "clock": clock,
    "day": day,
    "duration": duration,
    "ago": ago,
    "count": count,
    "counted": counted,
}
