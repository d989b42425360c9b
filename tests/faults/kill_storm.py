"""kill -9 of the service and the worker at random while messages go through, and what became of each message.

python -m tests.faults.kill_storm --messages 2000 --seconds 120
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
from dataclasses import dataclass, field

from tests.faults.verdict import Verdict, judge
from tests.stack import Stack, until

WORLD = {
    "delay": 0.02, "status_delay": 0.02, "p_429": 0.02, "p_reset": 0.01, "p_early": 0.05,
    "p_duplicate": 0.05, "p_reversed": 0.05,
}  # fmt: skip


@dataclass
class Storm:
    """One storm."""

    messages: int  # that Digital Channels sent
    verdict: Verdict = field(default_factory=Verdict)
    kills_of_service: int = 0
    kills_of_worker: int = 0
    redeliveries: int = 0  # webhooks that Digital Channels sent again
    seconds_after_last_kill: float = 0.0  # until the last terminal receipt
    late: list[str] = field(default_factory=list)

    def wrong(self) -> list[str]:
        """What breaks a promise."""
        found = self.late + self.verdict.faults
        if not self.messages == self.verdict.accepted == self.verdict.delivered:
            found.append("messages, accepted and delivered differ")
        return found

    def __str__(self) -> str:
        own = ("messages", "kills_of_service", "kills_of_worker", "redeliveries", "seconds_after_last_kill")
        return "\n".join(
            [*(f"{name.replace('_', ' '):>32} {getattr(self, name):g}" for name in own), str(self.verdict)]
        )


def storm(stack: Stack, messages: int, seconds: float, seed: int = 1) -> Storm:
    """Send `messages` over `seconds` and kill meanwhile; wait until nothing is in flight."""
    dice = random.Random(seed)
    stack.control(sms=WORLD | {"seed": seed})
    found = Storm(messages)
    numbers = [f"1650{2_000_000 + n:07d}" for n in range(max(1, messages // 4))]
    sent = threading.Event()
    agent = threading.Thread(target=_write, args=(stack, messages, seconds * 0.8, numbers, sent))
    agent.start()
    end = time.monotonic() + seconds
    while time.monotonic() < end or not sent.is_set() or min(found.kills_of_service, found.kills_of_worker) < 2:
        time.sleep(dice.uniform(0.2, 2.0))
        _kill(stack, dice, found)
    agent.join()
    last_kill = time.monotonic()

    def all_told() -> bool:
        counts = stack.sandbox("counts")
        return bool(counts.get("receipts.Delivered", 0) + counts.get("receipts.Failed", 0) >= messages)

    try:
        until(all_told, "each message has its receipt", 180, pause=0.2)
        found.seconds_after_last_kill = time.monotonic() - last_kill
        stack.settled()
    except AssertionError as late:
        found.late.append(str(late))
    found.verdict = judge(stack)
    found.redeliveries = stack.sandbox("counts").get("redeliveries", 0)
    return found


def _write(stack: Stack, messages: int, seconds: float, numbers: list[str], sent: threading.Event) -> None:
    began = time.monotonic()
    for n in range(messages):
        to = numbers[n % len(numbers)]
        stack.sandbox("agent/sms", {"to": to, "text": f"storm {n}", "messageId": f"storm-{n}"})
        time.sleep(max(0.0, began + seconds * n / messages - time.monotonic()))
    sent.set()


def _kill(stack: Stack, dice: random.Random, found: Storm) -> None:
    """One of them, or both at once; it is missing for a moment, and not always waited for."""
    victims = dice.choice([("service",), ("worker",), ("worker",), ("service", "worker")])
    stack.kill(*victims)
    found.kills_of_service += "service" in victims
    found.kills_of_worker += "worker" in victims
    time.sleep(dice.uniform(0.0, 0.5))
    stack.start(*victims, wait=dice.random() < 0.7)


def main() -> int:
    """Print the figures; 1 when a promise was broken."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--messages", type=int, default=2000)
    options.add_argument("--seconds", type=float, default=120.0)
    options.add_argument("--seed", type=int, default=1)
    asked = options.parse_args()
    with Stack(sandbox={"callback_tries": 100}) as stack:
        found = storm(stack, asked.messages, asked.seconds, asked.seed)
        print(found)  # noqa: T201 (a script prints)
        for wrong in found.wrong()[:20]:
            print(f"wrong: {wrong}")  # noqa: T201
    return 1 if found.wrong() else 0


if __name__ == "__main__":
    sys.exit(main())
