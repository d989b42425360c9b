"""What a search for messages asks: read from the address of its page, with an error at each field that is wrong.

No number and no address is ever part of it: a consumer is named by `who`, a keyed digest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode

from dcbridge.ledger.fields import State

STATES: Final = tuple(state.value for state in State)
WORDS = 200  # characters of a field
_WHO = re.compile(r"[0-9a-f]{12}(\.[0-9a-f]{12}){0,15}")
_AGO = re.compile(r"([0-9]{1,6})([smhd])")
_CURSOR = re.compile(r"[a-z0-9.-]{1,100}")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LAST = 253402300799.0  # seconds since 1970 that are still a date


@dataclass(frozen=True, slots=True)
class Asked:
    """As typed, but for `since` and `until`: those in seconds since 1970, None for any. `errors`: by field."""

    channel: str = ""
    provider: str = ""
    state: str = ""
    reason: str = ""
    who: str = ""
    id: str = ""
    after: str = ""
    before: str = ""
    cursor: str = ""
    since: float | None = None
    until: float | None = None
    errors: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        return not any(
            (self.channel, self.provider, self.state, self.reason, self.who, self.id, self.after, self.before)
        )

    def address(self, path: str = "/messages", **changes: str) -> str:
        """The same search, with some fields changed; the cursor only where it is one of them."""
        known = {name: value for name, value in asdict(self).items() if name in _FIELDS and value}
        known.pop("cursor", None)
        told = {name: value for name, value in (known | changes).items() if value}
        return path + (f"?{urlencode(told)}" if told else "")


_FIELDS: Final = ("channel", "provider", "state", "reason", "who", "id", "after", "before", "cursor")


def read(given: Mapping[str, str], now: float) -> Asked:
    """What a page was asked. A field that is wrong is left out of the search, and told of."""
    text = {name: given.get(name, "").strip()[:WORDS] for name in _FIELDS}
    errors: dict[str, str] = {}
    if text["state"] and text["state"] not in STATES:
        errors["state"] = f"Use one of {', '.join(STATES)}."
    if text["reason"] and not re.fullmatch(r"[0-9]{3}", text["reason"]):
        errors["reason"] = "A reason is three digits, such as 500."
    if text["who"] and not _WHO.fullmatch(text["who"]):
        errors["who"] = "Search by number again."
    if text["cursor"] and not _CURSOR.fullmatch(text["cursor"]):
        errors["cursor"] = "Begin at the newest again."
    times: dict[str, float | None] = {}
    for name in ("after", "before"):
        try:
            times[name] = moment(text[name], now) if text[name] else None
        except ValueError as error:
            errors[name], times[name] = str(error), None
    since, until = times["after"], times["before"]
    if since is not None and until is not None and since >= until:
        errors["before"] = "Should be later than the beginning."
    return Asked(**text, since=since, until=until, errors=errors)


def moment(text: str, now: float) -> float:
    """Seconds since 1970 of "2h" (ago) or an ISO time, which is UTC unless it says otherwise. Raises ValueError."""
    if found := _AGO.fullmatch(text):
        return max(0.0, now - int(found[1]) * _UNITS[found[2]])
    try:
        at = datetime.fromisoformat(text.removesuffix(" UTC"))
        seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError("Use 30m, 2h or 7d (ago), or a time such as 2026-11-26 21:30 (UTC).") from None
    if not 0 <= seconds <= _LAST:
        raise ValueError("Use a time between 1970 and 9999.")
    return seconds
