"""Pacing: the limits of channels and providers, and the breaker of a provider's account."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import cast

from dcbridge.ledger.script import Script, ms, slices, word

_SLICE = 250  # channels whose limits one script takes


class Pacing:
    """Who may speak to a provider now. `worker`: in whose name limits are announced."""

    def __init__(self, script: Script, worker: str) -> None:
        self._script, self._worker = script, worker

    async def announce(self, lines: Mapping[str, str]) -> None:
        """Channel id -> what pacing.lua calls dcb:limits. Others lose theirs, unless a living worker names them."""
        for some in slices(list(lines.items()), _SLICE):
            await self._script.call("limits", self._worker, *(word for pair in some for word in pair))
        before = await cast(Awaitable[list[bytes]], self._script.redis.hkeys("dcb:limits"))
        for names in slices([one for one in before if one.decode(errors="replace") not in lines], _SLICE):
            await self._script.call("limits_unnamed", self._worker, *names)

    async def record_failure(
        self,
        provider: str,
        ref: str,
        code: str,
        *,
        at_once: bool,
        threshold: int,
        first: float,
        most: float,
        share: float = 0.5,
    ) -> str:
        """A send failed for no fault of the message: "closed", "opened" or "open" is the breaker now.

        It opens at once, or when `threshold` conversations fail that are at least `share` of those carried lately.
        """
        answer = await self._script.record(
            "record_failure", provider, ref, code, int(at_once), threshold, ms(first), ms(most), f"{share:g}"
        )
        return word(answer)

    async def record_success(self, provider: str, ref: str) -> None:
        """The provider answered, if only to refuse this message: its account works."""
        await self._script.record("record_success", provider, ref)

    async def may_speak(self, provider: str, ref: str, lease: float) -> bool:
        """To an interface whose requests wait in no line. While its breaker is open: the one that tries for `lease`
        seconds whether it works again.
        """
        return word(await self._script.record("may_speak", provider, ref, ms(lease))) == "go"
