"""Workers that start in a tenth of a second: forked from a process that has imported everything already.

`dcbridge worker` itself spends its first second or two on imports; whoever starts hundreds of them starts these.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping
from multiprocessing.context import ForkServerProcess
from typing import Self

import httpx

from tests.stack import Stack, quiet_port, until


class WarmWorkers:
    """`count` workers beside a stack that has none of its own. A context: they run inside."""

    def __init__(self, stack: Stack, count: int) -> None:
        self.names = tuple(f"worker-{n}" for n in range(1, count + 1))
        self._stack = stack
        self._ports = {name: quiet_port() for name in self.names}
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["dcbridge.cli.app", "workers.main", "workers.jobs"])
        self._running: dict[str, ForkServerProcess] = {}

    def __enter__(self) -> Self:
        self.start(*self.names)
        return self

    def __exit__(self, *_: object) -> None:
        self.terminate(*self._running)

    def start(self, *names: str, wait: bool = True) -> None:
        for name in names:
            environ = self._stack.environ | {"DCBRIDGE_WORKER_PORT": str(self._ports[name])}
            self._running[name] = self._context.Process(target=_work, args=(environ, str(self._stack.log(name))))
            self._running[name].start()
        for name in names if wait else ():
            until(lambda name=name: self._is_ready(name), f"the {name} is ready", pause=0.02)  # type: ignore[misc]

    def kill(self, *names: str) -> None:
        """kill -9."""
        for name in names:
            self._running[name].kill()
        for name in names:
            self._running.pop(name).join()

    def terminate(self, *names: str) -> list[int | None]:
        """SIGTERM; the exit codes, and None for one that did not end."""
        for name in names:
            self._running[name].terminate()
        ended = [self._running.pop(name) for name in names]
        for process in ended:
            process.join(60)
        return [process.exitcode for process in ended]

    @property
    def pids(self) -> list[int | None]:
        """Of those that live."""
        return [process.pid for process in self._running.values() if process.is_alive()]

    def _is_ready(self, name: str) -> bool:
        assert self._running[name].is_alive(), f"the {name} ended:\n{self._stack.said(name)[-3000:]}"
        try:
            return self._stack.client.get(f"http://127.0.0.1:{self._ports[name]}/readyz").status_code == 200
        except httpx.HTTPError:
            return False


def _work(environ: Mapping[str, str], log: str) -> None:
    """`dcbridge worker`, in a child."""
    os.environ.clear()
    os.environ.update(environ)
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(said, 1)
    os.dup2(said, 2)
    from dcbridge.cli.app import app

    app(["worker"])
