"""Status lookups: asking a provider what became of a message whose outcome is unknown, or that nobody has confirmed."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import cast

from dcbridge.ledger.entries import MessageClaim, read_claim
from dcbridge.ledger.fields import ClaimedMessage, MessageEntry
from dcbridge.ledger.script import Retention, Script, ms, word
from dcbridge.messages import MessageStatus

KNOWN = 14400.0  # seconds for which it is known at least whose a provider's id is, as in outcomes.lua
COPIES_AT_ONCE, MOST_COPIES = 100, 10_000  # of one message, when one of them is looked for


class Lookups:
    """The status lookups of one ledger. `token`: of a lookup that was claimed."""

    def __init__(self, script: Script, keep: Retention) -> None:
        self._script, self._keep = script, keep

    async def ask(self, ref: str, limit: float) -> str:
        """Queue the lookup of a due message: "asking", "waiting", "stale"; "over" after `limit` seconds, counted
        from when its outcome became unknown, or from when it was sent.
        """
        return word(await self._script.call("lookup", ref, ms(limit)))

    async def claim(self, ref: str, token: str, lease: float) -> MessageClaim:
        """Take the lookup for `lease` seconds, unless its provider is to be left alone at present."""
        answer = await self._script.record("lookup_claim", ref, token, ms(lease))
        return await read_claim(self._script, f"m:{ref}", answer, ClaimedMessage)

    async def answered(self, ref: str, token: str, part: int, answer: str, provider: str, detail: str) -> str:
        """Write the answer into the message's history; `answer` as in history.py."""
        return word(await self._script.call("lookup_answered", ref, token, part, answer, provider, detail))

    async def again(self, ref: str, token: str, delay: float, failures: int = 0) -> str:
        """The next lookup in `delay` seconds; `failures` in a row so far."""
        return word(await self._script.call("lookup_again", ref, token, ms(delay), failures))

    async def whose(self, provider: str, ids: Sequence[str]) -> dict[str, str]:
        """Whose each id is (`dcbridge.providers.lookup.name_of`), of those that are known to be somebody's."""
        if not ids:
            return {}
        keys = [f"dcb:id:{provider}:{one}" for one in ids]
        found = await self._script.outlast(lambda: cast(Awaitable[list[bytes | None]], self._script.redis.mget(keys)))
        return {one: whose.decode() for one, whose in zip(ids, found, strict=True) if whose is not None}

    async def copies(self, first_ref: str) -> dict[str, MessageEntry]:
        """Each copy of a message that is remembered: its channel, recipient, and first provider's id."""
        return await self._script.outlast(lambda: self._copies(first_ref))

    async def _copies(self, first_ref: str) -> dict[str, MessageEntry]:
        copies: dict[str, MessageEntry] = {}
        fields = (MessageEntry.channel_id, MessageEntry.to_id, MessageEntry.provider)
        names = (*(one.wire for one in fields), f"{MessageEntry.provider_id.wire}0")
        for start in range(0, MOST_COPIES, COPIES_AT_ONCE):
            refs = [f"{first_ref}-{n}" if n else first_ref for n in range(start, start + COPIES_AT_ONCE)]
            async with self._script.redis.pipeline(transaction=False) as pipe:
                for ref in refs:
                    pipe.hmget(f"dcb:m:{ref}", names)
                rows = await pipe.execute()
            here = {
                ref: MessageEntry({name.encode(): value for name, value in zip(names, row, strict=True) if value})
                for ref, row in zip(refs, rows, strict=True)
                if row[0] is not None
            }
            if not here:
                break
            copies |= here
        return copies

    async def found(
        self,
        ref: str,
        token: str,
        part: int,
        count: int,
        provider: str,
        reported: MessageStatus,
        ids: Sequence[str],
        *,
        delivered: bool,
        confirm_within: float,
    ) -> str:
        """The provider has it: the state, "taken" where one of `ids` (the reported one first) is
        another's, or "stale".
        """
        answer = await self._script.call(
            "lookup_found", ref, token, part, count, provider, reported.status.value,
            str(int(reported.reason)) if reported.reason else "", reported.detail, int(delivered),
            ms(confirm_within), self._keep.ended_ms, *ids,
        )  # fmt: skip
        return word(answer)

    async def not_there(self, ref: str, token: str, lane_limit: float, attempts: int = 0) -> str:
        """The provider does not have it: "retry" at once, "failed" after `lane_limit` seconds or as many
        attempts, or "stale".
        """
        keep = self._keep.ended_ms
        return word(await self._script.call("lookup_not_there", ref, token, ms(lane_limit), keep, attempts))
