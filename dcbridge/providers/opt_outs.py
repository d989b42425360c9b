"""The list of consumers who opted out that some companies keep, and may be asked for: page by page, without I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

import httpx

LAST = 253_402_300_799.0  # the last second that can be written as a date


@dataclass(frozen=True, slots=True)
class ListedOptOut:
    """One consumer. `sender`: the number of ours that they wrote to; "" where that is not told."""

    number: str = field(repr=False)
    at: float | None = None  # seconds since 1970; None where that cannot be read
    sender: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class OptOutPage:
    """`following` asks for the next page; "" where this was the last."""

    rows: Sequence[ListedOptOut]
    following: str = field(default="", repr=False)


class OptOutList(Protocol):
    """How an account is asked for its list."""

    def page_request(self, page: str) -> httpx.Request:
        """Ask for a page; "" is the first."""

    def parse_page(self, answer: httpx.Response) -> OptOutPage:
        """The answer. Raises the SendError that it would be for a send; Unreadable where it is no list."""


def moment(value: object) -> float | None:
    """A time of theirs: seconds since 1970, or ISO 8601."""
    if isinstance(value, str) and len(value) <= 40:
        try:
            read = datetime.fromisoformat(value)
            value = (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LAST:
        return None
    return float(value)
