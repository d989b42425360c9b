"""What is measured. Counters of this process live here; the books are read from Redis at each scrape."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Container, Iterable
from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bridge.ledger.books import Books, together

_ANSWER = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 8, 10)
_FATE = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 7200, 43200, 172800)


def _keep_children(metric: Counter | Histogram) -> None:
    """Looking a child up by its labels takes locks and joins words, for every message anew: remember it."""
    metric.labels = lru_cache(maxsize=None)(metric.labels)  # type: ignore[method-assign,assignment]


class Metrics:
    """One process' counters, in a registry of their own. Labels hold names from bridge.yaml, never data."""

    def __init__(self) -> None:
        self.registry = r = CollectorRegistry()
        self.requests = Counter(
            "dcbridge_requests", "Requests answered, by route, configured name and what became of them.",
            ["route", "name", "outcome"], registry=r,
        )  # fmt: skip
        self.answer_seconds = Histogram(
            "dcbridge_answer_seconds",
            "Time from the request line to the answer.",
            ["route"],
            buckets=_ANSWER,
            registry=r,
        )
        self.headroom_seconds = Gauge(
            "dcbridge_headroom_seconds", "Ten seconds less the slowest answer of the last minute.", registry=r
        )
        self.signatures = Counter(
            "dcbridge_signatures", "Signatures checked, by what was found.", ["route", "name", "verdict"], registry=r
        )
        self.secret_uses = Counter(
            "dcbridge_secret_uses", "Valid signatures, by place of the secret in the configuration (0 is the first).",
            ["name", "secret"], registry=r,
        )  # fmt: skip
        self.sends = Counter(
            "dcbridge_sends", "Requests to providers, by what became of them.", ["provider", "outcome"], registry=r
        )
        self.send_seconds = Histogram(
            "dcbridge_send_seconds", "Time that a provider took to answer.", ["provider"], buckets=_ANSWER, registry=r
        )
        self.updates = Counter(
            "dcbridge_delivery_updates", "Delivery updates, by what they changed.", ["provider", "outcome"], registry=r
        )
        self.receipts = Counter(
            "dcbridge_receipts", "Receipts posted, by status and outcome.", ["channel", "status", "outcome"], registry=r
        )
        self.receipt_seconds = Histogram(
            "dcbridge_receipt_seconds",
            "Time from acceptance to the posted receipt.",
            ["channel"],
            buckets=_FATE,
            registry=r,
        )
        self.consumer_messages = Counter(
            "dcbridge_consumer_messages", "Consumers' messages posted, by outcome.", ["channel", "outcome"], registry=r
        )
        self.journal_written = Counter(
            "dcbridge_journal_written", "Callbacks kept in the journal because Redis was away.", registry=r
        )
        self.journal_waiting = Gauge(
            "dcbridge_journal_waiting", "Callbacks in the journal that Redis does not hold yet.", registry=r
        )
        self.faults = Counter(
            "dcbridge_faults", "What an operator has to look at, by kind.", ["kind", "name"], registry=r
        )

        for metric in vars(self).values():
            if isinstance(metric, Counter | Histogram):
                _keep_children(metric)
        self._slowest: deque[tuple[float, float]] = deque()  # (when, seconds), falling: the maximum of a minute
        self.headroom_seconds.set_function(self._headroom)

    def note_answer(self, seconds: float) -> None:
        """Remember how long an answer took, for the headroom."""
        now = time.monotonic()
        while self._slowest and self._slowest[-1][1] <= seconds:
            self._slowest.pop()
        self._slowest.append((now, seconds))
        while self._slowest[0][0] < now - 60:
            self._slowest.popleft()

    def _headroom(self) -> float:
        now = time.monotonic()
        while self._slowest and self._slowest[0][0] < now - 60:
            self._slowest.popleft()
        return 10.0 - (self._slowest[0][1] if self._slowest else 0.0)

    def render(self, books: Books | None, channels: Container[str] = ()) -> bytes:
        """The text exposition, with the books where Redis could be read.

        Channels that are not configured are added up as "(unknown)": a label is never data.
        """
        text = generate_latest(self.registry)
        if books is None:
            return text
        extra = CollectorRegistry()
        extra.register(_BooksCollector(books, channels))
        return text + generate_latest(extra)


class _BooksCollector(Collector):
    def __init__(self, books: Books, channels: Container[str]) -> None:
        self._books = books
        known = [c for c in books.channels if c.channel_id in channels]
        strays = [c for c in books.channels if c.channel_id not in channels]
        self._channels = [*known, together("(unknown)", strays)] if strays else known

    def collect(self) -> Iterable[Metric]:
        def gauge(name: str, help_text: str, labels: tuple[str, ...] = ("channel",)) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"dcbridge_{name}", help_text, labels=labels)

        total = CounterMetricFamily("dcbridge_books", "Messages by channel and state.", labels=["channel", "state"])
        flight = gauge("in_flight", "Messages accepted and not yet terminal.")
        difference = gauge("books_difference", "accepted less everything accounted for; other than 0 is an alarm.")
        oldest = gauge("oldest_waiting_seconds", "Age of the oldest message in flight.")
        waiting = gauge("receipts_waiting", "Receipts not yet posted.")
        late = gauge("oldest_receipt_seconds", "How long the oldest receipt has been due.")
        for c in self._channels:
            for state in ("accepted", "delivered", "removed", "failed", "unconfirmed", "redelivered"):
                total.add_metric([c.channel_id, state], getattr(c, state))
            for family, value in (
                (flight, c.in_flight), (difference, c.difference), (oldest, c.oldest_age),
                (waiting, c.receipts_waiting), (late, c.oldest_receipt_age),
            ):  # fmt: skip
                family.add_metric([c.channel_id], value)
        queued = gauge("queued_jobs", "Jobs waiting in RQ's queues.", ("queue",))
        for name, depth in self._books.queued.items():
            queued.add_metric([name], depth)
        tasks = gauge("tasks_waiting", "Callbacks and consumers' messages that wait.", ("task",))
        for name, depth in self._books.tasks.items():
            tasks.add_metric([name], depth)
        events = CounterMetricFamily("dcbridge_ledger_events", "What the ledger counted.", labels=["event"])
        for name, count in sorted(self._books.counts.items()):
            events.add_metric([name], count)
        dead = gauge("dead_letters", "Dead letters kept.", ())
        dead.add_metric([], self._books.dead_letters)
        batches = gauge("interaction_batches", "Interaction batches kept.", ())
        batches.add_metric([], self._books.interaction_batches)
        is_open = gauge("breaker_open", "1 while nothing is sent to a provider.", ("provider",))
        parked = gauge("parked", "Messages that wait for a provider's breaker to close.", ("provider",))
        for provider, count in sorted(self._books.parked.items()):
            is_open.add_metric([provider], int(provider in self._books.open_breakers))
            parked.add_metric([provider], count)
        return [total, flight, difference, oldest, waiting, late, queued, tasks, events, dead, batches, is_open, parked]
