"""What an operator has stopped, cancelled or released, and the record of who did it (controls.lua, operator.lua)."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import RedisError, ResponseError

from dcbridge.ledger.script import Script, ms, slices, word
from dcbridge.printable import printable

MOST = 1000  # controls that are in force at one time, as in controls.lua
PAGE = 200  # messages that are read in one round trip
AT_ONCE = 100  # messages of one script
LONGEST = 1000  # characters of one field of the record
CANCELLED = "cancelled by the operator"
REJECTED = "rejected by the operator"
_SUBSCRIBERS = "subscribers/"


class What(StrEnum):
    """What can be stopped."""

    PROVIDER = "provider"
    SUBSCRIBER = "subscriber"
    CHANNEL = "channel"
    CONVERSATION = "conversation"
    HOLD = "hold"  # of a channel, for review
    ALL = "all"  # of an installation that is drained
    WORKER = "worker"  # one that takes no jobs


_LETTERS = {What.CHANNEL: "c", What.CONVERSATION: "l", What.HOLD: "h", What.ALL: "a", What.WORKER: "w"}


@dataclass(frozen=True, slots=True)
class Target:
    """One thing that can be stopped. `name`: of a conversation its lane, of a hold its channel, of "all" nothing."""

    what: What
    name: str = ""

    @property
    def key(self) -> str:
        """As controls.lua writes it."""
        match self.what:
            case What.PROVIDER:
                return f"p/{self.name}"
            case What.SUBSCRIBER:
                return f"p/{_SUBSCRIBERS}{self.name}"
            case _:
                return f"{_LETTERS[self.what]}/{self.name}"

    @classmethod
    def of(cls, key: str) -> Target | None:
        """None for one that this version does not know."""
        letter, _, name = key.partition("/")
        if letter == "p":
            plain = name.removeprefix(_SUBSCRIBERS)
            return cls(What.PROVIDER, name) if plain == name else cls(What.SUBSCRIBER, plain)
        known = {short: what for what, short in _LETTERS.items()}.get(letter)
        return cls(known, name) if known is not None else None

    def __str__(self) -> str:
        return f"{self.what} {self.name}".strip()


@dataclass(frozen=True, slots=True)
class Control:
    """One that is in force. Times in seconds since 1970."""

    target: Target
    since: float
    until: float | None
    stands_still: bool  # the time to live of messages that it stops
    by: str
    why: str
    waiting: int = 0  # messages that wait for it themselves; others may wait behind them in their conversations


@dataclass(frozen=True, slots=True)
class Action:
    """One line of the record. `at` in seconds since 1970."""

    at: float
    by: str
    action: str
    what: str
    why: str
    result: str


class Controls:
    """The controls of one ledger."""

    def __init__(self, script: Script) -> None:
        self._script, self._redis = script, script.redis

    async def begin(
        self, target: Target, *, lasts: float = 0.0, stands_still: bool = False, by: str, why: str = ""
    ) -> float | None:
        """Stop it for so many seconds, 0 for no end. When it ends by itself, 0 for never; None where too many are
        stopped already.
        """
        by, why = printable(by), printable(why)
        words = json.dumps({"by": by, "why": why})
        said, till = await self._script.record(
            "control_begin", target.key, ms(lasts), int(stands_still), words, by, why
        )
        return None if said == b"full" else int(till) / 1000

    async def end(self, target: Target, *, by: str, why: str = "") -> bool:
        """What waits for it goes on; False where it was not stopped."""
        return bool(await self._script.record("control_end", target.key, printable(by), printable(why)))

    async def any(self) -> bool:
        """Whether anything is stopped; False where Redis does not say so: whoever asks has a claim."""
        try:
            return await self._redis.hexists("dcb:watched", "controls")
        except (RedisError, OSError):
            return False

    async def all(self) -> list[Control]:
        """Those in force, the oldest first, with how many messages wait for each."""
        return await read(self._redis)

    async def cancel(self, refs: Sequence[str], detail: str = CANCELLED) -> list[str]:
        """End these as Failed 500. "cancelled", "again" where it was before, "under way", "sent", "ended", "gone".

        "under way": it is not ended, but it is not sent again.
        """
        return await self._each("cancel", (detail,), refs)

    async def retry(self, refs: Sequence[str], *, with_unknown: bool = False) -> list[str]:
        """End the wait for the next attempt: "woken", "on its way", "in line <line>", or a state.

        `with_unknown`: those of unknown outcome are sent again; some may arrive twice.
        """
        return await self._each("retry_now", (int(with_unknown),), refs)

    async def release(self, refs: Sequence[str]) -> list[str]:
        """Let these of a channel that is held for review go: "released", "again", or a state."""
        return await self._each("release_held", (), refs)

    async def _each(self, verb: str, first: tuple[str | int, ...], refs: Sequence[str]) -> list[str]:
        found: list[str] = []
        for some in slices(refs, AT_ONCE):
            found += map(word, await self._script.record(verb, *first, *some))
        return found

    async def open(self, channel: str) -> AsyncIterator[list[str]]:
        """What is in flight of a channel, in pages; one that is there all the time is among them, once."""
        cursor, seen = 0, set[bytes]()
        while True:
            cursor, page = await cast(
                Awaitable[tuple[int, list[tuple[bytes, float]]]],
                self._redis.zscan(f"dcb:open:{channel}", cursor, count=PAGE),
            )
            names = [name for name, _ in page if name not in seen]
            seen.update(names)
            for some in slices(names, PAGE):
                yield [name.decode() for name in some]
            if not cursor:
                return

    async def held(self, channel: str, count: int) -> list[str]:
        """Messages of a channel that is held for review, those that have waited longest."""
        found = cast(list[bytes], await self._redis.zrange(f"dcb:line:k-h/{channel}", 0, count - 1))
        return [one.decode(errors="replace") for one in found]

    async def note(self, by: str, action: str, what: str, why: str, result: str) -> None:
        """One line for the record. Whoever reads it sees what stands there: nothing that turns or ends a line."""
        await self._script.record("audit", *(printable(one)[:LONGEST] for one in (by, action, what, why, result)))

    async def audit(self, count: int, since: float = 0.0) -> list[Action]:
        """The last lines of the record, the newest first."""
        rows: list[Any] = await cast(
            Awaitable[list[Any]],
            self._redis.xrevrange("dcb:audit", max="+", min=str(int(since * 1000)) if since else "-", count=count),
        )
        return [_action(fields) for _, fields in rows]

    async def recorded(self, cursor: str, count: int, since: float = 0.0) -> list[tuple[str, Action]]:
        """At most `count` lines of the record behind that of the cursor, the newest first, each with its own cursor.
        One that nobody gave is the beginning.
        """
        last = f"({cursor}" if _ENTRY.fullmatch(cursor) else "+"
        rows: list[Any] = await cast(
            Awaitable[list[Any]],
            self._redis.xrevrange("dcb:audit", max=last, min=str(int(since * 1000)) if since else "-", count=count),
        )
        return [(entry.decode(), _action(fields)) for entry, fields in rows]


_ENTRY = re.compile(r"[0-9]{1,15}-[0-9]{1,15}")


def _action(fields: dict[bytes, bytes]) -> Action:
    text = {key.decode(errors="replace"): value.decode(errors="replace") for key, value in fields.items()}
    at = text.get("at", "")
    return Action(
        int(at) / 1000 if at.isdigit() else 0.0,
        *(text.get(name, "") for name in ("by", "action", "what", "why", "result")),
    )


# ---------------------------------------------------------------- what is in force


async def read(redis: Redis) -> list[Control]:
    """Three round trips, and one where nothing is stopped."""
    try:
        stored = await cast(Awaitable[dict[bytes, bytes]], redis.hgetall("dcb:controls"))
    except ResponseError:  # a key of another type: controls.lua takes it for none as well
        return []
    found = sorted(filter(None, [_control(key, line) for key, line in stored.items()]), key=lambda one: one.since)
    if not found:
        return []
    async with redis.pipeline(transaction=False) as pipe:
        pipe.hgetall("dcb:limits")
        pipe.time()
        limits, (seconds, _) = await pipe.execute()
    found = [one for one in found if one.until is None or one.until > int(seconds)]
    keys = [_lines(one.target, limits) for one in found]
    async with redis.pipeline(transaction=False) as pipe:
        for one in keys:
            _count(pipe, one)
        counts = iter(await pipe.execute())
    return [
        Control(one.target, one.since, one.until, one.stands_still, one.by, one.why, sum(next(counts) for _ in lines))
        for one, lines in zip(found, keys, strict=True)
    ]


def _count(pipe: Pipeline, keys: Iterable[str]) -> None:
    for key in keys:
        pipe.zcard(key)


def _lines(target: Target, limits: dict[bytes, bytes]) -> list[str]:
    """Where messages stand that wait for it. The first of a channel may stand in its provider's line as well."""
    if target.what == What.SUBSCRIBER:
        return [f"dcb:backlog:{target.name}"]
    if target.what == What.WORKER:
        return []
    if target.what != What.PROVIDER:
        return [f"dcb:line:k-{target.key}"]
    own = [channel.decode() for channel, line in limits.items() if target.name in line.decode().split()]
    channels = [name for name in own if not name.startswith(("providers/", _SUBSCRIBERS))]
    return [
        f"dcb:line:p-{target.name}",
        f"dcb:parked:{target.name}",
        *(f"dcb:line:{kind}-{channel}" for channel in channels for kind in "cr"),
    ]


def _control(key: bytes, line: bytes) -> Control | None:
    """None for one that cannot be read, or of a newer version."""
    target = Target.of(key.decode(errors="replace"))
    try:
        since, till, still, words = line.decode().split(" ", 3)
        said = json.loads(words)
        at, until = int(since) / 1000, int(till) / 1000
        by, why = str(said["by"]), str(said["why"])
    except (ValueError, KeyError, TypeError):
        return None
    return Control(target, at, until or None, still == "1", by, why) if target else None
