"""The NetworkPolicies, asked for every pair: they let through the arrows of the architecture page and nothing else.

Digital Channels, providers → service → Redis ← workers → Digital Channels, providers          Prometheus → both
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.helm.charts import NAMESPACE, Json, component, objects, over, pods, values

# Who is around besides the release: (namespace, labels), or an address outside of the cluster.
NEIGHBOURS = {
    "prometheus": "monitoring",
    "ingress": "ingress-nginx",
    "names": "kube-system",
    "a stranger": "somewhere",
    "a neighbour": NAMESPACE,
}
OUTSIDE = {
    "the internet": "203.0.113.7",
    "the internet (6)": "2001:db8::7",
    "a redis of ours": "10.20.0.9",
    "a mail server inside": "10.30.0.25",
    "another address inside": "10.20.1.9",
    "the cloud's own": "169.254.169.254",
    "an address inside (6)": "fd00::7",
}
PORTS = {24, 25, 53, 80, 143, 443, 465, 587, 993, 5432, 6379, 6380, 8024, 8025, 8080, 8081, 8082, 8083, 8090, 26379}
Arrow = tuple[str, str, int]


class Net:
    """The pods of a rendering, and the rules between them."""

    def __init__(self, found: list[Json]) -> None:
        self.policies = [o["spec"] for o in found if o["kind"] == "NetworkPolicy"]
        self.labels: dict[str, dict[str, str]] = {name: {"app": name} for name in NEIGHBOURS}
        self.ports: dict[str, dict[str, int]] = {}
        for _, meta, spec in pods(found):
            name = component(meta["labels"])
            self.labels[name] = meta["labels"]
            ports = [port for container in spec["containers"] for port in container.get("ports", [])]
            self.ports[name] = {port["name"]: port["containerPort"] for port in ports}

    def arrows(self) -> Iterator[Arrow]:
        ours = set(self.ports)
        for sender in [*self.labels, *OUTSIDE]:
            for receiver in [*self.labels, *OUTSIDE]:
                if sender != receiver and (sender in ours or receiver in ours):
                    for port in sorted(PORTS):
                        if self._goes(sender, receiver, port) and self._comes(sender, receiver, port):
                            yield sender, receiver, port

    def _goes(self, sender: str, receiver: str, port: int) -> bool:
        return self._allowed("Egress", sender, receiver, receiver, port)

    def _comes(self, sender: str, receiver: str, port: int) -> bool:
        return self._allowed("Ingress", receiver, sender, receiver, port)

    def _allowed(self, way: str, whose: str, other: str, receiver: str, port: int) -> bool:
        if whose in OUTSIDE or whose in NEIGHBOURS:
            return True
        mine = [p for p in self.policies if way in p["policyTypes"] and selects(p["podSelector"], self.labels[whose])]
        if not mine:
            return True
        rules = [rule for policy in mine for rule in policy.get(way.lower(), [])]
        return any(
            self._at(rule.get("ports"), receiver, port)
            and self._is(rule.get("to" if way == "Egress" else "from"), other)
            for rule in rules
        )

    def _at(self, ports: list[Json] | None, receiver: str, port: int) -> bool:
        if ports is None:
            return True
        named = self.ports.get(receiver, {})
        return any((named.get(p["port"]) if isinstance(p["port"], str) else p["port"]) == port for p in ports)

    def _is(self, peers: list[Json] | None, other: str) -> bool:
        return peers is None or any(self._one(peer, other) for peer in peers)

    def _one(self, peer: Json, other: str) -> bool:
        if "ipBlock" in peer:
            return other in OUTSIDE and inside(peer["ipBlock"], OUTSIDE[other])
        if other in OUTSIDE:
            return False
        namespace = NEIGHBOURS.get(other, NAMESPACE)
        if "namespaceSelector" in peer:
            if not selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": namespace}):
                return False
        elif namespace != NAMESPACE:
            return False
        return selects(peer.get("podSelector", {}), self.labels[other])


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    for rule in selector.get("matchExpressions", []):
        assert rule["operator"] == "In"
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return bool(selector.get("matchLabels", {}).items() <= labels.items())


def inside(block: Json, address: str) -> bool:
    here = ipaddress.ip_address(address)

    def holds(cidr: str) -> bool:
        net = ipaddress.ip_network(cidr)
        return here.version == net.version and here in net

    return holds(block["cidr"]) and not any(holds(cidr) for cidr in block.get("except", []))


def among(*arrows: tuple[str, str, set[int]]) -> set[Arrow]:
    return {(a, b, port) for a, b, ports in arrows for port in ports}


def anyone(receiver: str, ports: set[int], *but: str) -> set[Arrow]:
    senders = (set(NEIGHBOURS) | set(OUTSIDE)) - set(but)
    return {(sender, receiver, port) for sender in senders for port in ports}


WORLD = {443, 465, 587}
NAMES = among(*((part, "names", {53}) for part in ("service", "worker", "check")))

TABLE = {
    # Anybody may speak to the public port; Redis is looked for anywhere, since nothing says where it is.
    "minimal": NAMES
    | anyone("service", {8080})
    | among(("prometheus", "service", {8081}), ("prometheus", "worker", {8082}))
    | among(*(("worker", place, WORLD) for place in ("the internet", "the internet (6)")))
    | among(*(("service", place, {443}) for place in ("the internet", "the internet (6)")))
    | {
        (part, place, port)
        for part in ("service", "worker", "check")
        for place in [*NEIGHBOURS, *OUTSIDE]
        for port in (6379, 26379)
    },
    # The ingress alone, a Redis with an address, a mail server inside.
    "everything": NAMES
    | among(("test", "names", {53}), ("test", "service", {8080}), ("ingress", "service", {8080}))
    | among(("prometheus", "service", {8081}), ("prometheus", "worker", {8082}))
    | among(*((part, "a redis of ours", {6380}) for part in ("service", "worker", "check", "test")))
    | among(*(("worker", place, WORLD) for place in ("the internet", "the internet (6)")))
    | among(*(("service", place, {443}) for place in ("the internet", "the internet (6)")))
    | among(("worker", "a mail server inside", {25})),
    # A mail system inside, and mailboxes outside.
    "mail-in": NAMES
    | anyone("service", {8080})
    | among(("mail-in", "names", {53}), ("a mail server inside", "mail-in", {8024}))
    | among(("prometheus", "service", {8081}), ("prometheus", "worker", {8082}), ("prometheus", "mail-in", {8083}))
    | among(*(("worker", place, WORLD) for place in ("the internet", "the internet (6)")))
    | among(*(("service", place, {443}) for place in ("the internet", "the internet (6)")))
    | among(*(("mail-in", place, {143, 443, 993}) for place in ("the internet", "the internet (6)")))
    | {
        (part, place, port)
        for part in ("service", "worker", "check", "mail-in")
        for place in [*NEIGHBOURS, *OUTSIDE]
        for port in (6379, 26379)
    },
    # Nothing leaves the namespace.
    "values-trial": NAMES
    | among(("test", "names", {53}), ("sandbox", "names", {53}))
    | anyone("service", {8080})
    | among(("test", "service", {8080}), ("sandbox", "service", {8080}))
    | among(("prometheus", "service", {8081}), ("prometheus", "worker", {8082}))
    | among(*((part, "redis", {6379}) for part in ("service", "worker", "check", "test")))
    | among(("worker", "sandbox", {8090, 8025}), ("service", "sandbox", {8090}), ("test", "sandbox", {8090})),
}


@pytest.mark.parametrize("name", TABLE)
def test_exactly_these_arrows_go_through(name: str) -> None:
    found = set(Net(objects(name)).arrows())
    assert sorted(found - TABLE[name]) == []
    assert sorted(TABLE[name] - found) == []


@pytest.mark.parametrize("name", TABLE)
def test_the_check_gets_through_in_a_namespace_that_denies_with_what_is_there_when_it_runs(name: str) -> None:
    everything = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    denied = {"kind": "NetworkPolicy", "metadata": {"name": "default-deny"}, "spec": everything}
    found = objects(name)
    old = objects(over(values(name), {"networkPolicy": {"redis": {"ports": [6390]}, "dns": [{"podSelector": {}}]}}))
    job = next(o for o in found if o["kind"] == "Job")
    events, weight = hook(job)
    first = [o for o in found if hook(o)[0] == events and hook(o)[1] < weight]
    installed = [] if "pre-install" in events else [o for o in found if not hook(o)[0]]
    upgraded = [o for o in old if not hook(o)[0]]
    for there in (installed, upgraded):
        arrows = {arrow for arrow in Net([denied, *there, *first, job]).arrows() if "check" in arrow[:2]}
        assert arrows == {arrow for arrow in TABLE[name] if "check" in arrow[:2]}


def hook(found: Json) -> tuple[str, int]:
    """(when, its weight); nothing for what is no hook."""
    notes = found["metadata"].get("annotations", {})
    return notes.get("helm.sh/hook", ""), int(notes.get("helm.sh/hook-weight", "0"))


def test_without_policies_everything_does() -> None:
    found = set(Net(objects("strict-cluster")).arrows())
    assert ("a stranger", "worker", 8082) in found
    assert ("service", "the cloud's own", 80) in found


def test_mail_comes_from_nobody_unless_somebody_is_named() -> None:
    found = objects(over(values("mail-in"), {"networkPolicy": {"mailFrom": []}}))
    assert not [arrow for arrow in Net(found).arrows() if arrow[1:] == ("mail-in", 8024)]


def test_without_mailboxes_mail_in_reaches_redis_alone() -> None:
    config = over(values("mail-in")["config"], {})
    del config["channels"]["company.com"]["inbound"]["imap"]
    found = Net(objects({**values("mail-in"), "config": config}))
    assert {arrow[2] for arrow in found.arrows() if arrow[0] == "mail-in"} == {53, 6379, 26379}


def test_nobody_means_nobody() -> None:
    given = over(values("minimal"), {"networkPolicy": {"operatorFrom": []}})
    found = set(Net(objects(given)).arrows())
    assert not [arrow for arrow in found if arrow[2] in (8081, 8082)]


def test_calls_of_triggers_are_let_in_where_there_are_some() -> None:
    config = values("everything")["config"] | {
        "triggers": {"textback": {"secrets": ["file:/run/secrets/dcbridge/textback"]}}
    }
    for one in objects({**values("everything"), "config": config}):
        if one["kind"] == "Ingress":
            assert one["spec"]["rules"][0]["http"]["paths"][-1]["path"] == "/triggers/"
        if one["kind"] == "HTTPRoute":
            assert one["spec"]["rules"][0]["matches"][-1]["path"]["value"] == "/triggers/"


def test_links_to_unsubscribe_are_let_in_where_emails_have_one() -> None:
    config = values("everything")["config"]
    mail = {"type": "email", "provider": "p", "suppress": {"link": True}}
    config = config | {"channels": config["channels"] | {"mail": mail, "more": mail}}
    found = objects({**values("everything"), "config": config})
    [ingress] = [one for one in found if one["kind"] == "Ingress"]
    assert [one["path"] for one in ingress["spec"]["rules"][0]["http"]["paths"]][3:] == ["/u/"]
    [route] = [one for one in found if one["kind"] == "HTTPRoute"]
    assert [one["path"]["value"] for one in route["spec"]["rules"][0]["matches"]][3:] == ["/u/"]


@pytest.mark.parametrize("name", ["everything", "sentinel"])
def test_an_ingress_and_a_route_reach_the_public_port_and_the_public_paths_alone(name: str) -> None:
    found = objects(name)
    [service] = [o for o in found if o["kind"] == "Service" and o["spec"].get("clusterIP") != "None"]
    assert [(p["name"], p["port"], p["targetPort"]) for p in service["spec"]["ports"]] == [("http", 80, "public")]
    paths = ["/webhooks/", "/callbacks/", "/m/"]
    for ingress in (o["spec"] for o in found if o["kind"] == "Ingress"):
        [rule] = ingress["rules"]
        assert rule["host"] == ("bridge.example.com" if name == "everything" else "other.example.com")
        assert [p["path"] for p in rule["http"]["paths"]] == paths
        for path in rule["http"]["paths"]:
            assert path["backend"]["service"] == {"name": service["metadata"]["name"], "port": {"name": "http"}}
        assert "defaultBackend" not in ingress
    for route in (o["spec"] for o in found if o["kind"] == "HTTPRoute"):
        assert route["hostnames"] == ["bridge.example.com"]
        [rule] = route["rules"]
        assert [m["path"]["value"] for m in rule["matches"]] == paths
        assert rule["backendRefs"] == [{"name": service["metadata"]["name"], "port": 80}]
    assert {o["kind"] for o in found if o["kind"] in ("Ingress", "HTTPRoute")} == (
        {"Ingress", "HTTPRoute"} if name == "everything" else {"Ingress"}
    )


def test_every_service_finds_pods_and_every_port_of_it_is_open_there() -> None:
    for name in TABLE:
        found = objects(name)
        for service in (o for o in found if o["kind"] == "Service"):
            behind = [
                spec for _, meta, spec in pods(found) if service["spec"]["selector"].items() <= meta["labels"].items()
            ]
            assert behind
            for spec in behind:
                [container] = spec["containers"]
                assert {p["targetPort"] for p in service["spec"]["ports"]} <= {p["name"] for p in container["ports"]}
