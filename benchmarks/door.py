"""Webhooks accepted and durable per second by one process, beside the same server with less to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks.load import Result, drive, percentile
from benchmarks.messages import ENDPOINT, signed
from benchmarks.stage import SECRET, Stage, Wrong
from benchmarks.table import Line, column

CONNECTIONS = 64
LESS = {"signature": "signature and JSON only", "forgets": "its ledger forgets"}  # the baselines
KINDS = (*LESS, "full")


@dataclass(frozen=True, slots=True)
class Size:
    """`count` webhooks are counted in each run, after a tenth as many to warm up."""

    count: int = 20_000


SMALL = Size(count=2_000)


def once(stage: Stage, kind: str, count: int) -> dict[str, float]:
    """One server process. Raises Wrong unless each webhook was answered 200."""
    stage.start(kind, "-m", "benchmarks.door_server", kind, str(stage.public))
    return driven(stage, kind, count)


def driven(stage: Stage, kind: str, count: int) -> dict[str, float]:
    """A server process of this name that has just been started, ended afterwards."""
    try:
        unsigned = f"http://127.0.0.1:{stage.public}/webhooks/messages/{ENDPOINT}"
        stage.wait_for(kind, unsigned, status=401, method="POST")
        warm, counted = prepared(f"{kind}-warm", count // 10 or 1), prepared(kind, count)
        _checked(uvloop.run(drive(stage.public, warm, CONNECTIONS)))
        nobody = {"seconds": 0.0, "cpu": 0.0, "delivered": 0.0}
        before = stage.sample(nobody)
        result = _checked(uvloop.run(drive(stage.public, counted, CONNECTIONS)))
        after = stage.sample(nobody)
    finally:
        stage.end(kind)
    each = 1000 / count
    return {
        "answered": result.statuses[200],
        "rate": result.rate,
        "p50": percentile(result.latencies, 0.5) * 1000,
        "p99": percentile(result.latencies, 0.99) * 1000,
        "cpu": (after.cpu[kind] - before.cpu[kind]) * each,
        "redis": (after.cpu["redis"] - before.cpu["redis"]) * each,
        "load": result.cpu * each,
    }


def prepared(label: str, count: int) -> Iterator[bytes]:
    """Signed before the clock runs; one conversation in fifty messages."""
    return iter([request for _, request in signed(SECRET.encode(), label, max(1, count // 50), count)])


def _checked(result: Result) -> Result:
    if set(result.statuses) != {200}:
        raise Wrong(f"not every answer was 200: {dict(result.statuses)}")
    return result


async def _accepted(stage: Stage) -> int:
    return (await stage.books()).accepted


def measure(folder: Path, runs: int, size: Size = Size()) -> list[Line]:
    """The three kinds in turn, on a Redis of each run's own."""
    count = size.count
    seen: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for run in range(runs):
        with Stage(folder / f"door-{run}") as stage:
            for kind in KINDS:
                seen[kind].append(once(stage, kind, count))
            written = uvloop.run(_accepted(stage))
            if written != count + (count // 10 or 1):
                raise Wrong(f"{written} messages in the ledger of {count + (count // 10 or 1)} that were answered 200")

    def line(what: str, name: str, digits: int, beside: str = "", aim: str = "") -> Line:
        base = (LESS[beside], column(seen[beside], name)) if beside else ("", ())
        return Line(what, column(seen["full"], name), digits, *base, aim)

    return [
        line("webhooks accepted and durable, one process, 64 connections, /s", "rate", 0, "signature", "ratio ≥ 0.65"),
        line("… the same beside the whole service without a memory, /s", "rate", 0, "forgets"),
        line("… answered within, p50, ms", "p50", 1, "signature"),
        line("… answered within, p99, ms", "p99", 1, "signature", "≤ 30"),
        line("… processor time of the service for each, ms", "cpu", 3, "signature"),
        line("… the same beside the whole service without a memory, ms", "cpu", 3, "forgets"),
        line("… processor time of Redis for each, ms", "redis", 3),
        line("… processor time of the load generator for each, ms", "load", 3),
    ]
