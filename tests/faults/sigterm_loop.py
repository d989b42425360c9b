"""SIGTERM, as every rolling deploy sends it, again and again under steady load: nothing lost, stuck or doubled.

python -m tests.faults.sigterm_loop --times 300

Workers take turns: the next one is told to go as soon as the one before it is ready again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from tests.faults import shipped
from tests.faults.traffic import Traffic
from tests.faults.verdict import Verdict, judge
from tests.faults.warm_workers import WarmWorkers
from tests.stack import SMS, Stack, until

# Answers take long enough that each SIGTERM meets some requests on the wire; no outcome is ever in doubt.
WORLD = {"delay": 0.2, "status_delay": 0.05, "p_slow": 0.05, "p_429": 0.01, "p_early": 0.02, "p_duplicate": 0.05}
CONVERSATIONS = 500
BUSY = 5.0  # seconds within which a worker has something to send
PATIENCE = 120.0  # seconds until all has ended after the last one


@dataclass
class Report:
    verdict: Verdict = field(default_factory=Verdict)
    exits: Counter[int | None] = field(default_factory=Counter)  # exit code -> times
    drained: int = 0  # terminations that met something in flight
    longest_drain: float = 0.0  # seconds from SIGTERM to the end of the process
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        v = self.verdict
        rows = [
            ("SIGTERM", f"{self.exits.total()} times in {self.seconds:.0f} s, {self.drained} with messages in flight"),
            ("exit codes", ", ".join(f"{code}: {times} times" for code, times in self.exits.items())),
            ("longest drain", f"{self.longest_drain:.1f} s"),
            ("accepted", f"{v.accepted}, {v.accepted / max(1.0, self.seconds):.0f} a second"),
            ("delivered", f"{v.delivered}, {v.failed} failed"),
            ("lost, stuck", f"{v.lost}, {v.in_flight}"),
            ("doubled", f"{v.doubled}; outcomes unknown: {v.unknown}"),
            ("misordered", f"{v.misordered}"),
            ("from consumers", f"{v.consumer_messages} taken, {v.consumer_lost} lost, {v.consumer_doubled} doubled"),
            ("books' difference", f"{v.books_difference}"),
        ]
        rows += [("FAULT", one) for one in self.faults[:30]]
        rows.append(("promises broken", str(len(self.faults))))
        return "\n".join(f"{name:>20}  {value}" for name, value in rows)


def terminate_again_and_again(
    times: int, *, workers: int = 2, rate: float = 30.0, say: Callable[[str], None] = lambda line: None
) -> Report:
    """A bridge of its own whose workers are terminated in turn. `rate` in agents' messages a second."""
    with (
        Stack(settings=shipped.settings(), channels={SMS: shipped.channel()}, parts=("sandbox", "service")) as stack,
        WarmWorkers(stack, workers) as warm,
    ):
        return _loop(stack, warm, times, rate, say)


def _loop(stack: Stack, workers: WarmWorkers, times: int, rate: float, say: Callable[[str], None]) -> Report:
    report = Report()
    stack.control(sms=WORLD)
    began = time.monotonic()
    with Traffic(stack, conversations=CONVERSATIONS, rate=rate) as traffic:
        for turn in range(times):
            name = workers.names[turn % len(workers.names)]
            _wait_for_work(workers, name)
            told = time.monotonic()
            report.exits.update(workers.terminate(name))
            report.longest_drain = max(report.longest_drain, time.monotonic() - told)
            workers.start(name)
            if turn % 25 == 24:
                say(f"{time.monotonic() - began:.0f} s: {turn + 1} times, {traffic.written} messages written")
        traffic.stop(PATIENCE)
        report.seconds = time.monotonic() - began
        report.faults += traffic.trouble
        try:
            stack.settled(PATIENCE)
        except AssertionError as stuck:
            report.faults.append(str(stuck))
    report.drained = sum(len(stack.lines(name, "worker_drains")) for name in workers.names)
    report.verdict = verdict = judge(stack)
    report.faults += verdict.faults
    if set(report.exits) != {0}:
        report.faults.append("a worker did not end with 0")
    if verdict.unknown or verdict.doubled or verdict.consumer_doubled:
        report.faults.append("an outcome was unknown, or something was sent twice, though no worker was killed")
    return report


def _wait_for_work(workers: WarmWorkers, name: str) -> None:
    """One that has begun to send has something in flight most of the time; in a quiet moment the others had it all."""
    with suppress(AssertionError):
        until(lambda: workers.has_sent(name), f"the {name} sends", BUSY, pause=0.02)


def main() -> int:
    """Print the report; 1 when a promise was broken."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--times", type=int, default=300)
    options.add_argument("--rate", type=float, default=30.0, help="agents' messages a second")
    options.add_argument("--workers", type=int, default=2)
    asked = options.parse_args()
    report = terminate_again_and_again(
        asked.times, workers=asked.workers, rate=asked.rate,
        say=lambda line: print(line, flush=True),  # noqa: T201 (a script prints)
    )  # fmt: skip
    print(f"\n{report}")  # noqa: T201
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
