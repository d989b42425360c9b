"""RabbitMQ and NATS as real servers of our own: on free ports, in a folder of the test, ended with it.

Where a machine has none, the tests that need one are skipped and say so: apt-get install rabbitmq-server nats-server.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from dcbridge.cli.dev.embedded_redis import free_port

# Debian's command on the PATH changes the user; the one behind it does not.
RABBITMQ = next((path for path in ("/usr/lib/rabbitmq/bin/rabbitmq-server",) if os.access(path, os.X_OK)), None)
EPMD, NATS = shutil.which("epmd"), shutil.which("nats-server")
NO_RABBITMQ = "no RabbitMQ here: apt-get install rabbitmq-server"
NO_NATS = "no NATS here: apt-get install nats-server"


@dataclass
class Broker(ABC):
    """A server process and whatever it started, in a session of their own."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> Sequence[str]:
        """What is run, and its arguments."""

    def environment(self) -> dict[str, str]:
        return {}

    def start(self, wait: float = 90.0) -> None:
        """Start, and wait until it greets. Raises RuntimeError with the server's last words."""
        self.folder.mkdir(parents=True, exist_ok=True)
        log = (self.folder / "server.log").open("ab")
        with log:
            self.process = subprocess.Popen(
                self.command(), env=os.environ | self.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, cwd=self.folder,
            )  # fmt: skip
        end = time.monotonic() + wait
        while time.monotonic() < end and self.process.poll() is None:
            if self.greets():
                return
            time.sleep(0.1)
        raise RuntimeError((self.folder / "server.log").read_text(errors="replace")[-2000:])

    @abstractmethod
    def greets(self) -> bool:
        """Whether it answers as it does when it is ready."""

    def kill(self) -> None:
        """-9, to all of it."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def stop_the_clock(self, stopped: bool) -> None:
        """SIGSTOP or SIGCONT: a server that is there and says nothing."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGSTOP if stopped else signal.SIGCONT)
        if stopped:
            stands_still(self.process.pid)


def stands_still(pid: int) -> None:
    """A signal is sent before it is heard: wait until the process and those of its group have stopped."""
    one = psutil.Process(pid)
    group = [one, *(child for child in one.children(recursive=True) if os.getpgid(child.pid) == os.getpgid(pid))]
    while not all(process.status() == psutil.STATUS_STOPPED for process in group):
        time.sleep(0.01)


@dataclass
class Rabbit(Broker):
    """RabbitMQ; user and password are guest, as from the box."""

    names: int = field(default_factory=free_port)
    distribution: int = field(default_factory=free_port)
    epmd: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def command(self) -> Sequence[str]:
        assert RABBITMQ
        return [RABBITMQ]

    def environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.folder),  # of the Erlang cookie
            "ERL_EPMD_PORT": str(self.names),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"dcbridge{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.distribution),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1",
        }

    def start(self, wait: float = 90.0) -> None:
        assert EPMD
        if self.epmd is None:  # our own, in the foreground: the one that Erlang would start outlives it
            arguments = [EPMD, "-port", str(self.names), "-address", "127.0.0.1"]
            self.epmd = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        super().start(wait)

    def greets(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as s:
                s.sendall(b"AMQP\x00\x00\x09\x01")
                return len(s.recv(1)) == 1
        except OSError:
            return False

    def end(self) -> None:
        self.kill()
        if self.epmd is not None:
            self.epmd.kill()
            self.epmd.wait()


@dataclass
class Nats(Broker):
    """NATS with JetStream; `options` go to the command line."""

    options: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        assert NATS
        data = str(self.folder / "data")
        return [NATS, "-js", "-sd", data, "-a", "127.0.0.1", "-p", str(self.port), *self.options]

    def greets(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as s:
                return s.recv(4) == b"INFO"
        except OSError:
            return False

    def end(self) -> None:
        self.kill()
