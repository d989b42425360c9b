"""One cell of the crash matrix: one point, one way to fail there, and what became of everything.

A small load begins, a process reaches the point, the fault happens, the process is started again as
Kubernetes would do, the load is carried to its end, and the books are read. A cell whose point was not reached, or
whose fault did not happen, is red.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import orjson
import psutil
from redis.exceptions import RedisError

from tests.faults.crash_load import Findings, Load, words
from tests.faults.crash_points import CLASH, KILL, POINTS, REPLIES, REPLY, RESTART, SERVICE, STALL, TERM, Point
from tests.faults.crash_stack import RELIEF, CrashStack
from tests.stack import SMS, until

# Seconds. What the outside worlds do until the fault has happened; afterwards they behave again.
USUAL: Mapping[str, Mapping[str, object]] = {
    "sms": {"delay": 0.03, "status_delay": 0.02, "p_slow": 0.0, "p_reset": 0.0,
            "statuses": ["queued", "sent", "delivered"], "callbacks": True, "off": []},
    "digital_channels": {"mode": "ok"},
}  # fmt: skip
WORLDS: Mapping[str, Mapping[str, Mapping[str, object]]] = {
    "": {},
    "slow": {"sms": {"p_slow": 1.0}},
    "silent": {"sms": {"p_slow": 1.0, "callbacks": False}},  # for one message alone, until its callbacks are missed
    "off": {"sms": {"off": ["twilio"]}},  # the first of two providers
    "reported": {"sms": {"status_delay": 0.5}},  # what was sent is written down
    "late": {"digital_channels": {"mode": "late", "delay": 0.6}},
    "reset": {"sms": {"p_reset": 1.0, "seed": 1}},  # this seed: the connection is reset, and the message not taken
}
SLOW: Mapping[str, Mapping[str, object]] = {  # while one is sending and another one wakes up
    "sms": {"delay": 1.5},
    "digital_channels": {"mode": "late", "delay": 1.5},
}
AWAY = 0.5  # seconds that Redis is away
REACHED = 25.0  # seconds in which the point must be reached
MOVED = 60.0  # seconds after which an interrupted message is given up


@dataclass(frozen=True, slots=True)
class Cell:
    point: Point
    fault: str

    def __str__(self) -> str:
        return f"{self.point.name}-{self.fault}"


@dataclass
class Outcome:
    """One cell, played. `proof`: how it is known that the fault happened. `moved` in seconds after the fault."""

    cell: Cell
    subject: str = ""
    proof: str = ""
    moved: float | None = None
    settled: float = 0.0  # seconds after the fault until everything had ended
    findings: Findings = field(default_factory=Findings)
    trouble: list[str] = field(default_factory=list)

    def wrong(self) -> list[str]:
        found = list(self.trouble)
        if not found and not self.subject:
            found.append("the point was not reached")
        elif not found and not self.proof:
            found.append("the fault did not happen")
        elif not found and self.moved is None:
            found.append("the interrupted message did not move")
        return found + self.findings.wrong()


CELLS = tuple(Cell(point, fault) for point in POINTS for fault in point.faults)
QUARTERS = 4


def _of_the_suite() -> Iterator[Cell]:
    """SIGKILL at every point, and one fault more: a stall where something was claimed, SIGTERM where something is
    under way, else one of the Redis' own in turn.
    """
    yield from (Cell(point, KILL) for point in POINTS)
    for at, point in enumerate(one for one in POINTS if not one.only):
        claimed = point.edge == "after" and "claim" in point.at
        stalled = CLASH if point.clash else STALL
        under_way = point.edge == "during" or (point.part == SERVICE and point.edge == "after")
        others = [fault for fault in (REPLY, REPLIES, RESTART) if fault in point.faults]
        yield Cell(point, stalled if claimed else TERM if under_way else others[at % len(others)])


def quarter(number: int) -> list[Cell]:
    """A quarter of the suite's cells, 0 to 3. The other cells are left to `python -m tests.faults.crash_matrix`."""
    every = list(_of_the_suite())
    cells = [cell for cell in every if not cell.point.smpp][number::QUARTERS]
    cells += [cell for cell in every if cell.point.smpp] if number == QUARTERS - 1 else []
    return sorted(cells, key=lambda cell: (cell.point.routes, bool(cell.point.smpp)))  # a bridge for each kind in turn


def play(stack: CrashStack, cell: Cell, patience: float = REACHED) -> Outcome:
    """Play one cell. What goes wrong is in the outcome. `patience`: seconds in which the point must be reached."""
    point, outcome = cell.point, Outcome(cell)
    stack.sandbox("reset", {})
    stack.control(**USUAL)
    stack.control(**WORLDS[point.world])
    for left in ("dcb:breaker:*", "dcb:stop:*"):
        stack.forget(left)
    stack.speak(point.smpp)
    load = Load(stack, point.consent)
    victim, watch, lost_at = stack.pid(point.part), None, 0.0
    try:
        stack.line.arm(victim, point.name, point.nth, cell.fault)
        load.write(only_first=point.alone)
        reached = _reached(stack, load, point, patience)
        assert reached is not None, "the point was not reached"
        assert reached["pid"] == victim, "another process was at the point"
        outcome.subject = reached["subject"]
        watch = Watch(stack, load, point, outcome.subject)
        if point.edge == "during":
            until(watch.other_side_has_it, "the other side has it", 20, pause=0.01)
        if point.world != "silent":
            stack.control(**USUAL)
        began = time.monotonic()
        outcome.proof = _fail(stack, cell, watch, victim)
        lost_at = math.inf if cell.fault == KILL else time.time()
        if point.world == "silent":
            until(watch.consumer_has_it, "the consumer has it, and nobody says so", 20, pause=0.01)
            stack.control(**USUAL)
        if point.alone:
            load.write(but_first=True)
        until(watch.moved, "the interrupted message moves", MOVED)
        outcome.moved = time.monotonic() - began
        if cell.fault == CLASH:
            until(watch.another_has_it, "another has it in hand", MOVED, pause=0.01)
            _wake(stack, victim)
            outcome.trouble += load.settle()
        elif cell.fault == STALL:
            outcome.trouble += load.settle()
            _wake(stack, victim)
        if cell.fault in (CLASH, STALL):
            _relieve(stack, point.part)
        until(lambda: stack.is_ready(point.part), f"the {point.part} is ready", 30)
        outcome.trouble += load.settle()
        outcome.settled = time.monotonic() - began
    except (AssertionError, OSError, RedisError, subprocess.TimeoutExpired) as error:
        what, late, _ = str(error).partition(": not within")
        outcome.trouble.append(f"not in time: {what}" if late else what.splitlines()[0])
    finally:
        load.end()
        if watch is not None:
            watch.close()
    if outcome.subject and stack.redis.process is not None:
        lost = victim if cell.fault in (KILL, STALL, CLASH) else 0
        sure = not lost and point.world != "reset"
        outcome.findings = load.look(lost, lost_at, sure=sure)
        outcome.findings.violations += load.look_at_consent()
    return outcome


def _reached(stack: CrashStack, load: Load, point: Point, patience: float) -> dict[str, Any] | None:
    """What the process says at the point, or None. A message that is alone may pass by: its job is not always popped,
    a worker that has just been busy takes it in the same call as it looks. Then there is another one, and another.
    """
    deadline = time.monotonic() + patience
    while (left := deadline - time.monotonic()) > 0:
        if (said := stack.line.next("reached", min(left, 1.0))) is not None:
            return said
        if point.alone and load.can_try_again():
            load.write(only_first=True)
    return None


def _fail(stack: CrashStack, cell: Cell, watch: Watch, victim: int) -> str:
    """Let the fault happen, and start again what it ended; the proof that it happened, or ""."""
    part, fault = cell.point.part, cell.fault
    proxy = stack.proxies[part]
    if fault in (REPLY, REPLIES):
        times = 2 if fault == REPLIES else 1
        told = len(proxy.lost)
        words = (cell.point.reply.encode(), watch.subject.split()[0].encode()) if cell.point.reply else ()
        proxy.lose(words, times)
        stack.line.order(victim, go=True)
        try:
            until(lambda: len(proxy.lost) - told == times, "the replies are lost", 20, pause=0.01)
        finally:
            proxy.forget()
        return "lost: " + ", ".join(proxy.lost[told:])
    if fault == RESTART:
        life, cut = stack.run_id(), proxy.cut
        stack.redis.kill()
        stack.line.order(victim, go=True)
        time.sleep(AWAY)
        stack.redis.start()
        return f"{proxy.cut - cut} connections cut" if stack.run_id() != life and proxy.cut > cut else ""
    if fault in (STALL, CLASH):
        stack.start(RELIEF)
        stack.control(**(SLOW if fault == CLASH else USUAL))
        os.kill(victim, signal.SIGSTOP)
        until(lambda: psutil.Process(victim).status() == psutil.STATUS_STOPPED, "the process stands still", 5)
        return "stopped"
    stack.line.order(victim, go=True)
    ended = stack.processes.pop(part).wait(40)
    stack.start(part, wait=False)
    assert ended == (-signal.SIGKILL if fault == KILL else 0), f"the {part} ended with {ended}"
    return f"exit code {ended}"


def _wake(stack: CrashStack, victim: int) -> None:
    """Let a stalled process go on."""
    os.kill(victim, signal.SIGCONT)
    stack.line.order(victim, go=True)
    stack.control(**USUAL)


def _relieve(stack: CrashStack, part: str) -> None:
    """End the one that stalled and the one that took over; there is one worker again."""
    ended = stack.terminate(part, RELIEF)
    stack.start(part)
    assert ended == [0, 0], f"the workers ended with {ended}"


class Watch:
    """The interrupted message: whether the other side has it, and whether it moves again."""

    def __init__(self, stack: CrashStack, load: Load, point: Point, subject: str) -> None:
        self.stack, self.load, self.kind, self.subject = stack, load, point.kind, subject
        self._redis = stack.ledger()
        self.refs = self._refs()
        self._task_text = self._text_of_task() if self.kind == "task" else ""
        self._before = self._now()

    def close(self) -> None:
        self._redis.close()

    def _refs(self) -> list[str]:
        match self.kind:
            case "text":
                return [self.load.ref_of(self.subject)]
            case "job":
                return [self.subject.removeprefix("send-").rpartition("-")[0]]
            case "channel":
                owed: Any = self._redis.zrange(f"dcb:receipts:{SMS}", 0, -1)
                return [ref.decode() for ref in owed]
            case "message ids" | "webhook":
                return [self.stack.ref(one) for one in self.subject.split()]
            case "ref" | "refs":
                return self.subject.split()
            case "report":
                return [self.load.alone_ref]
            case _:
                return []

    def _text_of_task(self) -> str:
        payload: Any = self._redis.hget(f"dcb:t:{self.subject}", "p")
        return str(orjson.loads(payload).get("text", ""))

    def _fields(self, key: str, *names: str) -> tuple[object, ...]:
        found: Any = self._redis.hmget(key, names)
        return tuple(found)

    def _now(self) -> Any:
        match self.kind:
            case "task":
                return self._fields(f"dcb:t:{self.subject}", "s", "a", "tok")
            case "channel" | "message ids" | "refs":
                return [self._fields(f"dcb:m:{ref}", "rp") for ref in self.refs]
            case "webhook":
                return self._state("agent", "message_id")
            case "callback":
                return [one for one in self.stack.recorded("consumer") if one["state"] == "sending"]
            case _:
                return self._fields(f"dcb:m:{self.refs[0]}", "s", "ta", "unk", "tok")

    def _state(self, what: str, name: str) -> object:
        return next((one["state"] for one in self.stack.recorded(what) if one[name] == self.subject), None)

    def other_side_has_it(self) -> bool:
        recorded = self.stack.recorded
        match self.kind:
            case "text":
                return any(sms["body"] == self.subject for sms in recorded("sms"))
            case "task":
                return any(words(one["text"]) == self._task_text for one in recorded("seen"))
            case _:
                mine = [one for one in recorded("agent") if one["message_id"] in self.subject.split()]
                return bool(mine) and all(one["receipts"] for one in mine)

    def consumer_has_it(self) -> bool:
        mine = [sms for sms in self.stack.recorded("sms") if sms["body"] == self.subject]
        return bool(mine) and all(sms["status"] == "delivered" for sms in mine)

    def another_has_it(self) -> bool:
        """Whether somebody has claimed it since."""
        kind = "t" if self.kind == "task" else "m"
        key = f"dcb:{kind}:{self.subject if self.kind == 'task' else self.refs[0]}"
        state, token = self._fields(key, "s", "tok")
        return state in (b"sending", b"running") and token != self._before[-1]

    def moved(self) -> bool:
        """Whether anything has happened to it since. Redis may be away for a moment."""
        try:
            now = self._now()
        except (OSError, RedisError):
            return False
        match self.kind:
            case "channel" | "message ids" | "refs":
                return bool(now) and all(posted != (None,) for posted in now)
            case "webhook":
                return bool(now == "accepted")
            case "report":
                return bool(now[0] == b"delivered")
            case "callback":
                return not {one["text"] for one in self._before} & {one["text"] for one in now}
            case _:
                return bool(now != self._before)


# ---------------------------------------------------------------- many cells


class Bridges:
    """One bridge for cell after cell, a new one after a cell that was red. For one thread.

    `short`: leases as the tests have them, instead of the product's own.
    """

    def __init__(self, *, short: bool) -> None:
        self._short = short
        self._running: CrashStack | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._running is not None:
            self._running.stop()
            self._running = None

    def play(self, cell: Cell) -> Outcome:
        routes, smpp = cell.point.routes, bool(cell.point.smpp)
        if self._running is not None and (self._running.routes, self._running.smpp) != (routes, smpp):
            self.__exit__()
        if self._running is None:
            self._running = CrashStack(short=self._short, routes=routes, smpp=smpp).__enter__()
        outcome = play(self._running, cell)
        if outcome.wrong():
            self.__exit__()
        return outcome
