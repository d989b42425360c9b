"""One writer for each event loop: the verbs that wait at one moment travel in one script, and so in one fsync.

Each caller gets the answer to its own verb, after Redis holds it. One that fails in the script fails
alone; a Redis that cannot be written fails all that were under way.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from bridge.durability import Durable

T = TypeVar("T")
Argument = str | bytes | int

BATCH = 64  # verbs to a script: enough to share an fsync, few enough that others get their turn


class Batch:
    """Calls of one script on one Redis. `durable`: what an answer has to wait for, besides the reply."""

    def __init__(self, redis: Redis, script: str, durable: Durable | None = None) -> None:
        self._redis, self._durable = redis, durable
        self._script = redis.register_script(script)
        self._most = durable.batch if durable else BATCH
        self._waiting: deque[tuple[tuple[Argument, ...], asyncio.Future[Any]]] = deque()
        self._writer: asyncio.Task[None] | None = None

    async def call(self, *words: Argument) -> Any:
        """One verb and its arguments. Whoever stops waiting may still have been written."""
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((words, done))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        return await done

    async def _write(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
            flat: list[Argument] = [datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")]
            for words, _ in batch:
                flat.append(len(words))
                flat += words
            try:
                answers = await self._run(flat)
            except Exception as error:
                _fail(batch, error)
            except BaseException:
                _fail([*batch, *self._waiting], ConnectionError("the writer was stopped"))
                self._waiting.clear()
                raise
            else:
                for (_, done), answer in zip(batch, answers, strict=True):
                    if done.done():
                        continue
                    if isinstance(answer, RedisError):
                        done.set_exception(answer)
                    else:
                        done.set_result(answer)

    async def _run(self, arguments: list[Argument]) -> list[Any]:
        if self._durable is not None:
            return cast(list[Any], await self._durable.run(self._redis, self._script, arguments))
        return await cast(Awaitable[list[Any]], self._script(args=arguments))


def slices(things: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """In pieces of at most `size`."""
    return (things[start : start + size] for start in range(0, len(things), size))


def _fail(batch: list[tuple[tuple[Argument, ...], asyncio.Future[Any]]], error: Exception) -> None:
    for _, done in batch:
        if not done.done():
            done.set_exception(error)
