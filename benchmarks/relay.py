"""Messages relayed per second past a slow provider, receipt posted; what a slower one and a second worker change."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.stage import OURS, STOCK, Between, Launch, Sample, Stage, Wrong, cold, steady
from benchmarks.table import Line, column

PROVIDER_MS, SLOW_MS = 200, 2000
IN_FLIGHT, SLOW_IN_FLIGHT = 800, 6000  # what a worker may have under way: some more than rate times delay
PATIENCE = 120.0  # seconds without an end


@dataclass(frozen=True, slots=True)
class Size:
    """Messages that wait when the workers start."""

    count: int = 8_000
    slow: int = 24_000
    stock: int = 30  # it carries five a second
    launch: Launch = cold


SMALL = Size(count=300, slow=300, stock=5)


@dataclass(frozen=True, slots=True)
class Run:
    """One run: the rate is that of its `steady` part; what was spent is of the `whole`, from the first request on.

    A part's processor time would not be that of its messages: with thousands in flight, those that it ends
    were begun before it.
    """

    steady: Between
    whole: Between
    workers: tuple[str, ...]
    most_memory: int  # bytes of the largest worker
    finished: float  # bytes that Redis keeps of each message when it is over

    def figures(self) -> dict[str, float]:
        return {
            "rate": self.steady.rate,
            "cpu": self.whole.cpu_ms(*self.workers),
            "redis": self.whole.cpu_ms("redis"),
            "worlds": self.whole.cpu_ms("worlds"),
            "memory": self.most_memory / 2**20,
            "finished": self.finished,
            "in flight": self.whole.last.worlds["most_in_flight"],
        }


def once(
    folder: Path,
    count: int,
    delay_ms: int = PROVIDER_MS,
    *,
    workers: int = 1,
    in_flight: int = IN_FLIGHT,
    command: Sequence[str] = OURS,
    launch: Launch = cold,
) -> Run:
    """Processes of its own. Raises Wrong unless each message was sent once and had one receipt."""
    names = tuple(f"worker-{n}" for n in range(workers))
    with Stage(folder, launch=launch) as stage:
        stage.start_worlds(delay_ms)
        empty = stage.sample().memory["redis"]
        asyncio.run(stage.fill(folder.name, 0, count))
        for name in names:
            stage.start_worker(name, command, in_flight)
        return to_the_end(stage, names, count, empty)


def to_the_end(stage: Stage, names: tuple[str, ...], count: int, empty: int) -> Run:
    """Watch workers that have just been started. `empty`: what Redis took before the messages were put there."""
    samples = stage.watch(lambda seen: seen.delivered >= count, PATIENCE)
    memory = max(sample.memory[name] for sample in samples for name in names)
    stage.end(*names)
    end = stage.sample()
    check(end, count)
    quiet = [sample for sample in samples if not sample.worlds["asked"]]
    return Run(
        steady(samples, count), Between(quiet[-1], samples[-1]), names, memory, (end.memory["redis"] - empty) / count
    )


def check(end: Sample, count: int) -> None:
    """Raises Wrong unless `count` messages were sent and told, each once."""
    told = {name: int(end.worlds[name]) for name in ("requests", "asked", "taken", "receipts", "delivered")}
    if set(told.values()) != {count}:
        raise Wrong(f"of {count} messages: {told}")


def measure(folder: Path, runs: int, size: Size = Size()) -> list[Line]:
    """One worker beside RQ's own loop on the same jobs, provider and machine."""
    stock, ours = [], []
    for run in range(runs):
        stock.append(once(folder / f"stock-{run}", size.stock, command=STOCK, launch=size.launch).figures())
        ours.append(once(folder / f"ours-{run}", size.count, launch=size.launch).figures())

    def line(what: str, name: str, digits: int, aim: str = "", *, beside: bool = True) -> Line:
        base = ("rq's SimpleWorker", column(stock, name)) if beside else ("", ())
        return Line(what, column(ours, name), digits, *base, aim)

    return [
        line("relayed by one worker past a 200 ms provider, receipt posted, /s", "rate", 0, "≥ 2,000"),
        line("… processor time of the worker for each, ms", "cpu", 3, "≤ 0.45"),
        line("… memory of the worker, MB", "memory", 0),
        line("… processor time of Redis for each, ms", "redis", 3),
        line("… Redis memory for each when it is over, bytes", "finished", 0, beside=False),
        line("… processor time of the simulated parties for each, ms", "worlds", 3, beside=False),
    ]


def measure_slow(folder: Path, runs: int, size: Size = Size()) -> list[Line]:
    """A provider that takes ten times as long: as many a second, with more under way."""
    fast, slow = [], []
    for run in range(runs):
        fast.append(once(folder / f"fast-{run}", size.count, launch=size.launch).figures())
        late = once(folder / f"slow-{run}", size.slow, SLOW_MS, in_flight=SLOW_IN_FLIGHT, launch=size.launch)
        slow.append(late.figures())

    def line(what: str, name: str, digits: int, aim: str = "") -> Line:
        return Line(what, column(slow, name), digits, "200 ms", column(fast, name), aim)

    return [
        line("relayed by one worker past a provider that takes 2 s, /s", "rate", 0, "the same"),
        line("… memory of the worker, MB", "memory", 0, "≤ 250"),
        line("… most requests in flight", "in flight", 0),
        line("… processor time of the worker for each, ms", "cpu", 3),
    ]


def measure_two(folder: Path, runs: int, size: Size = Size()) -> list[Line]:
    """What a second worker adds where both share the machine with Redis and the worlds."""
    one, two = [], []
    for run in range(runs):
        one.append(once(folder / f"one-{run}", size.count, launch=size.launch).figures())
        two.append(once(folder / f"two-{run}", size.count, workers=2, launch=size.launch).figures())

    def line(what: str, name: str, digits: int) -> Line:
        return Line(what, column(two, name), digits, "one worker", column(one, name))

    return [
        line("relayed by two workers on one machine, /s", "rate", 0),
        line("… processor time of both workers for each, ms", "cpu", 3),
        line("… processor time of Redis for each, ms", "redis", 3),
    ]
