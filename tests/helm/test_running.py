"""The chart's processes, run as its objects say, against a real Redis: a message, a rolling restart, and the probes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from tests.helm.charts import Json, objects, over, the, values
from tests.helm.container import why_not
from tests.helm.kubelet import Pod, Story, until
from tests.helm.trial import REDIS, SANDBOX, SERVICE, WORKER, Knocks, Load, Trial, roll, settled, trial

pytestmark = [
    pytest.mark.skipif(bool(why_not()), reason=f"containers as processes: {why_not()}"),
    pytest.mark.timeout(600),  # seconds; whole pods start several times, and each wait has a limit of its own
]

QUICK = {"service": {"preStopSeconds": 2}, "settings": {"receipt_linger": 0.02, "redis_timeout": 1.5}}


@pytest.fixture(scope="module")
def running_trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Trial, list[Pod]]]:
    """Two service pods and a worker, ready."""
    with trial(tmp_path_factory.mktemp("trial"), QUICK) as inside:
        pods = inside.start(REDIS, SANDBOX, SERVICE, WORKER)
        pods += inside.start(SERVICE, suffix="1")
        inside.ready(*pods)
        yield inside, pods


def test_the_check_and_the_test_go_through(running_trial: tuple[Trial, list[Pod]]) -> None:
    inside, _ = running_trial
    code, said = inside.namespace.run_job("Job", "dcbridge-check")
    assert (code, "no eviction" in said) == (0, True), said
    code, said = inside.namespace.run_job("Pod", "dcbridge-test")
    assert (code, said.splitlines()) == (0, ["receipt Delivered", "event heard"]), said
    assert inside.state()["violations"] == []


def test_each_process_is_who_the_chart_says_and_may_do_nothing_else(running_trial: tuple[Trial, list[Pod]]) -> None:
    _, pods = running_trial
    for pod in pods:
        assert pod.container.process is not None
        process = psutil.Process(pod.container.process.pid)
        user = 999 if "redis" in pod.name else 10001
        assert set(process.uids()) == {user}
        assert set(process.gids()) == {user}
        status = dict(line.split(":\t") for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
        assert {status[name].strip() for name in ("CapPrm", "CapEff", "CapBnd", "CapInh")} == {"0" * 16}
        assert status["NoNewPrivs"].strip() == "1"
        assert process.children() == []  # who gets SIGTERM is who has to end, and not a shell before it
        words = pod.container.cluster.secret.values()
        assert [arg for arg in process.cmdline() if any(word in arg for word in words)] == []
        assert pod.container.written() == []


def test_redis_would_rather_refuse_than_be_killed(running_trial: tuple[Trial, list[Pod]]) -> None:
    inside, _ = running_trial
    told = inside.redis_config("maxmemory*")
    assert (int(told["maxmemory"]), told["maxmemory-policy"]) == ((1 << 30) * 6 // 10, "noeviction")


def test_a_rolling_restart_under_load_loses_and_repeats_nothing(running_trial: tuple[Trial, list[Pod]]) -> None:
    inside, pods = running_trial
    restart_story(inside, pods)


def restart_story(inside: Trial, pods: list[Pod]) -> str:
    """Every service pod and worker pod is replaced while agents write: asserted, and reported in a line."""
    before = inside.books().channels
    services = [pod for pod in pods if pod.name.startswith("dcbridge-service") and pod.leaving is None]
    workers = [pod for pod in pods if pod.name.startswith("dcbridge-worker") and pod.leaving is None]
    counted = inside.counts()
    with Load(inside) as load, Knocks(inside.namespace.address("dcbridge")) as knocks:
        until(lambda: load.sent > 10, "messages go through")
        new_services, codes = roll(inside, SERVICE, services)
        new_workers, more = roll(inside, WORKER, workers)
        sent = load.sent
        until(lambda: load.sent > sent + 10, "messages go through")
    pods += [*new_services, *new_workers]
    assert codes + more == [0, 0, 0]
    assert set(load.states) == {"accepted"}
    already = sum(channel.accepted for channel in before)
    books = settled(inside, already + load.sent)
    [channel] = books.channels
    assert (channel.accepted, channel.delivered, books.difference) == (already + load.sent, already + load.sent, 0)
    at_provider = inside.counts()["sms"] - counted.get("sms", 0)
    assert at_provider == load.sent
    # No connection went to a service pod that had left. An idle one may be closed in the moment in which something is
    # sent over it; then the sender sends again, and it is still one message.
    assert (knocks.failed, inside.namespace.refused) == (0, 0)
    assert knocks.answered > 20
    assert books.counts.get("unknown", 0) == 0
    assert inside.state()["violations"] == []
    return (
        f"{load.sent} messages during the restart: accepted {channel.accepted}, delivered {channel.delivered}, "
        f"at the provider {at_provider}, difference {books.difference}; "
        f"{knocks.answered} connections answered, {knocks.failed} failed"
    )


def test_outside_of_a_trial_the_test_signs_by_itself(running_trial: tuple[Trial, list[Pod]]) -> None:
    """The same processes, asked by the pod that values without `trial` make. Late, since the sandbox complains of a
    receipt for a message that it never sent."""
    inside, _ = running_trial
    code, said = real_test(inside, {})
    assert code == 0, said
    sent, taken = (line.split() for line in said.splitlines())
    assert (sent[0], sent[1][:10], sent[3] in ("sent", "delivered")) == ("message", "helm-test-", True)
    assert (taken[:2], taken[2][:10], taken[3:]) == (["event", "of"], "helm-test-", ["is", "taken"])

    def heard() -> list[str]:
        return [one["interaction"] for one in inside.state()["heard"] if one["status"] // 100 == 2]

    until(lambda: heard().count(taken[2]) == 2, "the subscriber is told")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"secretKey": "twilio_auth_token"}, "/webhooks/messages/main: signed, and answered 401"),
        ({"interactionsSecretKey": "twilio_auth_token"}, "/webhooks/interactions/main: signed, and answered 401"),
        ({"interactions": "other"}, "/webhooks/interactions/other: a body that was changed"),
    ],
)
def test_the_test_fails_where_something_is_wrong(
    running_trial: tuple[Trial, list[Pod]], wrong: Json, words: str
) -> None:
    code, said = real_test(running_trial[0], wrong)
    assert (code, words in said) == (1, True), said


def real_test(inside: Trial, changes: Json) -> tuple[int, str]:
    """What `helm test` says where the trial's own bridge.yaml is given as `config`."""
    told = {"endpoint": "main", "secretKey": "app_secret", "channel": "0123456789", "to": "16502530009"}
    config = yaml.safe_load(the("ConfigMap", "dcbridge", inside.namespace.objects)["data"]["bridge.yaml"])
    given = {"trial": {"enabled": False}, "config": config, "test": told | {"interactions": "main"} | changes}
    pod = the("Pod", "dcbridge-test", objects(over(values("values-trial"), given)))
    name = f"dcbridge-test-{len(inside.namespace.objects)}"
    inside.namespace.objects.append(pod | {"metadata": pod["metadata"] | {"name": name}})
    return inside.namespace.run_job("Pod", name)


def test_the_story_of_the_probes(tmp_path: Path) -> None:
    with trial(tmp_path, QUICK) as inside:
        probe_story(inside)


def probe_story(inside: Trial) -> Story:
    """Start without Redis, work, Redis goes and comes, SIGTERM: what the kubelet finds, asserted and told."""
    story = inside.namespace.story
    service, worker = inside.start(SERVICE, WORKER)
    until(lambda: service.started and worker.started, "both are alive without Redis", 90)
    time.sleep(2.0)  # time for a wrong answer
    assert (service.ready, worker.ready) == (False, False)

    story.tell("Redis", "comes")
    [redis] = inside.start(REDIS)
    inside.ready(redis, service, worker)

    story.tell("Redis", "goes")
    redis.crash()
    until(lambda: not worker.ready, "the worker is not sent to the next release")
    time.sleep(2.0)
    assert service.ready, "callbacks go to the journal: whoever is not ready is sent none"
    answer = inside.client.post(f"{inside.service}/callbacks/twilio/inbound", data={"a": "b"})
    story.tell("a callback", f"with a wrong signature is answered {answer.status_code}")
    assert answer.status_code == 401

    story.tell("Redis", "comes back")
    [redis] = inside.start(REDIS)  # the same disk: its volume has the pod's name
    inside.ready(redis, service, worker)
    assert (service.restarts, worker.restarts) == (0, 0)
    assert [worker.delete(), service.delete()] == [0, 0]  # -9 is who had to be killed when its grace period was over
    return story
