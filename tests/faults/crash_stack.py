"""A whole bridge whose service and worker run under the launcher of crash_points.py, each behind a proxy of its own.

As in production every part is a process; the two under test reach Redis through a proxy that can lose replies, and
are told over a Unix socket at which point to fail.
"""

from __future__ import annotations

import json
import queue
import socket
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from dcbridge.cli.dev.companies import COMPANIES
from tests.faults.crash_points import SERVICE, WORKER
from tests.faults.redis_proxy import RedisProxy
from tests.stack import SETTINGS, SMS, Stack, quiet_port, until

SHORT = {"DCBRIDGE_WORKER_SILENCE": "2"}  # seconds; beside what tests/stack.py makes short
GRACE = 2.0  # seconds that an unknown outcome waits for a callback
LAUNCHER = "tests.faults.crash_points"
SPARE = "telnyx"  # the second provider
CONFIRMS, CONFIRMED = "vonage", "You will get no more messages."  # for whom dcbridge answers STOP, and what it says
SMSC = COMPANIES["smpp"].channel
RELIEF = "relief"  # a second worker, which takes over
PARTS = {SERVICE: "serve", WORKER: "worker"}


class Line:
    """The harness' end of the lines to the processes: orders out, "reached" in. One process of a part at a time."""

    def __init__(self, path: Path) -> None:
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        self._open: dict[int, socket.socket] = {}  # by process id
        self._said: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for one in self._open.values():
            one.close()

    def order(self, pid: int, **order: object) -> None:
        self._open[pid].sendall(json.dumps(order).encode() + b"\n")

    def arm(self, pid: int, point: str, nth: int, do: str) -> None:
        """The process will stop at the n-th pass from now on. AssertionError when it does not confirm that."""
        until(lambda: pid in self._open, "the process is on the line", 20)
        self.forget()
        self.order(pid, point=point, nth=nth, do=do)
        assert self.next("armed", 10), "the process took the order"

    def next(self, word: str, seconds: float) -> dict[str, Any] | None:
        """What a process says next with this word in it, or None."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                said = self._said.get(timeout=left)
            except queue.Empty:
                break
            if word in said:
                return said
        return None

    def forget(self) -> None:
        while not self._said.empty():
            self._said.get_nowait()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._listen, args=(connection,), daemon=True).start()

    def _listen(self, connection: socket.socket) -> None:
        with connection, connection.makefile("r") as lines:
            try:
                for text in lines:
                    said = json.loads(text)
                    if "here" in said:
                        self._open[said["here"]] = connection
                    else:
                        self._said.put(said)
            except OSError:
                return


class CrashStack(Stack):
    """`short`: waits and leases as tests/stack.py has them, and processes that start warm; else the product's own.
    `routes`: the channel has a second provider, and opt-outs are kept. `smpp`: there is an SMSC beside it, with a
    channel of its own.
    """

    def __init__(self, *, short: bool = True, routes: bool = False, smpp: bool = False) -> None:
        self.warm, self.routes, self.smpp = short, routes, smpp
        self.speak("")
        channel: dict[str, object] = {"outcome_unknown": "resend", "unknown_grace": GRACE}
        super().__init__(
            settings=SHORT,
            sandbox={"callback_tries": 60, "slow_answer": 0.6},
            channels={
                SMS: channel | ({"providers": ["twilio", SPARE]} if routes else {}),
                **({SMSC: channel} if smpp else {}),
            },
            companies=(SPARE, CONFIRMS) if routes else ("smpp",) if smpp else (),
        )
        if routes:
            path = self.folder / "bridge.yaml"
            consent = {"enforce": "always", "answers": {"stop": CONFIRMED}}
            path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"consent": consent}))
        if not short:
            self.environ = {name: value for name, value in self.environ.items() if name not in {**SETTINGS, **SHORT}}
        self.proxies = {part: RedisProxy(self.redis.port) for part in PARTS}
        self._opened = ExitStack()
        for proxy in self.proxies.values():
            self._opened.enter_context(proxy)
        self.line = Line(self.folder / "line")
        self._opened.callback(self.line.close)
        for part, command in PARTS.items():
            self._commands[part] = [
                "-m", LAUNCHER, "--harness", str(self.folder / "line"), "--witness", str(self.witness),
                "--set", f"DCBRIDGE_REDIS_URL={self.proxies[part].url}", "--", command,
            ]  # fmt: skip
        port = quiet_port()
        self._commands[RELIEF] = [
            "-m", LAUNCHER, "--witness", str(self.witness), "--set", f"DCBRIDGE_WORKER_PORT={port}", "--", "worker"
        ]  # fmt: skip
        self._ready[RELIEF] = f"http://127.0.0.1:{port}/readyz"

    def speak(self, smpp: str) -> None:
        """Who speaks over SMPP, as in `Point.smpp`; the others do it through Twilio."""
        self.channel = SMSC if smpp == "reports" else SMS
        self.consumers_at = "smpp" if smpp else "twilio"

    @property
    def witness(self) -> Path:
        return self.folder / "witness.jsonl"

    def stop(self) -> None:
        super_folder, self._own = self._own, None  # the sockets in it are closed first
        super().stop()
        self._opened.close()
        if super_folder is not None:
            super_folder.cleanup()

    def forget(self, pattern: str) -> None:
        """What a cell before this one has left: its breakers, its opt-outs."""
        with self.ledger() as connection:
            for key in connection.scan_iter(pattern):
                connection.delete(key)

    def pid(self, part: str) -> int:
        return self.processes[part].pid

    def run_id(self) -> str:
        """What names one life of Redis."""
        with self.ledger() as connection:
            info: Any = connection.info("server")
        return str(info["run_id"])
