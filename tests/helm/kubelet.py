"""What a cluster does with the chart's pods, as far as it matters to them: probes, endpoints, the order to end.

Addresses are of the loopback net, periods are shorter by `SPEED`, probes have patience with a busy machine, and
everything else is what the objects say.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import random
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from tests.helm.charts import Json, component, pods, the
from tests.helm.container import Cluster, Container

SPEED = 10.0
PATIENCE = 20.0  # seconds for the answer to a probe: what it is matters here, not how long a busy machine takes
LAG = 0.5  # seconds until who forwards to a pod has heard that it leaves, or that it is not ready


class Pod:
    """One pod and the kubelet that looks after it."""

    def __init__(self, cluster: Cluster, name: str, spec: Json, address: str, story: Story) -> None:
        self.name, self.spec, self.address, self._story = name, spec, address, story
        self.container = Container(cluster, name, spec, address)
        self.ports = {port["name"]: port["containerPort"] for port in self.container.spec.get("ports", [])}
        self.ready, self.started, self.restarts = False, False, 0
        self.leaving: float | None = None  # when it was told to end
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._look_after, daemon=True)

    def start(self) -> Self:
        self._story.tell(self.name, "starts")
        self.container.start()
        self._watch.start()
        return self

    # ------------------------------------------------------------ probes

    def _look_after(self) -> None:
        probes = {name: self.container.spec[f"{name}Probe"] for name in ("startup", "liveness", "readiness")}
        if not self._until_it_started(probes["startup"]):
            return
        due = {"liveness": time.monotonic(), "readiness": time.monotonic()}
        failures = {"liveness": 0, "readiness": 0}
        while not self._ended.is_set():
            if self.leaving is not None:  # whoever was told to end is not asked whether it lives
                due.pop("liveness", None)
            name = min(due, key=lambda one: due[one])
            if self._ended.wait(max(0.0, due[name] - time.monotonic())):
                return
            due[name] = time.monotonic() + probes[name].get("periodSeconds", 10) / SPEED
            answer = self._ask(probes[name])
            if self._ended.is_set():
                return
            failures[name] = 0 if answer else failures[name] + 1
            self._conclude(name, answer, failures[name] >= probes[name].get("failureThreshold", 3))

    def _until_it_started(self, probe: Json) -> bool:
        for _ in range(probe["failureThreshold"]):
            if self._ask(probe):
                self.started = True
                self._story.tell(self.name, "started")
                return True
            if self._ended.wait(probe["periodSeconds"]):  # not hurried: Python takes the time it takes
                return False
        self.restarts += 1
        self._story.tell(self.name, "never started: the kubelet would restart it")
        return False

    def _conclude(self, name: str, answer: bool, failed: bool) -> None:
        if name == "liveness" and failed:
            self.restarts += 1
            self._story.tell(self.name, "not alive: the kubelet would restart it")
        if name == "readiness" and (answer or failed) and self.ready != answer:
            self.ready = answer
            self._story.tell(self.name, "ready" if answer else "not ready")

    def _ask(self, probe: Json) -> bool:
        if "exec" in probe:
            command = ["env", f"REDISCLI_AUTH={self.container.environment()['REDISCLI_AUTH']}"]
            command += [
                arg.replace("valkey-cli", f"{shlex.quote(str(self._valkey))} -h {self.address}")
                for arg in probe["exec"]["command"]
            ]
            try:
                return subprocess.run(command, capture_output=True, timeout=PATIENCE).returncode == 0
            except subprocess.TimeoutExpired:
                return False
        if "tcpSocket" in probe:
            return self._get(probe["tcpSocket"]["port"], None)
        return self._get(probe["httpGet"]["port"], probe["httpGet"]["path"])

    @property
    def _valkey(self) -> Path:
        return self.container.cluster.folder / "valkey" / "valkey-cli"

    def _get(self, port: str, path: str | None) -> bool:
        connection = http.client.HTTPConnection(self.address, self.ports[port], timeout=PATIENCE)
        try:
            connection.connect()
            if path is None:
                return True
            connection.request("GET", path)
            return 200 <= connection.getresponse().status < 400
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    # ------------------------------------------------------------ the end

    def takes_traffic(self) -> bool:
        """Whether a Service still sends to it; what forwards learns of its end a little later."""
        if self.leaving is not None:
            return time.monotonic() < self.leaving + LAG
        return self.ready

    def delete(self) -> int:
        """As `kubectl delete pod`: the pause, SIGTERM, and SIGKILL when the grace period is over. The exit code."""
        process = self.container.process
        assert process is not None
        self.leaving = time.monotonic()
        self._story.tell(self.name, "is told to end")
        grace = self.spec["terminationGracePeriodSeconds"]
        if pause := self.container.spec.get("lifecycle", {}).get("preStop", {}).get("sleep"):
            time.sleep(pause["seconds"])
        self._story.tell(self.name, "SIGTERM")
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(self.leaving + grace - time.monotonic())
        except subprocess.TimeoutExpired:
            self.container.kill()
            code = -9
        self._ended.set()
        self._watch.join(2 * PATIENCE)  # what it found comes before the end
        self._story.tell(self.name, f"ended with {code} after {time.monotonic() - self.leaving:.1f} s of {grace}")
        return code

    def crash(self) -> None:
        self._ended.set()
        self.container.kill()
        self._story.tell(self.name, "killed")


class Story:
    """What happened when, to be printed and to be asked."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.lines: list[tuple[float, str, str]] = []

    def tell(self, who: str, what: str) -> None:
        self.lines.append((time.monotonic() - self._began, who, what))

    def of(self, who: str) -> list[str]:
        return [what for _, name, what in self.lines if name == who]

    def __str__(self) -> str:
        return "\n".join(f"{at:7.1f} s  {who:<26} {what}" for at, who, what in self.lines)


class Namespace:
    """All objects of one release. Pods are started one by one; Services send to those that are ready."""

    def __init__(
        self, folder: Path, found: list[Json], secret: dict[str, str], images: tuple[Path, Path] | None = None
    ) -> None:
        self.objects, self.story = found, Story()
        self._net = f"127.{random.randrange(10, 250)}.{random.randrange(1, 250)}"
        self._numbers = itertools.count(50)
        self.pods: list[Pod] = []
        maps = {o["metadata"]["name"]: o["data"] for o in found if o["kind"] == "ConfigMap"}
        services = [o for o in found if o["kind"] == "Service" and o["spec"].get("clusterIP") != "None"]
        hosts = {o["metadata"]["name"]: f"{self._net}.{n}" for n, o in enumerate(services, 2)}
        self.cluster = Cluster(folder, secret, maps, hosts, images)
        self._single = {component(o["spec"]["selector"]): hosts[o["metadata"]["name"]] for o in services}
        self._balancers = [
            Balancer(hosts[o["metadata"]["name"]], port, lambda o=o: self._behind(o["spec"]["selector"]))  # type: ignore[misc]
            for o in services
            if component(o["spec"]["selector"]) == "service"
            for port in o["spec"]["ports"]
        ]
        self._labels: dict[str, dict[str, str]] = {}

    def template(self, kind: str, name: str) -> tuple[Json, Json]:
        """(metadata, spec) of what that object runs."""
        return next((meta, spec) for found, meta, spec in pods(self.objects) if found == f"{kind}/{name}")

    def run(self, kind: str, name: str, suffix: str = "0") -> Pod:
        """Start one pod of that object; it does not have to be ready when this returns."""
        metadata, spec = self.template(kind, name)
        part = component(metadata["labels"])
        # Redis and the sandbox have one pod each: their Service's address is the pod's own.
        address = self._single[part] if part in ("redis", "sandbox") else f"{self._net}.{next(self._numbers)}"
        pod = Pod(self.cluster, f"{name}-{suffix}", spec, address, self.story)
        self._labels[pod.name] = metadata["labels"]
        self.pods.append(pod)
        return pod.start()

    def run_job(self, kind: str, name: str, seconds: float = 120.0) -> tuple[int, str]:
        """A pod that is to end: (exit code, what it said)."""
        _, spec = self.template(kind, name)
        container = Container(self.cluster, f"{name}-job", spec, f"{self._net}.{next(self._numbers)}")
        container.start()
        assert container.process is not None
        try:
            return container.process.wait(seconds), container.said()
        finally:
            container.kill()

    def address(self, service: str) -> str:
        return self.cluster.hosts[service]

    @property
    def refused(self) -> int:
        """Connections to a Service for which there was nobody."""
        return sum(balancer.refused for balancer in self._balancers)

    def _behind(self, selector: dict[str, str]) -> list[Pod]:
        return [
            pod for pod in list(self.pods) if pod.takes_traffic() and selector.items() <= self._labels[pod.name].items()
        ]

    def strategy(self, name: str) -> Json:
        found: Json = the("Deployment", name, self.objects)["spec"]["strategy"]["rollingUpdate"]
        return found

    def __enter__(self) -> Self:
        for balancer in self._balancers:
            balancer.start()
        return self

    def __exit__(self, *_: object) -> None:
        for pod in self.pods:
            pod.crash()
        for balancer in self._balancers:
            balancer.stop()


class Balancer:
    """A Service: connections go to the pods behind it in turn."""

    def __init__(self, address: str, port: Json, behind: Callable[[], list[Pod]]) -> None:
        self._address, self._port, self._target, self._behind = address, port["port"], port["targetPort"], behind
        self._turn = itertools.count()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: set[asyncio.Task[Any]] = set()
        self.refused = 0  # connections for which there was nobody

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._carry, self._address, self._port)

    def stop(self) -> None:
        async def end() -> None:
            self._server.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await asyncio.sleep(0.05)

        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(end(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = self._behind()
        if not there:
            self.refused += 1
            writer.transport.abort()
            return
        pod = there[next(self._turn) % len(there)]
        try:
            to_reader, to_writer = await asyncio.open_connection(pod.address, pod.ports[self._target])
        except OSError:
            self.refused += 1
            writer.transport.abort()
            return
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(_pump(reader, to_writer), _pump(to_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()


def until(holds: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    """AssertionError when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.05)


@contextlib.contextmanager
def running(
    folder: Path, found: list[Json], secret: dict[str, str], images: tuple[Path, Path] | None = None
) -> Iterator[Namespace]:
    with Namespace(folder, found, secret, images) as namespace:
        yield namespace
