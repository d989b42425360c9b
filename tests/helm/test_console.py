"""The console in a cluster: off by default, its pod, its Ingress, and who reaches it."""

from __future__ import annotations

from typing import Any

from tests.helm.charts import Json, environment, objects, over, the, values
from tests.helm.test_network import Net

GIVEN = {
    "config": {
        "console": {
            "public_url": "https://console.example.com",
            "oidc": {
                "issuer": "https://login.example.com",
                "client_id": "dcbridge",
                "client_secret": "file:/run/secrets/dcbridge/console-secret",
                "roles": {"operator": ["duty"]},
            },
        }
    },
    "console": {"enabled": True, "ingress": {"enabled": True, "className": "nginx", "tlsSecret": "console-tls"}},
}


def _found(**more: Any) -> list[Json]:
    return objects(over(over(values("minimal"), GIVEN), more))


def test_it_is_off_by_default() -> None:
    assert [o for o in objects("minimal") if "console" in o["metadata"]["name"]] == []


def test_its_pod_and_its_ingress() -> None:
    found = _found()
    spec = the("Deployment", "dcbridge-console", found)["spec"]["template"]["spec"]
    [container] = spec["containers"]
    assert container["args"] == ["console", "serve"]
    assert container["ports"] == [{"name": "console", "containerPort": 8090}]
    assert environment(container)["DCBRIDGE_CONSOLE_HOST"] == "0.0.0.0"  # noqa: S104  (in a pod of its own)
    probes = [container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert {probe["port"] for probe in probes} == {"console"}
    assert container["securityContext"]["readOnlyRootFilesystem"]
    ingress = the("Ingress", "dcbridge-console", found)["spec"]
    assert ingress["tls"] == [{"hosts": ["console.example.com"], "secretName": "console-tls"}]
    [rule] = ingress["rules"]
    assert rule["host"] == "console.example.com"
    assert rule["http"]["paths"][0]["backend"]["service"] == {"name": "dcbridge-console", "port": {"name": "http"}}
    assert the("Service", "dcbridge-console", found)["spec"]["ports"][0]["targetPort"] == "console"
    assert the("PodDisruptionBudget", "dcbridge-console", found)


def test_who_reaches_it_and_whom_it_reaches() -> None:
    arrows = set(Net(_found()).arrows())
    assert not [one for one in arrows if one[1] == "console"]
    assert ("console", "names", 53) in arrows
    assert ("console", "the internet", 443) in arrows
    assert not [one for one in arrows if one[0] == "console" and one[1] in ("worker", "service")]
    assert not [
        one for one in arrows if one[0] == "console" and one[1:] in (("the cloud's own", 80), ("the cloud's own", 443))
    ]
    ingress = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}
    given = {"networkPolicy": {"consoleFrom": [ingress]}}
    reached = {one for one in Net(_found(**given)).arrows() if one[1] == "console"}
    assert reached == {("ingress", "console", 8090)}
