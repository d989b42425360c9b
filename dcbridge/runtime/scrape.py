"""One scrape of an operator's port: this process' counters, and what Redis says at this moment.

The cost grows with channels, providers and workers, never with messages. Where Redis does not
answer, only `dcbridge_redis_up` tells of it, and the counters of the process are told all the same.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Container, Sequence

from redis.asyncio import Redis
from redis.exceptions import RedisError

from dcbridge.config.models import Configuration
from dcbridge.ledger import signals
from dcbridge.ledger.reports import books, overview
from dcbridge.runtime.metrics import Metrics
from dcbridge.settings.process import Settings
from dcbridge.store.connection import NOTES, redis_problems, redis_warnings

SAFETY_KEPT = 60.0  # seconds between two looks at how Redis is set up


class Scrape:
    """Renders the metrics of one process; called for each scrape."""

    def __init__(
        self,
        metrics: Metrics,
        redis: Redis,
        settings: Settings,
        configuration: Configuration,
        subscribers: Callable[[], Container[str]],
        others: Callable[[], Awaitable[Sequence[bytes]]] | None = None,
    ) -> None:
        """`subscribers`: the names that are configured now, for they may change while the process runs.

        `others`: what other processes of the service count, as text expositions.
        """
        self._subscribers, self._others = subscribers, others
        self._metrics, self._redis, self._settings, self._configuration = metrics, redis, settings, configuration
        self._unsafe, self._looked = 0, float("-inf")
        self._exposed = len(redis_warnings(settings))
        self._statistics = configuration.genesys.statistics if configuration.genesys else None
        metrics.begin_at_zero(configuration.providers, configuration.channels)

    async def __call__(self) -> bytes:
        others = await self._others() if self._others else ()
        try:
            found = await books.read(self._redis)
            now = await overview.read(self._redis, self._configuration.providers, by_worker=False)
            watched = await signals.read(self._redis, self._statistics.names) if self._statistics else None
            await self._look_at_safety()
        except (RedisError, OSError):
            return self._metrics.render(None, others=others)
        return self._metrics.render(
            found,
            self._configuration.channels,
            now,
            subscribers=self._subscribers(),
            redis_problems=self._unsafe,
            exposed=self._exposed,
            others=others,
            signals=watched,
            fresh_for=self._statistics.fresh_for if self._statistics else 0.0,
        )

    async def _look_at_safety(self) -> None:
        if time.monotonic() - self._looked < SAFETY_KEPT:
            return
        found = await redis_problems(self._redis, self._settings)
        self._unsafe, self._looked = sum(what not in NOTES for what in found), time.monotonic()
