"""Dead letters: what could not be carried, with its raw bytes, until it is put back, dropped or too old.

A dead letter leaves in the very step that puts its content back, so a process that is killed in the
middle neither loses nor doubles anything. How each kind is read again is `dcbridge.replay`'s to know.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from dcbridge.ledger import paging
from dcbridge.ledger.fields import Kind, TaskEntry
from dcbridge.ledger.messages import NewMessage, words_of
from dcbridge.ledger.script import Retention, Script, word
from dcbridge.ledger.tasks import NewTask

_CHUNK = 500  # letters looked at in one round trip
_OF_TASK = "t-"  # a letter's id begins so, and goes on with the id of the task
UNREADABLE = "unreadable"  # what a letter holds that this version cannot read
_FIELDS = ("what", "channel", "reason", "at", "item", "handled")


# Why a callback is a dead letter that holds what a consumer wrote to a number of nobody's.
NO_CHANNEL = "no channel has this address"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """All of a letter but its raw bytes. `at` in seconds since 1970, `size` of the raw bytes."""

    id: str
    kind: str  # one of Kind, or what a newer version wrote
    channel_id: str
    reason: str
    at: float
    size: int
    item_opened: float = 0.0  # an agent has it as a work item since then; 0 for none
    handled: float = 0.0  # an agent ended that work item then; 0 where nobody did

    @property
    def what(self) -> str:
        """Its kind, as the command line writes it."""
        return self.kind.replace(" ", "-")

    @property
    def is_from_a_consumer(self) -> bool:
        """Whether a consumer wrote what is in it: to an agent, or to a number that no channel has."""
        return self.kind == Kind.CONSUMER or (self.kind == Kind.CALLBACK and NO_CHANNEL in self.reason)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters are meant. An empty text or None means any; `since` in seconds since 1970."""

    kind: str = ""
    channel_id: str = ""
    reason: str = ""  # a part of it, in any case
    since: float | None = None

    def has(self, letter: DeadLetter) -> bool:
        """Whether a letter is one of them, but for its age: `DeadLetters.ids` asks Redis for that."""
        return (
            (self.kind in ("", letter.kind) or (self.kind == Kind.CONSUMER and letter.is_from_a_consumer))
            and self.channel_id in ("", letter.channel_id)
            and self.reason.casefold() in letter.reason.casefold()
        )


class DeadLetters:
    """The letters of one ledger."""

    def __init__(self, script: Script, keep: Retention) -> None:
        self._script, self._redis, self._keep = script, script.redis, keep

    async def add(self, letter_id: str, kind: Kind, channel_id: str, reason: str, raw: bytes) -> bool:
        """A dead letter that belongs to no entry."""
        answer = await self._script.record("dead_letter", letter_id, kind, channel_id, reason, raw, self._keep.dead_ms)
        return word(answer) == "new"

    async def ids(self, since: float | None = None, *, newest_first: bool = False) -> list[str]:
        """Every letter of this moment by age, some of which may end before they are read."""
        low = "-inf" if since is None else int(since * 1000)
        found = cast(list[bytes], await self._redis.zrangebyscore("dcb:dead", low, "+inf"))
        return [one.decode() for one in (reversed(found) if newest_first else found)]

    async def some_of_the_newest(self, limit: int) -> list[str]:
        """By age."""
        found = cast(list[bytes], await self._redis.zrange("dcb:dead", -limit, -1))
        return [one.decode() for one in found]

    async def page(self, cursor: str, count: int, since: float | None = None) -> paging.Page:
        """At most `count` ids, the newest first."""
        return await paging.newest(self._redis, "dcb:dead", cursor, count, since)

    async def count(self, since: float = 0.0) -> int:
        """Those that were written since then, in seconds since 1970."""
        return int(await self._redis.zcount("dcb:dead", int(since * 1000), "+inf"))

    async def newest(self) -> float | None:
        """When the newest was written, in seconds since 1970."""
        return await self._written(-1)

    async def oldest(self) -> float | None:
        """When the oldest was written, in seconds since 1970."""
        return await self._written(0)

    async def _written(self, place: int) -> float | None:
        found: Any = await self._redis.zrange("dcb:dead", place, place, withscores=True)
        return found[0][1] / 1000 if found else None

    async def read(self, ids: Sequence[str]) -> AsyncIterator[DeadLetter | None]:
        """Each letter in the given order; None for one that is not there."""
        for start in range(0, len(ids), _CHUNK):
            chunk = ids[start : start + _CHUNK]
            async with self._redis.pipeline(transaction=False) as pipe:
                for one in chunk:
                    pipe.hmget(f"dcb:dead:{one}", *_FIELDS)
                    pipe.hstrlen(f"dcb:dead:{one}", "raw")
                rows: list[Any] = await pipe.execute(raise_on_error=False)
            for one, fields, size in zip(chunk, rows[::2], rows[1::2], strict=True):
                yield _letter(one, fields, size)

    async def raw(self, letter_id: str) -> bytes | None:
        """The bytes as they came: private."""
        return await cast(Awaitable[bytes | None], self._redis.hget(f"dcb:dead:{letter_id}", "raw"))

    async def origin(self, letter_id: str) -> tuple[str, str]:
        """The message or task that it is of, and that one's trace; the letter itself and "" where nothing is known."""
        kind, _, name = letter_id.partition("-")
        key = {"m": "dcb:m:", "r": "dcb:m:", "t": "dcb:t:"}.get(kind)
        if key is None or not name:
            return letter_id, ""
        found = await cast(Awaitable[bytes | None], self._redis.hget(key + name, TaskEntry.trace_id.wire))
        return (name, found.decode(errors="replace")) if found else (letter_id, "")

    async def trace(self, letter_id: str) -> str:
        """The trace id of the task whose dead letter it is; "" for none, or where the task is forgotten."""
        if not letter_id.startswith(_OF_TASK):
            return ""
        key = f"dcb:t:{letter_id.removeprefix(_OF_TASK)}"
        found = await cast(Awaitable[bytes | None], self._redis.hget(key, TaskEntry.trace_id.wire))
        return (found or b"").decode(errors="replace")

    async def seconds_left(self, letter_id: str) -> float:
        """How long the letter will be kept."""
        return max(0.0, await self._redis.pttl(f"dcb:dead:{letter_id}") / 1000)

    async def drop(self, ids: Iterable[str]) -> int:
        """Forget them; how many there were."""
        return int(await self._script.call("dead_letters_drop", *ids))

    # Each of these answers "new" when it is done and the letter has left, "gone" when there is no such letter, and
    # otherwise what stands in the way.

    async def accept(self, letter_id: str, copies: Sequence[NewMessage]) -> str:
        """As a webhook's; "again" when all are known."""
        return await self._replay(letter_id, "accept", *words_of(copies, self._keep))

    async def put_task(self, letter_id: str, task: NewTask) -> str:
        """A task with an id that nobody has used; "again" otherwise."""
        index = self._keep.index
        return await self._replay(letter_id, "task_put", index.keep_ms, *task.words, index.consumer(task.consumer))

    async def again(self, letter_id: str, task: NewTask) -> str:
        """The dead task itself, under its own id; its state when it is not dead."""
        return await self._replay(letter_id, "task_again", *task.words)

    async def owe_receipt(self, letter_id: str, ref: str, sender_id: str, to_id: str) -> str:
        """A receipt that was refused; "posted", "owed", or "forgotten" with its message."""
        return await self._replay(letter_id, "receipt_owe", ref, sender_id, to_id)

    async def put_batch(self, letter_id: str, batch_id: str, endpoint: str, trace_id: str, body: bytes) -> str:
        """An interactions webhook; "again" when it is here already."""
        return await self._replay(letter_id, "batch_put", batch_id, endpoint, trace_id, body, self._keep.ended_ms)

    async def put_delivery(self, letter_id: str, event_id: str, subscriber: str, lane: str, stored: bytes) -> str:
        """An event that its subscriber did not take; "waiting" when it is on its way again already."""
        return await self._replay(letter_id, "delivery_again", event_id, subscriber, lane, stored)

    async def _replay(self, letter_id: str, verb: str, *arguments: str | bytes | int) -> str:
        return word(await self._script.call("replay", letter_id, verb, *arguments))


def _letter(letter_id: str, fields: Sequence[bytes | None] | Exception, size: int) -> DeadLetter | None:
    if isinstance(fields, Exception):
        return DeadLetter(letter_id, UNREADABLE, "", "its key is of another type", 0.0, 0)
    what, channel, reason, at, item, handled = [(value or b"").decode(errors="replace") for value in fields]
    if not at:
        return None
    if not re.fullmatch(r"[0-9]{1,14}", at):  # more would be beyond every date
        return DeadLetter(letter_id, UNREADABLE, channel, "its time is no number", 0.0, size)
    opened = item.split(" ")[1] if item.count(" ") == 2 else ""
    return DeadLetter(letter_id, what, channel, reason, int(at) / 1000, size, _seconds(opened), _seconds(handled))


def _seconds(written: str) -> float:
    return int(written) / 1000 if re.fullmatch(r"[0-9]{1,14}", written) else 0.0
