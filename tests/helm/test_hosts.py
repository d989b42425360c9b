"""Under which names the pods' operator ports and the trial's page are asked, as the chart tells them."""

from __future__ import annotations

import json

import pytest

from dcbridge.http.known_hosts import KnownHosts, read_names
from dcbridge.settings.process import read_settings
from tests.helm.charts import NAMESPACE, Json, environment, objects, over, pods, values

BRIDGES = ("service", "worker")


async def answers(names: tuple[str, ...], host: str) -> bool:
    inside = False

    async def app(*_: object) -> None:
        nonlocal inside
        inside = True

    async def nothing(*_: object) -> Json:
        return {}

    await KnownHosts(app, names)({"type": "http", "headers": [(b"host", host.encode())]}, nothing, nothing)  # type: ignore[arg-type]
    return inside


def told(given: Json, part: str) -> tuple[str, ...]:
    [spec] = [spec for name, _, spec in pods(objects(given)) if part in name and "Deployment" in name][:1]
    env = environment(spec["containers"][0])
    names = {"DCBRIDGE_OPERATOR_HOSTS": env["DCBRIDGE_OPERATOR_HOSTS"], "DCBRIDGE_TOKEN_KEY": "0" * 16}
    settings, _ = read_settings(names)
    return settings.known_hosts


@pytest.mark.parametrize("part", BRIDGES)
@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("10.1.2.3:8081", True),
        ("[fd00::1]:8081", True),
        ("localhost:8081", True),
        ("dcbridge-operator:8081", True),
        (f"dcbridge-operator.{NAMESPACE}", True),
        (f"dcbridge-operator.{NAMESPACE}.svc:8081", True),
        (f"dcbridge-operator.{NAMESPACE}.svc.cluster.local.", True),
        (f"dcbridge-service-0.dcbridge-operator.{NAMESPACE}.svc.cluster.local", True),
        (f"10-1-2-3.dcbridge-operator.{NAMESPACE}.svc", True),
        (f"dcbridge-operator.{NAMESPACE}.svc.evil.example", False),
        ("dcbridge-operator.other.svc", False),
        ("evil.example", False),
    ],
)
async def test_the_names_of_the_operators_service_are_known(part: str, host: str, known: bool) -> None:
    assert await answers(told(values("minimal"), part), host) == known


@pytest.mark.parametrize("part", BRIDGES)
async def test_further_names_are_added_to_them(part: str) -> None:
    given = over(values("minimal"), {"settings": {"operator_hosts": "metrics.example.com, *.corp.example"}})
    names = told(given, part)
    for host in ("metrics.example.com", "a.corp.example", "dcbridge-operator"):
        assert await answers(names, host)
    assert not await answers(names, "evil.example")


async def test_the_page_of_a_trial_answers_to_its_service_and_to_a_port_forward() -> None:
    [spec] = [spec for name, _, spec in pods(objects(values("values-trial"))) if "sandbox" in name]
    names = tuple(json.loads(spec["containers"][0]["args"][4])["hosts"])
    assert read_names(",".join(names)) == names
    for host in ("127.0.0.1:8090", "localhost:8090", "dcbridge-sandbox:8090", f"dcbridge-sandbox.{NAMESPACE}.svc"):
        assert await answers(names, host)
    assert not await answers(names, "evil.example")
