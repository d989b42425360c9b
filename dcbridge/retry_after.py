"""Retry-After (RFC 9110, 10.2.3): seconds, or the date after which to come back.

What is read here is what the other side asks for. How much of it is kept to is said by `longest_pause` in bridge.yaml,
and decided where the wait begins.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from datetime import UTC
from email.utils import parsedate_to_datetime

LONGEST = 10 * 365 * 86400.0  # seconds; whatever is more is as good as never

# RFC 9110 has whole seconds; a fraction is read as well. No sign, no exponent, and digits of ASCII alone.
_SECONDS = re.compile(r"[0-9]{1,400}(\.[0-9]{1,400})?", re.ASCII)
_LONGEST_DATE = 60  # characters, of a date with words around it


def seconds(value: str, now: float | None = None) -> float | None:
    """Seconds from `now` (a Unix time; default: this moment), from 0 to LONGEST; None for no or an odd value."""
    written = value.strip()
    if _SECONDS.fullmatch(written):
        return min(float(written), LONGEST)
    if len(written) > _LONGEST_DATE or not written.isascii():
        return None
    try:
        moment = parsedate_to_datetime(written)
        if moment.tzinfo is None:  # "-0000" and asctime's form; HTTP dates are UTC
            moment = moment.replace(tzinfo=UTC)
        until = moment.timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return min(max(0.0, until - (time.time() if now is None else now)), LONGEST)


def longest(values: Iterable[str], now: float | None = None) -> float | None:
    """Of several headers the longest that can be read: whoever says it twice is to be left alone as long as that."""
    found = [wait for wait in (seconds(value, now) for value in values) if wait is not None]
    return max(found, default=None)
