"""Workers beside a stack that has none of its own: killed, terminated and started again by name."""

from __future__ import annotations

import subprocess
import sys
from typing import Self

import httpx

from tests.stack import ROOT, Stack, quiet_port, until
from tests.warm import Warm


class WarmWorkers:
    """`count` workers. A context: they run inside."""

    def __init__(self, stack: Stack, count: int) -> None:
        self.names = tuple(f"worker-{n}" for n in range(1, count + 1))
        self._stack = stack
        self._ports = {name: quiet_port() for name in self.names}
        self._running: dict[str, Warm] = {}

    def __enter__(self) -> Self:
        self.start(*self.names)
        return self

    def __exit__(self, *_: object) -> None:
        self.terminate(*self._running)

    def start(self, *names: str, wait: bool = True) -> None:
        for name in names:
            command = [sys.executable, "-m", "dcbridge", "worker"]
            environ = self._stack.environ | {"DCBRIDGE_WORKER_PORT": str(self._ports[name])}
            log = self._stack.log(name)
            self._running[name] = Warm(command, environ, log, log, ROOT)
        for name in names if wait else ():
            until(lambda name=name: self._is_ready(name), f"the {name} is ready", pause=0.02)  # type: ignore[misc]

    def kill(self, *names: str) -> None:
        """kill -9."""
        for name in names:
            self._running[name].kill()
        for name in names:
            self._running.pop(name).wait()

    def terminate(self, *names: str) -> list[int | None]:
        """SIGTERM; the exit codes, and None for one that did not end."""
        for name in names:
            self._running[name].terminate()
        return [_end(self._running.pop(name)) for name in names]

    @property
    def pids(self) -> list[int]:
        """Of those that live."""
        return [process.pid for process in self._running.values() if process.poll() is None]

    def has_sent(self, name: str) -> bool:
        """Whether a provider has answered it since it was started."""
        told = self._stack.client.get(f"http://127.0.0.1:{self._ports[name]}/metrics").text
        return "\ndcbridge_provider_requests_total{" in told

    def _is_ready(self, name: str) -> bool:
        assert self._running[name].poll() is None, f"the {name} ended:\n{self._stack.said(name)[-3000:]}"
        try:
            return self._stack.client.get(f"http://127.0.0.1:{self._ports[name]}/readyz").status_code == 200
        except httpx.HTTPError:
            return False


def _end(process: Warm) -> int | None:
    try:
        return process.wait(60)
    except subprocess.TimeoutExpired:
        return None
