"""Every values file of the table renders to objects that Kubernetes takes, of the oldest version and of the newest."""

from __future__ import annotations

import copy
from typing import Any

import jsonschema
import kubernetes_validate as kubernetes  # type: ignore[import-untyped]  # ships no types
import pytest
import yaml

from tests.helm.charts import CHART, FILES, RELEASE, Json, engine, objects, over, render, the, values

OLDEST, NEWEST = "1.30", "1.37"
CRDS: dict[str, Json] = yaml.safe_load((CHART.parent.parent / "tests/helm/crds.yaml").read_text(encoding="utf-8"))
SCHEMAS = {
    name: {
        "type": "object",
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "additionalProperties": False,
        "properties": {"apiVersion": {}, "kind": {}, "metadata": {"type": "object"}, "spec": spec | {"type": "object"}},
    }
    for name, spec in CRDS.items()
}


def complaints(found: Json, version: str) -> list[str]:
    """What Kubernetes, or the operator whose object it is, has against it."""
    try:
        kubernetes.validate(found, version, strict=True)
    except kubernetes.SchemaNotFoundError:
        schema = SCHEMAS[f"{found['apiVersion']}/{found['kind']}"]
        return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(found)]
    except kubernetes.ValidationError as error:
        return [error.message]
    return []


def test_the_chart_begins_where_its_oldest_version_does() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["kubeVersion"] == f">={OLDEST}.0-0"
    assert kubernetes.latest_version() == f"{NEWEST}.0"


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("name", FILES)
def test_every_object_is_valid(name: str, version: str) -> None:
    found = objects(name)
    assert len(found) > 5
    wrong = {f"{o['kind']}/{o['metadata']['name']}": said for o in found if (said := complaints(o, version))}
    assert wrong == {}


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", ["spec", "template", "spec", "containers", 0, "livenessProbe", "httpGet", "prot"], 1),
        ("Service", ["spec", "ports", 0, "port"], "eighty"),
        ("PodDisruptionBudget", ["spec", "maxUnavailble"], 1),
        ("NetworkPolicy", ["spec", "egres"], []),
        ("ScaledObject", ["spec", "minReplicaCount"], 0),
        ("HTTPRoute", ["spec", "rules", 0, "matches", 0, "path", "type"], "Prefix"),
        ("PodMonitor", ["spec", "endpoints"], []),
        ("PrometheusRule", ["spec", "groups", 0, "rules", 0, "runbook"], "x"),
        ("ExternalSecret", ["spec", "data", 0, "remoteRef", "name"], "x"),
    ],
)
def test_an_object_one_word_away_is_refused(kind: str, path: list[Any], value: object) -> None:
    found = copy.deepcopy(next(o for o in objects("everything") if o["kind"] == kind))
    assert complaints(found, NEWEST) == []
    place = found
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert complaints(found, NEWEST) != []


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("name", FILES)
def test_lint_has_nothing_to_say(name: str, version: str) -> None:
    report = engine().lint(CHART, values(name), strict=True, kube_version=f"v{version}.0", namespace="messages")
    assert (report["total_charts_linted"], report["errors"], report["messages"]) == (1, [], [])


@pytest.mark.parametrize("name", FILES)
def test_names_are_unique_and_short_enough_for_what_is_put_behind_them(name: str) -> None:
    for release in (RELEASE, "a-release-with-a-name-that-is-as-long-as-helm-allows"):
        found = objects(values(name), name=release)
        names = [(o["apiVersion"], o["kind"], o["metadata"]["name"]) for o in found]
        assert len(names) == len(set(names))
        assert max(len(o["metadata"]["name"]) for o in found) <= 63


def test_two_releases_of_one_namespace_share_nothing() -> None:
    one, other = (objects(values("minimal"), name=release) for release in ("first", "second"))
    assert not {(o["kind"], o["metadata"]["name"]) for o in one} & {(o["kind"], o["metadata"]["name"]) for o in other}


def test_the_same_values_render_to_the_same_text_at_an_install_and_at_an_upgrade() -> None:
    for name in FILES:
        notes = {path for path in render(values(name)) if path.endswith("NOTES.txt")}
        assert len(notes) == 1
        assert render(values(name)) == render(values(name), upgrade=True)


def test_the_notes_name_every_url_that_somebody_has_to_be_given() -> None:
    [notes] = [text for path, text in render(values("everything")).items() if path.endswith("NOTES.txt")]
    told = [line.strip() for line in notes.splitlines() if line.strip().startswith("https://")]
    asked = (
        "webhooks/messages/main",
        "webhooks/interactions/events",
        "callbacks/acme-sms/inbound",
        "callbacks/mail/inbound",
    )
    assert told == [f"https://bridge.example.com/{path}" for path in asked]


CLOUD = {
    "digital_channels": {"base_url": "https://digital.example.com:8443/nexus/v3"},
    "genesys_cloud": {"main": {"region": "mypurecloud.ie", "client_id": "c", "client_secret": "file:/run/secrets/c"}},
    "endpoints": {"cloud": {"secrets": ["file:/run/secrets/dcbridge/cloud"]}},
    "channels": {"73cb7fb7-c2db-4996-88f3-0a83a4fea1da": {
        "platform": "open_messaging", "endpoint": "cloud", "type": "sms", "provider": "acme-sms",
    }},
}  # fmt: skip


def test_a_channel_of_open_messaging_has_another_webhook_and_files_of_its_own() -> None:
    given = over(values("everything"), {"config": CLOUD})
    [notes] = [text for path, text in render(given).items() if path.endswith("NOTES.txt")]
    assert "https://bridge.example.com/webhooks/messages/main\n" in notes
    assert "https://bridge.example.com/webhooks/open-messaging/cloud\n" in notes
    policies = {one["metadata"]["name"]: one["spec"] for one in objects(given) if one["kind"] == "NetworkPolicy"}
    [egress] = policies["bridge-to-files"]["egress"]
    assert [one["port"] for one in egress["ports"]] == [8443, 443]
    plain = over(CLOUD, {"genesys_cloud": {"main": {"client_secret": "written-here"}}})
    with pytest.raises(engine().HelmError, match=r"genesys_cloud\.main\.client_secret: holds a secret itself"):
        render(over(values("everything"), {"config": plain}))


def test_a_change_of_bridge_yaml_or_of_the_secret_rolls_every_pod_that_reads_it() -> None:
    before = objects("minimal")
    changed = over(values("minimal"), {"config": {"retry": {"first": 2}}})
    rotated = over(values("minimal"), {"secrets": {"revision": "2"}})
    for name in ("dcbridge-service", "dcbridge-worker-main"):
        was = the("Deployment", name, before)["spec"]["template"]
        assert (
            was["metadata"]["annotations"]
            != (the("Deployment", name, objects(changed))["spec"]["template"]["metadata"]["annotations"])
        )
        assert was["metadata"]["annotations"]["dcbridge/secrets"] == "1"
        now = the("Deployment", name, objects(rotated))["spec"]["template"]
        assert now["metadata"]["annotations"]["dcbridge/secrets"] == "2"
