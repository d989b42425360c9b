"""Signatures that were refused: where, why, how often and when, and nothing of what was sent (signatures.lua).

Processes count them, and report every few seconds: what a stranger sends costs one field for each endpoint and reason.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import cast

from dcbridge.ledger.script import Script, ms, word

CALLBACK = "callback/"  # before the name of a provider
UNKNOWN = "(unknown)"  # an address that no endpoint has: what was typed is not kept


@dataclass(frozen=True, slots=True)
class Refusals:
    """Of one place, for one reason. Times are seconds since 1970.

    `where`: an endpoint's name, or with `interactions/`, `trigger/` or `callback/` before it that of another.
    """

    where: str
    why: str
    count: int
    first: float
    last: float


class Signatures:
    """Those of one ledger."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def report(self, process: str, number: int, found: Sequence[Refusals]) -> bool:
        """What a process has counted since its last report; False where this one, or a later one, was here before."""
        words = [
            word
            for one in found
            for word in (f"{one.where} {one.why}", str(one.count), str(ms(one.first)), str(ms(one.last)))
        ]
        return word(await self._script.call("signatures_refused", process, number, *words)) == "new"

    async def refused(self) -> list[Refusals]:
        """All of the last 30 days, the newest first. One command."""
        stored = await cast(Awaitable[dict[bytes, bytes]], self._script.redis.hgetall("dcb:signatures"))
        found = [_read(what.decode(errors="replace"), line.decode(errors="replace")) for what, line in stored.items()]
        return sorted(filter(None, found), key=lambda one: (-one.last, one.where, one.why))


def _read(what: str, line: str) -> Refusals | None:
    """None for one that cannot be read."""
    where, _, why = what.partition(" ")
    numbers = line.split(" ")
    if len(numbers) != 3 or not all(one.isdecimal() and one.isascii() and len(one) < 16 for one in numbers):
        return None
    count, first, last = map(int, numbers)
    return Refusals(where, why, count, first / 1000, last / 1000)
