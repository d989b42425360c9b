"""Messages of dcbridge's own, as they enter the ledger (own.lua). From then on they are as an agent's."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import cast

from dcbridge.ledger.script import Retention, Script, ms, word
from dcbridge.settings.process import DAY

HOUR = 3600.0
MOST_CAUSE = 64  # characters that an entry keeps of it


@dataclass(frozen=True, slots=True)
class NewOwn:
    """One message to one consumer. `books`: as `dcbridge.messages.own_books`. `scope`: of the opt-outs, "" for none.

    `token`: what stands for the consumer. `same`: a digest of the text, which goes `repeats` times in `repeats_within`.
    `an_hour`: messages of the channel, 0 for any number.
    """

    ref: str
    books: str
    message_id: str
    to_id: str = field(repr=False)
    lane: str
    payload: bytes = field(repr=False)
    trace_id: str
    time_to_live: float  # seconds
    cause: str
    content_mark: str
    scope: str
    token: str
    a_day: int
    an_hour: int
    repeats: int
    same: str
    repeats_within: float


class Own:
    """Those of one ledger."""

    def __init__(self, script: Script, keep: Retention) -> None:
        self._script, self._keep = script, keep

    async def put(self, new: NewOwn) -> str:
        """new; again, or "other" where it was written with another content; stopped, day_cap, hour_cap or repeated
        where it was not written.
        """
        answer = await self._script.record(
            "own_put",
            new.ref,
            new.books,
            new.message_id,
            new.to_id,
            new.lane,
            new.payload,
            new.trace_id,
            ms(new.time_to_live),
            new.cause[:MOST_CAUSE],
            new.content_mark,
            new.scope,
            new.token,
            new.a_day,
            ms(DAY),
            new.an_hour,
            ms(HOUR),
            new.repeats,
            new.same,
            ms(new.repeats_within),
            self._keep.ended_ms,
            self._keep.index.consumer(new.to_id),
            self._keep.index.keep_ms,
        )
        return word(answer)

    async def kept(self, ref: str) -> tuple[str, bytes] | None:
        """The recipient's id and the payload of an agent's message that has ended; None where they are not kept."""
        redis = self._script.redis
        sealed = await self._script.outlast(lambda: cast(Awaitable[bytes | None], redis.get(f"dcb:kept:{ref}")))
        return self._keep.text.open(ref, sealed) if sealed else None

    @property
    def keeps_text(self) -> bool:
        """Whether messages that are accepted now can be sent again."""
        return self._keep.text.keep > 0

    async def again(
        self, ref: str, first: str, books: str, message_id: str, to_id: str, payload: bytes, trace_id: str,
        time_to_live: float, cause: str,
    ) -> str:  # fmt: skip
        """new, again, gone, or "not ended". `first`: the ref of the message that is sent once more."""
        keep = self._keep
        answer = await self._script.record(
            "own_again",
            ref,
            first,
            books,
            message_id,
            to_id,
            payload,
            trace_id,
            ms(time_to_live),
            cause[:MOST_CAUSE],
            keep.ended_ms,
            keep.index.consumer(to_id),
            keep.index.keep_ms,
        )
        return word(answer)

    async def admit(self, trigger: str, per_minute: int) -> float:
        """0 where one more call of a trigger may be taken; else seconds to wait."""
        return int(await self._script.record("own_admit", trigger, per_minute)) / 1000

    async def tidy(self) -> int:
        """Forget receipts for them that workers of an older version set aside; how many there were."""
        return int(await self._script.record("own_tidy"))
