"""A pytest plugin: the tests are collected once, and forked processes run them, each a file at a time.

pytest-xdist starts processes that collect everything themselves. With this many tests that is a minute of computing
before the first of them, and the memory of as many interpreters. A forked process has all of it already.

`-n 4` runs four files at a time, `-n 0` runs all tests in this process. So does a debugger, or a run of one file.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import pytest

FORK = multiprocessing.get_context("fork")
LOOK_EVERY = 5.0  # seconds, for a process whose end closed no connection, since a process of its own has it too


def pytest_addoption(parser: pytest.Parser) -> None:
    # Lowercase letters are pytest's own; -n is what everyone types since pytest-xdist.
    parser.getgroup("parallel")._addoption(
        "-n", "--numprocesses", type=int, default=0, help="how many files run at a time; 0: all in this process"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    option = session.config.option
    files = [range(one[0], one[-1] + 1) for one in _by_file(session.items)]
    if option.collectonly or session.testsfailed or option.usepdb or min(option.numprocesses, len(files)) < 2:
        return None  # pytest runs them, or says what could not be collected
    Controller(session, files).run(min(option.numprocesses, len(files)))
    return True


def _by_file(items: Sequence[pytest.Item]) -> Iterator[list[int]]:
    """The indices of neighbours that are in one file, so that they share its fixtures."""
    for _, group in groupby(range(len(items)), key=lambda index: items[index].path):
        yield list(group)


class Worker:
    """A forked process, as the controller sees it."""

    def __init__(self, session: pytest.Session, number: int, others: Sequence[Worker], file: range) -> None:
        self.rest = file  # what it has not ended of the file that it is at
        self.running: int | None = None
        self.ahead: range | None = None  # the file that it goes on with
        self.connection, far = FORK.Pipe()
        near = [self.connection, *(other.connection for other in others)]
        self.process = FORK.Process(target=_work, args=(session, number, far, near))
        self.process.start()
        far.close()
        self.connection.send(file)


class Controller:
    def __init__(self, session: pytest.Session, files: list[range]) -> None:
        self.session, self.config, self.files = session, session.config, files
        self.workers: list[Worker] = []
        self.started = 0

    def run(self, processes: int) -> None:
        terminal: Any = self.config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None:
            terminal.showfspath = False  # the files' results come mixed
        capture: Any = self.config.pluginmanager.get_plugin("capturemanager")
        threads = Path("/proc/self/task")
        if threads.exists() and len(os.listdir(threads)) > 1:
            raise pytest.UsageError(
                "what a test file imports, or calls while it is collected, has started threads, and forked processes"
                " would miss them: do that inside of the tests"
            )
        try:
            capture.suspend_global_capture(in_=True)  # each worker has one of its own
            for _ in range(processes):
                self._start(self.files.pop(0))
            while self.workers:
                for worker in self._with_news():
                    self._listen(worker)
        finally:
            for worker in self.workers:
                worker.connection.close()  # it ends after the test that it runs
            for worker in self.workers:
                worker.process.join()
            capture.resume_global_capture()

    def _start(self, file: range) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self.workers.append(Worker(self.session, self.started, self.workers, file))
        self.started += 1

    def _with_news(self) -> list[Worker]:
        ready = wait([worker.connection for worker in self.workers], LOOK_EVERY)
        return [w for w in self.workers if w.connection in ready or w.process.exitcode is not None]

    def _listen(self, worker: Worker) -> None:
        try:
            said, *about = worker.connection.recv()
        except (EOFError, OSError):
            self._ended(worker)
            return
        match said:
            case "starts":
                (worker.running,) = about
            case "next":
                worker.ahead = self.files.pop(0) if self.files else None
                worker.connection.send(worker.ahead)
            case "ended":
                self._report(worker.running, *about)
                worker.running, worker.rest = None, worker.rest[1:]
                if not worker.rest and worker.ahead is not None:
                    worker.rest, worker.ahead = worker.ahead, None
            case "warned":
                text, filename, line, when, nodeid, location = about
                message = warnings.WarningMessage(text, UserWarning, filename, line)
                self.config.hook.pytest_warning_recorded.call_historic(
                    kwargs={"warning_message": message, "when": when, "nodeid": nodeid, "location": location}
                )

    def _report(self, index: int | None, data: list[dict[str, Any]]) -> None:
        """What pytest does of a test that it runs itself."""
        assert index is not None
        item, hook = self.session.items[index], self.config.hook
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for one in data:
            report = hook.pytest_report_from_serializable(config=self.config, data=one)
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        if self.session.shouldfail:
            raise self.session.Failed(self.session.shouldfail)
        if self.session.shouldstop:
            raise self.session.Interrupted(str(self.session.shouldstop))

    def _ended(self, worker: Worker) -> None:
        """At its end, or in the middle of a test: that one has failed, and another process does the rest."""
        worker.process.join()
        worker.connection.close()
        self.workers.remove(worker)
        rest = [file for file in (worker.rest, worker.ahead) if file]
        if worker.running is None:
            assert not rest, f"a worker ended with {worker.process.exitcode} and ran no test"
            return
        item = self.session.items[worker.running]
        failed = pytest.TestReport(
            nodeid=item.nodeid, location=item.location, keywords={}, outcome="failed", when="call",
            longrepr=f"the process that ran this test ended in it, with exit code {worker.process.exitcode}",
        )  # fmt: skip
        hook = self.config.hook
        data = hook.pytest_report_to_serializable(config=self.config, report=failed)
        self.files[:0] = [file for file in (worker.rest[1:], worker.ahead) if file]
        if self.files:
            self._start(self.files.pop(0))
        self._report(worker.running, [data])


class Reporter:
    """In a worker, instead of the terminal: what there is to say of the test that runs."""

    def __init__(self, config: pytest.Config, connection: Connection) -> None:
        self.config, self.connection = config, connection
        self.reports: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.reports.append(self.config.hook.pytest_report_to_serializable(config=self.config, report=report))

    def pytest_warning_recorded(
        self,
        warning_message: warnings.WarningMessage,
        when: str,
        nodeid: str,
        location: tuple[str, int, str] | None,
    ) -> None:
        text = f"{warning_message.category.__name__}: {warning_message.message}"
        where = warning_message.filename, warning_message.lineno
        self.connection.send(("warned", text, *where, when, nodeid, location))


def _work(session: pytest.Session, number: int, connection: Connection, near: Sequence[Connection]) -> None:
    """In the forked process: run files until there is none, or the controller is gone."""
    for other in near:
        other.close()
    config = session.config
    plugins = config.pluginmanager
    capture: Any = plugins.get_plugin("capturemanager")
    capture.stop_global_capturing()
    capture.start_global_capturing()
    plugins.unregister(name="terminalreporter")
    reporter = Reporter(config, connection)
    plugins.register(reporter)
    folders: Any = config._tmp_path_factory  # type: ignore[attr-defined]
    folders._basetemp = folders.mktemp(f"worker{number}-", numbered=True)
    runner: Any = plugins.get_plugin("runner")
    # When the controller is gone, nobody asks for results.
    with suppress(EOFError, OSError, KeyboardInterrupt):
        try:
            _run_files(session, connection, reporter)
        finally:
            runner.pytest_sessionfinish(session)  # fixtures that are still up, where this was no regular end
    capture.stop_global_capturing()


def _run_files(session: pytest.Session, connection: Connection, reporter: Reporter) -> None:
    file: range | None = connection.recv()
    while file is not None:
        ahead: range | None = None
        for index in file:
            connection.send(("starts", index))
            last = index == file[-1]
            if last:  # what comes next says which fixtures stay
                connection.send(("next",))
                ahead = connection.recv()
            following = ahead[0] if last and ahead else None if last else index + 1
            item = session.items[index]
            after = None if following is None else session.items[following]
            session.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            connection.send(("ended", reporter.reports))
            reporter.reports = []
            if session.shouldfail or session.shouldstop:
                return  # the controller knows as much
        file = ahead
