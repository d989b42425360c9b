"""Two providers behind one channel, and a fifth of one's answers lost: is anything sent twice, and do the books add up?

python -m tests.faults.lossy_provider                         # 10,000 messages, as a table
python -m tests.faults.lossy_provider --messages 500 --lossy telnyx

Real processes beside the sandbox. A lost answer is a connection that is reset: half of those messages were taken, and
half were not. Twilio can be asked, so each of them is found out; Telnyx cannot, and the policy is `fail`. The exit
code is 1 when a text was taken twice, or by nobody though it is said to be delivered, or when the books of a provider
do not add up.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from dcbridge.ledger.reports.books import ChannelBooks
from tests.stack import SMS, Stack

FIRST, SECOND = "twilio", "telnyx"
SHARE = 0.2
MESSAGES = 10_000
AT_ONCE = 8  # webhooks
# A sandbox on a busy machine may take a message long after it was asked; nothing but what is meant shall be lost.
PATIENT = {
    "DCBRIDGE_CONNECT_TIMEOUT": "5", "DCBRIDGE_WRITE_TIMEOUT": "5", "DCBRIDGE_READ_TIMEOUT": "30",
    "DCBRIDGE_POOL_TIMEOUT": "10", "DCBRIDGE_LEASE": "60",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Report:
    messages: int
    taken: Counter[str]  # provider -> texts that it took
    doubled: int  # texts that were taken more than once, by whomever
    missing: int  # texts that nobody took, of messages that are said to be delivered
    failed_and_taken: int  # the agent was told that they failed: allowed where the outcome stayed unknown
    books: ChannelBooks
    difference: int
    counts: dict[str, int]
    seconds: float

    @property
    def faults(self) -> list[str]:
        found = []
        if self.doubled:
            found.append(f"{self.doubled} texts were taken more than once")
        if self.missing:
            found.append(f"{self.missing} were delivered by nobody")
        if self.difference or self.books.provider_difference:
            found.append(
                f"the books are off by {self.difference}, those of providers by {self.books.provider_difference}"
            )
        if self.books.accepted != self.messages or self.books.in_flight:
            found.append(f"{self.books.accepted} of {self.messages} accepted, {self.books.in_flight} in flight")
        if sum(one.accepted for one in self.books.providers) != self.books.accepted:
            found.append("the books of the providers are not those of the channel")
        if self.failed_and_taken > sum(one.unknown for one in self.books.providers):
            found.append("messages failed whose outcome was known")
        return found


def run(messages: int, lossy: str = FIRST) -> Report:
    """`lossy`: whose answers are lost."""
    other = SECOND if lossy == FIRST else FIRST
    channel = {"providers": [lossy, other], "outcome_unknown": "resend" if lossy == FIRST else "fail"}
    began = time.monotonic()
    with Stack(
        settings=PATIENT, companies=(SECOND,), channels={SMS: channel}, providers={FIRST: {"list_lag": 3.0}}
    ) as stack:
        stack.control(sms={"p_reset": SHARE, "only": lossy, "status_delay": 0.2})
        texts = [f"lossy {n}" for n in range(messages)]
        numbers = [stack.new_number() for _ in texts]

        def write(n: int) -> None:
            stack.agent_writes(numbers[n], texts[n])

        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(write, range(messages)))
        books = stack.settled(600.0)
        state = stack.state()
        took = Counter(sms["body"] for sms in state["sms"])
        ended = {
            one["text"]: receipt["status"] for one in state["agent"] for receipt in one["receipts"].values()
        }  # fmt: skip
        [mine] = [one for one in books.channels if one.channel_id == SMS]
        return Report(
            messages=messages,
            taken=Counter(sms["provider"] for sms in state["sms"]),
            doubled=sum(count > 1 for count in took.values()),
            missing=sum(not took[text] for text, status in ended.items() if status == "Delivered"),
            failed_and_taken=sum(took[text] > 0 for text, status in ended.items() if status == "Failed"),
            books=mine,
            difference=books.difference,
            counts={name: n for name, n in sorted(books.counts.items()) if "unknown" in name or "doubled" in name},
            seconds=time.monotonic() - began,
        )


def say(report: Report) -> str:
    rows = [
        ("provider", "taken", "accepted", "delivered", "failed", "unknown", "unconfirmed", "left", "difference"),
        *(
            tuple(
                str(cell)
                for cell in (
                    one.name, report.taken[one.name], one.accepted, one.delivered, one.failed, one.unknown,
                    one.unconfirmed, one.left, one.difference,
                )
            )
            for one in report.books.providers
        ),
    ]  # fmt: skip
    mine = report.books
    lines = ["  ".join(cell.rjust(11) for cell in row) for row in rows]
    lines.append(
        f"channel: accepted {mine.accepted}, delivered {mine.delivered}, failed {mine.failed},"
        f" in flight {mine.in_flight}, difference {mine.difference}"
    )
    lines.append(f"doubled {report.doubled}, missing {report.missing}; {report.counts}; {report.seconds:.0f} s")
    return "\n".join([*lines, *report.faults])


def main(arguments: Sequence[str]) -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--messages", type=int, default=MESSAGES)
    options.add_argument("--lossy", choices=(FIRST, SECOND), default=FIRST, help="whose answers are lost")
    asked = options.parse_args(arguments)
    report = run(asked.messages, asked.lossy)
    sys.stdout.write(say(report) + "\n")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
