"""Statistics of the contact centre as all processes know them, and which process asks for them (signals.lua)."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio import Redis

from dcbridge.ledger import moment
from dcbridge.ledger.locks import lock, unlock
from dcbridge.ledger.script import Script, ms, word
from dcbridge.settings.process import DAY

KEEP = DAY  # seconds that a value stays that is not renewed; it is not good for so long


class LostLead(Exception):
    """Another process does it now."""


@dataclass(frozen=True, slots=True)
class NewSignal:
    """A value, None for none. `age` in seconds; `above`, `below`: when its crossing is told, None: never."""

    watch: str
    value: float | None
    age: float = 0.0
    above: float | None = None
    below: float | None = None


@dataclass(frozen=True, slots=True)
class Signal:
    """A value as it is known. `age` in seconds; `good`: nothing but its age speaks against it."""

    value: float | None
    age: float
    good: bool

    def fresh(self, fresh_for: float) -> float | None:
        """The value, where it may be relied on."""
        return self.value if self.good and 0 <= self.age <= fresh_for else None


class Lead:
    """What one of many processes does at a time, by a lease. What it writes is fenced by its token."""

    def __init__(self, script: Script, name: str) -> None:
        self._script, self.name, self.token = script, name, secrets.token_hex(8)
        self._key = f"dcb:lead:{name}"

    async def hold(self, seconds: float) -> bool:
        """Whether this one leads for `seconds` from now."""
        return await lock(self._script, self._key, self.token, seconds)

    async def end(self) -> None:
        await unlock(self._script, self._key, self.token)


class Signals:
    """The statistics of one ledger."""

    def __init__(self, script: Script) -> None:
        self._script = script

    def lead(self, name: str) -> Lead:
        return Lead(self._script, name)

    async def put(self, lead: Lead, values: Sequence[NewSignal]) -> None:
        """Raises LostLead."""
        words = [
            item
            for one in values
            for item in (one.watch, _text(one.value), ms(one.age), _text(one.above), _text(one.below))
        ]
        if words:
            _led(await self._script.call("signals_put", lead.name, lead.token, ms(KEEP), *words))

    async def watch(self, lead: Lead, watches: Iterable[str]) -> None:
        """They are looked after from now on: the age of one that has no value yet counts. Raises LostLead."""
        await self._state(lead, "", "", watches)

    async def available(self, lead: Lead, watches: Iterable[str]) -> bool:
        """Whether they were not before. Raises LostLead."""
        return await self._state(lead, "available", "", watches)

    async def unavailable(self, lead: Lead, why: str, watches: Iterable[str]) -> bool:
        """From now on no value is good. Whether that is new. Raises LostLead."""
        return await self._state(lead, "unavailable", why, watches)

    async def read(self, *watches: str) -> dict[str, Signal]:
        """By the ledger's time."""
        if not watches:
            return {}
        found = iter(cast(list[Any], await self._script.call("signals_read", *watches)))
        return {
            watch: Signal(number(value), age / 1000, bool(good))
            for watch, value, age, good in zip(watches, found, found, found, strict=True)
        }

    async def _state(self, lead: Lead, state: str, why: str, watches: Iterable[str]) -> bool:
        answer = await self._script.call("signals_state", lead.name, lead.token, state, why, ms(KEEP), *watches)
        return _led(answer) == "changed"


async def read(redis: Redis, watches: Sequence[str]) -> Mapping[str, Signal]:
    """Those of these that are known, for a report: it runs no script."""
    if not watches:
        return {}
    now = await moment.read(redis)
    async with redis.pipeline(transaction=False) as pipe:
        for watch in watches:
            pipe.hmget(f"dcb:signal:{watch}", "value", "at", "stale")
        rows = await cast(Awaitable[list[list[bytes | None]]], pipe.execute())
    found = {}
    for watch, (value, at, stale) in zip(watches, rows, strict=True):
        since = number(at or b"")
        if since is not None:
            found[watch] = Signal(
                number(value or b""), max(0.0, now.at - since / 1000), value is not None and stale == b"0"
            )
    return found


def number(stored: bytes) -> float | None:
    """Of what the ledger holds; None where it is none, or damaged."""
    try:
        return float(stored) if stored and len(stored) <= 40 else None
    except ValueError:
        return None


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.14g}"


def _led(answer: bytes) -> str:
    said = word(answer)
    if said == "stale":
        raise LostLead
    return said
