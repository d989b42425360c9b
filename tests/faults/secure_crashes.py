"""Consumers' emails for Secure Email while the worker ends at one point: none is submitted twice, none is lost.

    python -m tests.faults.secure_crashes          # every row, by SIGKILL and by SIGTERM

The request has no key for repetitions. Where the worker is killed after it has begun one, the email is looked for; one
that is not there is a dead letter, which the row replays as an operator does.
"""

from __future__ import annotations

import smtplib
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import yaml

from dcbridge.config.secure_email import fingerprint
from tests.faults.crash_points import KILL, Call, Point
from tests.faults.crash_rows import Row, Victim, each, main
from tests.mail.writing import plain
from tests.stack import EMAIL, Stack, until
from workers.secure_email import LOOKED_FOR

CARE, WORKER, MAILS = "care@company.test", "worker", 4
WAY, MODULE = "secure email", "tests.faults.secure_crashes"
FIELDS = {
    "fromAddress": "{address}", "lastName": "{name|Unknown}", "text": "{text}", "userData": {"ref": "{reference}"},
}  # fmt: skip


def _task(call: Call, _result: Any) -> str:
    return str(call[1]) if str(call[1]).startswith("c-") else ""


_LEDGER = "dcbridge.ledger.requests:Requests.begin"
POINTS = (
    Point("email read, request not begun", WORKER, _LEDGER, "before", "task", _task),
    Point("email's request begun, not written", WORKER, _LEDGER, "after", "task", _task,
          says="after a kill, a dead letter"),
    Point("email submitted, not noted", WORKER, "dcbridge.ledger.tasks:Tasks.done", "before", "task", _task,
          says="it is found in the list"),
)  # fmt: skip


class Play:
    """All rows, one after the other, in one bridge."""

    def __init__(self, stack: Stack) -> None:
        self._stack, self._victim, self._sent = stack, Victim(stack, MODULE, (WORKER,)), 0

    def row(self, point: Point, fault: str) -> Row:
        stack = self._stack
        stack.sandbox("reset", {})
        numbers = range(self._sent, self._sent + MAILS)
        self._sent += MAILS
        died = self._victim.dies(point, fault, lambda: self._deliver(numbers))
        until(lambda: len({*self._there()}) + self._dead() >= MAILS, "every email is there, or a dead letter", 90.0)
        unknown = self._dead()
        if unknown:
            stack.command("dead", "replay", "--all")
        until(lambda: {*map(str, numbers)} <= {*self._there()}, "every email is there", 90.0)
        until(lambda: not any(stack.books().tasks.values()), "nothing waits")
        counted = Counter(self._there())
        wrong = {
            "lost": MAILS - len(counted),
            "twice": sum(counted.values()) - len(counted),
            "unknown": unknown if fault != KILL else 0,
            "not_unknown": int(point is POINTS[1] and fault == KILL and not unknown),
            "posted_as_text": len(stack.recorded("seen")),
            "broken_rules": len(stack.violations()),
        }
        return Row(WAY, point, fault, MAILS, time.monotonic() - died, wrong)

    def _deliver(self, numbers: range) -> None:
        with smtplib.LMTP("127.0.0.1", self._stack.mail_in, timeout=20) as client:
            for n in numbers:
                sender = f"ana{n}@example.test"
                client.sendmail(
                    sender, [CARE], plain(f"{n}\r\n", f"From: {sender}", f"Message-ID: <{n}@x>", subject="")
                )

    def _there(self) -> list[str]:
        return [one["text"] for one in self._stack.sandbox("secure")]

    def _dead(self) -> int:
        """How many are dead letters; the time for which one is looked for is over."""
        with self._stack.ledger() as connection:
            for key in connection.scan_iter("dcb:t:c-*"):
                began: Any = connection.hget(key, "po")
                token, _, at = (began or b"").decode().partition(" ")
                if at.isdecimal() and time.time() - int(at) / 1000 < LOOKED_FOR:
                    connection.hset(key, "po", f"{token} {int(at) - int(LOOKED_FOR * 1000)}")
        return self._stack.books().dead_letters


def play(chosen: Sequence[tuple[Point, str]], tell: Callable[[Row], object]) -> list[Row]:
    inbound = {"addresses": [CARE], "per_sender": 10_000, "per_minute": 10_000, "hold_over": 10_000, "to": "securemail"}
    stack = Stack(channels={EMAIL: {"inbound": inbound}}, parts=("sandbox", "service", WORKER, "mail-in"))
    path = stack.folder / "bridge.yaml"
    told = yaml.safe_load(path.read_text())
    told["genesys"] = {
        "base_url": f"http://127.0.0.1:{stack.ports.page}",
        "api_key": "file:genesys_api_key",
        "secure_email": {"fields": FIELDS, "verified": fingerprint(None, FIELDS, None)},
    }
    path.write_text(yaml.safe_dump(told))
    with stack:
        return each(WAY, chosen, Play(stack).row, tell)


if __name__ == "__main__":
    sys.exit(main(POINTS, play))
