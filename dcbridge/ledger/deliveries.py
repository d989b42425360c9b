"""Deliveries: one of each event to each subscriber that wants it.

A delivery is a task: `waiting → running → delivered | dead | dropped`, claimed and fenced like every
other. When it has ended, one line beside the event says how.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from dcbridge.ledger.entries import TaskClaim
from dcbridge.ledger.fields import TaskEntry
from dcbridge.ledger.script import Retention, Script, word
from dcbridge.ledger.tasks import Tasks

ID_LENGTH = 28  # of an event's id, as in subscribers.lua


@dataclass(frozen=True, slots=True)
class Failure:
    """What follows from an attempt that failed. All times in seconds.

    `delay` until the next attempt, None where this was the last; `spends`: whether it counts as one.
    `means`: "event", it says nothing against the subscriber; "bug", that was not spoken to; "later", it is
    only to be waited for; "sick", for its breaker; "fault", which opens that at once. `disable_after`: 0 is
    never, -1 is now.
    """

    code: str
    delay: float | None
    means: str
    spends: bool
    threshold: int
    first: float
    most: float
    disable_after: float
    share: float = 0.5


def subscriber_of(delivery_id: str) -> str:
    return delivery_id[ID_LENGTH + 1 :]


def event_of(delivery_id: str) -> str:
    return delivery_id[:ID_LENGTH]


class Deliveries:
    """The deliveries of one ledger."""

    def __init__(self, script: Script, keep: Retention, tasks: Tasks) -> None:
        self._script, self._keep, self._tasks = script, keep, tasks

    async def claim(self, delivery_id: str, token: str, lease: float) -> TaskClaim:
        """As any task; its payload is the event as it is stored."""
        return await self._tasks.claim(delivery_id, token, lease)

    async def delivered(self, delivery_id: str) -> str:
        """The subscriber has it, whoever says so: "delivered", or "stale" where that was known."""
        return word(await self._script.record("delivered", delivery_id))

    async def failed(self, delivery_id: str, token: str, failure: Failure) -> str:
        """ "waiting", "dead" or "stale"."""
        delay = -1 if failure.delay is None else int(failure.delay * 1000)
        disable = int(failure.disable_after * 1000) if failure.disable_after > 0 else int(failure.disable_after)
        answer = await self._script.record(
            "delivery_failed", delivery_id, token, failure.code, delay, int(failure.spends), failure.means,
            failure.threshold, int(failure.first * 1000), int(failure.most * 1000), disable, self._keep.dead_ms,
            f"{failure.share:g}",
        )  # fmt: skip
        return word(answer)

    async def replay(self, subscriber: str, lanes: Mapping[str, str]) -> list[str]:
        """Deliver these events (event -> lane) to one subscriber again: "new", "waiting" or "gone" for each."""
        flat = [word for pair in lanes.items() for word in pair]
        return [answer.decode() for answer in await self._script.call("events_replay", subscriber, *flat)]

    async def oldest(self, subscriber: str, count: int) -> dict[str, TaskEntry]:
        """The deliveries to a subscriber that have waited longest, by id."""
        found = cast(list[bytes], await self._script.redis.zrange(f"dcb:backlog:{subscriber}", 0, count - 1))
        ids = [one.decode(errors="replace") for one in found]
        return dict(zip(ids, await self._tasks.entries(ids), strict=True))

    async def waiting(self, delivery_id: str) -> TaskEntry:
        """What is remembered of a delivery that has not ended; false where it has."""
        return await self._tasks.entry(delivery_id)
