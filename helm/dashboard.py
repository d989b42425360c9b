"""The Grafana dashboard: rows of panels, each a question and the figures that answer it.

Every pod of a bridge tells what Redis holds, so such a figure is a maximum; what a process counts itself is a sum.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import count
from typing import Any

from helm.genesys_panel import GENESYS

Json = dict[str, Any]
HERE = 'bridge="$bridge"'  # the variable at the top of the page
ANSWERED = "sum by (le) (rate(dcbridge_http_request_duration_seconds_bucket{B}[5m]))"
SENT = "rate(dcbridge_provider_requests_total{B}[5m])"
SENDING = "rate(dcbridge_provider_request_duration_seconds_bucket{B}[5m])"


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph. `unit` is Grafana's; `series` are (expression, legend); B in an expression is this bridge."""

    title: str
    unit: str
    says: str
    series: tuple[tuple[str, str], ...]


ROWS: dict[str, tuple[Panel, ...]] = {
    "Is anything lost?": (
        Panel(
            "Not accounted for", "short", "Other than 0 is an alarm.",
            (("max by (channel) (abs(dcbridge_books_difference{B}))", "{{channel}}"),),
        ),
        Panel(
            "In flight", "short", "Accepted and not ended, of which most wait for a provider's report.",
            (("max by (channel) (dcbridge_in_flight{B})", "{{channel}}"),),
        ),
        Panel(
            "How messages end", "ops", "Messages a second by what became of them.",
            (("sum by (state) (max by (channel, state) (rate(dcbridge_books_total{B}[5m])))", "{{state}}"),),
        ),
        Panel(
            "Dead letters", "short", "What nobody could read or take, kept for a replay.",
            (
                ("max(dcbridge_dead_letters{B})", "kept"),
                ("max(dcbridge_work_items{B})", "with an agent, as a work item"),
            ),
        ),
        Panel(
            "Set aside", "short", "Entries and receipts that this version cannot read.",
            (("max(dcbridge_set_aside{B})", "kept"),),
        ),
        Panel(
            "Redis' data and clock", "short", "Found new or older than before; a clock that stepped back.",
            (
                ("sum by (kind) (increase(dcbridge_store_changes_total{B}[1h]))", "{{kind}}"),
                ("max(dcbridge_clock_ahead_seconds{B})", "seconds ahead of the clock"),
            ),
        ),
    ),
    "Webhooks and callbacks": (
        Panel(
            "Requests", "reqps", "By route and what became of them.",
            (("sum by (route, outcome) (rate(dcbridge_http_requests_total{B}[5m]))", "{{route}} {{outcome}}"),),
        ),
        Panel(
            "Time to answer", "s", "The sender gives up after ten seconds.",
            (
                (f"histogram_quantile(0.5, {ANSWERED})", "half"),
                (f"histogram_quantile(0.99, {ANSWERED})", "99%"),
            ),
        ),
        Panel(
            "Headroom", "s", "Ten seconds less the slowest answer of a minute.",
            (("min by (pod) (dcbridge_headroom_seconds{B})", "{{pod}}"),),
        ),
        Panel(
            "Connections", "short", "Open on each listener.",
            (("max by (listener) (dcbridge_connections{B})", "{{listener}}"),),
        ),
        Panel(
            "Connections ended by a limit", "ops", "By reason: a client without a secret, or an odd sender.",
            (
                (
                    "sum by (listener, reason) (rate(dcbridge_connections_ended_total{B}[5m]))",
                    "{{listener}} {{reason}}",
                ),
            ),
        ),
        Panel(
            "Refused signatures", "ops", "By what was wrong.",
            (
                (
                    'sum by (name, verdict) (rate(dcbridge_signatures_total{B,verdict!="valid"}[5m]))',
                    "{{name}} {{verdict}}",
                ),
            ),
        ),
        Panel(
            "Secrets in use", "ops", "0 is the first of the list: when it alone moves, the others can go.",
            (("sum by (name, secret) (rate(dcbridge_secret_uses_total{B}[5m]))", "{{name}} {{secret}}"),),
        ),
        Panel(
            "Callbacks in the journal", "short", "On the disk of one pod alone until Redis has them.",
            (("max by (pod) (dcbridge_journal_waiting{B})", "{{pod}}"),),
        ),
    ),
    "Workers": (
        Panel(
            "Oldest job", "s", "How long what could be done has waited; workers scale on it.",
            (("max by (queue) (dcbridge_oldest_queued_seconds{B})", "{{queue}}"),),
        ),
        Panel(
            "Jobs", "short", "Waiting, and under way.",
            (
                ("max by (queue) (dcbridge_queued_jobs{B})", "{{queue}} waiting"),
                ("max by (queue) (dcbridge_running_jobs{B})", "{{queue}} under way"),
            ),
        ),
        Panel(
            "Workers", "short", "Heard of lately, by queue.",
            (("max by (queue) (dcbridge_workers{B})", "{{queue}}"),),
        ),
        Panel(
            "Oldest message in flight", "s", "By channel.",
            (("max by (channel) (dcbridge_oldest_waiting_seconds{B})", "{{channel}}"),),
        ),
        Panel(
            "Callbacks and consumers' messages that wait", "short", "Above 0 for long: Digital Channels is away.",
            (("max by (task) (dcbridge_tasks_waiting{B})", "{{task}}"),),
        ),
    ),
    "Several providers": (
        Panel(
            "Messages by provider", "ops", "What each of several providers of a channel was given.",
            (
                (
                    "sum by (provider, state) (max by (channel, provider, state)"
                    " (rate(dcbridge_provider_books_total{B}[5m])))",
                    "{{provider}} {{state}}",
                ),
            ),
        ),
        Panel(
            "In flight by provider", "short", "Given to it and not ended.",
            (("sum by (provider) (max by (channel, provider) (dcbridge_provider_in_flight{B}))", "{{provider}}"),),
        ),
        Panel(
            "Late delivery updates", "percentunit", "Share of the last ten minutes; slow is the last choice.",
            (
                ("max by (provider) (dcbridge_provider_late_share{B})", "{{provider}}"),
                ("max by (provider) (dcbridge_provider_slow{B})", "{{provider}} is slow"),
                ("max by (provider) (dcbridge_provider_drained{B})", "{{provider}} is drained"),
            ),
        ),
    ),
    "Providers": (
        Panel(
            "Requests", "reqps", "By what became of them.",
            ((f"sum by (provider, outcome) ({SENT})", "{{provider}} {{outcome}}"),),
        ),
        Panel(
            "Time to answer, 95%", "s", "A slower provider carries fewer messages a second.",
            (
                (f"histogram_quantile(0.95, sum by (provider, le) ({SENDING}))", "{{provider}}"),
            ),
        ),
        Panel(
            "Breaker", "short", "1 while nothing is sent; and what waits for it.",
            (
                ("max by (provider) (dcbridge_breaker_open{B})", "{{provider}} open"),
                ("max by (kind, name) (dcbridge_paused{B})", "{{kind}} {{name}} paused by an operator"),
                ("max by (provider) (dcbridge_breaker_parked{B})", "{{provider}} parked"),
                ("max by (provider) (dcbridge_breaker_openings{B})", "{{provider}} openings in an hour"),
            ),
        ),
        Panel(
            "Pauses asked for", "s", "What a Retry-After asked for, and how often it was more than is granted.",
            (
                ("max by (provider) (dcbridge_pause_asked_seconds{B})", "{{provider}}"),
                ("sum by (name) (increase(dcbridge_waits_cut_total{B}[1h]))", "{{name}} cut in an hour"),
            ),
        ),
        Panel(
            "Delivery updates", "ops", "By what they changed.",
            (
                (
                    "sum by (provider, outcome) (rate(dcbridge_delivery_updates_total{B}[5m]))",
                    "{{provider}} {{outcome}}",
                ),
            ),
        ),
        Panel(
            "Questions", "ops", "What a provider was asked about, and what it answered.",
            (("sum by (provider, answer) (rate(dcbridge_status_lookups_total{B}[5m]))", "{{provider}} {{answer}}"),),
        ),
        Panel(
            "SMS and what they cost", "ops", "SMS a second by encoding; and money an hour, as companies say it.",
            (
                (
                    "sum by (provider, encoding) (rate(dcbridge_segments_total{B}[5m]))",
                    "{{provider}} {{encoding}}",
                ),
                (
                    "max by (provider, currency) (increase(dcbridge_cost_total{B}[1h]))",
                    "{{provider}} {{currency}} an hour",
                ),
            ),
        ),
        Panel(
            "Quiet hours", "short", "Messages that wait for them to end; and what became of others in an hour.",
            (
                ("max by (channel) (dcbridge_quiet_waiting{B})", "{{channel}} waiting"),
                (
                    "sum by (channel, outcome) (increase(dcbridge_quiet_hours_total{B}[1h]))",
                    "{{channel}} {{outcome}} in an hour",
                ),
            ),
        ),
        Panel(
            "Messages of dcbridge's own", "short", "What was caused in an hour, by triggers and by keyword rules.",
            (
                ("sum by (trigger, result) (increase(dcbridge_triggers_total{B}[1h]))", "{{trigger}} {{result}}"),
                ("sum by (channel, result) (increase(dcbridge_own_messages_total{B}[1h]))", "{{channel}} {{result}}"),
                ("sum by (rule, result) (increase(dcbridge_answers_total{B}[1h]))", "{{rule}} {{result}}"),
            ),
        ),
        Panel(
            "Calls by text", "short", "What became of wishes for a call in an hour; how long it takes to book one.",
            (
                ("sum by (channel, result) (increase(dcbridge_bookings_total{B}[1h]))", "{{channel}} {{result}}"),
                ("histogram_quantile(0.95, sum by (le) (rate(dcbridge_booking_seconds_bucket{B}[1h])))", "s to book"),
            ),
        ),
        Panel(
            "SMPP sessions", "short", "Bound at each SMSC, and units that wait for their answer.",
            (
                ("sum by (provider) (dcbridge_sessions{B})", "{{provider}} bound"),
                ("sum by (provider) (dcbridge_session_window_in_use{B})", "{{provider}} without an answer"),
            ),
        ),
        Panel(
            "SMPP arrivals and oddities", "ops", "What SMSCs sent, and what was against the protocol.",
            (
                (
                    "sum by (provider, outcome) (rate(dcbridge_session_arrivals_total{B}[5m]))",
                    "{{provider}} {{outcome}}",
                ),
                ("sum by (provider, kind) (rate(dcbridge_session_oddities_total{B}[5m]))", "{{provider}} {{kind}}"),
            ),
        ),
    ),
    "Digital Channels": (
        Panel(
            "Receipts", "ops", "By status and outcome.",
            (("sum by (status, outcome) (rate(dcbridge_receipts_total{B}[5m]))", "{{status}} {{outcome}}"),),
        ),
        Panel(
            "Oldest receipt", "s", "How long it has been due.",
            (("max by (channel) (dcbridge_oldest_receipt_seconds{B})", "{{channel}}"),),
        ),
        Panel(
            "From acceptance to the receipt, 95%", "s", "What agents feel.",
            (
                (
                    "histogram_quantile(0.95, sum by (channel, le) (rate(dcbridge_receipt_seconds_bucket{B}[15m])))",
                    "{{channel}}",
                ),
            ),
        ),
        Panel(
            "Consumers' messages", "ops", "By outcome.",
            (("sum by (channel, outcome) (rate(dcbridge_consumer_messages_total{B}[5m]))", "{{channel}} {{outcome}}"),),
        ),
        Panel(
            "Files", "ops", "Of consumers (in) and agents (out), by what became of them.",
            (
                (
                    "sum by (direction, outcome) (rate(dcbridge_media_total{B}[5m]))",
                    "{{direction}} {{outcome}}",
                ),
            ),
        ),
        Panel(
            "Mails of consumers", "ops", "By channel and what became of them.",
            (("sum by (channel, outcome) (rate(dcbridge_mails_total{B}[5m]))", "{{channel}} {{outcome}}"),),
        ),
        Panel(
            "IMAP mailboxes", "short",
            "Seconds since the server answered, what waits and the age of the oldest, what is left, errors.",
            (
                (
                    "time() - max by (channel, mailbox) (dcbridge_mailbox_contact_timestamp_seconds{B})",
                    "{{channel}} {{mailbox}} seconds since contact",
                ),
                ("max by (channel, mailbox) (dcbridge_mailbox_waiting{B})", "{{channel}} {{mailbox}} waiting"),
                ("max by (channel, mailbox) (dcbridge_mailbox_lag_seconds{B})", "{{channel}} {{mailbox}} lag"),
                ("max by (channel, mailbox) (dcbridge_mailbox_left{B})", "{{channel}} {{mailbox}} left"),
                (
                    "sum by (channel, mailbox, what) (rate(dcbridge_mailbox_errors_total{B}[5m]))",
                    "{{channel}} {{mailbox}} {{what}}",
                ),
            ),
        ),
        Panel(
            "Genesys' other interfaces", "ops", "Tokens asked for, requests, and fields seen for the first time.",
            GENESYS,
        ),
        Panel(
            "Statistics of the contact centre", "short", "Values that are watched, their age, and what the watch does.",
            (
                ("max by (watch) (dcbridge_genesys_statistic{B})", "{{watch}}"),
                ("max by (watch) (dcbridge_genesys_statistic_age_seconds{B})", "{{watch}} age"),
                ("sum by (step) (increase(dcbridge_genesys_statistics_steps_total{B}[5m]))", "{{step}}"),
                (
                    "sum by (channel, outcome) (increase(dcbridge_hold_while_total{B}[5m]))",
                    "{{channel}} {{outcome}}",
                ),
            ),
        ),
        Panel(
            "Consent", "ops", "STOP, START and HELP of consumers, and messages refused for an opt-out.",
            (("sum by (channel, outcome) (rate(dcbridge_consent_total{B}[5m]))", "{{channel}} {{outcome}}"),),
        ),
    ),
    "Events": (
        Panel(
            "Deliveries", "ops", "By subscriber and what became of them.",
            (
                (
                    "max by (subscriber, state) (rate(dcbridge_subscriber_events_total{B}[5m]))",
                    "{{subscriber}} {{state}}",
                ),
            ),
        ),
        Panel(
            "Attempts", "ops", "By subscriber and what it answered.",
            (
                (
                    "sum by (subscriber, outcome) (rate(dcbridge_deliveries_total{B}[5m]))",
                    "{{subscriber}} {{outcome}}",
                ),
            ),
        ),
        Panel(
            "Oldest delivery", "s", "How long the oldest that has not ended has waited.",
            (("max by (subscriber) (dcbridge_subscriber_oldest_seconds{B})", "{{subscriber}}"),),
        ),
        Panel(
            "Deliveries that wait", "short", "Not ended, and those of them under way; batches are not split yet.",
            (
                ("max by (subscriber) (dcbridge_subscriber_waiting{B})", "{{subscriber}} waiting"),
                ("max by (subscriber) (dcbridge_subscriber_in_flight{B})", "{{subscriber}} under way"),
                ("max(dcbridge_interaction_batches{B})", "batches"),
            ),
        ),
        Panel(
            "Sick subscribers", "short", "1 while nothing but probes, or nothing at all, goes to it.",
            (
                ("max by (subscriber) (dcbridge_subscriber_breaker_open{B})", "{{subscriber}} breaker open"),
                ("max by (subscriber) (dcbridge_subscriber_disabled{B})", "{{subscriber}} disabled"),
            ),
        ),
        Panel(
            "Failing for", "s", "How long a subscriber has not taken one event.",
            (("max by (subscriber) (dcbridge_subscriber_failing_seconds{B})", "{{subscriber}}"),),
        ),
        Panel(
            "Subscriber's time to answer, 95%", "s", "A slower one gets fewer events a second.",
            (
                (
                    "histogram_quantile(0.95, sum by (subscriber, le) (rate(dcbridge_delivery_seconds_bucket{B}[5m])))",
                    "{{subscriber}}",
                ),
            ),
        ),
        Panel(
            "From the batch to the subscriber, 95%", "s", "Replays left out.",
            (
                (
                    "histogram_quantile(0.95, sum by (subscriber, le) (rate(dcbridge_event_seconds_bucket{B}[15m])))",
                    "{{subscriber}}",
                ),
            ),
        ),
        Panel(
            "Events not accounted for", "short", "Other than 0 is an alarm.",
            (("max by (subscriber) (abs(dcbridge_subscriber_difference{B}))", "{{subscriber}}"),),
        ),
    ),
    "Redis": (
        Panel(
            "Answers", "short", "1 while it answers a scrape.",
            (("min by (pod) (dcbridge_redis_up{B})", "{{pod}}"),),
        ),
        Panel(
            "Not safe", "short", "Reasons for which it may lose messages, or let them be read.",
            (("max(dcbridge_redis_unsafe{B})", "may lose"), ("max(dcbridge_redis_exposed{B})", "may be read")),
        ),
        Panel(
            "Faults", "short", "What needs an operator, in an hour.",
            (("sum by (kind, name) (increase(dcbridge_errors_total{B}[1h]))", "{{kind}} {{name}}"),),
        ),
        Panel(
            "Configuration read again", "short", "In an hour, by outcome; refused: the old one stays.",
            (("sum by (outcome) (increase(dcbridge_configuration_reloads_total{B}[1h]))", "{{outcome}}"),),
        ),
    ),
}  # fmt: skip


def dashboard() -> Json:
    """As Grafana imports it."""
    numbers, panels, y = count(1), [], 0
    for title, row in ROWS.items():
        panels.append({"id": next(numbers), "type": "row", "title": title, "gridPos": _place(0, y, 24, 1)})
        y += 1
        for at, panel in enumerate(row):
            panels.append(_panel(next(numbers), panel, _place(at % 3 * 8, y + at // 3 * 7, 8, 7)))
        y += 7 * ((len(row) + 2) // 3)
    return {
        "uid": "dcbridge",
        "title": "dcbridge",
        "tags": ["dcbridge"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_source(), _bridge()]},
        "panels": panels,
    }


def _place(x: int, y: int, width: int, height: int) -> Json:
    return {"x": x, "y": y, "w": width, "h": height}


def _panel(number: int, panel: Panel, place: Json) -> Json:
    source = {"type": "prometheus", "uid": "${source}"}
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.says,
        "gridPos": place,
        "datasource": source,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(65 + at), "datasource": source, "expr": _here(expression), "legendFormat": legend}
            for at, (expression, legend) in enumerate(panel.series)
        ],
    }


def _here(expression: str) -> str:
    return expression.replace("{B", "{" + HERE)


def _source() -> Json:
    return {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _bridge() -> Json:
    return {
        "name": "bridge",
        "label": "Bridge",
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${source}"},
        "query": {"query": "label_values(dcbridge_redis_up, bridge)", "refId": "bridges"},
        "refresh": 2,
    }


def text() -> str:
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"
