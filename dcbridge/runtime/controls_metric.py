"""What an operator has stopped, as a metric. Its labels are names of the configuration, or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dcbridge.ledger.controls import Control, What
from dcbridge.ledger.reports.overview import Overview


class ControlsCollector(Collector):
    """One gauge. What the configuration does not know is left out."""

    def __init__(self, overview: Overview, channels: Container[str], subscribers: Container[str]) -> None:
        self._overview, self._channels, self._subscribers = overview, channels, subscribers

    def collect(self) -> Iterable[Metric]:
        paused = GaugeMetricFamily(
            "dcbridge_paused", "What an operator has stopped: 1, or how many conversations.", labels=["kind", "name"]
        )
        for labels, count in Counter(filter(None, map(self._labels, self._overview.controls))).items():
            paused.add_metric(labels, count)
        return [paused]

    def _labels(self, one: Control) -> tuple[str, str] | None:
        what, name = one.target.what, one.target.name
        known: dict[What, Container[str]] = {
            What.PROVIDER: {provider.name for provider in self._overview.providers},
            What.SUBSCRIBER: self._subscribers,
            What.CHANNEL: self._channels,
            What.HOLD: self._channels,
        }
        if what not in known:
            return what.value, ""
        return (what.value, name) if name in known[what] else None
