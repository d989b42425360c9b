"""Calls by text and the text-back line while the worker ends at one point: no call is booked twice, no text sent twice.

    python -m tests.faults.call_crashes            # every row, by SIGKILL and by SIGTERM

Consumers write CALL ME, or call the line and are not answered. A request to book has no key for repetitions: where the
worker is killed after it has begun one, the consumer hears that nobody knows, and nothing is repeated. A missed call
whose worker is killed before its text is stored causes none: the line reports it once.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from tests.faults.bookings import kind_of
from tests.faults.crash_points import KILL, Call, Point
from tests.faults.crash_rows import Row, Victim, each, main
from tests.stack import Stack, until

WAY, MODULE, WORKER, CONSUMERS = "calls", "tests.faults.call_crashes", "worker", 3


def _task(call: Call, _result: Any) -> str:
    return str(call[1])


def _booked(call: Call, _result: Any) -> str:
    return str(call[1]) if call[3] == "booked" else ""


def _missed(call: Call, _result: Any) -> str:
    return "text" if call[1].cause.startswith("missed call") else ""


_LEDGER, _OWN = "dcbridge.ledger.bookings:Bookings.", "dcbridge.ledger.own:Own.put"
BOOKED = (
    Point("call wanted, request not begun", WORKER, _LEDGER + "begin", "before", "task", _task),
    Point(
        "request begun, not written", WORKER, _LEDGER + "begin", "after", "task", _task, says="the consumer hears so"
    ),
    Point("call booked, not noted", WORKER, _LEDGER + "end", "before", "task", _booked, says="the consumer hears so"),
    Point("call noted, consumer not answered", WORKER, _LEDGER + "end", "after", "task", _booked),
)
MISSED = (
    Point("missed call heard, text not stored", WORKER, _OWN, "before", "task", _missed, says="a kill loses its text"),
    Point("text of a missed call stored", WORKER, _OWN, "after", "task", _missed),
)
UNKNOWN = (BOOKED[1], BOOKED[2])  # after a kill; others of the same worker may be within their requests
POINTS = (*BOOKED, *MISSED)


class Play:
    """All rows, one after the other, in one bridge."""

    def __init__(self, stack: Stack) -> None:
        self._stack, self._victim = stack, Victim(stack, MODULE, (WORKER,))

    def row(self, point: Point, fault: str) -> Row:
        stack = self._stack
        stack.sandbox("reset", {})
        numbers = [stack.new_number() for _ in range(CONSUMERS)]
        if point in BOOKED:
            died = self._victim.dies(point, fault, lambda: self._write(numbers))
            until(lambda: self._answered(numbers), "every consumer is answered", 90.0)
            seconds, wrong = time.monotonic() - died, self._of_calls(numbers, point, fault)
        else:
            until(self._logins, "a worker listens to the line", 60.0)
            died = self._victim.dies(point, fault, lambda: self._ring(numbers[:2]))
            self._ring(numbers[2:])
            lost = 1 if point is MISSED[0] and fault == KILL else 0
            until(lambda: len(self._texts(numbers)) >= CONSUMERS - lost, "callers get their text", 60.0)
            seconds, texts = time.monotonic() - died, Counter(self._texts(numbers))
            wrong = {"lost": CONSUMERS - lost - len(texts), "twice": sum(texts.values()) - len(texts)}
        wrong |= {"difference": abs(stack.settled().difference), "broken_rules": len(stack.violations())}
        return Row(WAY, point, fault, CONSUMERS, seconds, wrong)

    def _of_calls(self, numbers: list[str], point: Point, fault: str) -> dict[str, int]:
        calls = self._stack.sandbox("calls")
        refs = Counter(call["data"]["dcbRef"] for call in calls)
        with_call = {call["number"].lstrip("+") for call in calls}
        said = {one["to"].lstrip("+"): kind_of(one["body"]) for one in self._stack.sandbox("sms")}
        unknown = [number for number in numbers if said[number] == "unknown"]
        return {
            "doubled": sum(refs.values()) - len(refs) + len(calls) - len(with_call),
            "booked_and_not_there": sum(said[one] == "booked" and one not in with_call for one in numbers),
            "not_answered_so": sum(said[one] not in ("booked", "unknown") for one in numbers),
            "unknown": len(unknown) if fault != KILL else 0,
            "not_unknown": int(point in UNKNOWN and fault == KILL and not unknown),
        }

    def _write(self, numbers: list[str]) -> None:
        for number in numbers:
            told = {"from": f"+{number}", "text": "CALL ME", "wait": True}
            assert self._stack.sandbox("consumer/sms", told)["state"] == "taken"

    def _answered(self, numbers: list[str]) -> bool:
        return {*numbers} <= {one["to"].lstrip("+") for one in self._stack.sandbox("sms")}

    def _ring(self, numbers: list[str]) -> None:
        """Once a worker that was started just now listens to the line."""
        before = self._logins()
        until(lambda: self._logins() > before, "the next worker listens to the line", 60.0)
        for number in numbers:
            self._stack.sandbox("line/call", {"from": f"+{number}", "steps": ["Ringing", "Released"]})

    def _texts(self, numbers: list[str]) -> list[str]:
        return [to for one in self._stack.sandbox("sms") if (to := one["to"].lstrip("+")) in numbers]

    def _logins(self) -> int:
        """How often a worker has subscribed to the calls of the line."""
        return int(self._stack.sandbox("counts").get("cometd./meta/subscribe /v2/me/calls", 0))


def play(chosen: Sequence[tuple[Point, str]], tell: Callable[[Row], object]) -> list[Row]:
    with Stack(own=True) as stack:
        return each(WAY, chosen, Play(stack).row, tell)


if __name__ == "__main__":
    sys.exit(main(POINTS, play))
