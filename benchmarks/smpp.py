"""How fast one worker hands messages to an SMSC that answers after 50 ms: a window of 100 beside a window of 1."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from benchmarks.messages import CHANNEL
from benchmarks.relay import IN_FLIGHT, PATIENCE
from benchmarks.smsc import last
from benchmarks.stage import Between, Launch, Sample, Stage, Wrong, cold, steady
from benchmarks.table import Line, column
from dcbridge.cli.dev.embedded_redis import free_port
from dcbridge.ledger.fields import State

DELAY_MS = 50
WINDOW = 100
PAUSE = 0.1  # seconds between two looks


@dataclass(frozen=True, slots=True)
class Size:
    """Messages that wait when the worker starts: of the window of 100, and of the window of 1."""

    many: int = 4_000
    few: int = 100
    launch: Launch = cold


SMALL = Size(many=250, few=5)


def once(folder: Path, window: int, count: int, launch: Launch = cold) -> dict[str, float]:
    """Processes of its own. Raises Wrong unless the SMSC took each message once, and the ledger knows."""
    with Stage(folder, launch=launch) as stage:
        port = free_port()
        _configure(stage, port, window)
        stage.start("smsc", "-m", "benchmarks.smsc", str(port), str(DELAY_MS))
        asyncio.run(stage.fill(folder.name, 0, count))
        stage.start_worker(in_flight=IN_FLIGHT)
        samples = _watch(stage, count)
        stage.end("worker")
        stage.end("smsc")
        check(stage, count)
        seen = _seen(stage)
        began = [sample for sample in samples if not sample.delivered] or samples
        whole = Between(began[-1], samples[-1])
        return {
            "rate": steady(samples, count).rate,
            "in flight": seen["most_in_flight"],
            "cpu": whole.cpu_ms("worker"),
            "redis": whole.cpu_ms("redis"),
        }


def _configure(stage: Stage, port: int, window: int) -> None:
    """The channel has an account at the SMSC. Taken is not delivered: nothing is posted to Digital Channels."""
    path = stage.folder / "bridge.yaml"
    written = yaml.safe_load(path.read_text())
    account = {"kind": "smpp", "host": "127.0.0.1", "port": port, "system_id": "bench", "pace": {"in_flight": window}}
    written["providers"] = {"smsc": account}
    written["channels"][CHANNEL] |= {"provider": "smsc", "delivered_when": "confirmed"}
    path.write_text(yaml.safe_dump(written))


def _watch(stage: Stage, count: int) -> list[Sample]:
    """Looks until the SMSC has got as many."""
    samples: list[Sample] = []
    deadline = time.monotonic() + PATIENCE
    while not samples or samples[-1].delivered < count:
        if time.monotonic() > deadline:
            raise Wrong(f"the SMSC got {samples[-1].delivered if samples else 0:g} of {count} in {PATIENCE:g} s")
        time.sleep(PAUSE)
        for name in ("smsc", "worker"):
            stage.must_run(name)
        if view := _seen(stage):
            samples.append(stage.sample(view))
    return samples


def _seen(stage: Stage) -> Mapping[str, float]:
    """Smsc.view, the last one; empty before the first."""
    return last(stage.said("smsc")) if (stage.folder / "smsc.log").exists() else {}


def check(stage: Stage, count: int) -> None:
    """Raises Wrong unless the SMSC took `count` messages, and as many are sent in the ledger."""
    taken = _seen(stage).get("delivered", 0)
    with stage.look() as redis:
        states = [redis.hget(key, "s") for key in redis.scan_iter("dcb:m:*", 1000)]
    sent, books = states.count(State.SENT.encode()), asyncio.run(stage.books())
    if {taken, sent, books.accepted} != {count} or books.difference:
        raise Wrong(f"of {count} messages the SMSC took {taken:g}, {sent} are sent, and of the books: {books}")


def measure(folder: Path, runs: int, size: Size = Size()) -> list[Line]:
    """Both windows, in turn."""
    wide, narrow = [], []
    for run in range(runs):
        narrow.append(once(folder / f"narrow-{run}", 1, size.few, size.launch))
        wide.append(once(folder / f"wide-{run}", WINDOW, size.many, size.launch))

    def line(what: str, name: str, digits: int, aim: str = "") -> Line:
        return Line(what, column(wide, name), digits, "a window of 1", column(narrow, name), aim)

    return [
        line(f"taken by an SMSC after {DELAY_MS} ms, a window of {WINDOW}, one worker, /s", "rate", 0, "≥ 1,000"),
        line("… most requests in the window", "in flight", 0, f"{WINDOW}"),
        line("… processor time of the worker for each message to the SMSC, ms", "cpu", 3),
        line("… processor time of Redis for each message to the SMSC, ms", "redis", 3),
    ]
