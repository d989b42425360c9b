"""The processes of one run, on ports and in a folder of their own, and what each of them spends."""

from __future__ import annotations

import asyncio
import http.client
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, Self, cast

import httpx
import orjson
import psutil
import redis
from redis.asyncio import Redis

from benchmarks.messages import CHANNEL, fill
from dcbridge.cli.dev.embedded_redis import EmbeddedRedis, free_port
from dcbridge.config.loader import load
from dcbridge.config.models import Configuration
from dcbridge.ledger import Ledger
from dcbridge.ledger.reports.books import ChannelBooks, read
from dcbridge.settings.process import Settings, read_settings

SECRET = "benchmark-benchmark"  # noqa: S105  (of an app, and a provider's token, that are not there)
OURS = ("-m", "dcbridge", "worker")
STOCK = (  # RQ's own loop, in one process, with the same jobs
    *("-m", "rq.cli", "worker", "--worker-class", "rq.worker.SimpleWorker"),
    *("--serializer", "rq.serializers.JSONSerializer", "--quiet", "receipts", "inbound", "outbound"),
)
STARTED, ENDED, REWRITTEN = 120.0, 60.0, 120.0  # seconds that each may take

_YAML = """\
public_url: http://127.0.0.1:{public}
digital_channels:
  base_url: http://127.0.0.1:{worlds}/nexus/v3
  contact_center_id: 0ff723ff-6c6f-44e0-9ce3-ce579337eadd
endpoints:
  main:
    secrets: [{secret}]
providers:
  twilio:
    kind: twilio
    base_url: http://127.0.0.1:{worlds}
    account_sid: AC00000000000000000000000000000000
    auth_token: {secret}
    status_callbacks: {confirmed}
channels:
  "{channel}":
    type: sms
    provider: twilio
    number: "+15557650123"
    delivered_when: {when}
"""


class Process(Protocol):
    """What is asked of a subprocess.Popen, and no more."""

    pid: int

    def poll(self) -> int | None: ...
    def kill(self) -> None: ...
    def send_signal(self, sig: int, /) -> None: ...
    def wait(self, timeout: float | None = None) -> int: ...


Launch = Callable[[Sequence[str], Mapping[str, str], Path], Process]  # command, environment, log


def cold(command: Sequence[str], environ: Mapping[str, str], log: Path) -> Process:
    """A process that pays for its imports, as an operator's does."""
    with log.open("ab") as out:
        return subprocess.Popen(command, env=environ, stdout=out, stderr=out)


class Wrong(Exception):
    """The counts do not add up: a figure made of them would mean nothing."""


class CannotRun(Exception):
    """Something that a baseline needs is not on this machine: what it is."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look. `cpu` in seconds since each process began, `memory` in bytes; `worlds` is World.view()."""

    worlds: Mapping[str, float]
    cpu: Mapping[str, float]
    memory: Mapping[str, int]

    @property
    def seconds(self) -> float:
        return self.worlds["seconds"]

    @property
    def delivered(self) -> float:
        return self.worlds["delivered"]


@dataclass(frozen=True, slots=True)
class Between:
    """What happened between two looks. A message counts when its receipt came, or by another count of World.view()."""

    first: Sample
    last: Sample
    by: str = "delivered"

    @property
    def messages(self) -> float:
        return self.last.worlds[self.by] - self.first.worlds[self.by]

    @property
    def rate(self) -> float:
        """Of those, per second."""
        return self.messages / max(1e-9, self.last.seconds - self.first.seconds)

    def cpu_ms(self, *names: str) -> float:
        """What these processes spent for each message, milliseconds."""
        spent = sum(self.last.cpu[name] - self.first.cpu[name] for name in names)
        return spent / max(1.0, self.messages) * 1000


class Stage:
    """Used as a context manager: Redis runs inside, and nothing is left running after."""

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        *,
        confirmed: bool = False,
        launch: Launch = cold,
    ) -> None:
        """`confirmed`: the provider is asked to report, and Delivered is said when it did.

        `launch` starts the Python processes; whose figures are to mean something starts them cold.
        """
        self.folder, self._launch = folder, launch
        self.public, self.operator, self.worlds = free_port(), free_port(), free_port()
        self.redis = EmbeddedRedis(folder / "redis", free_port())
        self.processes: dict[str, Process] = {}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "bridge.yaml").write_text(
            _YAML.format(
                public=self.public,
                worlds=self.worlds,
                secret=SECRET,
                channel=CHANNEL,
                confirmed=str(confirmed).lower(),
                when="confirmed" if confirmed else "taken",
            )
        )
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DCBRIDGE_")}
        self.environ = kept | {
            "DCBRIDGE_CONFIG": str(folder / "bridge.yaml"),
            "DCBRIDGE_REDIS_URL": self.redis.url,
            "RQ_REDIS_URL": self.redis.url,
            "DCBRIDGE_PUBLIC_HOST": "127.0.0.1",
            "DCBRIDGE_PUBLIC_PORT": str(self.public),
            "DCBRIDGE_OPERATOR_PORT": str(self.operator),
            "DCBRIDGE_LOG_FORMAT": "json",
            "DCBRIDGE_TOKEN_KEY": SECRET + SECRET,
            **(settings or {}),
        }
        self._counts: http.client.HTTPConnection | None = None

    def __enter__(self) -> Self:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 20_000)), hard))
        self.redis.start()
        self._redis = redis.Redis(port=self.redis.port, socket_timeout=60.0)
        # Rewriting the append-only file comes at a moment of its own: it would fall into one run and not the other.
        self._redis.config_set("auto-aof-rewrite-percentage", 0)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            _end(process)
        self.processes.clear()
        if self._counts is not None:
            self._counts.close()
        self._redis.close()
        self.redis.stop()

    @cached_property
    def settings(self) -> Settings:
        return read_settings(self.environ)[0]

    @cached_property
    def configuration(self) -> Configuration:
        return load(self.environ["DCBRIDGE_CONFIG"], self.environ)

    # ------------------------------------------------------------ processes

    def start(self, name: str, *command: str, **more: str) -> Process:
        """A Python process in this stage's environment; what it says goes to <name>.log."""
        log = self.folder / f"{name}.log"
        self.processes[name] = self._launch([sys.executable, *command], self.environ | more, log)
        return self.processes[name]

    def start_program(self, name: str, *command: str) -> Process:
        """The same for any other program."""
        self.processes[name] = cold(command, self.environ, self.folder / f"{name}.log")
        return self.processes[name]

    def start_worlds(self, delay_ms: int) -> None:
        self.start("worlds", "-m", "benchmarks.worlds", str(self.worlds), str(delay_ms))
        self.wait_for("worlds", f"http://127.0.0.1:{self.worlds}/counts")

    def start_worker(self, name: str = "worker", command: Sequence[str] = OURS, in_flight: int = 0) -> None:
        """Returns at once: when it is ready is seen in what it does."""
        more = {"DCBRIDGE_CONCURRENCY": str(in_flight)} if in_flight else {}
        self.start(name, *command, DCBRIDGE_WORKER_PORT=str(free_port()), **more)

    def wait_for(self, name: str, url: str, status: int = 200, method: str = "GET") -> None:
        """Until it answers so. Raises Wrong when it ended or took too long."""
        deadline = time.monotonic() + STARTED
        with httpx.Client(trust_env=False, timeout=5.0) as client:
            while time.monotonic() < deadline:
                self.must_run(name)
                try:
                    if client.request(method, url).status_code == status:
                        return
                except httpx.HTTPError:
                    pass
                time.sleep(0.05)
        raise Wrong(f"{name} was not ready after {STARTED:g} s: {self.said(name)}")

    def must_run(self, name: str) -> None:
        if self.processes[name].poll() is not None:
            raise self._ended(name)

    def _ended(self, name: str) -> Wrong:
        return Wrong(f"{name} ended by itself: {self.said(name)}")

    def said(self, name: str) -> str:
        """Its last words."""
        return (self.folder / f"{name}.log").read_text(errors="replace")[-2000:]

    def end(self, *names: str) -> None:
        """SIGTERM: a worker finishes what it has in flight."""
        ended = [self.processes.pop(name) for name in names]
        for process in ended:
            process.send_signal(signal.SIGTERM)
        for process in ended:
            _end(process)

    # ------------------------------------------------------------ Redis

    async def fill(self, label: str, first: int, count: int) -> None:
        """Messages first … first + count - 1, as if the service had taken them."""
        async with Redis(port=self.redis.port) as connection:
            await fill(Ledger.of(self.settings, connection), self.configuration, label, first, count)

    def fill_fast(self, label: str, count: int) -> float:
        """As `fill`, without a disk; Redis bytes for each message. The file is whole and small when it returns."""
        self._redis.config_set("appendfsync", "no")
        asyncio.run(self.fill(label, 0, 1))  # from now on Redis keeps the script, which is no message's
        before = self._info("memory")["used_memory"]
        asyncio.run(self.fill(label, 1, count - 1))
        after = self._info("memory")["used_memory"]
        self._redis.config_set("appendfsync", "always")
        self._redis.bgrewriteaof()
        deadline = time.monotonic() + REWRITTEN
        while self._info("persistence")["aof_rewrite_in_progress"]:
            if time.monotonic() > deadline:
                raise Wrong(f"the append-only file was not written anew in {REWRITTEN:g} s")
            time.sleep(0.1)
        return float(after - before) / (count - 1)

    def look(self) -> redis.Redis:
        """A connection of one's own."""
        return redis.Redis(port=self.redis.port)

    async def books(self) -> ChannelBooks:
        async with Redis(port=self.redis.port) as connection:
            return (await read(connection)).channels[0]

    def _info(self, section: str) -> dict[str, Any]:
        return self._redis.info(section)

    @property
    def redis_version(self) -> str:
        return str(self._info("server")["redis_version"])

    # ------------------------------------------------------------ what they spend

    def sample(self, worlds: Mapping[str, float] | None = None) -> Sample:
        """One look at all processes; `worlds` where they live in this one. Costs a millisecond or two."""
        view = self._view() if worlds is None else worlds
        spent = self._info("cpu")
        cpu = {"redis": float(spent["used_cpu_user"] + spent["used_cpu_sys"]), "worlds": float(view["cpu"])}
        memory = {"redis": int(self._info("memory")["used_memory"])}
        for name, process in self.processes.items():
            try:
                seen = psutil.Process(process.pid)
                times = seen.cpu_times()
            except psutil.NoSuchProcess:
                raise self._ended(name) from None
            if name != "worlds":
                cpu[name] = float(times.user + times.system)
            memory[name] = int(seen.memory_info().rss)
        return Sample(view, cpu, memory)

    def _view(self) -> Mapping[str, float]:
        if self._counts is None:
            self._counts = http.client.HTTPConnection("127.0.0.1", self.worlds, timeout=30.0)
        self._counts.request("GET", "/counts")
        return cast(Mapping[str, float], orjson.loads(self._counts.getresponse().read()))

    def watch(self, until: Callable[[Sample], bool], seconds: float, pause: float = 0.1) -> list[Sample]:
        """Look until `until` says so. Raises Wrong when that takes longer than `seconds`, or a process ended."""
        samples = [self.sample()]
        deadline = time.monotonic() + seconds
        while not until(samples[-1]):
            if time.monotonic() > deadline:
                raise Wrong(f"not done after {seconds:g} s: {dict(samples[-1].worlds)}")
            for name in self.processes:
                self.must_run(name)
            time.sleep(pause)
            samples.append(self.sample())
        return samples


def leave_nothing_running() -> None:
    """SIGTERM ends this process as Ctrl-C does: with what it has started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def _end(process: Process) -> None:
    try:
        process.wait(ENDED)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def steady(samples: Sequence[Sample], count: int) -> Between:
    """From the first look with a tenth of `count` messages delivered to the last with at most nine tenths.

    Starting up and running dry are no message's. A run too short for two such looks is taken whole.
    """
    inner = [s for s in samples if 0.1 * count <= s.delivered <= 0.9 * count]
    if len(inner) > 1 and inner[0].delivered < inner[-1].delivered:
        return Between(inner[0], inner[-1])
    began = [s for s in samples if not s.delivered]
    return Between(began[-1] if began else samples[0], samples[-1])
