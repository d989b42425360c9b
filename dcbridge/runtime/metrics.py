"""What is measured. Counters of this process live here; the books are read from Redis at each scrape."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dcbridge.ledger.reports.books import Books, SubscriberBooks, together
from dcbridge.ledger.reports.overview import Overview
from dcbridge.ledger.signals import Signal
from dcbridge.messages import channel_of
from dcbridge.runtime.controls_metric import ControlsCollector
from dcbridge.runtime.genesys_metrics import GenesysMetrics
from dcbridge.runtime.signals import SignalsCollector
from dcbridge.runtime.summed import summed

VERSION = version("dcbridge")
_RARE = (
    "unknown", "unknown_resend", "unknown_same_key", "unknown_fail", "unknown_resend_elsewhere", "dead",
    "breaker_opened", "redelivered_late", "switched", "doubled", "doubled_possible", "provider_slow",
    "own_subscriber_disabled", "own_subscriber_enabled", "own_subscriber_failing", "own_subscriber_recovered",
    "own_delivery_dead", "own_interaction_gap", "own_consent_stopped", "own_consent_started",
    "own_dead_letter_written", "own_dead_letter_replayed", "own_dead_letter_dropped", "own_dead_letter_handled",
    "own_statistic_crossed", "own_statistics_unavailable", "own_statistics_available",
    "gap_finished_first", "gap_repeated", "gap_never_finished", "gap_never_started",
)  # fmt: skip

PROVIDER_STATES = ("accepted", "delivered", "removed", "failed", "unconfirmed", "unknown", "left", "doubled")
_ANSWER = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 8, 10)
_EVENT = (0.01, 0.05, 0.1, 0.5, 1, 5, 30, 60, 300, 1800, 7200, 43200, 172800, 604800)
_FATE = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 7200, 43200, 172800)


def _keep_children(metric: Counter | Histogram) -> None:
    """Looking a child up by its labels takes locks and joins words, for every message anew: remember it."""
    metric.labels = lru_cache(maxsize=None)(metric.labels)  # type: ignore[method-assign,assignment]


class Metrics(GenesysMetrics):
    """One process' counters, in a registry of their own. Labels hold names from bridge.yaml, never data."""

    def __init__(self) -> None:
        self.registry = r = CollectorRegistry()
        super().__init__(r)
        self.requests = Counter(
            "dcbridge_http_requests", "Requests answered, by route, configured name and what became of them.",
            ["route", "name", "outcome"], registry=r,
        )  # fmt: skip
        self.answer_seconds = Histogram(
            "dcbridge_http_request_duration_seconds",
            "Time from the last byte of a request to the answer.",
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
            "dcbridge_provider_requests",
            "Requests to providers, by what became of them.",
            ["provider", "outcome"],
            registry=r,
        )
        self.send_seconds = Histogram(
            "dcbridge_provider_request_duration_seconds",
            "Time that a provider took to answer.",
            ["provider"],
            buckets=_ANSWER,
            registry=r,
        )
        self.segments = Counter(
            "dcbridge_segments", "SMS of the message parts that providers took, by encoding.",
            ["channel", "provider", "encoding"], registry=r,
        )  # fmt: skip
        self.updates = Counter(
            "dcbridge_delivery_updates", "Delivery updates, by what they changed.", ["provider", "outcome"], registry=r
        )
        self.questions = Counter(
            "dcbridge_status_lookups", "Questions to providers, about an outcome or a delivery, by what was answered.",
            ["provider", "about", "answer"], registry=r,
        )  # fmt: skip
        self.sessions = Gauge("dcbridge_sessions", "1 while this worker is bound at an SMSC.", ["provider"], registry=r)
        self.window_in_use = Gauge(
            "dcbridge_session_window_in_use", "Requests in the session that are not answered.", ["provider"], registry=r
        )
        self.session_arrivals = Counter(
            "dcbridge_session_arrivals", "Messages and receipts that arrived in sessions, by what became of them.",
            ["provider", "outcome"], registry=r,
        )  # fmt: skip
        self.session_oddities = Counter(
            "dcbridge_session_oddities", "What an SMSC said that none should say, by kind.", ["provider", "kind"],
            registry=r,
        )  # fmt: skip
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
        self.bookings = Counter(
            "dcbridge_bookings", "Calls that consumers asked for by text, by what became of each step.",
            ["channel", "result"], registry=r,
        )  # fmt: skip
        self.booking_seconds = Histogram(
            "dcbridge_booking_seconds", "Time that Genesys took to book a call.", (), buckets=_ANSWER, registry=r
        )
        self.media = Counter(
            "dcbridge_media", "Files of consumers (in) and agents (out), by what became of them.",
            ["direction", "outcome"], registry=r,
        )  # fmt: skip
        self.mails = Counter(
            "dcbridge_mails", "Mails for our mailboxes, by what became of them.", ["channel", "outcome"], registry=r
        )
        of_mailbox = ["channel", "mailbox"]
        self.mailbox_contact = Gauge(
            "dcbridge_mailbox_contact_timestamp_seconds",
            "When the server of a mailbox has answered last, seconds since 1970; from the process that looks into it.",
            of_mailbox, registry=r,
        )  # fmt: skip
        self.mailbox_waiting = Gauge(
            "dcbridge_mailbox_waiting", "Mails found in a mailbox and not stored yet.", of_mailbox, registry=r
        )
        self.mailbox_left = Gauge(
            "dcbridge_mailbox_left", "Mails in a mailbox that are not taken now.", of_mailbox, registry=r
        )
        self.mailbox_lag = Gauge(
            "dcbridge_mailbox_lag_seconds", "Age of the oldest mail that waits in a mailbox.", of_mailbox, registry=r
        )
        self.mailbox_errors = Counter(
            "dcbridge_mailbox_errors", "What went wrong with a mailbox, by what.", [*of_mailbox, "what"], registry=r
        )
        self.consent = Counter(
            "dcbridge_consent", "Words of consumers about consent, and messages that were refused for want of it.",
            ["channel", "outcome"], registry=r,
        )  # fmt: skip
        self.own_messages = Counter(
            "dcbridge_own_messages", "Messages of dcbridge's own, by what became of them when they were caused.",
            ["channel", "result"], registry=r,
        )  # fmt: skip
        self.triggers = Counter(
            "dcbridge_triggers", "Calls of triggers whose signature is right, by what became of them.",
            ["trigger", "result"], registry=r,
        )  # fmt: skip
        self.answers = Counter(
            "dcbridge_answers", "Consumer messages that a rule of `answers` fitted, by its first words.",
            ["channel", "rule", "result"], registry=r,
        )  # fmt: skip
        self.quiet_hours = Counter(
            "dcbridge_quiet_hours", "Messages whose turn came in quiet hours, by what became of them.",
            ["channel", "outcome"], registry=r,
        )  # fmt: skip
        self.holds = Counter(
            "dcbridge_hold_while", "Messages that a high statistic held, or not, by what became of them.",
            ["channel", "outcome"], registry=r,
        )  # fmt: skip
        self.waits_cut = Counter(
            "dcbridge_waits_cut",
            "Answers whose Retry-After was longer than the longest_pause of whoever gave it.",
            ["name"],
            registry=r,
        )
        self.deliveries = Counter(
            "dcbridge_deliveries", "Attempts to deliver an event, by what became of them.", ["subscriber", "outcome"],
            registry=r,
        )  # fmt: skip
        self.delivery_seconds = Histogram(
            "dcbridge_delivery_seconds",
            "Time that a subscriber took to answer.",
            ["subscriber"],
            buckets=_ANSWER,
            registry=r,
        )
        self.event_seconds = Histogram(
            "dcbridge_event_seconds",
            "Time from an accepted batch to the delivered event, replays left out.",
            ["subscriber"],
            buckets=_EVENT,
            registry=r,
        )
        self.ended = Counter(
            "dcbridge_connections_ended", "Connections ended by a limit, by listener and reason.",
            ["listener", "reason"], registry=r,
        )  # fmt: skip
        self.connections = Gauge("dcbridge_connections", "Connections open, by listener.", ["listener"], registry=r)
        self.reloads = Counter(
            "dcbridge_configuration_reloads", "Times that a changed bridge.yaml was read, by outcome.", ["outcome"],
            registry=r,
        )  # fmt: skip
        self.journal_written = Counter(
            "dcbridge_journal_written", "Callbacks kept in the journal because Redis was away.", registry=r
        )
        self.journal_waiting = Gauge(
            "dcbridge_journal_waiting", "Callbacks in the journal that Redis does not hold yet.", registry=r
        )
        self.faults = Counter(
            "dcbridge_errors", "What an operator has to look at, by kind.", ["kind", "name"], registry=r
        )

        self.store_changes = Counter(
            "dcbridge_store_changes",
            "Times that a worker found Redis' data new or older than before, or its clock stepped back.",
            ["kind"],
            registry=r,
        )
        self.redis_up = Gauge("dcbridge_redis_up", "1 when Redis answered this scrape.", registry=r)
        Gauge("dcbridge_build_info", "Which version this process runs.", ["version"], registry=r).labels(VERSION).set(1)

        for metric in vars(self).values():
            if isinstance(metric, Counter | Histogram):
                _keep_children(metric)
        self._slowest: deque[tuple[float, float]] = deque()  # (when, seconds), falling: the maximum of a minute
        self.headroom_seconds.set_function(self._headroom)

    def begin_at_zero(self, providers: Iterable[str], channels: Iterable[str]) -> None:
        """Tell of every fault before there is one: an alarm on a rise does not see a figure that begins at 1."""
        kinds = ("account_fault", "unreadable", "callback_unreadable", "bug", "breaker_opened")
        for kind, name in [
            *((kind, name) for kind in kinds for name in providers),
            *(("receipt_refused", name) for name in channels),
            ("account_fault", "digital-channels"),
            ("account_fault", "open-messaging"),
            ("journal_damaged", "journal"),
            ("bug", ""),
        ]:
            self.faults.labels(kind, name)
        for kind in ("new", "older", "clock"):
            self.store_changes.labels(kind)

    def ended_by(self, listener: str) -> Callable[[str], None]:
        """What a listener of that name tells when a limit ends a connection."""
        return lambda reason: self.ended.labels(listener, reason).inc()

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

    def text(self) -> bytes:
        """What this process counts, as text exposition."""
        return generate_latest(self.registry)

    def render(
        self,
        books: Books | None,
        channels: Container[str] = (),
        overview: Overview | None = None,
        *,
        subscribers: Container[str] = (),
        redis_problems: int = 0,
        exposed: int = 0,
        others: Sequence[bytes] = (),
        signals: Mapping[str, Signal] | None = None,
        fresh_for: float = 0.0,
    ) -> bytes:
        """The text exposition, with the books and the overview where Redis could be read.

        Channels that are not configured are added up as "(unknown)": a label is never data. Subscribers that are
        not configured any more are left out. `redis_problems`, `exposed`: how many things about Redis would lose
        messages, and let others read them. `others`: what other processes of the service count. `signals`: statistics
        that are watched, whose values are good for `fresh_for` seconds.
        """
        self.redis_up.set(int(books is not None))
        text = summed([self.text(), *others]) if others else self.text()
        extra = CollectorRegistry()
        if books is not None:
            extra.register(_BooksCollector(books, channels))
            extra.register(_SubscribersCollector([one for one in books.subscribers if one.name in subscribers]))
        if overview is not None:
            extra.register(_OverviewCollector(overview, channels, redis_problems, exposed))
            extra.register(ControlsCollector(overview, channels, subscribers))
        if signals:
            extra.register(SignalsCollector(signals, fresh_for))
        return text + generate_latest(extra)


class _BooksCollector(Collector):
    def __init__(self, books: Books, channels: Container[str]) -> None:
        self._books = books
        known = [c for c in books.channels if channel_of(c.channel_id) in channels]
        strays = [c for c in books.channels if channel_of(c.channel_id) not in channels]
        self._channels = [*known, together("(unknown)", strays)] if strays else known

    def collect(self) -> Iterable[Metric]:
        def gauge(name: str, help_text: str, labels: tuple[str, ...] = ("channel",)) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"dcbridge_{name}", help_text, labels=labels)

        total = CounterMetricFamily("dcbridge_books", "Messages by channel and state.", labels=["channel", "state"])
        flight = gauge("in_flight", "Messages accepted and not yet terminal.")
        difference = gauge("books_difference", "accepted less everything accounted for; other than 0 is an alarm.")
        by_provider = CounterMetricFamily(
            "dcbridge_provider_books",
            "Messages by channel, provider and state, of channels with several providers.",
            labels=["channel", "provider", "state"],
        )
        provider_flight = gauge(
            "provider_in_flight", "Messages of one of several providers that have not ended.", ("channel", "provider")
        )
        oldest = gauge("oldest_waiting_seconds", "Age of the oldest message in flight.")
        waiting = gauge("receipts_waiting", "Receipts not yet posted.")
        late = gauge("oldest_receipt_seconds", "How long the oldest receipt has been due.")
        for c in self._channels:
            for state in ("accepted", "delivered", "removed", "failed", "unconfirmed", "redelivered"):
                total.add_metric([c.channel_id, state], getattr(c, state))
            for family, value in (
                (flight, c.in_flight), (difference, c.difference + c.provider_difference), (oldest, c.oldest_age),
                (waiting, c.receipts_waiting), (late, c.oldest_receipt_age),
            ):  # fmt: skip
                family.add_metric([c.channel_id], value)
            for one in c.providers:
                for state in PROVIDER_STATES:
                    by_provider.add_metric([c.channel_id, one.name, state], getattr(one, state))
                provider_flight.add_metric([c.channel_id, one.name], one.in_flight)
        queued = gauge("queued_jobs", "Jobs waiting in RQ's queues.", ("queue",))
        for name, depth in self._books.queued.items():
            queued.add_metric([name], depth)
        tasks = gauge("tasks_waiting", "Callbacks and consumers' messages that wait.", ("task",))
        for name, depth in self._books.tasks.items():
            tasks.add_metric([name], depth)
        events = CounterMetricFamily("dcbridge_ledger_events", "What the ledger counted.", labels=["event"])
        for name, count in sorted((dict.fromkeys(_RARE, 0) | self._books.counts).items()):  # as `begin_at_zero`
            events.add_metric([name], count)
        costs = CounterMetricFamily(
            "dcbridge_cost", "What messages cost, as providers say.", labels=["provider", "currency"]
        )
        for (provider, currency), amount in sorted(self._books.costs.items()):
            costs.add_metric([provider, currency], float(amount))
        dead = gauge("dead_letters", "Dead letters kept.", ())
        dead.add_metric([], self._books.dead_letters)
        items = gauge("work_items", "Dead letters that an agent has as a work item.", ())
        items.add_metric([], self._books.work_items)
        aside = gauge("set_aside", "Entries and receipts that this version cannot read.", ())
        aside.add_metric([], self._books.set_aside)
        batches = gauge("interaction_batches", "Interaction batches that wait to be split into events.", ())
        batches.add_metric([], self._books.interaction_batches)
        of_channels = [total, flight, difference, by_provider, provider_flight, oldest, waiting, late]
        return [*of_channels, queued, tasks, events, costs, dead, items, aside, batches]


class _OverviewCollector(Collector):
    def __init__(self, overview: Overview, channels: Container[str], redis_problems: int, exposed: int) -> None:
        self._overview, self._channels, self._unsafe, self._exposed = overview, channels, redis_problems, exposed

    def collect(self) -> Iterable[Metric]:
        now = self._overview

        def gauge(name: str, help_text: str, *labels: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"dcbridge_{name}", help_text, labels=labels)

        queued = gauge("oldest_queued_seconds", "How long the first job of a queue has waited.", "queue")
        running = gauge("running_jobs", "Jobs that workers run at this moment.", "queue")
        workers = gauge("workers", "Workers that were heard of lately and take from this queue.", "queue")
        for queue in now.queues:
            queued.add_metric([queue.name], queue.oldest_age)
            running.add_metric([queue.name], queue.started)
            taking = sum(queue.name in worker.queues for worker in now.workers if not worker.silent)
            workers.add_metric([queue.name], taking)
        is_open = gauge("breaker_open", "1 while nothing is sent to a provider.", "provider")
        openings = gauge("breaker_openings", "Times that a provider's breaker opened during the last hour.", "provider")
        parked = gauge("breaker_parked", "Messages that wait for a provider's breaker to close.", "provider")
        paused = gauge("paused_seconds", "For how long a provider asked not to be spoken to.", "provider")
        slow = gauge("provider_slow", "1 while the delivery updates of one of several providers are slow.", "provider")
        late = gauge("provider_late_share", "Share of its messages without a delivery update in time.", "provider")
        drained = gauge("provider_drained", "1 while an operator has drained a provider.", "provider")
        asked = gauge("pause_asked_seconds", "How long a pause the provider asked for, while it is paused.", "provider")
        for one in now.providers:
            slow.add_metric([one.name], int(one.speed.slow_since is not None))
            late.add_metric([one.name], one.speed.share)
            drained.add_metric([one.name], int(one.order is not None and one.order.how == "drain"))
            asked.add_metric([one.name], one.pause.asked if one.paused_for else 0.0)
            is_open.add_metric([one.name], int(one.open))
            openings.add_metric([one.name], one.openings)
            parked.add_metric([one.name], one.parked)
            paused.add_metric([one.name], one.paused_for)
        booked = gauge(
            "pace_booked_seconds", "How long a message that comes now would wait for its turn.", "of", "name"
        )
        held = gauge("waiting_for_slot", "Messages that wait in line for a pace.", "of", "name")
        under_way = gauge("requests_under_way", "Requests under way where there is a cap.", "of", "name")
        paces = [("provider", one.name, one.pace) for one in now.providers]
        paces += [("channel", name, pace) for name, pace in now.paces.items() if name in self._channels]
        for of, name, pace in paces:
            if pace.per_second:
                booked.add_metric([of, name], pace.booked_ahead)
            if pace.per_second or pace.cap:
                held.add_metric([of, name], pace.held)
            if pace.cap:
                under_way.add_metric([of, name], pace.in_flight)
        quiet = gauge("quiet_waiting", "Messages that wait for quiet hours of their consumers to end.", "channel")
        for name, night in now.quiet.items():
            if name in self._channels:
                quiet.add_metric([name], night.messages)
        redis_problems = gauge("redis_unsafe", "Things about Redis that would lose messages, or refuse them.")
        redis_problems.add_metric([], self._unsafe)
        exposed = gauge("redis_exposed", "Things about the connection to Redis that let others read messages.")
        exposed.add_metric([], self._exposed)
        ahead = gauge("clock_ahead_seconds", "How far the ledger's time is ahead of Redis' clock, which stepped back.")
        ahead.add_metric([], now.ahead)
        suspended = gauge("suspended", "1 while `rq suspend` keeps workers from taking anything.")
        suspended.add_metric([], int(now.suspended))
        of_providers = [is_open, openings, parked, paused, asked, booked, held, under_way, slow, late, drained, quiet]
        return [queued, running, workers, *of_providers, redis_problems, exposed, ahead, suspended]


class _SubscribersCollector(Collector):
    def __init__(self, subscribers: Sequence[SubscriberBooks]) -> None:
        self._subscribers = subscribers

    def collect(self) -> Iterable[Metric]:
        total = CounterMetricFamily(
            "dcbridge_subscriber_events", "Deliveries by subscriber and state.", labels=["subscriber", "state"]
        )
        gauges = {
            name: GaugeMetricFamily(f"dcbridge_subscriber_{name}", text, labels=["subscriber"])
            for name, text in (
                ("waiting", "Deliveries that have not ended."),
                ("in_flight", "Deliveries under way, or with a job that is queued."),
                ("oldest_seconds", "Age of the oldest delivery that has not ended."),
                ("failing_seconds", "How long a subscriber has failed without a success; 0 while it answers."),
                ("breaker_open", "1 while a subscriber gets nothing but probes."),
                ("disabled", "1 while a subscriber is disabled."),
                ("difference", "accepted less everything accounted for; other than 0 is an alarm."),
            )
        }
        for one in self._subscribers:
            for state in ("accepted", "delivered", "dead", "dropped"):
                total.add_metric([one.name, state], getattr(one, state))
            for name, value in (
                ("waiting", one.waiting), ("in_flight", one.in_flight), ("oldest_seconds", one.oldest_age),
                ("failing_seconds", one.failing_for), ("breaker_open", int(one.breaker_open)),
                ("disabled", int(one.disabled_for > 0)), ("difference", one.difference),
            ):  # fmt: skip
                gauges[name].add_metric([one.name], value)
        return [total, *gauges.values()]
