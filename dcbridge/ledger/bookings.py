"""Bookings: the question that a consumer may answer, and the one call that each of them has (bookings.lua)."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Literal, cast

from dcbridge.ledger.messages import lane_of
from dcbridge.ledger.script import Script, ms, word
from dcbridge.ledger.tasks import NewTask

MOST_A_DAY = 20  # requests to book that one consumer can cause
MOST_WISHES = 60  # texts of one consumer about a call for which Genesys is asked anything, in a day

How = Literal["booked", "unknown", "free"]


def book_lane(kind: str, key: str) -> str:
    """Not that of the conversation: a Genesys that hangs must not hold up what the consumer writes to the agent. A
    failed text has one of its own, as it may wait for an hour, which what the consumer asks for must not.
    """
    return lane_of("book-failed" if kind == "failed" else "book", key)


@dataclass(frozen=True, slots=True)
class Booking:
    """The call of a consumer. `state`: creating, booked or unknown; "" for none. `time`: ms, 0 for now."""

    state: str
    id: str = ""
    time: int = 0


class Bookings:
    """The bookings of one ledger. `key`: of a consumer on a channel."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def wish(self, key: str) -> bool:
        """Whether Genesys may be asked once more for this consumer, which counts."""
        return bool(await self._script.record("booking_wish", key, MOST_WISHES))

    async def begin(self, task_id: str, token: str, key: str, time_ms: int, keep: float) -> str:
        """Just before the request is written: "go", "stale", "taken", "many", or how far this task had come before."""
        return word(await self._script.record("booking_begin", task_id, token, key, time_ms, ms(keep), MOST_A_DAY))

    async def end(
        self, task_id: str, key: str, how: How, keep: float, callback: str = "", watch: NewTask | None = None
    ) -> str:
        """What came of it, and the task that watches it: ok, or stale."""
        it = watch or NewTask("", "", "", b"")
        more = (it.id, it.payload, it.trace_id, it.channel_id)
        return word(await self._script.record("booking_end", task_id, key, how, callback, ms(keep), *more))

    async def over(self, key: str, callback: str) -> bool:
        """It is completed, cancelled or gone. False where the consumer has another one."""
        return word(await self._script.record("booking_over", key, callback)) == "over"

    async def ask(self, task_id: str, key: str, question: bytes, keep: float) -> bytes:
        """The question that is open now; an earlier one of the same task stays."""
        return cast(bytes, await self._script.record("booking_ask", task_id, key, question, ms(keep)))

    async def unask(self, key: str) -> None:
        await self._script.record("booking_unask", key)

    async def question(self, key: str) -> bytes:
        """b"" for none, or where its time is over."""
        redis = self._script.redis
        found = await self._script.outlast(lambda: cast(Awaitable[bytes | None], redis.get(f"dcb:asked:{key}")))
        return (found or b"").partition(b" ")[2]

    async def of(self, key: str) -> Booking:
        found = await self._script.hash(f"dcb:booking:{key}")
        state, name, time = (found.get(one, b"").decode(errors="replace") for one in (b"state", b"id", b"time"))
        return Booking(state, name, int(time) if time.isdecimal() else 0)
