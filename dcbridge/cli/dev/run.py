"""`dcbridge dev`: everything on one computer, and one readable log.

What is kept (Redis' append-only file, the secrets, bridge.yaml) is in one folder and is found again
by the next start.
"""

from __future__ import annotations

import shlex
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

from dcbridge.cli.dev import cloud, demo, demo_beyond
from dcbridge.cli.dev.companies import CannotAdd, takes_mail
from dcbridge.cli.dev.embedded_redis import EmbeddedRedis, NoRedisFound, free_port
from dcbridge.cli.dev.log_lines import Printer
from dcbridge.cli.dev.private_files import NotOurFolder
from dcbridge.cli.dev.processes import (
    CONSOLE,
    MAIL_IN,
    SERVICE,
    WORKER,
    Part,
    Ports,
    environment,
    prepare,
    read,
    sandbox_arguments,
    start,
    stop_all,
    wait_until_ready,
    write_env,
)
from dcbridge.cli.dev.recorder import Recorder


def run(folder: Path, ports: Ports, kinds: Sequence[str] = (), spare: str = "") -> int:
    """Start everything, wait for Ctrl-C or a part that ends, stop everything; the exit code."""
    folder = folder.resolve()
    if taken := [f"{name} {port}" for name, port in _ports(ports) if not _free(port)]:
        print(
            f"error: already in use: {', '.join(taken)}; choose others with the options of `dcbridge dev --help`",
            file=sys.stderr,
        )
        return 2
    with _Running(folder, ports, Printer(sys.stdout), kinds, spare) as running:
        if not running.ready:
            return running.failed()
        _welcome(ports, folder)
        while not running.stop.wait(0.3):
            if ended := [part for part in running.parts if part.process.poll() is not None]:
                print(f"error: the {ended[0].name} exited; see its last lines above", file=sys.stderr)
                return 1
    print(f"Stopped. The data is kept in {folder} for the next start.")
    return 0


def run_demo() -> int:
    """Play the documented flows through fresh processes on free ports; 0 when every step is as documented."""
    ports = Ports(*(free_port() for _ in range(5)), mail_in=free_port(), mail_operator=free_port(), console=0)
    to_bridge = Recorder(f"http://127.0.0.1:{ports.public}")
    to_digital_channels = Recorder(f"http://127.0.0.1:{ports.page}")
    ports = replace(ports, bridge_at=to_bridge.port, digital_channels_at=to_digital_channels.port)
    with tempfile.TemporaryDirectory(prefix="dcbridge-demo-") as name:
        folder = Path(name)
        to_bridge.start()
        to_digital_channels.start()
        try:
            with _Running(folder, ports, Printer(sys.stdout, quiet=True), [cloud.NAME]) as running:
                if not running.ready:
                    return running.failed()
                documented = demo.play(
                    demo.Scene(
                        sandbox=f"http://127.0.0.1:{ports.page}",
                        app_secret=read(folder, "app_secret").encode(),
                        contact_center_id=read(folder, "contact_center_id"),
                        to_bridge=to_bridge,
                        to_digital_channels=to_digital_channels,
                    )
                )
                beside = demo_beyond.play(
                    f"http://127.0.0.1:{ports.page}", f"http://127.0.0.1:{ports.public}",
                    read(folder, "trigger_secret"), read(folder, "cloud_integration"),
                )  # fmt: skip
                return documented or beside
        finally:
            to_bridge.stop()
            to_digital_channels.stop()


class _Running:
    """All parts, from start to stop. SIGINT and SIGTERM set `stop` meanwhile."""

    def __init__(
        self, folder: Path, ports: Ports, printer: Printer, kinds: Sequence[str] = (), spare: str = ""
    ) -> None:
        self._folder, self._ports, self._printer, self._kinds, self._spare = folder, ports, printer, kinds, spare
        self.parts: list[Part] = []
        self.stop = threading.Event()
        self.ready = False
        self._why = ""
        self._redis: EmbeddedRedis | None = None

    def __enter__(self) -> _Running:
        def asked(_signal: int, _frame: FrameType | None) -> None:
            self.stop.set()

        self._previous = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            prepare(self._folder, self._ports, self._kinds, self._spare, items=True, own=True)
            password = read(self._folder, "redis_password")
            self._redis = EmbeddedRedis(self._folder / "redis", free_port(), password)
            self._redis.start()
        except (CannotAdd, NoRedisFound, NotOurFolder, RuntimeError) as error:
            self._why = str(error)
            return self
        told = environment(self._folder, self._ports, self._redis.url)
        write_env(self._folder, self._ports, self._redis.url)
        for name, arguments in (
            ("sandbox", sandbox_arguments(self._folder, self._ports, {"look": self._console()})),
            ("service", SERVICE),
            ("worker", WORKER),
            *([("mail-in", MAIL_IN)] if takes_mail(self._folder) else []),
            *([("console", CONSOLE)] if self._ports.console else []),
        ):
            self.parts.append(start(name, arguments, told, self._printer.follow))
        self.ready = wait_until_ready(self._ports, self.parts, self.stop)
        return self

    def __exit__(self, *_: object) -> None:
        stop_all(self.parts)
        if self._redis is not None:
            self._redis.stop()
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _console(self) -> str:
        return f"http://127.0.0.1:{self._ports.console}" if self._ports.console else ""

    def failed(self) -> int:
        """Say why it did not come up; the exit code (0 when somebody asked it to stop)."""
        if self.stop.is_set():
            return 0
        print(f"error: {self._why or 'not everything started; see the lines above'}", file=sys.stderr)
        return 2


def _welcome(ports: Ports, folder: Path) -> None:
    print(
        f"\n  dcbridge is running.\n\n"
        f"  Write as the agent, answer as the consumer:   http://127.0.0.1:{ports.page}/\n"
        f"  Where each message is, and what waits:        http://127.0.0.1:{ports.console}/\n"
        f"  Health and metrics:                           http://127.0.0.1:{ports.operator}/metrics\n"
        f"  Configuration and data:                       {folder}\n"
        f"  In another shell, for dcbridge status, trace: . {shlex.quote(str(folder / 'env'))}\n\n"
        f"  Ctrl-C stops everything.\n",
        flush=True,
    )


def _ports(ports: Ports) -> list[tuple[str, int]]:
    return [
        ("public port", ports.public),
        ("operator port", ports.operator),
        ("worker port", ports.worker),
        ("page port", ports.page),
        ("mail port", ports.mail),
        ("mail-in port", ports.mail_in),
        ("mail-in operator port", ports.mail_operator),
        ("console port", ports.console),
    ]


def _free(port: int) -> bool:
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
