"""One writer for each event loop: the verbs that wait at one moment travel in one script, and so in one fsync.

Each caller gets the answer to its own verb, after Redis holds it. One that fails in the script fails
alone; a Redis that cannot be written fails all that were under way.

A script is bounded by the work in it, not by the number of verbs: while it runs nobody else gets a turn. What is
bulk (a slice of a webhook with many messages, or any heavy verb) waits in a queue of its own, and gets every second
script while both queues hold something: a light verb waits for one slice at most, and bulk never for ever.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from dcbridge.ledger.index import Index
from dcbridge.ledger.kept_text import KeptText
from dcbridge.ledger.patience import Patience
from dcbridge.store.durability import Durable

T = TypeVar("T")
Argument = str | bytes | int

BATCH = 64  # light verbs to a script: enough to share an fsync, few enough that others get their turn
WORDS = 24  # arguments that weigh as much as a light verb: a message that is accepted has fewer
BYTES = 16_384  # of arguments that do
BARRIER = "dcb:barrier"  # the small write of dcbridge.store.durability
HEAVY = 8  # light verbs: one that weighs more is bulk


class _Waiting(NamedTuple):
    words: tuple[Argument, ...]
    done: asyncio.Future[Any]
    weight: int


class Batch:
    """Calls of one script on one Redis. `durable`: what an answer has to wait for, besides the reply."""

    def __init__(self, redis: Redis, script: str, durable: Durable | None = None) -> None:
        self._redis, self._durable = redis, durable
        self._script = redis.register_script(script)
        self._most = durable.batch if durable else BATCH
        self._light: deque[_Waiting] = deque()
        self._bulk: deque[_Waiting] = deque()
        self._bulk_next = False
        self._writer: asyncio.Task[None] | None = None

    async def call(self, *words: Argument, bulk: bool = False) -> Any:
        """One verb and its arguments. Whoever stops waiting may still have been written.

        `bulk`: it is one of several that must stay in their order, so it may not overtake a heavy one.
        """
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        weight = weigh(words)
        (self._bulk if bulk or weight > HEAVY else self._light).append(_Waiting(words, done, weight))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        return await done

    async def _write(self) -> None:
        while self._light or self._bulk:
            batch = self._next()
            flat: list[Argument] = [datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")]
            for words, _, _ in batch:
                flat.append(len(words))
                flat += words
            try:
                answers = await self._run(flat)
            except Exception as error:
                _fail(batch, error)
            except BaseException:
                _fail([*batch, *self._light, *self._bulk], ConnectionError("the writer was stopped"))
                self._light.clear()
                self._bulk.clear()
                raise
            else:
                for (_, done, _), answer in zip(batch, answers, strict=True):
                    if done.done():
                        continue
                    if isinstance(answer, RedisError):
                        done.set_exception(answer)
                    else:
                        done.set_result(answer)

    def _next(self) -> list[_Waiting]:
        """What the next script carries: of one queue, as much as it may weigh, and one verb at least."""
        self._bulk_next = bool(self._bulk) and (self._bulk_next or not self._light)
        queue = self._bulk if self._bulk_next else self._light
        self._bulk_next = not self._bulk_next
        batch = [queue.popleft()]
        left = self._most - batch[0].weight
        while queue and queue[0].weight <= left:
            batch.append(queue.popleft())
            left -= batch[-1].weight
        return batch

    async def _run(self, arguments: list[Argument]) -> list[Any]:
        if self._durable is not None:
            return cast(list[Any], await self._durable.run(self._redis, self._script, arguments, BARRIER))
        return await cast(Awaitable[list[Any]], self._script(args=arguments))


class Script:
    """The verbs of the ledger on one Redis. `patience`: for what must not be lost while Redis is away."""

    def __init__(
        self, redis: Redis, text: str, durable: Durable | None = None, patience: Patience | None = None
    ) -> None:
        self.redis = redis
        self.call = Batch(redis, text, durable).call
        self._patience = patience

    def once(self) -> Script:
        """The same verbs, each tried once. They still travel together."""
        same = copy(self)
        same._patience = None
        return same

    async def record(self, *words: Argument, bulk: bool = False) -> Any:
        """A verb that claims something, or writes down what has happened outside."""
        return await self.outlast(lambda: self.call(*words, bulk=bulk))

    async def outlast(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Anything else that is asked of Redis to the same end."""
        return await (ask() if self._patience is None else self._patience.outlast(ask))

    async def hash(self, key: str) -> dict[bytes, bytes]:
        """All fields of a key."""
        return await self.outlast(lambda: cast(Awaitable[dict[bytes, bytes]], self.redis.hgetall(key)))

    async def hashes(self, keys: Sequence[str]) -> list[dict[bytes, bytes]]:
        """All fields of each of several keys."""
        if not keys:
            return []
        return await self.outlast(lambda: self._hashes(keys))

    async def _hashes(self, keys: Sequence[str]) -> list[dict[bytes, bytes]]:
        async with self.redis.pipeline(transaction=False) as together:
            for key in keys:
                together.hgetall(key)
            return await together.execute()


@dataclass(frozen=True, slots=True)
class Retention:
    """For how long what has ended is kept, in milliseconds."""

    ended_ms: int
    dead_ms: int  # dead letters
    events_ms: int
    partner_ms: int  # after which a missing STARTED or FINISHED is a gap
    index: Index
    text: KeptText


def ms(seconds: float) -> int:
    """In milliseconds."""
    return max(0, int(seconds * 1000))


def word(answer: bytes) -> str:
    """What a verb answers with one word."""
    return answer.decode()


def weigh(words: Sequence[Argument]) -> int:
    """How much work a verb is, in light ones: by its arguments and their bytes."""
    size = sum([len(word) for word in words if not isinstance(word, int)])
    return 1 + len(words) // WORDS + size // BYTES


def slices(things: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """In pieces of at most `size`."""
    return (things[start : start + size] for start in range(0, len(things), size))


def whole(things: Sequence[T], size: int, of: Callable[[T], str]) -> Iterator[Sequence[T]]:
    """In pieces of at most `size`, save that neighbours of one `of` are never parted."""
    start, cut = 0, 0  # where a piece begins, and the last place where it may end
    for at in range(1, len(things) + 1):
        if at < len(things) and of(things[at]) == of(things[at - 1]):
            continue
        if at - start > size and cut > start:
            yield things[start:cut]
            start = cut
        cut = at
    if start < len(things):
        yield things[start:]


def _fail(batch: Sequence[_Waiting], error: Exception) -> None:
    for _, done, _ in batch:
        if not done.done():
            done.set_exception(error)
