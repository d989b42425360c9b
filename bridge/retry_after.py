"""Retry-After (RFC 9110, 10.2.3): seconds, or the date after which to come back."""

from __future__ import annotations

import re
import time
from datetime import UTC
from email.utils import parsedate_to_datetime

# RFC 9110 has whole seconds; a fraction is read as well. More than nine digits is no wait but a fault.
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)


def seconds(value: str, now: float | None = None) -> float | None:
    """Seconds from `now` (a Unix time; default: this moment), never below 0; None for no or an odd value."""
    written = value.strip()
    if _SECONDS.fullmatch(written):
        return float(written)
    try:
        moment = parsedate_to_datetime(written)
        if moment.tzinfo is None:  # "-0000" and asctime's form; HTTP dates are UTC
            moment = moment.replace(tzinfo=UTC)
        until = moment.timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return max(0.0, until - (time.time() if now is None else now))
