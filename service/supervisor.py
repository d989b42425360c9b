"""Several processes on one public port, and one more with the operator's port, which answers for all of them.

This process has no event loop and no thread, so it may fork at any time: each process begins with the configuration
that was read at the start. Each has a listening socket of its own (SO_REUSEPORT), which stays open here while a
process that died is started again, so that nobody who connects meanwhile is refused.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson
import structlog

from dcbridge.runtime.server import bind
from dcbridge.settings.problems import ConfigurationError, Problem

log = structlog.get_logger()

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds before a process is started again that died young
OLD = 10.0  # seconds
REFUSED = 2  # exit code of a process for which starting again would change nothing
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


@dataclass(frozen=True, slots=True)
class Place:
    """What a process has of its own: its number, its sockets, and a pipe that ends with the supervisor."""

    number: int
    public: socket.socket
    report: socket.socket
    supervisor: int


@dataclass(slots=True)
class _Child:
    name: str
    work: Callable[[], None]
    pid: int = 0
    began: float = 0.0
    pause: float = FIRST_PAUSE
    again_at: float = 0.0


def bound_together(host: str, port: int, setting: str, count: int) -> list[socket.socket]:
    """As many sockets on one port. Raises ConfigurationError, also where another service shares it already."""
    with bind(host, port, setting) as alone:  # who shares a port finds it free, whoever else shares it
        found: int = alone.getsockname()[1]
    return [bind(host, found, setting, shared=True) for _ in range(count)]


class Supervisor:
    """`works`: what each process does, by its name; all are started again when they end, until a signal comes."""

    def __init__(
        self,
        works: Sequence[tuple[str, Callable[[], None]]],
        sockets: Sequence[socket.socket],
        final: type[ConfigurationError],
    ) -> None:
        """The last of `works` ends last. `sockets`: closed at the end, before a process is asked to stop. `final`: what
        is true of all processes, once one raises it.
        """
        self._children = [_Child(name, work) for name, work in works]
        self._sockets = sockets
        self._final = final
        self._mask: set[int] = set()
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        os.set_blocking(self._write_end, False)
        self._refused: list[str] = []

    def run(self, started: Callable[[], None]) -> None:
        """Until SIGTERM or SIGINT, and until all have ended. Raises ConfigurationError with what a process said that
        raised `final`; then all are stopped.
        """
        self._mask = set(signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS))
        try:
            for child in self._children:
                self._start(child)
            started()
            while True:
                due = [child.again_at for child in self._children if not child.pid]
                wait = max(0.0, min(due) - time.monotonic()) if due else 60.0
                came = signal.sigtimedwait(_SIGNALS, wait)
                if came is not None and came.si_signo != signal.SIGCHLD:
                    break
                self._look()
                if self._refused:
                    break
            log.info("service_stops")
        finally:
            self._stop()
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
            os.close(self._read_end)
            os.close(self._write_end)
        if self._refused:
            raise ConfigurationError([Problem("", 0, sentence) for sentence in self._refused])

    def _start(self, child: _Child) -> None:
        child.began = time.monotonic()
        child.pid = os.fork()
        if child.pid:
            return
        status = 1
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
            child.work()
            status = 0
        except ConfigurationError as error:
            sentences = list(map(str, error.problems))
            log.error("process_refused", process=child.name, problems=sentences)
            if isinstance(error, self._final):
                status = REFUSED
                os.write(self._write_end, orjson.dumps(sentences) + b"\n")
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)

    def _look(self) -> None:
        """Note who has ended, and start who is due."""
        now = time.monotonic()
        for child in self._children:
            if child.pid:
                pid, status = os.waitpid(child.pid, os.WNOHANG)
                if not pid:
                    continue
                child.pid = 0
                if os.waitstatus_to_exitcode(status) == REFUSED:
                    self._refused = orjson.loads(os.read(self._read_end, 1 << 16).splitlines()[0])
                    return
                is_old = now - child.began > OLD
                child.pause = FIRST_PAUSE if is_old else min(LONGEST_PAUSE, child.pause * 2)
                child.again_at = now if is_old else now + child.pause / 2
                log.error(
                    "process_died",
                    process=child.name,
                    status=os.waitstatus_to_exitcode(status),
                    again_in=round(child.again_at - now, 1),
                )
            if not child.pid and child.again_at <= now:
                self._start(child)

    def _stop(self) -> None:
        for one in self._sockets:
            one.close()
        *serving, last = self._children
        for some in (serving, [last]):
            running = [child for child in some if child.pid]
            for child in running:
                os.kill(child.pid, signal.SIGTERM)
            for child in running:
                os.waitpid(child.pid, 0)
                child.pid = 0
