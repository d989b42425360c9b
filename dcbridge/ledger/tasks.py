"""Tasks: what is to be done once. A raw callback, a consumer's message, the delivery of an event."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field

from dcbridge.ledger.entries import TaskClaim, read_claim
from dcbridge.ledger.fields import TaskEntry
from dcbridge.ledger.jobs import INBOUND, JOBS
from dcbridge.ledger.script import Retention, Script, ms, slices, word
from dcbridge.tracing import switch

_SCRIPT = 64  # tasks that one script takes
MOST_WAITING = 10_000  # messages of which pieces are missing, of all consumers


@dataclass(frozen=True, slots=True)
class NewTask:
    """Something to be done once: read a raw callback, post a consumer message."""

    id: str
    job: str
    lane: str
    payload: bytes
    trace_id: str = ""
    channel_id: str = ""
    consumer: str = field(default="", repr=False)  # of what a consumer wrote: the number or address

    @property
    def words(self) -> tuple[str | bytes, ...]:
        """As `task_again` in dead_letters.lua takes them; `task_put` takes what stands for the consumer as well."""
        return self.id, self.job, self.lane, self.payload, self.trace_id, self.channel_id


@dataclass(frozen=True, slots=True)
class NewPiece:
    """A piece of a consumer's long SMS. `id`: of the task that it makes where it is the first of its message."""

    id: str
    set: str  # the same for all pieces of one message
    number: int
    count: int
    channel_id: str
    lane: str
    head: bytes  # the JSON of the whole message up to its text, the name of that field included
    text: str  # as the inside of a JSON string
    trace_id: str = ""
    consumer: str = field(default="", repr=False)


class Tasks:
    """The tasks of one ledger."""

    def __init__(self, script: Script, keep: Retention) -> None:
        self._script, self._keep = script, keep

    async def put(self, tasks: Sequence[NewTask]) -> list[bool]:
        """True for those that are new."""
        index = self._keep.index
        bulk, calls = len(tasks) > _SCRIPT, list[Awaitable[list[bytes]]]()
        for some in slices(tasks, _SCRIPT):
            flat = [word for t in some for word in (*t.words, index.consumer(t.consumer))]
            calls.append(self._script.record("task_put", index.keep_ms, *flat, bulk=bulk))
        fresh = [answer == b"new" for answers in await asyncio.gather(*calls) for answer in answers]
        if switch.current() is not None:
            for task, new in zip(tasks, fresh, strict=True):
                if new:
                    switch.created(JOBS[task.job].queue, [(task.id, task.trace_id)])
        return fresh

    async def put_piece(self, piece: NewPiece, wait: float, keep: float) -> str:
        """new, joined, or again. `wait`: seconds for the others to come. `keep`: as of `done`."""
        p, index = piece, self._keep.index
        words = (p.id, p.set, p.number, p.count, p.channel_id, p.lane, p.trace_id, p.head, p.text)
        times = (ms(wait), ms(keep), MOST_WAITING)
        found = (index.consumer(p.consumer), index.keep_ms)
        answer = word(await self._script.record("piece_put", *words, *times, *found))
        if answer == "new":
            switch.created(INBOUND, [(p.id, p.trace_id)])
        return answer

    async def claim(self, task_id: str, token: str, lease: float) -> TaskClaim:
        """Take the task for `lease` seconds."""
        answer = await self._script.record("task_claim", task_id, token, ms(lease))
        return await read_claim(self._script, f"t:{task_id}", answer, TaskEntry)

    async def done(self, task_id: str, token: str, keep: float, why_nothing: str = "", ids: str = "") -> str:
        """Whoever says so: a worker given up for dead as well. `keep`: seconds for which the same id is recognised.
        `why_nothing`: in a few words of ours, why there was nothing to do. `ids`: of `posted_ids`.
        """
        return word(await self._script.record("task_done", task_id, token, ms(keep), why_nothing, ids))

    async def retry(self, task_id: str, token: str, delay: float, code: str) -> str:
        return word(await self._script.record("task_retry", task_id, token, ms(delay), code))

    async def dead(self, task_id: str, token: str, reason: str, raw: bytes, keep: float) -> str:
        return word(await self._script.record("task_dead", task_id, token, reason, raw, ms(keep), self._keep.dead_ms))

    async def entry(self, task_id: str) -> TaskEntry:
        """What is remembered of one task; false where nothing is."""
        return TaskEntry(await self._script.hash(f"dcb:t:{task_id}"))

    async def entries(self, task_ids: Sequence[str]) -> list[TaskEntry]:
        """The same of several, in one round trip."""
        return [TaskEntry(found) for found in await self._script.hashes([f"dcb:t:{one}" for one in task_ids])]
