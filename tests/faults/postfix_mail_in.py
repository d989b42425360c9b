"""Postfix delivers to `dcbridge mail-in` by LMTP while that is killed, and Redis after it: deferred, then delivered.

python -m tests.faults.postfix_mail_in 60        # away for a minute, and the figures
"""

from __future__ import annotations

import smtplib
import sys
import time
from collections import Counter
from dataclasses import dataclass

from tests.faults.postfix import Postfix
from tests.mail.writing import plain
from tests.stack import EMAIL, Stack, quiet_port, until

CARE = "care@company.test"
SENDERS = 5


@dataclass(frozen=True)
class Found:
    """What became of the mails."""

    sent: int
    deferred: int  # deliveries that Postfix had to put off
    lost: int
    twice: int
    bounced: int


def play(away: float, mails: int) -> Found:
    """Half of the mails are sent while `mail-in` is away, some while Redis is."""
    inbound = {"addresses": [CARE], "per_sender": 10_000, "per_minute": 10_000, "hold_over": 10_000}
    parts = ("sandbox", "service", "worker", "mail-in")
    with Stack(channels={EMAIL: {"inbound": inbound}}, parts=parts) as stack:
        lmtp = {"company.test": stack.mail_in}
        with Postfix(quiet_port(), stack.public, "unused", lmtp=lmtp) as postfix:
            _send(postfix, range(mails // 2))
            stack.kill("mail-in")
            _send(postfix, range(mails // 2, mails))
            until(lambda: "status=deferred" in postfix.log(), "Postfix has to wait")
            time.sleep(away)
            stack.freeze_redis()
            stack.start("mail-in", wait=False)
            until(lambda: "451 4.3.0" in postfix.log(), "it cannot be stored", 60.0)
            stack.thaw_redis()
            until(lambda: len(set(_seen(stack))) == mails, "every mail reaches the agent", 300.0)
            until(lambda: not any(stack.books().tasks.values()), "nothing waits")
            log, seen = postfix.log(), _seen(stack)
    counted = Counter(seen)
    ours = [line for line in log.splitlines() if f"to=<{CARE}>" in line]  # and not notices of a delay
    return Found(
        sent=mails,
        deferred=sum("status=deferred" in line for line in ours),
        lost=mails - len(counted),
        twice=sum(counted.values()) - len(counted),
        bounced=sum("status=bounced" in line for line in ours),
    )


def _send(postfix: Postfix, numbers: range) -> None:
    with smtplib.SMTP("127.0.0.1", postfix.port, timeout=30) as client:
        for n in numbers:
            sender = f"ana{n % SENDERS}@example.test"
            raw = plain(f"{n}\r\n", f"From: {sender}", f"Message-ID: <{n}@example.test>", subject="")
            client.sendmail(sender, [CARE], raw)


def _seen(stack: Stack) -> list[int]:
    return [int(message["text"]) for message in stack.recorded("seen") if message["channel_id"] == EMAIL]


def main() -> int:
    found = play(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0, 200)
    sys.stdout.write(f"{found}\n")
    return 1 if found.lost or found.twice or found.bounced else 0


if __name__ == "__main__":
    sys.exit(main())
