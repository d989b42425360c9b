"""The chart, rendered by Helm's own engine, and looked at."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
CHART = ROOT / "helm" / "dcbridge"
RELEASE, NAMESPACE = "dcbridge", "messages"
Json = dict[str, Any]
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C, where PyYAML was built with it

# The table of values files, from the least to everything.
FILES = {path.stem: path for path in [*sorted(CHART.glob("ci/*.yaml")), CHART / "values-trial.yaml"]}
WORKLOADS = ("Deployment", "StatefulSet")


def engine() -> Any:
    """Helm's own engine. Its Go runtime has threads, which a process forked later would miss: nothing imports it before
    a test needs it."""
    import helm_python

    return helm_python


def values(name: str) -> Json:
    """One of the table, read as Helm reads it."""
    found: Json = engine().values_from_yaml(FILES[name].read_text(encoding="utf-8"))
    return found


def over(below: Json, above: Mapping[str, Any]) -> Json:
    """Maps merged, all else replaced."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = over(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return merged


def render(given: Mapping[str, Any], *, upgrade: bool = False, name: str = RELEASE) -> dict[str, str]:
    """Path of a template → its text. Raises engine().HelmError."""
    return _render(json.dumps(given, sort_keys=True), upgrade, name)


@functools.cache
def _render(given: str, upgrade: bool, name: str) -> dict[str, str]:
    with engine().Chart.load(CHART) as chart:
        written: dict[str, str] = chart.render(
            json.loads(given), name=name, namespace=NAMESPACE, is_install=not upgrade, is_upgrade=upgrade
        )
    return written


def objects(given: Mapping[str, Any] | str, name: str = RELEASE) -> list[Json]:
    """Every object of one rendering, to do with as one likes; a text is a name of the table."""
    given = values(given) if isinstance(given, str) else given
    return copy.deepcopy(_objects(json.dumps(given, sort_keys=True), name))


@functools.cache
def _objects(given: str, name: str) -> list[Json]:
    return [
        found
        for path, text in sorted(render(json.loads(given), name=name).items())
        if path.endswith(".yaml")
        for found in yaml.load_all(text, Loader=LOADER)
        if found is not None
    ]


def the(kind: str, name: str, found: list[Json]) -> Json:
    """The one object of that kind and name."""
    [one] = [o for o in found if (o["kind"], o["metadata"]["name"]) == (kind, name)]
    return one


def pods(found: list[Json]) -> Iterator[tuple[str, Json, Json]]:
    """(name, the template's metadata, its spec) of everything that runs."""
    for o in found:
        name = f"{o['kind']}/{o['metadata']['name']}"
        if o["kind"] in (*WORKLOADS, "Job"):
            yield name, o["spec"]["template"]["metadata"], o["spec"]["template"]["spec"]
        elif o["kind"] == "Pod":
            yield name, o["metadata"], o["spec"]


def component(labels: Mapping[str, str]) -> str:
    return labels["app.kubernetes.io/component"]


def environment(container: Json) -> dict[str, Any]:
    """Name → value, or where it comes from."""
    return {e["name"]: e.get("value", e.get("valueFrom")) for e in container.get("env", [])}
