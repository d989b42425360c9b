"""Calls are booked by text while the worker is killed again and again and Genesys' answers are lost.

    python -m tests.faults.bookings [texts] [kills]

Each consumer writes CALL ME once, and gets one answer: booked, unknown, or that it did not work. No text has two calls,
and where Genesys has a call and the consumer does not know of it, the answer was "unknown".
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter

from dcbridge.config.booking import Texts
from tests.stack import Stack, until

TEXTS = Texts()
KINDS = {
    "booked": ("We call you in about ", TEXTS.soon), "unknown": (TEXTS.unknown,), "failed": (TEXTS.failed,),
    "already": (TEXTS.already,),
}  # fmt: skip


def kind_of(text: str) -> str:
    return next(kind for kind, begins in KINDS.items() if text.startswith(begins))


def main(texts: int = 200, kills: int = 10) -> int:
    with Stack(own=True) as stack:
        began, numbers = time.monotonic(), [stack.new_number() for _ in range(texts)]
        for place, number in enumerate(numbers):
            told = {"from": f"+{number}", "text": "CALL ME", "wait": True}
            assert stack.sandbox("consumer/sms", told)["state"] == "taken"
            if kills and place % max(1, texts // kills) == 0:
                mode = random.choice(["lost_answer", "slow"])  # slow: the worker is killed within a request
                stack.control(engagement={"mode": mode, "only": "create", "count": 2, "delay": 0.5})
                time.sleep(random.uniform(0.0, 0.6))
                stack.kill("worker")
                stack.start("worker")
        stack.control(engagement={"mode": "ok"})
        said = until(lambda: _all_told(stack, numbers), "every consumer is told", 300)
        calls = stack.sandbox("calls")
        by_text = Counter(call["data"]["dcbRef"] for call in calls)
        by_number = Counter(call["number"].lstrip("+") for call in calls)
        doubled = sum(count - 1 for count in by_text.values())
        outside = [number for number, count in by_number.items() if count > 1 and said[number] != "unknown"]
        silent = [number for number in by_number if said[number] not in ("booked", "unknown")]
        without = [number for number in numbers if said[number] == "booked" and not by_number[number]]
        books = stack.settled()
        sys.stdout.write(
            f"{texts} texts, {kills} kills: {dict(Counter(said.values()))}, {len(calls)} calls, {doubled} doubled,"
            f" {len(outside)} outside unknown, {len(silent)} not told, {len(without)} booked without a call,"
            f" difference {books.difference}, {len(stack.violations())} broken rules,"
            f" {time.monotonic() - began:.0f} s\n"
        )
        wrong = doubled or outside or silent or without or books.difference or stack.violations()
        return int(bool(wrong))


def _all_told(stack: Stack, numbers: list[str]) -> dict[str, str] | None:
    """Consumer -> what the last text to it says."""
    found = {one["to"].lstrip("+"): kind_of(one["body"]) for one in stack.sandbox("sms")}
    return found if all(number in found for number in numbers) else None


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
