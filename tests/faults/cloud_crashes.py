"""Open Messaging while the service or the worker ends at one point: every text arrives, and has its one receipt.

    python -m tests.faults.cloud_crashes           # every row, by SIGKILL and by SIGTERM

An agent of Genesys Cloud writes texts, and consumers write texts; a webhook that is not answered comes again. Genesys
Cloud documents no key for repetitions: what a killed worker has posted and not noted comes twice, and is counted.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from tests.faults.crash_points import KILL, Call, Point
from tests.faults.crash_rows import Row, Victim, each, main
from tests.stack import Stack, until

WAY, MODULE, SERVICE, WORKER, TEXTS = "Open Messaging", "tests.faults.cloud_crashes", "service", "worker", 4


def _always(_call: Call, _result: Any) -> str:
    return "webhook"


def _consumer(call: Call, _result: Any) -> str:
    return str(call[1]) if str(call[1]).startswith("c-") else ""


def _receipts(call: Call, _result: Any) -> str:
    return str(call[2][0]) if call[2] else ""


_ACCEPT = "dcbridge.ledger.messages:Messages.accept"
AGENTS = (
    Point("webhook read, not stored", SERVICE, _ACCEPT, "before", "task", _always),
    Point("webhook stored, not answered", SERVICE, _ACCEPT, "after", "task", _always),
    Point("receipt posted to the cloud, not noted", WORKER, "dcbridge.ledger.receipts:Receipts.done", "before", "task",
          _receipts),
)  # fmt: skip
CONSUMERS = (
    Point(
        "text posted to the cloud, not noted", WORKER, "dcbridge.ledger.tasks:Tasks.done", "before", "task", _consumer
    ),
)
POINTS = (*AGENTS, *CONSUMERS)


class Play:
    """All rows, one after the other, in one bridge."""

    def __init__(self, stack: Stack) -> None:
        self._stack, self._victim = stack, Victim(stack, MODULE, (SERVICE, WORKER))
        self._channel = stack.kept("cloud_integration")

    def row(self, point: Point, fault: str) -> Row:
        stack = self._stack
        stack.sandbox("reset", {})
        numbers = [stack.new_number() for _ in range(TEXTS)]
        write, arrived = (self._agent, self._phones) if point in AGENTS else (self._consumers, self._seen)
        died = self._victim.dies(point, fault, lambda: write(numbers))
        until(lambda: {*numbers} <= {*arrived(numbers)}, "every text arrives", 90.0)
        if point in AGENTS:
            until(lambda: len(self._ended()) == TEXTS, "every text has its receipt", 90.0)
        books, seconds = stack.settled(), time.monotonic() - died
        counted = Counter(arrived(numbers))
        twice = sum(counted.values()) - len(counted)
        excused = min(twice, 1) if point in CONSUMERS and fault == KILL else 0
        wrong = {
            "lost": TEXTS - len(counted),
            "twice": twice - excused,
            "difference": abs(books.difference),
            "broken_rules": len(stack.violations()),
        }
        return Row(WAY, point, fault, TEXTS, seconds, wrong, excused)

    def _agent(self, numbers: list[str]) -> None:
        for number in numbers:
            self._stack.sandbox("agent/sms", {"to": f"+{number}", "text": "Hello", "channel": self._channel})

    def _consumers(self, numbers: list[str]) -> None:
        for number in numbers:
            told = {"from": f"+{number}", "text": "Hello", "provider": "cloud-sms", "wait": True}
            assert self._stack.sandbox("consumer/sms", told)["state"] == "taken"

    def _phones(self, numbers: list[str]) -> list[str]:
        return [to for one in self._stack.sandbox("sms") if (to := one["to"].lstrip("+")) in numbers]

    def _seen(self, numbers: list[str]) -> list[str]:
        senders = [str(one["sender"]).lstrip("+") for one in self._stack.recorded("seen")]
        return [one for one in senders if one in numbers]

    def _ended(self) -> list[Any]:
        return [one for one in self._stack.recorded("agent") if one["receipts"]]


def play(chosen: Sequence[tuple[Point, str]], tell: Callable[[Row], object]) -> list[Row]:
    with Stack(companies=("open-messaging",)) as stack:
        return each(WAY, chosen, Play(stack).row, tell)


if __name__ == "__main__":
    sys.exit(main(POINTS, play))
