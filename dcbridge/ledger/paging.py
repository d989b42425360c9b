"""Pages of what stands in a sorted set by time, the newest first: what comes or leaves meanwhile moves nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

_CURSOR = re.compile(r"([0-9]{1,15}) ([^\s]{1,200})")


@dataclass(frozen=True, slots=True)
class Page:
    """Members, and the cursor behind each of them. `more`: there are others behind the last."""

    members: dict[str, str]
    more: bool

    @property
    def cursor(self) -> str:
        """Of those behind this page; "" at the end."""
        return self.members[next(reversed(self.members))] if self.more else ""


async def newest(redis: Redis, key: str, cursor: str, count: int, since: float | None = None) -> Page:
    """At most `count` members behind a cursor; "", and one that nobody gave, is the beginning. `since` in seconds since
    1970.
    """
    after = _CURSOR.fullmatch(cursor)
    at, last = (int(after[1]), after[2]) if after else (None, "")
    low, high = "-inf" if since is None else int(since * 1000), "+inf" if at is None else at
    found: dict[str, str] = {}
    offset = 0
    while len(found) <= count:
        rows: Any = await redis.zrevrangebyscore(key, high, low, start=offset, num=count + 1, withscores=True)
        named = [(name.decode(errors="replace"), score) for name, score in rows]
        found |= {name: f"{score:.0f} {name}" for name, score in named if at is None or score < at or name < last}
        offset += len(rows)
        if len(rows) <= count:
            break
    return Page(dict(list(found.items())[:count]), len(found) > count)
