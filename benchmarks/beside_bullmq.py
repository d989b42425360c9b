"""The service and the worker beside Fastify and BullMQ on Node.js, in pairs on the same machine.

Both verify HMAC-SHA1 over the raw body, put the message where it is on a disk before they answer its messageId, post it
to the same provider and post a receipt to the same Digital Channels. BullMQ's side does no more than that: it has no
order of a conversation, no pace, no books, no metrics and no log, and what was taken before its worker died is sent
again.

Node.js and npm have to be on the PATH. The packages of benchmarks/bullmq/package-lock.json are installed into a folder
that goes with the benchmark; npm's own registry or cache has to be in reach.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks import door, relay
from benchmarks.messages import webhook
from benchmarks.stage import CannotRun, Stage, Wrong
from benchmarks.table import Line, column

FILES = Path(__file__).parent / "bullmq"
NODE = (20, 18)  # the oldest that the packages run on
INSTALLS = 300.0  # seconds
Figures = dict[str, list[dict[str, float]]]  # "theirs" and "ours": one of each for a run
DOOR, WORKER = "Fastify and BullMQ", "BullMQ's worker"


@dataclass(frozen=True, slots=True)
class Size:
    """Webhooks that are counted, and messages that wait when a worker starts."""

    webhooks: int = 20_000
    messages: int = 8_000


SMALL = Size(webhooks=300, messages=300)


@dataclass(frozen=True, slots=True)
class Node:
    """The scripts beside their packages."""

    program: str
    folder: Path

    def script(self, name: str, *arguments: object) -> tuple[str, ...]:
        return (self.program, str(self.folder / name), *map(str, arguments))


def installed(folder: Path) -> Node:
    """Install the packages, at the versions and hashes of the lock. Raises CannotRun."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise CannotRun(f"{'node' if node is None else 'npm'} is not on the PATH")
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    numbers = said.removeprefix("v").split(".")
    if not all(map(str.isdecimal, numbers)) or tuple(map(int, numbers)) < NODE:
        raise CannotRun(f"node says {said!r} and has to be {'.'.join(map(str, NODE))} or newer")
    shutil.copytree(FILES, folder)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALLS, check=False)
    except subprocess.TimeoutExpired:
        raise CannotRun(f"npm did not install the packages within {INSTALLS:g} s") from None
    if done.returncode:
        raise CannotRun(f"npm could not install the packages: {done.stderr.strip()[-500:]}")
    return Node(node, folder)


def accepted(folder: Path, node: Node, count: int) -> dict[str, float]:
    """Fastify and BullMQ. Raises Wrong unless each webhook was answered 200 and is one job."""
    with Stage(folder) as stage:
        stage.start_program("fastify", *node.script("door.mjs", stage.public, stage.redis.port))
        figures = door.driven(stage, "fastify", count)
        with stage.look() as redis:
            written = redis.llen("bull:messages:wait")
        if written != count + (count // 10 or 1):
            raise Wrong(f"{written} jobs of {count + (count // 10 or 1)} webhooks that were answered 200")
    return figures


def accepted_by_us(folder: Path, count: int) -> dict[str, float]:
    with Stage(folder) as stage:
        return door.once(stage, "full", count)


def relayed(folder: Path, node: Node, count: int) -> dict[str, float]:
    """BullMQ's worker. Raises Wrong unless each message was sent once and had one receipt."""
    with Stage(folder) as stage:
        stage.start_worlds(relay.PROVIDER_MS)
        empty = stage.sample().memory["redis"]
        lines = b"\n".join(webhook(f"{folder.name}-{n}", n) for n in range(count))
        subprocess.run(node.script("fill.mjs", stage.redis.port), input=lines, check=True)
        command = node.script("worker.mjs", stage.worlds, stage.redis.port, relay.IN_FLIGHT)
        stage.start_program("bullmq", *command)
        return relay.to_the_end(stage, ("bullmq",), count, empty).figures()


def measure(folder: Path, runs: int, size: Size = Size()) -> list[Line]:
    """In pairs; who begins changes from one to the next."""
    node = installed(folder / "bullmq")
    doors: Figures = {"theirs": [], "ours": []}
    workers: Figures = {"theirs": [], "ours": []}
    for run in range(runs):
        order = ("theirs", "ours") if run % 2 == 0 else ("ours", "theirs")
        for whose in order:
            home = folder / f"door-{whose}-{run}"
            theirs = whose == "theirs"
            doors[whose].append(accepted(home, node, size.webhooks) if theirs else accepted_by_us(home, size.webhooks))
        for whose in order:
            home = folder / f"worker-{whose}-{run}"
            theirs = whose == "theirs"
            workers[whose].append(
                relayed(home, node, size.messages) if theirs else relay.once(home, size.messages).figures()
            )
    return lines(doors, workers)


def lines(doors: Figures, workers: Figures) -> list[Line]:
    """The table of both."""

    def line(what: str, name: str, digits: int, aim: str = "", *, at: str = "door") -> Line:
        seen, baseline = (doors, DOOR) if at == "door" else (workers, WORKER)
        return Line(what, column(seen["ours"], name), digits, baseline, column(seen["theirs"], name), aim)

    return [
        line("webhooks accepted and durable beside Fastify and BullMQ, /s", "rate", 0),
        line("… answered within beside Fastify and BullMQ, p99, ms", "p99", 1),
        line("… processor time of the service beside Fastify and BullMQ, ms", "cpu", 3),
        line("… processor time of Redis beside Fastify and BullMQ, ms", "redis", 3),
        line("relayed by one worker beside BullMQ's, receipt posted, /s", "rate", 0, "ratio ≥ 1.0", at="relay"),
        line("… processor time of the worker beside BullMQ's, ms", "cpu", 3, at="relay"),
        line("… processor time of Redis beside BullMQ's worker, ms", "redis", 3, at="relay"),
        line("… memory of the worker beside BullMQ's, MB", "memory", 0, at="relay"),
        line("… Redis memory for each that is over, beside BullMQ, bytes", "finished", 0, at="relay"),
    ]
