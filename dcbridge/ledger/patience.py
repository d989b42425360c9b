"""For how long a call to the ledger is tried while Redis is away.

A claim, and what has happened outside, must not be lost for a Redis that restarts: a message that the provider has
and that is not written down would be sent twice. All verbs may be repeated, so they are tried again until Redis
answers. A claim whose reply was lost is asked for again as well: it may have been granted, and would be nobody's for a
lease. What is learnt outlives a lease: the ledger believes it as long as nothing else is known.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from redis.exceptions import RedisError, ResponseError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

T = TypeVar("T")
OUTAGE = 3600.0  # seconds for which what was learnt is kept in memory while Redis is away


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: `away` for a Redis that cannot be reached, `refused` for one that answers with an error."""

    refused: float
    away: float = OUTAGE

    async def outlast(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until there is an answer. Raises the last RedisError or OSError."""
        try:
            return await ask()
        except (RedisError, OSError):
            pass
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type((RedisError, OSError)),
            stop=self._is_over,
            wait=wait_random_exponential(multiplier=0.1, max=2.0),
            reraise=True,
        ):
            with attempt:
                return await ask()
        raise AssertionError("AsyncRetrying either returns or raises")

    def _is_over(self, state: RetryCallState) -> bool:
        answered = state.outcome is not None and isinstance(state.outcome.exception(), ResponseError)
        return (state.seconds_since_start or 0.0) > (self.refused if answered else self.away)
