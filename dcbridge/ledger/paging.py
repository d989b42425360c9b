"""Pages of what stands in a sorted set by time, the newest first: what comes or leaves meanwhile moves nothing."""

from __future__ import annotations

import re
from typing import Any

from redis.asyncio import Redis

_CURSOR = re.compile(r"([0-9]{1,15}) ([^\s]{1,200})")


async def newest(redis: Redis, key: str, cursor: str, count: int, since: float | None = None) -> tuple[list[str], str]:
    """At most `count` members, and the cursor of those after them: "" at the end, and for the beginning. `since` in
    seconds since 1970. A cursor that nobody gave is the beginning.
    """
    after = _CURSOR.fullmatch(cursor)
    at, last = (int(after[1]), after[2]) if after else (None, "")
    low, high = "-inf" if since is None else int(since * 1000), "+inf" if at is None else at
    found: list[tuple[str, float]] = []
    offset = 0
    while len(found) <= count:
        rows: Any = await redis.zrevrangebyscore(key, high, low, start=offset, num=count + 1, withscores=True)
        named = [(name.decode(errors="replace"), score) for name, score in rows]
        found += [(name, score) for name, score in named if at is None or score < at or name < last]
        offset += len(rows)
        if len(rows) <= count:
            break
    some = found[:count]
    return [name for name, _ in some], f"{some[-1][1]:.0f} {some[-1][0]}" if len(found) > count else ""
