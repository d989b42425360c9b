"""Adds to interaction events what Genesys knows of the interaction, before they are put: once, so that the same event
always gives the same bytes.

All events of one round wait together, WITHIN seconds at most; what has not come by then goes without. When a whole
round got no answer, nothing is asked for a minute.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import orjson
import structlog
from redis.exceptions import RedisError

from dcbridge.config.enrichment import Enrichment
from dcbridge.errors import SendError
from dcbridge.events.event import StoredEvent
from dcbridge.events.sinks import Event, Subscriber
from dcbridge.genesys.interaction_data import Question, chosen, data_of, question
from dcbridge.genesys.operations import Client
from dcbridge.json_values import an_object, is_deeper
from dcbridge.ledger import Ledger
from dcbridge.runtime.metrics import Metrics

log = structlog.get_logger()

WITHIN = 10.0  # seconds that events wait for it at most
TRIES, EACH, BETWEEN = 3, 3.0, 0.2  # requests for one interaction; seconds for one of them, and between two
AT_ONCE = 20
KEPT = 600.0  # seconds for which the answer is used again
LARGEST = 16 * 1024  # bytes of the chosen fields of one interaction
DEEPEST = 50  # levels of them: an event has to be written as JSON, with them in it
REST, LONG_REST = 60.0, 3600.0  # seconds without asking: after a round without an answer; after refusals
REFUSALS = 3  # 401 or 403 in a row


class Enricher:
    """For one event loop."""

    def __init__(
        self,
        where: Enrichment,
        base_url: str,
        client: Client,
        ledger: Ledger,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._where, self._base_url, self._client = where, base_url, client
        self._ledger, self._metrics, self._clock = ledger, metrics, clock
        self._refused, self._rests_until = 0, 0.0

    async def enrich(
        self, found: Sequence[StoredEvent], subscribers: Mapping[str, Subscriber]
    ) -> Mapping[str, StoredEvent]:
        """Those of these events that are told with more, by their ids."""
        asking = [one for one in subscribers.values() if one.on and one.enrich]
        names = sorted({name for one in asking for name in one.enrich_fields})
        wanted = [one for one in found if not one.event.own and any(a.wants(one.event) for a in asking)]
        if not wanted:
            return {}
        by_interaction: dict[tuple[str, str], list[StoredEvent]] = {}
        for one in wanted:
            by_interaction.setdefault((one.event.endpoint, one.event.interaction), []).append(one)
        if self._clock() < self._rests_until:
            self._count("resting", len(by_interaction))
            return {}
        answers = await self._round([some[0] for some in by_interaction.values()], names)
        return {
            one.event.id: replace(one, event=replace(one.event, enriched=answer))
            for some, answer in zip(by_interaction.values(), answers, strict=True)
            if answer is not None
            for one in some
        }

    async def _round(self, found: Sequence[StoredEvent], names: Sequence[str]) -> list[Mapping[str, object] | None]:
        places, outcomes = asyncio.Semaphore(AT_ONCE), list[str]()
        tasks = [asyncio.create_task(self._one(one, names, places, outcomes)) for one in found]
        _, late = await asyncio.wait(tasks, timeout=WITHIN)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        outcomes += ["late"] * len(late)
        for outcome in outcomes:
            self._count(outcome)
        if self._refused >= REFUSALS:
            self._rest(LONG_REST, "refused")
            self._metrics.faults.labels("account_fault", "genesys/enrichment").inc()
        elif any(one in ("late", "no_answer") for one in outcomes) and not {"fetched", "nothing"} & set(outcomes):
            self._rest(REST, "no answer")
        return [None if task in late else task.result() for task in tasks]

    def _rest(self, seconds: float, why: str) -> None:
        self._rests_until, self._refused = self._clock() + seconds, 0
        log.error("enrichment_rests", why=why, seconds=seconds)

    async def _one(
        self, kept: StoredEvent, names: Sequence[str], places: asyncio.Semaphore, outcomes: list[str]
    ) -> Mapping[str, object] | None:
        event = kept.event
        asked = question(
            self._base_url, event.media, event.interaction, event.fields.get("selfUri"), bearer=self._where.token
        )
        if asked is None:
            outcomes.append("no_address")
            return None
        key = (event.endpoint, event.interaction, *names)
        with suppress(RedisError, OSError, ValueError):
            if before := await self._ledger.events.known_of(key):
                outcomes.append("cached")
                value: Mapping[str, object] = orjson.loads(before)
                return value
        async with places:
            answer, outcome = await self._fetch(asked, names, kept.trace_id)
        if answer is not None:
            with suppress(RedisError, OSError):
                await self._ledger.events.keep_known(key, orjson.dumps(answer), KEPT)
        outcomes.append(outcome)
        return answer

    async def _fetch(
        self, asked: Question, names: Iterable[str], trace: str
    ) -> tuple[Mapping[str, object] | None, str]:
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(BETWEEN)
            try:
                async with asyncio.timeout(EACH):
                    reading = await self._client.send(asked.operation, asked.request(), trace)
            except (SendError, TimeoutError):
                continue
            if reading.good:
                self._refused = 0
                at = datetime.now(UTC).isoformat(timespec="milliseconds")
                answer = {"source": asked.source, "at": at, "data": chosen(data_of(reading), names)}
                if is_deeper(answer, DEEPEST) or len(orjson.dumps(answer)) > LARGEST:
                    return None, "too_large"
                return answer, "fetched"
            if reading.http in (401, 403):
                self._refused += 1
                return None, "refused"
            if reading.http not in (408, 429) and reading.http < 500:
                return None, "nothing"
        return None, "no_answer"

    def _count(self, outcome: str, times: int = 1) -> None:
        self._metrics.enrichments.labels(outcome).inc(times)


def shown_to(subscriber: Subscriber, event: Event) -> Event:
    """The event as this subscriber may see it."""
    if event.enriched is None:
        return event
    if not subscriber.enrich:
        return replace(event, enriched=None)
    data = an_object(event.enriched.get("data"))
    seen = {name: one for name, one in data.items() if name in subscriber.enrich_fields}
    return replace(event, enriched={**event.enriched, "data": seen})
