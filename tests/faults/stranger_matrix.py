"""What a stranger costs: every attack × memory, processor time, health, an honest webhook, sockets that stay open.

python -m tests.faults.stranger_matrix                # all rows; those that wait are held for 75 s, side by side
python -m tests.faults.stranger_matrix --markdown     # … and the table of docs/security.md written anew
python -m tests.faults.stranger_matrix --only "head"  # rows whose name holds this

Exits with 1 when a cell is over its aim. Each row goes against a real service (or worker) on loopback. Meanwhile an
honest signed webhook and the health are asked several times a second; what they cost by themselves is measured before
and left out.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks import machine
from dcbridge.genesys.signature import HEADER, sign
from tests.faults.stranger_rows import Row, Target, at_once, waiting, with_few_descriptors
from tests.stack import Stack, sms_body

PAGE = Path(__file__).parent.parent.parent / "docs" / "security.md"
BEGIN, END = "<!-- the stranger matrix begins -->\n", "<!-- the stranger matrix ends -->\n"
HOLD = 75.0  # seconds
CALM = 8.0  # pauses, or seconds where a pause is shorter, in which the honest requests are measured alone
GROUPS = 8  # stacks beside each other on which rows are held
# Seconds between two honest requests. Beside rows that are held the honest ones are few: for 75 s their own cost,
# which is taken off, would be more than the attack's.
PAUSE, LONG_PAUSE = 0.2, 3.0
PATIENCE = 30.0  # seconds for one of them


@dataclass(frozen=True, slots=True)
class Aims:
    """What a cell may show at most."""

    memory: float = 24.0  # MiB
    processor: float = 0.1  # seconds
    health: float = 1.0  # seconds
    honest: float = 1.0  # seconds
    sockets: int = 0


@dataclass(slots=True)
class Cost:
    """What was measured of one row. Units as `Aims`; `failed` are honest requests without their 200."""

    row: Row
    memory: float
    processor: float
    health: float
    honest: float
    failed: int
    sockets: int

    def over(self, aims: Aims) -> list[str]:
        found = [name for name in ("memory", "processor", "health", "honest", "sockets")
                 if getattr(self, name) > getattr(aims, name)]  # fmt: skip
        return [*found, *(["failed"] if self.failed else [])]


class Asking:
    """One request again and again, each on a connection of its own, until the end of the block."""

    def __init__(self, port: int, make: Callable[[], bytes], pause: float) -> None:
        self.worst, self.failed, self._port, self._make, self._pause = 0.0, 0, port, make, pause
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Asking:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            raw, began = self._make(), time.monotonic()
            if not answered(self._port, raw):
                self.failed += 1
            self.worst = max(self.worst, time.monotonic() - began)
            if self._over.wait(self._pause):
                return


def answered(port: int, raw: bytes) -> bool:
    """Whether it gets its 200."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), PATIENCE) as one:
        one.sendall(raw)
        return one.recv(4096).startswith(b"HTTP/1.1 200 ")
    return False


def asked_for(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()


class Process:
    """A process that is attacked, and what it costs."""

    def __init__(self, pid: int) -> None:
        self._process, self._tasks = psutil.Process(pid), Path(f"/proc/{pid}/task")

    def memory(self) -> float:
        return float(self._process.memory_info().rss) / (1 << 20)

    def processor(self) -> float:
        """Seconds, exact where the process' own figures count in hundredths."""
        total = 0
        for task in self._tasks.iterdir():
            with suppress(OSError):
                total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9

    def sockets(self, port: int) -> int:
        found = self._process.net_connections("tcp")
        return sum(one.laddr.port == port and one.status != psutil.CONN_LISTEN for one in found)


class Measured:
    """One stack, its calm costs, and the rows that are played on it."""

    def __init__(self, stack: Stack, listener: str, pause: float = PAUSE) -> None:
        self._stack, self.pause = stack, pause
        ports = stack.ports
        self._process = Process(stack.processes["worker" if listener == "worker" else "service"].pid)
        self._health = ports.worker if listener == "worker" else ports.operator
        self._calm = 0.0

    def honest(self) -> bytes:
        """A signed webhook."""
        raw = json.dumps(sms_body(self._stack.new_id(), self._stack.new_number())).encode()
        head = "POST /webhooks/messages/main HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        signature = f"{HEADER}: {sign(self._stack.secret, raw)}\r\n"
        return f"{head}{signature}Content-Length: {len(raw)}\r\n\r\n".encode() + raw

    def calm(self, seconds: float) -> None:
        """Warm everything up, then measure what the honest requests cost by themselves."""
        for length in (seconds / 2, seconds):
            before, began = self._process.processor(), time.monotonic()
            with self._honest_ones():
                time.sleep(length)
            self._calm = (self._process.processor() - before) / (time.monotonic() - began)

    def play(self, row: Row, hold: float) -> Cost:
        target, most, over = Target(self._stack, row.listener, hold), 0.0, threading.Event()
        before, memory, began = self._process.processor(), self._process.memory(), time.monotonic()

        def watch() -> None:
            nonlocal most
            while not over.wait(0.02):
                most = max(most, self._process.memory())

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        asking = self._honest_ones()
        with asking:
            opened = row.attack(target)
        took = time.monotonic() - began
        processor = self._process.processor() - before - took * self._calm
        over.set()
        watcher.join()
        sockets = self._left(target.port, 0.5 if row.held else 5.0)
        for one in opened:
            one.close()
        health, webhook = asking.health, asking.webhook
        return Cost(
            row=row,
            memory=max(0.0, max(most, self._process.memory()) - memory),
            processor=max(0.0, processor),
            health=health.worst,
            honest=webhook.worst,
            failed=health.failed + webhook.failed,
            sockets=sockets,
        )

    def _left(self, port: int, patience: float) -> int:
        """Those of the honest ones are closing; an attack's are over, or are held."""
        end = time.monotonic() + patience
        while (left := self._process.sockets(port)) and time.monotonic() < end:
            time.sleep(0.05)
        return left

    def _honest_ones(self) -> _Both:
        health = Asking(self._health, lambda: asked_for("/healthz"), self.pause)
        return _Both(health, Asking(self._stack.ports.public, self.honest, self.pause))


@dataclass(slots=True)
class _Both:
    health: Asking
    webhook: Asking

    def __enter__(self) -> None:
        self.health.__enter__()
        self.webhook.__enter__()

    def __exit__(self, *_: object) -> None:
        self.webhook.__exit__()
        self.health.__exit__()


@dataclass(frozen=True, slots=True)
class Plan:
    """How long, and with what settings. In the tests everything waits less."""

    hold: float = HOLD
    calm: float = CALM
    settings: tuple[tuple[str, str], ...] = ()
    groups: int = GROUPS


def chosen(only: str, rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if only in row.title]


def play(rows: Sequence[Row], plan: Plan, *, few: bool = False) -> list[Cost]:
    """On a stack of their own, one after the other. `few`: the service may open 300 files."""
    if not rows:
        return []
    listener = rows[0].listener
    with Stack(parts=(), settings={"DCBRIDGE_ANSWER_WITHIN": "8", **dict(plan.settings)}) as stack:
        serve = [sys.executable, "-m", "dcbridge", "serve"]
        stack.run("service", ["sh", "-c", 'ulimit -n 300; exec "$@"', "sh", *serve] if few else serve)
        _until_ready(stack, "service")
        if listener == "worker":  # it takes events alone: the honest messages would keep it busy
            stack.run("worker", [sys.executable, "-m", "dcbridge", "worker", "events"])
            _until_ready(stack, "worker")
        measured = Measured(stack, listener, LONG_PAUSE if plan.hold == HOLD and rows[0].held else PAUSE)
        measured.calm(plan.calm * max(1.0, measured.pause))
        return [measured.play(row, plan.hold) for row in rows]


def _until_ready(stack: Stack, name: str) -> None:
    """Asked on connections that are closed again: those of the stack would be counted."""
    port = stack.ports.operator if name == "service" else stack.ports.worker
    end = time.monotonic() + PATIENCE
    while not answered(port, asked_for("/readyz")):
        if time.monotonic() > end:
            raise TimeoutError(f"the {name} is not ready: {stack.said(name)[-3000:]}")
        time.sleep(0.05)


def play_all(only: str, plan: Plan, listeners: Sequence[str] = ("public", "operator", "worker")) -> list[Cost]:
    """First those that last for a moment, a listener after the other; then those that wait, side by side."""
    costs = [cost for listener in listeners for cost in play(chosen(only, at_once(listener)), plan)]
    held = [row for listener in listeners for row in chosen(only, waiting(listener))]
    stacks = [([row], False) for row in held] + [([row], True) for row in chosen(only, with_few_descriptors())]
    with ThreadPoolExecutor(max(1, min(plan.groups, len(stacks)))) as threads:
        done = [threads.submit(play, rows, plan, few=few) for rows, few in stacks]
        return costs + [cost for one in done for cost in one.result()]


def markdown(costs: Sequence[Cost]) -> str:
    lines = [
        "| attack | memory, MiB | processor, s | health, s | honest webhook, s | sockets left |",
        "|---|---|---|---|---|---|",
    ]
    for cost in costs:
        figures = f"{cost.memory:.1f} | {cost.processor:.3f} | {cost.health:.2f} | {cost.honest:.2f} | {cost.sockets}"
        lines.append(f"| {cost.row.title} | {figures} |")
    return "\n".join(lines) + "\n"


def machine_line() -> str:
    """Where it was measured, and beside how much else."""
    return f"{machine.name()}; load average {os.getloadavg()[1]:.1f} at the end.\n\n"


def write_page(text: str) -> None:
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + BEGIN + text + END + after)


def main(arguments: Sequence[str]) -> int:
    """Print the table; 1 when a cell is over its aim."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--only", default="", help="rows whose name holds this")
    options.add_argument("--hold", type=float, default=HOLD, help="seconds that a waiting row lasts (default 75)")
    options.add_argument("--groups", type=int, default=GROUPS, help="waiting rows beside each other (default 8)")
    options.add_argument("--markdown", action="store_true", help=f"write the table of {PAGE.name} anew")
    asked = options.parse_args(arguments)
    aims = Aims()
    costs = play_all(asked.only, Plan(hold=asked.hold, groups=asked.groups))
    text = machine_line() + markdown(costs)
    sys.stdout.write(text)
    over = [f"{cost.row.title}: {', '.join(words)}" for cost in costs if (words := cost.over(aims))]
    sys.stdout.write("\n".join(["", f"{len(costs)} rows; over their aims: {len(over)}", *over]) + "\n")
    if asked.markdown:
        write_page(text)
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
