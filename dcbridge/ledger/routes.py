"""Through which of its providers a channel's messages go: what conversations stay with, and what an operator wants."""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, cast

from dcbridge.ledger import moment
from dcbridge.ledger.script import Script, ms

How = Literal["drain", "prefer"]


@dataclass(frozen=True, slots=True)
class Order:
    """What an operator wants of a provider. Times in seconds since 1970."""

    how: str
    until: float
    since: float
    by: str
    why: str


@dataclass(frozen=True, slots=True)
class Speed:
    """Delivery updates of the last ten minutes: how many messages are known of, and how many had none in time."""

    messages: int = 0
    slow: int = 0
    slow_since: float | None = None  # while it counts as slow

    @property
    def share(self) -> float:
        return self.slow / self.messages if self.messages else 0.0


@dataclass(frozen=True, slots=True)
class Group:
    """Messages of a drill, or of those beside it."""

    taken: int
    delivered: int
    failed: int
    unconfirmed: int
    seconds: float | None  # from acceptance by the provider to "delivered", on average


@dataclass(frozen=True, slots=True)
class Drill:
    """A share of new conversations that goes through a spare provider. Times in seconds since 1970."""

    share: float
    since: float
    until: float
    by: str
    why: str
    drilled: Group
    beside: Group


class Routes:
    """The routes of one ledger."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def stick(self, channel: str, lane: str, provider: str, sender: str = "") -> bool:
        """The conversation of this lane goes on through this provider, and from the number with this mark; False where
        its channel has one provider.
        """
        return bool(await self._script.record("stick", channel, lane, provider, sender))

    async def unstick(self, lane: str) -> bool:
        """The conversation is over; False where it stayed with none."""
        return bool(await self._script.record("unstick", lane))

    async def steer(self, provider: str, how: How, seconds: float, by: str, why: str) -> float:
        """Drain or prefer a provider for so long; when that ends."""
        return int(await self._script.record("steer", provider, how, ms(seconds), by, why)) / 1000

    async def order(self, provider: str) -> Order | None:
        """What an operator wants of it now."""
        found = await self._script.hash(f"dcb:steer:{provider}")
        return order_of(found, (await moment.read(self._script.redis)).at)

    async def clear(self, provider: str) -> bool:
        """As if nobody had wanted anything; False where nobody had."""
        return bool(await self._script.record("steer_clear", provider))

    async def drill(self, provider: str, share: float, seconds: float, by: str, why: str) -> float:
        """Begin a drill, with new figures; when it ends."""
        salt = secrets.token_hex(4)
        return int(await self._script.record("drill", provider, f"{share:g}", ms(seconds), salt, by, why)) / 1000

    async def end_drill(self, provider: str) -> bool:
        """Now; False where there is none. Its figures stay."""
        return bool(await self._script.record("drill_ends", provider))

    async def drills(self, providers: Iterable[str]) -> dict[str, Drill]:
        """The last drill of each, while its figures are kept."""
        names = list(providers)
        async with self._script.redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hgetall(f"dcb:drill:{name}")
            rows = await cast(Awaitable[list[Mapping[bytes, bytes]]], pipe.execute())
        return {name: _drill(_text(row)) for name, row in zip(names, rows, strict=True) if row}


def order_of(found: Mapping[bytes, bytes], now: float) -> Order | None:
    """What an operator wants of a provider, as dcb:steer has it. `now`: the ledger's time."""
    f = _text(found)
    until = _number(f.get("until")) / 1000
    if until <= now:
        return None
    return Order(f.get("how", ""), until, _number(f.get("at")) / 1000, f.get("by", ""), f.get("why", ""))


def speed_of(counted: Mapping[bytes, bytes], slow: Mapping[bytes, bytes], now: float) -> Speed:
    """What dcb:speed and dcb:slow have of a provider."""
    first = int(now // 60) - 9
    lately = [(name, _number(n)) for name, n in _text(counted).items() if _number(name.partition(" ")[0]) >= first]
    late = sum(count for name, count in lately if name.endswith(" slow"))
    since = _number(_text(slow).get("since"))
    return Speed(sum(count for _, count in lately), late, since / 1000 if since else None)


def _drill(f: Mapping[str, str]) -> Drill:
    def group(name: str) -> Group:
        words = ("taken", "delivered", "failed", "unconfirmed", "ms")
        count = {word: _number(f.get(f"{name} {word}")) for word in words}
        delivered = count["delivered"]
        mean = count["ms"] / delivered / 1000 if delivered else None
        return Group(count["taken"], delivered, count["failed"], count["unconfirmed"], mean)

    since, until = (_number(f.get(name)) / 1000 for name in ("since", "until"))
    share = float(f["share"]) if re.fullmatch(r"[0-9.e-]{1,20}", f.get("share", "")) else 0.0
    return Drill(share, since, until, f.get("by", ""), f.get("why", ""), group("drill"), group("beside"))


def _text(found: Mapping[bytes, bytes]) -> dict[str, str]:
    return {name.decode(errors="replace"): value.decode(errors="replace") for name, value in found.items()}


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 16 else 0
