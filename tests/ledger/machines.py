"""What the state machines over a ledger have in common: a Redis, an event loop, and an end that is always reached."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import ClassVar, TypeVar

from hypothesis.stateful import RuleBasedStateMachine
from redis.asyncio import Redis

T = TypeVar("T")


class LedgerMachine(RuleBasedStateMachine):
    """One run. `url` is set by the test."""

    url: ClassVar[str]
    runner: asyncio.Runner
    redis: Redis

    def open(self) -> None:
        """An empty Redis; before anything else of a run."""
        self.runner = asyncio.Runner()
        self.redis = Redis.from_url(self.url)
        self.do(self.redis.flushall())

    def bring_to_an_end(self) -> None:
        """Everything that is under way."""
        raise NotImplementedError

    def teardown(self) -> None:
        if not hasattr(self, "runner"):
            return
        try:
            self.bring_to_an_end()
        finally:
            self.do(self.redis.aclose())
            self.runner.close()

    def do(self, what: Awaitable[T]) -> T:
        async def wait() -> T:
            return await what

        return self.runner.run(wait())
