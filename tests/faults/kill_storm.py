"""kill -9 of the service and the worker at random while messages go through, and what became of each message.

python -m tests.faults.kill_storm --messages 2000 --seconds 120
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field, fields
from typing import Any

from tests.stack import SMS, Stack, until

WORLD = {
    "delay": 0.02, "status_delay": 0.02, "p_429": 0.02, "p_reset": 0.01, "p_early": 0.05,
    "p_duplicate": 0.05, "p_reversed": 0.05,
}  # fmt: skip


@dataclass
class Figures:
    """One storm. What must be 0 has no comment."""

    messages: int = 0  # that Digital Channels sent
    accepted: int = 0  # answered 200 in the end
    sends: int = 0  # that the provider took
    delivered: int = 0  # terminal receipts, by status
    failed: int = 0
    kills_of_service: int = 0  # …
    kills_of_worker: int = 0  # …
    redeliveries: int = 0  # webhooks that Digital Channels sent again
    doubled_after_unknown: int = 0  # sent twice: the request was on the wire when the worker died
    repeated_receipts: int = 0  # the same words again: the answer was lost with the worker
    seconds_after_last_kill: float = 0.0  # until the last terminal receipt
    without_receipt: int = 0
    never_sent: int = 0
    doubled_without_reason: int = 0
    out_of_order: int = 0
    books_difference: int = 0
    violations: list[str] = field(default_factory=list)

    def wrong(self) -> list[str]:
        """What breaks a promise."""
        zero = ("failed", "without_receipt", "never_sent", "doubled_without_reason", "out_of_order", "books_difference")
        found = [f"{name} is {getattr(self, name)}" for name in zero if getattr(self, name)]
        if not self.messages == self.accepted == self.delivered:
            found.append("messages, accepted and delivered differ")
        return found + self.violations

    def __str__(self) -> str:
        shown = [f for f in fields(self) if f.name != "violations"]
        return "\n".join(f"{f.name.replace('_', ' '):>26} {getattr(self, f.name):g}" for f in shown)


def storm(stack: Stack, messages: int, seconds: float, seed: int = 1) -> Figures:
    """Send `messages` over `seconds` and kill meanwhile; wait until nothing is in flight."""
    dice = random.Random(seed)
    stack.control(sms=WORLD | {"seed": seed})
    figures = Figures(messages=messages)
    numbers = [f"1650{2_000_000 + n:07d}" for n in range(max(1, messages // 4))]
    sent = threading.Event()
    agent = threading.Thread(target=_write, args=(stack, messages, seconds * 0.8, numbers, sent))
    agent.start()
    end = time.monotonic() + seconds
    while time.monotonic() < end or not sent.is_set():
        time.sleep(dice.uniform(0.2, 2.0))
        _kill(stack, dice, figures)
    agent.join()
    last_kill = time.monotonic()

    def all_told() -> bool:
        counts = stack.sandbox("counts")
        return bool(counts.get("receipts.Delivered", 0) + counts.get("receipts.Failed", 0) >= messages)

    try:
        until(all_told, "each message has its receipt", 180, pause=0.2)
        figures.seconds_after_last_kill = time.monotonic() - last_kill
        stack.settled()
    except AssertionError as late:
        figures.violations.append(str(late))
    _count(stack, figures)
    return figures


def _write(stack: Stack, messages: int, seconds: float, numbers: list[str], sent: threading.Event) -> None:
    began = time.monotonic()
    for n in range(messages):
        to = numbers[n % len(numbers)]
        stack.sandbox("agent/sms", {"to": to, "text": f"storm {n}", "messageId": f"storm-{n}"})
        time.sleep(max(0.0, began + seconds * n / messages - time.monotonic()))
    sent.set()


def _kill(stack: Stack, dice: random.Random, figures: Figures) -> None:
    """One of them, or both at once; it is missing for a moment, and not always waited for."""
    victims = dice.choice([("service",), ("worker",), ("worker",), ("service", "worker")])
    stack.kill(*victims)
    figures.kills_of_service += "service" in victims
    figures.kills_of_worker += "worker" in victims
    time.sleep(dice.uniform(0.0, 0.5))
    stack.start(*victims, wait=dice.random() < 0.7)


def _count(stack: Stack, figures: Figures) -> None:
    state = stack.state()
    books = stack.books()
    sends: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for sms in state["sms"]:
        sends[sms["body"]].append(sms)
    statuses: Counter[str] = Counter()
    first_sends: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for message in state["agent"]:
        figures.accepted += message["state"] == "accepted"
        receipts = list(message["receipts"].values())
        figures.without_receipt += len(receipts) != 1
        statuses.update(receipt["status"] for receipt in receipts)
        figures.repeated_receipts += sum(receipt["repeated"] for receipt in receipts)
        mine, entry = sends[message["text"]], stack.entry(message["message_id"], SMS)
        figures.never_sent += not mine
        if len(mine) > 1:
            if int(entry.get("unk", "0")) >= len(mine) - 1:
                figures.doubled_after_unknown += len(mine) - 1
            else:
                figures.doubled_without_reason += 1
        if mine:
            first_sends[mine[0]["to"]].append((int(entry["at"]), mine[0]["seq"]))
    for places in first_sends.values():
        places.sort()
        for (at, seq), (next_at, next_seq) in itertools.pairwise(places):
            figures.out_of_order += next_at > at and next_seq < seq
    figures.sends = len(state["sms"])
    figures.delivered, figures.failed = statuses["Delivered"], statuses["Failed"]
    figures.redeliveries = stack.sandbox("counts").get("redeliveries", 0)
    figures.books_difference = books.difference + books.in_flight
    figures.violations += [f"{v['who']}: {v['rule']}: {v['detail']}" for v in state["violations"]]


def main() -> int:
    """Print the figures; 1 when a promise was broken."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--messages", type=int, default=2000)
    options.add_argument("--seconds", type=float, default=120.0)
    options.add_argument("--seed", type=int, default=1)
    asked = options.parse_args()
    with Stack(sandbox={"callback_tries": 100}) as stack:
        figures = storm(stack, asked.messages, asked.seconds, asked.seed)
        print(figures)  # noqa: T201 (a script prints)
        for wrong in figures.wrong()[:20]:
            print(f"wrong: {wrong}")  # noqa: T201
    return 1 if figures.wrong() else 0


if __name__ == "__main__":
    sys.exit(main())
