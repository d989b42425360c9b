"""How times are put, on a screen, on a page and in JSON."""

from __future__ import annotations

from datetime import UTC, datetime

from dcbridge.settings.process import DAY


def utc(seconds: float) -> str:
    """ "2026-11-22T02:03:54.123Z"."""
    at = datetime.fromtimestamp(round(seconds, 3), UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def format_duration(seconds: float) -> str:
    """ "4.2 s", "5 min", "3 h" or "12 d": two figures are enough for a person."""
    for unit, size in (("d", DAY), ("h", 3600.0), ("min", 60.0)):
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.3g} s"


def format_age(seconds: float) -> str:
    """As `format_duration`, to a tenth of a second: for what is looked at again and again."""
    return (
        f"{seconds:.1f} s"
        if abs(seconds) < 10
        else f"{seconds:.0f} s"
        if abs(seconds) < 120
        else format_duration(seconds)
    )
