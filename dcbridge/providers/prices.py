"""What a provider says that a message costs, which may be anything: an exact amount of a currency, or nothing."""

from __future__ import annotations

import re
from decimal import Decimal

from dcbridge.messages import Cost

# More is no price of an SMS. Digits behind the eighth are rounded: they come from binary fractions in JSON.
_AMOUNT = re.compile(r"([0-9]{1,7})(?:\.([0-9]{1,20}))?", re.ASCII)
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
_MOST_SEGMENTS = 255  # they are counted in 8 bits


def price(provider: str, amount: object, currency: object, segments: object = 0, *, each: bool = False) -> Cost | None:
    """None where it is no price, or nothing was charged. `segments`: of how many SMS, where that is said as well.

    `each`: the amount is that of one SMS.
    """
    written = _written(amount)
    if not isinstance(currency, str) or not _CURRENCY.fullmatch(currency) or not _AMOUNT.fullmatch(written):
        return None
    count = _count(segments)
    units = int((Decimal(written) * 10**8).to_integral_value()) * (max(count, 1) if each else 1)
    return Cost(provider, currency, units, count) if units else None


def _written(amount: object) -> str:
    if isinstance(amount, str):
        return amount
    if isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 < amount < 10**7:
        return ""
    return f"{Decimal(repr(amount)):f}"


def _count(segments: object) -> int:
    if isinstance(segments, str) and re.fullmatch(r"[0-9]{1,3}", segments, re.ASCII):
        segments = int(segments)
    if isinstance(segments, bool) or not isinstance(segments, int):
        return 0
    return segments if 1 <= segments <= _MOST_SEGMENTS else 0
