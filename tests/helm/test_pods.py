"""Every pod of every values file: who it runs as, what it may use, what it is asked, how it ends, where it stands."""

from __future__ import annotations

import inspect
import math
from typing import Any

import pytest

from dcbridge.runtime.server import Listener
from dcbridge.settings.process import Settings
from service.mail.main import DRAIN
from tests.helm.charts import (
    CHART,
    FILES,
    WORKLOADS,
    Json,
    component,
    environment,
    objects,
    over,
    pods,
    the,
    values,
)

PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


def test_the_table_has_every_kind_of_pod() -> None:
    parts = {component(meta["labels"]) for name in FILES for _, meta, _ in pods(objects(name))}
    assert parts == {"service", "worker", "mail-in", "check", "test", "redis", "sandbox"}


@pytest.mark.parametrize("name", FILES)
def test_a_pod_meets_the_restricted_standard_and_has_no_token(name: str) -> None:
    for pod, _, spec in pods(objects(name)):
        meets_the_restricted_standard(spec, pod, ids_are_given=name == "strict-cluster")


def meets_the_restricted_standard(spec: Json, pod: str, *, ids_are_given: bool) -> None:
    assert spec["automountServiceAccountToken"] is False, pod
    assert spec["enableServiceLinks"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(spec)
    assert all({"configMap", "secret", "emptyDir"} & set(volume) for volume in spec["volumes"])
    around = spec["securityContext"]
    assert around["runAsNonRoot"] is True
    assert around["seccompProfile"] == {"type": "RuntimeDefault"}
    if not ids_are_given:  # by the cluster
        assert around["runAsUser"] > 0
    for container in spec["containers"]:
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["readOnlyRootFilesystem"] is True
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert not {"runAsUser", "runAsNonRoot", "privileged"} & set(own)
        for amounts in (container["resources"]["requests"], container["resources"]["limits"]):
            assert set(amounts) == {"cpu", "memory"}


@pytest.mark.parametrize("name", FILES)
def test_what_stays_is_asked_three_different_questions(name: str) -> None:
    staying = [spec for pod, _, spec in pods(objects(name)) if pod.partition("/")[0] in WORKLOADS]
    assert staying
    for container in [container for spec in staying for container in spec["containers"]]:
        assert set(PROBES) <= set(container)
        startup, liveness, readiness = (container[probe] for probe in PROBES)
        assert startup["failureThreshold"] * startup["periodSeconds"] >= 60
        if container["name"] in ("service", "worker", "mail-in"):
            assert startup["httpGet"]["path"] == liveness["httpGet"]["path"] == "/healthz"
            assert readiness["httpGet"]["path"] == "/readyz"
            assert {probe["httpGet"]["port"] for probe in (startup, liveness, readiness)} == {"operator"}


def test_readiness_waits_longer_than_redis_is_waited_for() -> None:
    for changed in (3, 0.5, 7.2):
        found = objects(over(values("minimal"), {"settings": {"redis_timeout": changed}}))
        [container] = the("Deployment", "dcbridge-service", found)["spec"]["template"]["spec"]["containers"]
        assert container["readinessProbe"]["timeoutSeconds"] == math.ceil(changed) + 1


@pytest.mark.parametrize(("drain", "pause"), [(20, 5), (0.5, 1), (300, 30)])
def test_the_time_to_end_adds_up(drain: float, pause: int) -> None:
    given = {"settings": {"drain_seconds": drain}, "service": {"preStopSeconds": pause}}
    found = objects(over(values("minimal"), given))
    last_answers = inspect.signature(Listener.__init__).parameters["graceful"].default
    service = the("Deployment", "dcbridge-service", found)["spec"]["template"]["spec"]
    assert service["containers"][0]["lifecycle"] == {"preStop": {"sleep": {"seconds": pause}}}
    assert service["terminationGracePeriodSeconds"] == pause + 2 * last_answers + math.ceil(drain) + 5
    workers = the("Deployment", "dcbridge-worker-main", found)["spec"]["template"]["spec"]
    assert workers["terminationGracePeriodSeconds"] == math.ceil(drain) + 10


def test_mail_in_has_its_port_its_certificate_and_the_time_to_end() -> None:
    found = objects("mail-in")
    spec = the("Deployment", "dcbridge-mail-in", found)["spec"]["template"]["spec"]
    last_answers = inspect.signature(Listener.__init__).parameters["graceful"].default
    assert spec["terminationGracePeriodSeconds"] >= 8 + DRAIN + 1 + last_answers
    [container] = spec["containers"]
    assert container["args"] == ["mail-in"]
    told = environment(container)
    assert told["DCBRIDGE_MAIL_HOST"] == told["DCBRIDGE_WORKER_HOST"]
    assert (told["DCBRIDGE_MAIL_CONNECTIONS"], told["DCBRIDGE_MAIL_LIMIT"]) == ("50", "33554432")
    assert (told["DCBRIDGE_MAIL_CERTIFICATE"], told["DCBRIDGE_MAIL_KEY"]) == (
        "/run/secrets/mail/tls.crt", "/run/secrets/mail/tls.key",
    )  # fmt: skip
    assert {"name": "mail-tls", "mountPath": "/run/secrets/mail", "readOnly": True} in container["volumeMounts"]
    service = the("Service", "dcbridge-mail", found)["spec"]
    assert (service["type"], service["ports"][0]["port"]) == ("LoadBalancer", 24)
    worker = the("Deployment", "dcbridge-worker-main", found)["spec"]["template"]["spec"]["containers"][0]
    assert "DCBRIDGE_MAIL_KEY" not in environment(worker), "which has no such file"


def test_mail_in_that_fetches_alone_has_no_port() -> None:
    found = objects(over(values("mail-in"), {"mailIn": {"settings": {"mail_protocol": "none"}}}))
    [container] = the("Deployment", "dcbridge-mail-in", found)["spec"]["template"]["spec"]["containers"]
    assert [port["name"] for port in container["ports"]] == ["operator"]
    assert not [o for o in found if (o["kind"], o["metadata"]["name"]) == ("Service", "dcbridge-mail")]


def test_a_part_that_drains_longer_than_others_gets_longer() -> None:
    found = objects("everything")
    service = the("StatefulSet", "bridge-service", found)["spec"]["template"]["spec"]
    assert service["terminationGracePeriodSeconds"] == 10 + 20 + 60 + 5
    sends = the("Deployment", "bridge-worker-sends", found)["spec"]["template"]["spec"]
    rest = the("Deployment", "bridge-worker-rest", found)["spec"]["template"]["spec"]
    assert (sends["terminationGracePeriodSeconds"], rest["terminationGracePeriodSeconds"]) == (46 + 10, 20 + 10)


@pytest.mark.parametrize("name", FILES)
def test_every_workload_has_its_budget_and_what_runs_in_numbers_is_spread(name: str) -> None:
    found = objects(name)
    budgets = [o["spec"]["selector"]["matchLabels"] for o in found if o["kind"] == "PodDisruptionBudget"]
    for o in found:
        if o["kind"] not in WORKLOADS:
            continue
        labels = o["spec"]["template"]["metadata"]["labels"]
        assert len([b for b in budgets if b.items() <= labels.items()]) == 1
        assert o["spec"]["selector"]["matchLabels"].items() <= labels.items()
        if component(labels) in ("service", "worker", "mail-in") and name != "strict-cluster":
            spread = o["spec"]["template"]["spec"]["topologySpreadConstraints"]
            assert {c["topologyKey"] for c in spread} == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
            assert all(c["labelSelector"]["matchLabels"].items() <= labels.items() for c in spread)
        if o["kind"] == "Deployment" and component(labels) != "sandbox":
            assert o["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    for budget in budgets:
        assert [o for o in found if o["kind"] in WORKLOADS and budget == o["spec"]["selector"]["matchLabels"]]


@pytest.mark.parametrize("name", FILES)
def test_no_two_workloads_select_each_others_pods(name: str) -> None:
    found = objects(name)
    for pod, meta, _ in pods(found):
        claimed = [
            f"{o['kind']}/{o['metadata']['name']}"
            for o in found
            if o["kind"] in WORKLOADS and o["spec"]["selector"]["matchLabels"].items() <= meta["labels"].items()
        ]
        assert claimed == ([pod] if pod.partition("/")[0] in WORKLOADS else [])


def test_one_deployment_for_each_worker_with_its_queues() -> None:
    found = objects("everything")
    workers = {o["metadata"]["name"]: o["spec"] for o in found if "-worker-" in o["metadata"]["name"]}
    assert {o["metadata"]["name"] for o in found if o["kind"] == "Deployment"} == {
        "bridge-worker-sends",
        "bridge-worker-rest",
    }
    assert set(workers) == {"bridge-worker-sends", "bridge-worker-rest"}
    for name, arguments, concurrency in (
        ("bridge-worker-sends", ["worker", "outbound"], "1000"),
        ("bridge-worker-rest", ["worker", "receipts", "inbound", "events"], "200"),
    ):
        [container] = the("Deployment", name, found)["spec"]["template"]["spec"]["containers"]
        assert container["args"] == arguments
        assert environment(container)["DCBRIDGE_CONCURRENCY"] == concurrency


def test_who_scales_by_itself_is_not_told_how_many() -> None:
    found = objects("everything")
    assert "replicas" not in the("StatefulSet", "bridge-service", found)["spec"]
    assert "replicas" not in the("Deployment", "bridge-worker-sends", found)["spec"]
    assert the("Deployment", "bridge-worker-rest", found)["spec"]["replicas"] == 3
    scaled = the("HorizontalPodAutoscaler", "bridge-service", found)["spec"]
    assert scaled["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "bridge-service"}
    assert scaled["metrics"][0]["resource"]["name"] == "cpu"
    [keda] = [o["spec"] for o in found if o["kind"] == "ScaledObject"]
    assert keda["scaleTargetRef"]["name"] == "bridge-worker-sends"
    assert keda["minReplicaCount"] >= 1
    assert "idleReplicaCount" not in keda


@pytest.mark.parametrize(
    ("storage", "kind", "volumes"),
    [
        ("none", "Deployment", []),
        ("emptyDir", "Deployment", [{"name": "journal", "emptyDir": {"sizeLimit": "384Mi"}}]),
        ("persistentVolumeClaim", "StatefulSet", []),
    ],
)
def test_the_journal_has_a_folder_for_each_pod(storage: str, kind: str, volumes: list[Any]) -> None:
    given = over(values("minimal"), {"service": {"journal": {"storage": storage}}})
    found = objects(given)
    workload = the(kind, "dcbridge-service", found)["spec"]
    spec = workload["template"]["spec"]
    [container] = spec["containers"]
    told = environment(container)
    assert [v for v in spec["volumes"] if v["name"] == "journal"] == volumes
    claims = [c["spec"]["resources"]["requests"]["storage"] for c in workload.get("volumeClaimTemplates", [])]
    assert claims == (["384Mi"] if kind == "StatefulSet" else [])
    if storage == "none":
        assert "DCBRIDGE_JOURNAL" not in told
        return
    [mount] = [m for m in container["volumeMounts"] if m["name"] == "journal"]
    assert told["DCBRIDGE_JOURNAL"].startswith(mount["mountPath"] + "/")
    assert int(told["DCBRIDGE_JOURNAL_LIMIT"]) == 256 << 20 == Settings().journal_limit
    assert not [
        c
        for _, _, s in pods(found)
        for c in s["containers"]
        if c["name"] != "service" and "DCBRIDGE_JOURNAL" in environment(c)
    ]


def test_the_check_comes_before_what_it_checks_wherever_there_is_something_to_check() -> None:
    for name, hooks in (
        ("minimal", "pre-install,pre-upgrade"),
        ("values-trial", "post-install,pre-upgrade"),  # it brings its own Redis
        ("everything", "post-install,pre-upgrade"),  # it brings its own Secret
    ):
        found = [o for o in objects(name) if component(o["metadata"]["labels"]) == "check"]
        assert sorted(o["kind"] for o in found) == ["ConfigMap", "Job", "NetworkPolicy"]
        assert {o["metadata"]["annotations"]["helm.sh/hook"] for o in found} == {hooks}
        weights = {o["kind"]: int(o["metadata"]["annotations"]["helm.sh/hook-weight"]) for o in found}
        assert max(weights["ConfigMap"], weights["NetworkPolicy"]) < weights["Job"]
        kept = {o["metadata"]["annotations"]["helm.sh/hook-delete-policy"] for o in found}
        assert kept == {"before-hook-creation,hook-succeeded"}
        job = next(o for o in found if o["kind"] == "Job")["spec"]["template"]["spec"]
        # Before a first install there is nothing of the release: no account, and no other ConfigMap.
        assert job["serviceAccountName"] == "default"
        assert [v["configMap"]["name"] for v in job["volumes"] if "configMap" in v and v["name"] == "config"] == [
            next(o["metadata"]["name"] for o in found if o["kind"] == "ConfigMap")
        ]
    assert not [o for o in objects("strict-cluster") if component(o["metadata"]["labels"]) == "check"]


def test_the_image_is_named_by_its_digest_where_there_is_one() -> None:
    images = {c["image"] for _, _, spec in pods(objects("everything")) for c in spec["containers"]}
    assert images == {f"registry.example.com/dcbridge@sha256:{'0123456789abcdef' * 4}"}
    version = (CHART / "Chart.yaml").read_text().partition('appVersion: "')[2].partition('"')[0]
    assert {c["image"] for _, _, spec in pods(objects("minimal")) for c in spec["containers"]} == {
        f"dcbridge:{version}"
    }


@pytest.mark.parametrize(
    ("limit", "most"),
    [
        ("1Gi", 644_245_094),
        ("512Mi", 322_122_547),
        ("1.5Gi", 966_367_641),
        ("2G", 1_200_000_000),
        ("900M", 540_000_000),
        ("3000000k", 1_800_000_000),
        ("1048576Ki", 644_245_094),
        ("16Ti", 10_555_311_626_649),
        ("1000000000", 600_000_000),
    ],
)
def test_a_full_redis_refuses_writes_before_its_limit_kills_it(limit: str, most: int) -> None:
    resources = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": limit}}
    found = objects(over(values("values-trial"), {"redis": {"bundled": {"resources": resources}}}))
    told = [
        line.split(None, 1) for line in the("ConfigMap", "dcbridge-redis", found)["data"]["redis.conf"].splitlines()
    ]
    assert [value for name, value in told if name == "maxmemory"] == [str(most)]
    assert [value for name, value in told if name == "maxmemory-policy"] == ["noeviction"]


def test_every_pod_that_reads_or_writes_mail_has_the_folder_of_blobs() -> None:
    """The service too: companies post mail to it."""
    volume = {"name": "blobs", "persistentVolumeClaim": {"claimName": "blobs"}}
    mount = {"name": "blobs", "mountPath": "/var/blobs"}
    given = over(
        values("mail-in"),
        {"settings": {"blob_folder": "/var/blobs/dcbridge"}, "extraVolumes": [volume], "extraVolumeMounts": [mount]},
    )
    found = {component(meta["labels"]): spec for _, meta, spec in pods(objects(given))}
    for part in ("service", "worker", "mail-in"):
        [container] = found[part]["containers"]
        assert environment(container)["DCBRIDGE_BLOB_FOLDER"] == "/var/blobs/dcbridge", part
        assert mount in container["volumeMounts"], part
        assert volume in found[part]["volumes"], part
