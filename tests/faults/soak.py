"""Everything at once for minutes: agents and consumers write, the provider misbehaves, workers are killed.

python -m tests.faults.soak --conversations 2000 --seconds 240    # two workers are killed at random
python -m tests.faults.soak --seconds 120 --hang 30               # Redis hangs for 30 seconds under load
python -m tests.faults.soak --seconds 120 --redis-kills 5         # Redis is killed and started again under load

The last lines say what became of every message; exit code 1 when a promise was broken.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests import warm
from tests.faults import shipped
from tests.faults.stranded import KINDS, Stranded
from tests.faults.traffic import Traffic
from tests.faults.verdict import Verdict, judge
from tests.faults.warm_workers import WarmWorkers
from tests.stack import SMS, Stack, sms_body, until

WORKERS = 2
LONG_OUTAGE = 12.0  # seconds; the first one of several, the others are shorter than four
BUSY = 2.0  # processes that would run, for each processor; a soak alone is well below
MOVES_WITHIN = 30.0  # seconds until a message moves again that a killed worker held
DOUBTFUL = {"p_500": 0.02, "p_reset": 0.01}  # a reset comes after the body: half of these messages were taken
ODD = {"p_slow": 0.05, "p_429": 0.02, "p_early": 0.02, "p_duplicate": 0.05, "p_reversed": 0.05}
SANDBOX: dict[str, float] = {"slow_answer": 3.0, "retry_after": 1, "retry_attempts": 1000}


@dataclass(frozen=True)
class Plan:
    """`rate` in agents' messages a second. Where Redis goes away, workers live and nothing is ever in doubt."""

    conversations: int
    seconds: float
    rate: float = 25.0
    seed: int = 1
    hang: float = 0.0  # seconds
    redis_kills: int = 0
    patience: float = 300.0  # seconds until everything has ended

    @property
    def kills_workers(self) -> bool:
        return not self.hang and not self.redis_kills

    @property
    def outage(self) -> float:
        """Seconds that Redis is away at the longest: longer than a worker may be silent."""
        return self.hang or (LONG_OUTAGE if self.redis_kills else 0.0)

    @property
    def world(self) -> dict[str, float]:
        slow = {"p_slow": 0.2} if self.outage else {}
        return ODD | slow | (DOUBTFUL if self.kills_workers else {}) | {"delay": 0.05, "seed": self.seed}

    @property
    def sandbox(self) -> dict[str, float]:
        """A slow answer outlasts an outage: some requests are on the wire from before it until after it."""
        return SANDBOX | ({"slow_answer": self.outage + 2} if self.outage else {})

    @property
    def settings(self) -> dict[str, str]:
        """The product's own; where Redis goes away, a provider may take longer than that."""
        longer = {"DCBRIDGE_READ_TIMEOUT": f"{2 * self.outage + 10}", "DCBRIDGE_LEASE": f"{2 * self.outage + 60}"}
        return shipped.settings() | (longer if self.outage else {})


@dataclass
class Report:
    plan: Plan
    verdict: Verdict = field(default_factory=Verdict)
    written: int = 0
    kills: int = 0
    redis_kills: int = 0
    hung: float = 0.0  # seconds
    refused_while_hung: int = 0  # webhooks: 503 with Retry-After
    load_seconds: float = 0.0
    settle_seconds: float = 0.0
    moved_after: Mapping[str, float] = field(default_factory=dict)  # what a killed worker held -> seconds, the longest
    stranded: Mapping[str, int] = field(default_factory=dict)
    rq_info: str = ""
    books: str = ""
    hardest: str = ""  # the trace of the message with the longest history
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        v, plan = self.verdict, self.plan
        rows = [
            ("accepted", f"{v.accepted} of {self.written} written in {plan.conversations} conversations"),
            ("ended", f"{v.delivered} delivered, {v.failed} failed, {v.removed} removed, {v.unconfirmed} unconfirmed"),
            ("lost", f"{v.lost}"),
            ("misordered", f"{v.misordered}"),
            ("doubled", f"{v.doubled} of unknown outcome (there were {v.unknown}), {v.doubled_without_reason} others"),
            ("receipts", f"one for each message; {v.receipts_repeated} were posted twice, with the same words"),
            ("from consumers", f"{v.consumer_messages} taken, {v.consumer_lost} lost,"
             f" {v.consumer_misordered} misordered, {v.consumer_doubled} doubled by a kill,"
             f" {v.consumer_doubled_without_reason} others"),
            ("books' difference", f"{v.books_difference}, in flight {v.in_flight}, dead letters {v.dead_letters}"),
            ("rate", f"{v.accepted / max(1.0, self.load_seconds):.0f} agents' messages/s for {self.load_seconds:.0f} s;"
             f" all ended {self.settle_seconds:.0f} s later"),
        ]  # fmt: skip
        if plan.kills_workers:
            rows.append(("kill -9 of a worker", f"{self.kills} times"))
            rows += [
                ("moved again after", f"{seconds:.1f} s at most: {KINDS[kind]} ({self.stranded[kind]} at work)")
                for kind, seconds in self.moved_after.items()
            ]
        if plan.redis_kills:
            rows.append(("kill -9 of Redis", f"{self.redis_kills} times"))
        if plan.hang:
            rows.append(("Redis hung for", f"{self.hung:.0f} s; {self.refused_while_hung} webhooks were told 503"))
        rows += [("FAULT", one) for one in self.faults[:30]]
        rows.append(("promises broken", str(len(self.faults))))
        return "\n".join(f"{name:>20}  {value}" for name, value in rows)


def soak(
    plan: Plan,
    *,
    folder: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Report:
    """Run the plan on a bridge of its own, and judge."""
    with (
        Stack(
            folder,
            settings=plan.settings,
            sandbox=plan.sandbox,
            channels={SMS: shipped.channel()},
            parts=("sandbox", "service"),
        ) as stack,
        WarmWorkers(stack, WORKERS) as workers,
    ):
        return _soak(stack, workers, plan, say)


def _soak(stack: Stack, workers: WarmWorkers, plan: Plan, say: Callable[[str], None]) -> Report:
    report = Report(plan)
    stack.control(sms=plan.world)
    by_hand: list[str] = []
    with (
        stack.ledger() as connection,
        Traffic(stack, conversations=plan.conversations, rate=plan.rate, seed=plan.seed) as traffic,
    ):
        began = time.monotonic()
        stranded = Stranded(connection)
        if plan.kills_workers:
            _kill_workers(stack, workers, plan, report, stranded, say)
        elif plan.hang:
            by_hand = _hang(stack, workers, plan, report)
        else:
            _kill_redis(stack, plan, report)
        traffic.stop(plan.patience)
        report.load_seconds = time.monotonic() - began
        report.written, report.faults = traffic.written + len(by_hand), list(traffic.trouble)
        say(f"{report.load_seconds:.0f} s: {report.written} written; waiting until all have ended")
        _settle(stack, plan, report, stranded)
    _judge(stack, report, stranded, by_hand)
    return report


# ---------------------------------------------------------------- what goes wrong meanwhile


def _kill_workers(
    stack: Stack, workers: WarmWorkers, plan: Plan, report: Report, stranded: Stranded, say: Callable[[str], None]
) -> None:
    """One or both, at any moment of their lives, for up to three seconds."""
    dice = random.Random(plan.seed)
    began = time.monotonic()
    end, told = began + plan.seconds, 0.0
    next_kill = began + dice.uniform(1.0, 4.0)
    dead: dict[str, float] = {}  # worker -> when it starts again
    while (now := time.monotonic()) < end or (now < end + 60 and (report.kills < 2 or not stranded.found["m"])):
        for name in [name for name, when in dead.items() if when <= now]:
            del dead[name]
            workers.start(name, wait=False)
        if now >= next_kill:
            chosen = dice.choice([workers.names[:1], workers.names[1:], workers.names])
            victims = [name for name in chosen if name not in dead]
            workers.kill(*victims)
            stranded.note()
            report.kills += len(victims)
            dead |= {name: now + dice.uniform(0.0, 3.0) for name in victims}
            next_kill = now + dice.uniform(2.0, 12.0)
        stranded.look()
        if not report.rq_info and now > began + plan.seconds / 2 and not dead:
            report.rq_info = _rq_info(stack)
        if now - began > told + 20:
            told = now - began
            [books] = stack.books().channels
            say(f"{told:.0f} s: {books.accepted} accepted, {books.in_flight} in flight, {report.kills} kills")
        time.sleep(0.1)
    workers.start(*dead, wait=False)
    report.rq_info = report.rq_info or _rq_info(stack)


def _hang(stack: Stack, workers: WarmWorkers, plan: Plan, report: Report) -> list[str]:
    """In the middle of it Redis holds its connections and answers nothing."""
    running = workers.pids
    body = sms_body(stack.new_id(), "16503999999", "taken by hand")
    stack.expects(body)
    time.sleep(plan.seconds / 3)
    report.rq_info = _rq_info(stack)
    began = time.monotonic()
    stack.freeze_redis()
    stack.control(sms={"p_slow": 0.0})
    while time.monotonic() < began + plan.hang:
        answer = stack.webhook(body)
        if answer.status_code != 503 or int(answer.headers.get("Retry-After", "0")) <= 0:
            report.faults.append(f"a webhook was answered {answer.status_code} while Redis hung")
        report.refused_while_hung += 1
        time.sleep(0.2)
    stack.thaw_redis()
    report.hung = time.monotonic() - began
    until(lambda: stack.webhook(body).status_code == 200, "the service goes on")
    time.sleep(plan.seconds * 2 / 3)
    if workers.pids != running or any(process.poll() is not None for process in stack.processes.values()):
        report.faults.append("a process did not live through it")
    return [body["channel"]["messageId"]]


def _kill_redis(stack: Stack, plan: Plan, report: Report) -> None:
    """Again and again, and for longer than a worker may be silent the first time."""
    dice = random.Random(plan.seed)
    for turn in range(plan.redis_kills):
        time.sleep(plan.seconds / (plan.redis_kills + 1) * dice.uniform(0.6, 1.4))
        if turn == plan.redis_kills // 2:
            report.rq_info = _rq_info(stack)
        stack.redis.kill()
        stack.control(sms={"p_slow": 0.0})
        time.sleep(dice.uniform(0.0, 4.0) if turn else LONG_OUTAGE)
        stack.redis.start()
        report.redis_kills += 1
    time.sleep(plan.seconds / (plan.redis_kills + 1))


def _settle(stack: Stack, plan: Plan, report: Report, stranded: Stranded) -> None:
    began = time.monotonic()

    def still() -> bool:
        stranded.look()
        books = stack.books()
        owed = sum(channel.receipts_waiting for channel in books.channels)
        return not (books.in_flight or owed or sum(books.tasks.values()))

    try:
        until(still, "everything has ended", plan.patience, pause=0.2)
    except AssertionError as late:
        report.faults.append(str(late))
    report.settle_seconds = time.monotonic() - began


# ---------------------------------------------------------------- what came of it


def _judge(stack: Stack, report: Report, stranded: Stranded, by_hand: list[str]) -> None:
    report.verdict = judge(stack, by_hand=by_hand)
    report.moved_after, report.stranded = stranded.longest, stranded.found
    report.faults += report.verdict.faults
    report.faults += [f"never moved again: {member}" for member in stranded.waiting]
    report.faults += [
        f"{KINDS[kind]}: moved again after {seconds:.1f} s only"
        for kind, seconds in stranded.longest.items()
        if seconds > MOVES_WITHIN
    ]
    if not report.plan.kills_workers and report.verdict.unknown > _may_be_doubtful(report):
        report.faults.append(f"{report.verdict.unknown} outcomes were called unknown, and none was")
    report.books = _run(stack, "-m", "dcbridge", "books")
    report.hardest = _run(stack, "-m", "dcbridge", "trace", _hardest(stack))


def _may_be_doubtful(report: Report) -> int:
    """Outcomes that nobody has to know: none where the machine has time, one in fifty where others take it.

    A worker that got no processor for so long that its request timed out says so, and is right; nothing may be lost,
    doubled or out of order all the same.
    """
    busy = os.getloadavg()[0] > BUSY * (os.cpu_count() or 1)
    return report.verdict.accepted // 50 if busy else 0


def _hardest(stack: Stack) -> str:
    """The reference of the message with the longest history."""
    with stack.ledger() as redis:
        keys = list(redis.scan_iter("dcb:m:*", count=1000))
        with redis.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hmget(key, "ta", "hn")
            rows = pipe.execute()
    life = [(*(int(value or 0) for value in row), key.decode()) for key, row in zip(keys, rows, strict=True)]
    return str(max(life)[-1]).removeprefix("dcb:m:")


def _rq_info(stack: Stack) -> str:
    rq = str(Path(sys.executable).with_name("rq"))
    command = [rq, "info", "--url", stack.redis.url]
    done = subprocess.run(command, env=stack.environ, capture_output=True, text=True, timeout=60, check=False)
    return (done.stdout + done.stderr).rstrip()


def _run(stack: Stack, *arguments: str) -> str:
    done = warm.run([sys.executable, *arguments], stack.environ)
    return (done.stdout + done.stderr).rstrip()


def main() -> int:
    """Print the report; 1 when a promise was broken."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--conversations", type=int, default=2000)
    options.add_argument("--seconds", type=float, default=240.0)
    options.add_argument("--rate", type=float, default=25.0, help="agents' messages a second")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--hang", type=float, default=0.0, help="seconds that Redis hangs; no worker is killed")
    options.add_argument("--redis-kills", type=int, default=0, help="times that Redis is killed; no worker is killed")
    options.add_argument("--folder", type=Path, help="where logs and data are kept; a temporary one if not given")
    asked = options.parse_args()
    plan = Plan(asked.conversations, asked.seconds, asked.rate, asked.seed, asked.hang, asked.redis_kills)
    report = soak(plan, folder=asked.folder, say=lambda line: print(line, flush=True))  # noqa: T201 (a script prints)
    for title, text in (
        ("rq info, meanwhile", report.rq_info),
        ("dcbridge trace, of the message with the most attempts", report.hardest),
        ("dcbridge books, afterwards", report.books),
        ("", str(report)),
    ):
        print(f"\n{title}\n\n{text}" if title else f"\n{text}")  # noqa: T201
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
