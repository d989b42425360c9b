"""A search for messages by channel, provider, state, time and consumer, page by page, the newest first.

What it reads is written with each message (index.lua): lists of refs, one for each day and channel, provider, ending or
group of consumers. A page goes through the shortest of these lists that hold all that is asked for, and reads the
entries: so many at most, whatever it finds, and says how many it has looked at. A message that has not ended is found
among those in flight, also where it is older than the index.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

from redis.asyncio import Redis
from redis.commands.core import AsyncScript

from dcbridge.ledger.fields import State
from dcbridge.ledger.lua import read_lua
from dcbridge.messages import own_books
from dcbridge.settings.process import DAY

MOST = 5_000  # entries that one page looks at
MOST_PASSED = 100_000  # members of other consumers that it passes to find those of one
STEP = 1000  # entries that one script looks at: others have their turn in between
STEP_PASSED = 10_000  # members that one script passes
LIMIT = 500  # messages that a page has at most
OPEN = frozenset({State.ACCEPTED, State.RETRY, State.SENDING, State.UNKNOWN, State.SENT})
_BY_STATE = frozenset({State.FAILED, State.REMOVED, State.UNCONFIRMED})
_CURSOR = re.compile(r"([acpsn])\.([0-9]{1,6})\.([0-9]{1,2})\.([0-9]{1,12})")
_OPEN_CURSOR = re.compile(r"o\.([0-9]{1,15})\.([0-9a-z-]{1,64})")
_DIGEST = re.compile(r"[0-9a-f]{12}(\.[0-9a-f]{12}){0,15}")


@dataclass(frozen=True, slots=True)
class Query:
    """What to search for; "" and None are any. Times in seconds since 1970, of when messages were accepted.

    `number`: what stands for the consumer, as `dcbridge.address_tokens` makes it; several for one who may be written in
    several ways, joined by dots. `consumers`: with `number`, also what the consumer wrote, as "t:<task>".
    """

    channel: str = ""
    provider: str = ""
    state: str = ""
    number: str = ""
    after: float | None = None
    before: float | None = None
    consumers: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Messages that match. `cursor`: where the next page begins, "" at the end. `looked`: how many were looked at."""

    refs: tuple[str, ...]
    cursor: str
    looked: int


class _List(NamedTuple):
    """A list of one day. `prefix`: of its members that are meant."""

    family: str  # first letter of "all", "channel", "provider", "state", "number"
    day: int
    sub: int
    key: str
    prefix: str = ""

    @property
    def in_order(self) -> bool:
        return self.family in "acn"


async def is_there(redis: Redis) -> bool:
    """Whether anything is indexed."""
    return bool(await redis.exists("dcb:ix"))


async def find(redis: Redis, query: Query, cursor: str = "", limit: int = 50, most: int = MOST) -> Page:
    """One page, of `limit` messages and for `most` looked at. Raises ValueError for a cursor that is none, or is of
    another search, and for a number that is no digest.
    """
    limit = max(1, min(limit, LIMIT))
    if query.number and not _DIGEST.fullmatch(query.number):
        raise ValueError("the number is not a digest")
    if cursor and not (_CURSOR.fullmatch(cursor) or _OPEN_CURSOR.fullmatch(cursor)):
        raise ValueError("the cursor is not one of a search")
    if query.state in OPEN and not query.number:
        return await _in_flight(redis, query, cursor, limit, most)
    if cursor.startswith("o."):
        raise ValueError("the cursor is of another search")
    lists, start = await _lists(redis, query, cursor)
    script, found, looked, passed = redis.register_script(_text()), list[str](), 0, 0
    for at, one in enumerate(lists):
        while True:
            step = STEP_PASSED if one.prefix else min(STEP if looked else STEP // 4, most - looked)
            place, some, went, refs = await _look(script, query, one, start, step, limit - len(found))
            looked += some
            passed += went
            found += [ref for ref in refs if ref not in found]
            if len(found) >= limit or looked >= most or passed >= MOST_PASSED:
                return Page(tuple(found), _cursor(lists, at, place), looked)
            start = place
            if place < 0:
                break
    return Page(tuple(found), "", looked)


@cache
def _text() -> str:
    return read_lua(Path(__file__).parent / "index.lua")


def _cursor(lists: Sequence[_List], at: int, place: int) -> str:
    if place >= 0:
        return f"{lists[at].family}.{lists[at].day}.{lists[at].sub}.{place}"
    if at + 1 < len(lists):
        return f"{lists[at + 1].family}.{lists[at + 1].day}.{lists[at + 1].sub}.{10**12 - 1}"  # its end
    return ""


async def _look(
    script: AsyncScript, query: Query, one: _List, start: int, most: int, limit: int, refs: Sequence[str] = ()
) -> tuple[int, int, int, list[str]]:
    words: list[str | int] = [one.key, start, most, limit, one.prefix, query.channel, query.provider, query.state]
    words += [_ms(query.after), _ms(query.before), int(one.in_order), int(query.consumers), *refs]
    answer = await cast(Awaitable[list[Any]], script(args=words))
    return int(answer[0]), int(answer[1]), int(answer[2]), [found.decode() for found in answer[3:]]


def _ms(at: float | None) -> str:
    return "" if at is None else str(int(at * 1000))


# ---------------------------------------------------------------- which lists


async def _lists(redis: Redis, query: Query, cursor: str) -> tuple[list[_List], int]:
    """Those to go through, the newest first, and the place in the first of them where to begin; -1 is its end."""
    days = [int(day) for day in await cast(Awaitable[list[bytes]], redis.zrevrange("dcb:ix", 0, -1)) if day.isdigit()]
    days = [
        day
        for day in days
        if (query.before is None or day * DAY < query.before) and (query.after is None or (day + 1) * DAY > query.after)
    ]
    where = _CURSOR.fullmatch(cursor)
    wanted = where[1] if where else ""
    choices = {letter: lists for letter, lists in _choices(query, days).items() if not wanted or letter == wanted}
    if not choices:
        raise ValueError("the cursor is of another search")
    if len(choices) > 1:
        sizes = await _sizes(redis, list(choices.values()))
        lists = min(zip(sizes, choices.values(), strict=True), key=lambda pair: pair[0])[1]
    else:
        (lists,) = choices.values()
    if where is None:
        return lists, -1
    place = (-int(where[2]), int(where[3]))
    lists = [one for one in lists if (-one.day, one.sub) >= place]
    at_it = bool(lists) and (-lists[0].day, lists[0].sub) == place
    return lists, int(where[4]) if at_it else -1


def _choices(query: Query, days: Sequence[int]) -> dict[str, list[_List]]:
    """By family, lists of which each would do."""
    if query.number:
        parts = list(enumerate(query.number.split(".")))
        lists = [_List("n", day, sub, f"dcb:ix:{day}:n/{one[:2]}", one[2:]) for day in days for sub, one in parts]
        return {"n": lists}
    found = {}
    if query.channel:
        found["c"] = [_List("c", day, 0, f"dcb:ix:{day}:c/{query.channel}") for day in days]
    if query.provider:
        found["p"] = [_List("p", day, 0, f"dcb:ix:{day}:p/{query.provider}") for day in days]
    if query.state in _BY_STATE:
        found["s"] = [_List("s", day, 0, f"dcb:ix:{day}:s/{query.state}") for day in days]
    return found or {"a": [_List("a", day, 0, f"dcb:ix:{day}") for day in days]}


async def _sizes(redis: Redis, choices: Sequence[Sequence[_List]]) -> list[int]:
    async with redis.pipeline(transaction=False) as pipe:
        for lists in choices:
            for one in lists:
                pipe.llen(one.key)
        sizes: Iterator[int] = iter(await pipe.execute())
    return [sum(next(sizes) for _ in lists) for lists in choices]


# ---------------------------------------------------------------- what is in flight


async def _in_flight(redis: Redis, query: Query, cursor: str, limit: int, most: int) -> Page:
    """By dcb:open:<channel>, in the order in which they could go."""
    names = [query.channel, own_books(query.channel)] if query.channel else sorted(await _channels(redis))
    begin = _OPEN_CURSOR.fullmatch(cursor)
    if cursor and begin is None:
        raise ValueError("the cursor is of another search")
    at = (int(begin[1]), begin[2]) if begin else None
    script, found, looked, size = redis.register_script(_text()), list[str](), 0, max(64, STEP // max(1, len(names)))
    nothing = _List("o", 0, 0, "")
    while looked < most:
        rows = await _newest(redis, names, at, size)
        some = [row for row in rows if at is None or row < at][:size]
        if not some:
            if len(rows) < size:
                return Page(tuple(found), "", looked)
            size *= 4  # so many were accepted in one millisecond
            continue
        refs = [ref for _, ref in reversed(some)]
        _, went, _, hits = await _look(script, query, nothing, -1, len(refs), limit - len(found), refs)
        looked += went
        found += hits
        at = some[went - 1]
        if len(found) >= limit:
            break
    return Page(tuple(found), f"o.{at[0]}.{at[1]}" if at else "", looked)


async def _channels(redis: Redis) -> set[str]:
    return {name.decode() for name in await cast(Awaitable[set[bytes]], redis.smembers("dcb:channels"))}


async def _newest(redis: Redis, names: Sequence[str], at: tuple[int, str] | None, size: int) -> list[tuple[int, str]]:
    """The newest of all these channels, `size` of each: so many of all together are the newest of all."""
    async with redis.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.zrevrangebyscore(
                f"dcb:open:{name}", "+inf" if at is None else at[0], "-inf", start=0, num=size, withscores=True
            )
        rows: list[list[tuple[bytes, float]]] = await pipe.execute()
    return sorted(((int(score), ref.decode()) for row in rows for ref, score in row), reverse=True)
