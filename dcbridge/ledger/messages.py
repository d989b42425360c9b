"""Agent messages, one entry a recipient:

    accepted ──claim──▶ sending ─submitted▶ sent ──▶ delivered | removed | failed | unconfirmed
        ▲                 │  │  │
        │ next part       │  │  └─no answer──▶ unknown ──settle──▶ retry | failed
        └─────────────────┘  └──retry──▶ retry ──claim──▶ sending

A claim is fenced by its token: whoever lost it, by a lease that ended or by an update that settled the message, gets
"stale" and changes nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Sequence
from typing import NamedTuple, cast

from dcbridge.ledger.entries import MessageClaim, read_claim
from dcbridge.ledger.fields import ClaimedMessage, MessageEntry
from dcbridge.ledger.jobs import OUTBOUND
from dcbridge.ledger.script import Retention, Script, ms, whole, word
from dcbridge.messages import Cost
from dcbridge.tracing import switch

LARGE = 65536  # bytes of a payload that a claim does not bring along, as in messages.lua
_SCRIPT = 64  # messages that one script takes


class NewMessage(NamedTuple):
    """One copy of an agent message as a webhook brought it. With `reason` it ends at once as Failed."""

    ref: str
    first_ref: str
    channel_id: str
    message_id: str
    sender_id: str
    to_id: str
    payload: bytes
    trace_id: str
    time_to_live: float  # seconds
    reason: int = 0
    detail: str = ""
    raw: bytes = b""  # kept as a dead letter
    copies: int = 1  # of the whole message; of several, the payload is stored once


def lane_of(*names: str) -> str:
    """The key of a lane: a digest, so that no address stands in a key name."""
    return hashlib.blake2b("\0".join(names).encode(), digest_size=9).hexdigest()


def words_of(copies: Sequence[NewMessage], keep: Retention) -> list[str | bytes | int]:
    """As `accept` in messages.lua takes them."""
    flat: list[str | bytes | int] = [keep.ended_ms, keep.dead_ms, keep.index.keep_ms, keep.text.keep_ms]
    for c in copies:
        flat += [
            c.ref, c.first_ref, c.channel_id, c.message_id, c.sender_id, c.to_id,
            lane_of(c.channel_id, c.to_id), c.payload if c.ref == c.first_ref else b"",
            c.trace_id, int(c.time_to_live * 1000),
            str(int(c.reason)) if c.reason else "", c.detail, c.raw, c.copies,
            keep.index.consumer(c.to_id), keep.text.seal(c.ref, c.to_id, c.payload),
        ]  # fmt: skip
    return flat


def _traced(copies: Sequence[NewMessage], fresh: Sequence[bool]) -> None:
    """Spans for those that are new, where there are spans."""
    if switch.current() is not None:
        them = [(one.ref, one.trace_id) for one, new in zip(copies, fresh, strict=True) if new]
        switch.created(OUTBOUND, them)


class Messages:
    """The agent messages of one ledger."""

    def __init__(self, script: Script, keep: Retention) -> None:
        self._script, self._keep = script, keep

    async def accept(self, copies: Sequence[NewMessage]) -> list[bool]:
        """True for those that are new, once all are written. A slice is written or not: what is lost is sent again."""
        if 0 < len(copies) <= _SCRIPT:
            fresh = [answer == b"new" for answer in await self._script.call("accept", *words_of(copies, self._keep))]
            _traced(copies, fresh)
            return fresh
        slices_of = [words_of(some, self._keep) for some in whole(copies, _SCRIPT, lambda one: one.first_ref)]
        bulk = len(slices_of) > 1  # they stay in their order
        found = await asyncio.gather(*(self._script.call("accept", *one, bulk=bulk) for one in slices_of))
        fresh = [answer == b"new" for answers in found for answer in answers]
        _traced(copies, fresh)
        return fresh

    async def claim(self, ref: str, token: str, lease: float) -> MessageClaim:
        """Take the message for `lease` seconds."""
        keep = self._keep
        answer = await self._script.record("claim", ref, token, ms(lease), keep.ended_ms, keep.index.keep_ms)
        return await read_claim(self._script, f"m:{ref}", answer, ClaimedMessage)

    async def payload(self, first_ref: str) -> bytes:
        """The payload of a message, by the ref of its first copy; b"" where it is gone."""
        return await cast(Awaitable[bytes | None], self._script.redis.get(f"dcb:p:{first_ref}")) or b""

    async def parts(self, ref: str, token: str, count: int) -> None:
        """Say how many parts there are, before the first of several goes out."""
        await self._script.record("parts", ref, token, count)

    async def submitted(
        self,
        ref: str,
        token: str,
        part: int,
        count: int,
        provider_id: str,
        *,
        delivered: bool,
        confirm_within: float,
        provider: str = "",
        cost: Cost | None = None,
        sender: str = "",
    ) -> str:
        """The provider took one part: "next", "sent", "delivered", or "stale". `sender`: as senders.py writes it."""
        answer = await self._script.record(
            "submitted", ref, token, part, count, provider_id, int(delivered), ms(confirm_within), self._keep.ended_ms,
            provider, cost.words if cost else "", sender,
        )  # fmt: skip
        return word(answer)

    async def retry(
        self,
        ref: str,
        token: str,
        delay: float,
        *,
        lane_limit: float,
        reason: int,
        code: str,
        attempts: int = 0,
        switch: str = "",
    ) -> str:
        """Again in `delay` seconds: "retry", or "failed" where the time to live, the lane's limit or the number of
        attempts ends first; 0 is no limit of attempts. `switch`: what its provider may be left for, as a reason of
        `config.routing`; then it goes through another one at once.
        """
        answer = await self._script.record(
            "retry", ref, token, ms(delay), ms(lane_limit), int(reason), code, self._keep.ended_ms, attempts, switch
        )
        return word(answer)

    async def fail(self, ref: str, token: str, reason: int, detail: str, switch: str = "") -> str:
        """For good; or "retry" where `switch` is "route" and another provider may take it."""
        return word(await self._script.record("fail", ref, token, int(reason), detail, self._keep.ended_ms, switch))

    async def unknown(self, ref: str, token: str, grace: float, code: str) -> str:
        """Nobody knows whether it was taken, unless an update said so meanwhile. Without a token: a lease ended."""
        return word(await self._script.record("unknown", ref, token, ms(grace), code, self._keep.ended_ms))

    async def settle(
        self, ref: str, policy: str, most: int = 2, token: str = "", attempts: int = 0, same_key: float = 0.0
    ) -> str:
        """The grace is over: `policy` is "resend" or "resend_elsewhere", at most `most` times and within `attempts`, or
        "fail".

        `token`: of a lookup of it. `same_key`: seconds in which the provider knows a second request for the first one.
        "waiting": nothing is sent again while an operator has stopped its provider, which can be asked afterwards.
        """
        answer = await self._script.call(
            "settle", ref, policy, self._keep.ended_ms, most, token, attempts, ms(same_key)
        )
        return word(answer)

    async def confirm_over(
        self, ref: str, reason: str, receipt: str, confirm_within: float = 0.0, token: str = ""
    ) -> str:
        """No update came within the channel's limit; `receipt` is a status or "" for none. "sent": it is not over."""
        answer = await self._script.call(
            "confirm_over", ref, "", reason, receipt, self._keep.ended_ms, ms(confirm_within), token
        )
        return word(answer)

    async def update(
        self,
        ref: str,
        part: int,
        status: str,
        provider_id: str,
        reason: str,
        detail: str,
        confirm_within: float,
        pieces: int = 1,
        provider: str = "",
        cost: Cost | None = None,
    ) -> str:
        """A delivery update: the new state, "next", "noted", "parked", "repeated", "late" or "gone".

        `provider`: who says so, of a message that may have gone through several: "other_provider" where it never went
        through this one, "left" where it has gone through another since, "doubled" where both delivered it.
        `pieces`: of how many SMS, each of which is reported by itself, it is about one: the part is delivered when as
        many ids are. `cost` counts once, with whatever says it first.
        """
        answer = await self._script.record(
            "update",
            ref,
            part,
            status,
            provider_id,
            reason,
            detail,
            ms(confirm_within),
            self._keep.ended_ms,
            pieces,
            provider,
            cost.words if cost else "",
        )
        return word(answer)

    async def entry(self, ref: str) -> MessageEntry:
        """What is remembered of one message, without its payload; false where nothing is."""
        return MessageEntry(await self._script.hash(f"dcb:m:{ref}"))

    async def entries(self, refs: Sequence[str]) -> list[MessageEntry]:
        """The same of several, in one round trip."""
        return [MessageEntry(found) for found in await self._script.hashes([f"dcb:m:{ref}" for ref in refs])]
