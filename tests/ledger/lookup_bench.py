"""A ledger whose provider can be asked, and the questions to it."""

from __future__ import annotations

from typing import Any

from dcbridge.ledger.reports.books import read
from dcbridge.messages import MessageStatus, Reason, UpdateStatus
from tests.ledger.ledger_bench import CHANNEL
from tests.ledger.test_pacing import OTHER, PacedBench


class QuestionBench(PacedBench):
    """The provider `acme` of both channels can be asked."""

    async def limit(self, **lines: str) -> None:
        line = f"acme {lines.get('provider', '0 1 0')} {lines.get('channel', '0 1 0')} asked"
        await self.ledger.pacing.announce({CHANNEL: line, OTHER: line})

    async def unknown(self, message_id: str = "m-1", **changes: Any) -> str:
        ref = await self.sending(message_id, **changes)
        assert await self.ledger.messages.unknown(ref, "mine", 30.0, "timeout") == "unknown"
        return ref

    async def asked(self, ref: str) -> str:
        """Its time has come, and its job is queued."""
        await self.pass_time(101)
        assert await self.ledger.lookups.ask(ref, 900.0) == "asking"
        return ref

    async def asking(self, ref: str, token: str = "q") -> str:
        await self.asked(ref)
        assert (await self.ledger.lookups.claim(ref, token, 15.0)).ours
        return ref

    async def question(self, ref: str, token: str = "q") -> str:
        return (await self.ledger.lookups.claim(ref, token, 15.0)).why

    async def found(
        self,
        ref: str,
        *ids: str,
        status: UpdateStatus = UpdateStatus.SENT,
        token: str = "q",
        part: int = 0,
        **more: Any,
    ) -> str:
        named = ids or ("SM0",)
        reported = MessageStatus(
            named[0], status, Reason.INVALID_DESTINATION if status is UpdateStatus.FAILED else None, "30005"
        )
        given: dict[str, Any] = {"delivered": False, "confirm_within": 100.0, "count": 1} | more
        count = given.pop("count")
        return await self.ledger.lookups.found(ref, token, part, count, "acme", reported, named, **given)

    async def counts(self) -> dict[str, int]:
        return (await read(self.redis)).counts

    async def whose(self, *ids: str) -> list[str]:
        found = await self.ledger.lookups.whose("acme", ids)
        return [found.get(one, "") for one in ids]
