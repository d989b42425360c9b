"""The metrics of several processes of one service, added up as if they were one process."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

# Of a gauge that is no amount, the least counts: the worst process, or when the first of them began to count.
_LEAST = ("dcbridge_headroom_seconds",)
_FIRST_ONLY = ("dcbridge_redis_up", "dcbridge_build_info")  # told by the process that is asked
_CREATED = "_created"


def summed(texts: Iterable[bytes]) -> bytes:
    """One exposition of several; what must not be added up is as the first tells it."""
    families: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for place, text in enumerate(texts):
        for family in text_string_to_metric_families(text.decode()):
            families.setdefault(family.name, family)
            seen = values.setdefault(family.name, {})
            if place and family.name in _FIRST_ONLY:
                continue
            for sample in family.samples:
                key = sample.name, tuple(sample.labels.items())
                if key not in seen:
                    seen[key] = sample.value
                elif family.name in _LEAST or sample.name.endswith(_CREATED):
                    seen[key] = min(seen[key], sample.value)
                else:
                    seen[key] += sample.value
    return _text(families, values)


def counters(text: bytes) -> bytes:
    """What only grows of an exposition: what is still true when its process has ended."""
    kept = {one.name: one for one in text_string_to_metric_families(text.decode()) if one.type != "gauge"}
    values = {
        name: {(sample.name, tuple(sample.labels.items())): sample.value for sample in one.samples}
        for name, one in kept.items()
    }
    return _text(kept, values)


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _text(
    families: dict[str, Metric], values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]]
) -> bytes:
    found = []
    for name, family in families.items():
        one = Metric(name, family.documentation, family.type)
        for (sample, labels), value in values[name].items():
            one.add_sample(sample, dict(labels), value)
        found.append(one)
    registry = CollectorRegistry()
    registry.register(_Families(found))
    return generate_latest(registry)
