"""In which time zones the owner of a phone number may be, by libphonenumber's list.

The list is loaded by the first number that is asked about: 7 MB, a tenth of a second.
"""

from __future__ import annotations

from functools import lru_cache
from zoneinfo import ZoneInfo

import phonenumbers

MOST = 15  # digits of a number


@lru_cache(maxsize=4096)
def zones_of(digits: str) -> tuple[str, tuple[str, ...]]:
    """(country, zones) of a number, its country code first, without a plus: none where that is not known.

    Of a mobile number most countries tell no more than the country. In North America the area code counts, which people
    keep when they move.
    """
    if not (digits.isascii() and digits.isdigit() and len(digits) <= MOST):
        return "", ()
    from phonenumbers import timezone

    try:
        number = phonenumbers.parse(f"+{digits}")
    except phonenumbers.NumberParseException:
        return "", ()
    if not phonenumbers.is_possible_number(number):
        return "", ()
    found = tuple(zone for zone in timezone.time_zones_for_number(number) if _is_known(zone))
    return phonenumbers.region_code_for_number(number) or "", found


@lru_cache(maxsize=1024)
def _is_known(zone: str) -> bool:
    """Not one that this computer's list lacks, and not "Etc/Unknown"."""
    try:
        return bool(ZoneInfo(zone))
    except (ValueError, OSError, LookupError):
        return False
