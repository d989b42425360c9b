"""Statistics of the contact centre, as metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dcbridge.ledger.signals import Signal


class SignalsCollector(Collector):
    """Their values while they are fresh, and how old they are."""

    def __init__(self, signals: Mapping[str, Signal], fresh_for: float) -> None:
        self._signals, self._fresh_for = signals, fresh_for

    def collect(self) -> Iterable[Metric]:
        value = GaugeMetricFamily(
            "dcbridge_genesys_statistic", "Value of a statistic that is watched, while it is fresh.", labels=["watch"]
        )
        age = GaugeMetricFamily(
            "dcbridge_genesys_statistic_age_seconds", "Age of the value of a statistic.", labels=["watch"]
        )
        for name, one in self._signals.items():
            age.add_metric([name], one.age)
            if (fresh := one.fresh(self._fresh_for)) is not None:
                value.add_metric([name], fresh)
        return [value, age]
