"""What was accepted in each of the last hours, and what became of it: from the index, and a sample of each hour.

No counter is kept for this: the list of a day is in the order of acceptance, so the messages of an hour are counted by
two searches in it. How they ended, and how long that took, is told from up to SAMPLE of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from redis.asyncio import Redis

from dcbridge.ledger.fields import State
from dcbridge.ledger.lua import read_lua
from dcbridge.settings.process import DAY

HOUR = 3600.0
SAMPLE = 60  # messages of an hour that are read
_LEFT = ("delivered", "failed", "removed", "unconfirmed")


@dataclass(frozen=True, slots=True)
class Hour:
    """`since` in seconds since 1970. `ended`: how many by how they ended, and "in_flight"; an estimate unless `exact`.

    `median` and `slow`: seconds from acceptance to delivery that half and nine of ten of them took; None for none.
    """

    since: float
    accepted: int
    ended: Mapping[str, int]
    exact: bool
    median: float | None
    slow: float | None


async def read(redis: Redis, now: float, hours: int = 24) -> list[Hour]:
    """The last hours, the oldest first; the last one is not over. A script for each, so that others have their turn."""
    script = redis.register_script(read_lua(Path(__file__).parent / "hours.lua"))
    first = now // HOUR * HOUR - (hours - 1) * HOUR
    found = []
    for n in range(hours):
        since = first + n * HOUR
        key = f"dcb:ix:{int(since // DAY)}"
        args: list[str | int] = [key, int(since * 1000), int((since + HOUR) * 1000), SAMPLE]
        count, *rows = await cast(Awaitable[list[Any]], script(args=args))
        found.append(_hour(since, count, rows))
    return found


def _hour(since: float, count: int, rows: Sequence[Sequence[bytes]]) -> Hour:
    words = [(state.decode(errors="replace"), _ms(at), _ms(ended)) for state, at, ended in rows]
    states = Counter(state if state in _LEFT else "in_flight" for state, _, _ in words)
    scale = count / len(words) if words else 1.0
    took = sorted((ended - at) / 1000 for state, at, ended in words if state == State.DELIVERED and at and ended >= at)
    return Hour(
        since=since,
        accepted=count,
        ended={name: round(states[name] * scale) for name in (*_LEFT, "in_flight")},
        exact=count <= SAMPLE,
        median=took[len(took) // 2] if took else None,
        slow=took[min(len(took) - 1, len(took) * 9 // 10)] if took else None,
    )


def _ms(value: bytes) -> int:
    return int(value) if value.isdigit() and len(value) < 16 else 0
