"""How many messages hold a place of an account with a window: those that are in it, and some that wait for it.

A message has its place from the moment its job is queued until the answer is written down, which is several times the
delay of a fast SMSC. So that the window is full at the SMSC, some more have one, and wait in the worker until their
session has room: as many as the window has, which is one delay of the SMSC more, and of a limited rate what is due in
a quarter of a second, since those may all go at once.
"""

from __future__ import annotations

from typing import Protocol

MOST = 200
SECONDS = 0.25


def ahead(window: int, per_second: float) -> int:
    """Messages of a window of requests that may wait for it in the worker; 0 is no limit of `per_second`."""
    due = max(1, int(per_second * SECONDS)) if per_second else MOST
    return min(window, due, MOST)


class _Pace(Protocol):
    @property
    def per_second(self) -> float: ...
    @property
    def burst(self) -> int: ...
    @property
    def in_flight(self) -> int: ...


def written(pace: _Pace, more: int = 0) -> str:
    """As pacing.lua reads it, with `more` requests in flight."""
    return f"{pace.per_second:g} {pace.burst} {pace.in_flight + more}"
