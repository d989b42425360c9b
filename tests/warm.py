"""`python -m …` as a process that starts warm: forked from one that has imported everything already.

A tenth of a second instead of one or two, and with several hundred starts in a run that is most of its time. It is a
process like any other: with a process id, a session, signals and an exit code of its own. Whoever measures a process,
or what stands in its command line, starts it cold.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).parent.parent
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.warm_imports"])


class Process(Protocol):
    """What a stack asks of a subprocess.Popen, and no more."""

    pid: int

    def poll(self) -> int | None: ...
    def kill(self) -> None: ...
    def terminate(self) -> None: ...
    def send_signal(self, sig: int, /) -> None: ...
    def wait(self, timeout: float | None = None) -> int: ...


class Warm:
    """A Process. `command` is sys.executable, "-m", a module and its arguments; see `can`."""

    def __init__(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        out: Path,
        err: Path,
        cwd: Path,
        read: Path = Path(os.devnull),
    ) -> None:
        """It reads `read`; what it writes is added to the files `out` and `err`. A terminal does for all three."""
        assert can(command), f"starts cold: {command}"
        self._said = dict.fromkeys((out, err))
        run = (list(command[2:]), dict(environ), (str(read), str(out), str(err)), str(cwd))
        self._process = CONTEXT.Process(target=_run, args=run)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        self.kill, self.terminate = self._process.kill, self._process.terminate

    def said(self) -> str:
        """Everything that it wrote so far."""
        return "".join(file.read_text(errors="replace") for file in self._said if file.exists())

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, sig: int, /) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def wait(self, timeout: float | None = None) -> int:
        """The exit code; less the signal's number where it died of one. Raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("a warm process", timeout or 0.0)
        return self._process.exitcode


def share() -> None:
    """Start what warm processes are forked from, for all processes that are forked from this one: each would start one
    of its own, and import everything."""
    forkserver.ensure_running()
    server: Any = forkserver._forkserver
    server.ensure_running = lambda: None  # it looks after a child, and is nobody else's


def can(command: Sequence[str]) -> bool:
    """Whether this is a module of ours, run by this Python."""
    return len(command) > 2 and command[:2] == [sys.executable, "-m"]


def run(
    command: Sequence[str], environ: Mapping[str, str], *, cwd: Path = ROOT, timeout: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run it to its end, as subprocess.run does with its output captured as text. Raises subprocess.TimeoutExpired."""
    with tempfile.TemporaryDirectory(prefix="dcbridge-test-") as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = Warm(command, environ, out, err, cwd)
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        return subprocess.CompletedProcess(list(command), code, out.read_text(), err.read_text())


def _run(arguments: list[str], environ: dict[str, str], files: tuple[str, str, str], cwd: str) -> None:
    """In the child."""
    os.setsid()
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(cwd)
    for descriptor, file in enumerate(files):
        opened = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOCTTY, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 (multiprocessing has put another one there)
    for name in [name for name in sys.modules if name.startswith("dcbridge.cli")]:
        del sys.modules[name]  # it has seen where it writes to, and how wide that is
    module, *sys.argv[1:] = arguments
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of runpy: a module that others import as well
        runpy.run_module(module, run_name="__main__", alter_sys=True)
