"""A ledger with a channel of several providers, whose clock can be put forward."""

from __future__ import annotations

from typing import Any, ClassVar

from dcbridge.ledger import MessageClaim, lane_of
from dcbridge.ledger.reports import overview
from dcbridge.ledger.reports.books import read
from dcbridge.ledger.reports.overview import Provider
from tests.ledger.ledger_bench import CHANNEL, CONSUMER
from tests.ledger.test_pacing import PacedBench

DAY = 86400.0
LEFT_FOR = "utabs"  # all reasons, as in Configuration.limits


class RouteBench(PacedBench):
    """The channel goes through `a`, then `b`; more can be said with `several`."""

    MOMENTS: ClassVar[dict[str, list[str]]] = {
        **{pattern: [*names, "vt"] for pattern, names in PacedBench.MOMENTS.items()},
        "dcb:steer:*": ["until"],
        "dcb:drill:*": ["until"],
        "dcb:slow:*": ["since", "good"],
        "dcb:paused:*": ["since"],
    }
    SCORES: ClassVar[list[str]] = [*PacedBench.SCORES, "dcb:awaited:*"]
    ENDS: ClassVar[list[str]] = [*PacedBench.ENDS, "dcb:sticky:*", "dcb:steer:*", "dcb:drill:*"]

    async def several(
        self,
        *names: str,
        on: str = LEFT_FOR,
        after: float = 30.0,
        stay: float = 7 * DAY,
        paces: dict[str, str] | None = None,
        own: str = "0 1 0",
        slow: str = "240000 0.15 0.05 10",
    ) -> None:
        """What workers announce for a channel with these providers."""
        names = names or ("a", "b")
        pace = {name: (paces or {}).get(name, "0 1 0") for name in names}
        route = f"via {after * 1000:.0f} {stay * 1000:.0f} {on} {' '.join(names)}" if len(names) > 1 else ""
        lines = {CHANNEL: f"{names[0]} {pace[names[0]]} {own} asked {names[0]} 86400000 {route}".strip()}
        if len(names) > 1:
            for name in names:
                lines[f"providers/{name}"] = f"{name} {pace[name]} 0 1 0 asked {name} 86400000 slow {slow}"
        await self.ledger.pacing.announce(lines)

    async def via(self, ref: str, token: str = "mine") -> str:
        """The provider that a claim goes through, or why it does not go."""
        claimed: MessageClaim = await self.ledger.messages.claim(ref, token, 60.0)
        return claimed.entry.provider if claimed.ours else claimed.why

    async def new(self, message_id: str = "m-1", to: str = CONSUMER, **changes: Any) -> str:
        return await self.put(message_id, to_id=to, **changes)

    async def open_breaker(self, provider: str, why: str = "20003", ref: str = "nobody") -> str:
        return await self.ledger.pacing.record_failure(
            provider, ref, why, at_once=True, threshold=3, first=5.0, most=60.0
        )

    async def close_breaker(self, provider: str) -> None:
        await self.ledger.pacing.record_success(provider, "nobody")

    async def fails(self, ref: str, switch: str, token: str = "mine", delay: float = 5.0) -> str:
        """An attempt that certainly was not taken."""
        return await self.ledger.messages.retry(
            ref, token, delay, lane_limit=900.0, reason=500, code="x", switch=switch
        )

    async def takes(self, ref: str, provider: str, token: str = "mine", *, delivered: bool = False) -> str:
        return await self.ledger.messages.submitted(
            ref, token, 0, 1, f"{provider}-1", delivered=delivered, confirm_within=100.0, provider=provider
        )

    async def says(self, provider: str, ref: str, status: str) -> str:
        """A delivery update."""
        return await self.ledger.messages.update(ref, 0, status, f"{provider}-1", "", "", 100.0, provider=provider)

    async def finished(self, to: str = CONSUMER) -> bool:
        return await self.ledger.routes.unstick(lane_of(CHANNEL, to))

    async def provider(self, name: str) -> Provider:
        """As an overview has it."""
        return next(one for one in (await overview.read(self.redis)).providers if one.name == name)

    async def counts(self, *names: str) -> list[int]:
        return [
            int(await self._hget("dcb:counts", name)) if await self.redis.hexists("dcb:counts", name) else 0
            for name in names
        ]

    async def book(self, provider: str) -> dict[str, int]:
        """What the channel's books say of one provider, and how many of its messages have not ended."""
        found: Any = await self.redis.hgetall(f"dcb:books:{CHANNEL}")
        words = [(key.decode().partition("|"), int(value)) for key, value in found.items()]
        mine = {word: count for (name, _, word), count in words if name == provider and count}
        return mine | {"open": await self.redis.zcard(f"dcb:with:{provider}/{CHANNEL}")}


async def balanced(bench: RouteBench) -> None:
    """The books of the channel, and of each provider; and none is in two."""
    books = await read(bench.redis)
    [channel] = [one for one in books.channels if one.channel_id == CHANNEL]
    assert books.difference == 0
    for one in channel.providers:
        assert one.difference == 0, one
    assert sum(one.in_flight for one in channel.providers) <= channel.in_flight
