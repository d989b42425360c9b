"""Receipts that Digital Channels is owed: taken for posting, and kept until it has them or refuses them for good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dcbridge.ledger.entries import OwedReceipt
from dcbridge.ledger.script import Retention, Script, ms, word


class Receipts:
    """The receipts that one ledger owes."""

    def __init__(self, script: Script, keep: Retention) -> None:
        self._script, self._keep = script, keep

    async def take(self, channel_id: str, limit: int, lease: float) -> list[OwedReceipt]:
        """Up to `limit` receipts that are due, ours for `lease` seconds."""
        found = []
        for row in await self._script.call("receipts_take", channel_id, limit, ms(lease)):
            try:
                found.append(OwedReceipt.read(row))
            except ValueError:
                await self._script.call("aside", b"r:" + row[0], "this version cannot read it", channel_id)
        return found

    async def hold(self, channel_id: str, refs: Sequence[str], lease: float) -> None:
        """Ours for another `lease` seconds, those that are still owed."""
        await self._script.call("receipts_hold", channel_id, ms(lease), *refs)

    async def done(self, channel_id: str, refs: Sequence[str]) -> None:
        await self._script.record("receipts_done", channel_id, self._keep.ended_ms, *refs)

    async def again(self, channel_id: str, delays: Mapping[str, float], code: str = "") -> None:
        """Each again after its own delay in seconds. `code`: of the answer that refused them, for `refusals`."""
        flat: list[str | int] = []
        for ref, delay in delays.items():
            flat += [ref, ms(delay)]
        await self._script.record("receipts_again", channel_id, code, *flat)

    async def refused(self, channel_id: str, ref: str, code: str, raw: bytes) -> str:
        """Digital Channels will never take it: a dead letter."""
        keep = self._keep
        answer = await self._script.record("receipts_refused", channel_id, ref, code, raw, keep.ended_ms, keep.dead_ms)
        return word(answer)
