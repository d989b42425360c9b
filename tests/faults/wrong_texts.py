"""Wrong texts are leaving: pause, cancel by filter, go on; with kill -9 of the command and of the worker in the middle.

python -m tests.faults.wrong_texts --messages 5000 --rate 100
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.stack import SMS, Stack, until


@dataclass
class Story:
    """What became of the wrong texts, and of the right ones that came while the channel was paused."""

    wrong_texts: int
    right_texts: int
    sent_before_the_pause: int = 0
    sent_after_the_pause: int = 0  # requests that were under way
    cancelled_by_the_killed_command: int = 0
    cancelled: int = 0
    sent: int = 0
    cancel_seconds: float = 0.0  # of the second command, which finished
    receipts_failed_500: int = 0
    receipts_delivered: int = 0
    books_difference: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        shown = {name: value for name, value in vars(self).items() if name != "faults"}
        return "\n".join(f"{name.replace('_', ' '):>32} {value:g}" for name, value in shown.items())


def play(stack: Stack, wrong: int, right: int) -> Story:
    """All of it; every promise that is broken is in `faults`."""
    story = Story(wrong, right)
    writers = [
        threading.Thread(target=_write, args=(stack, [f"wrong-{n}" for n in range(first, wrong, 4)]))
        for first in range(4)
    ]
    for writer in writers:
        writer.start()
    until(lambda: len(stack.sandbox("sms")) >= wrong // 50, "texts are leaving")
    _succeeds(stack, "pause", "channel", SMS, "--why", "wrong texts", "--by", "ann")
    story.sent_before_the_pause = len(stack.sandbox("sms"))
    for writer in writers:
        writer.join()
    until(lambda: _book(stack, "accepted") == wrong, "all webhooks are accepted while the channel is paused")
    cut = _succeeds(stack, "cancel", "--channel", SMS, "--dry-run")
    if "changed nothing" not in cut or _book(stack, "failed"):
        story.faults.append("a dry run changed something")
    _write(stack, [f"right-{n}" for n in range(right)])
    until(lambda: _book(stack, "accepted") == wrong + right, "what comes while it is paused is accepted")
    limit = stack.entry("right-0").accepted_at / 1000
    words = ["--channel", SMS, "--accepted-before", _utc(limit), "--yes", "--why", "wrong texts", "--by", "ann"]
    stack.run("cancel", [sys.executable, "-m", "dcbridge", "cancel", *words])
    with stack.ledger() as redis:
        until(lambda: redis.hget(f"dcb:books:{SMS}", "failed"), "the first of them are cancelled", pause=0.0)
    stack.kill("cancel", "worker")
    story.cancelled_by_the_killed_command = _book(stack, "failed")
    if stack.books().difference:
        story.faults.append("the books do not add up after the kill")
    stack.start("worker")
    began = time.monotonic()
    done = stack.command("cancel", *words)
    if done.returncode and done.stdout != "No message matches.\n":  # the first command was done before it was killed
        story.faults.append(f"the second command ended with {done.returncode}: {done.stderr}")
    story.cancel_seconds = time.monotonic() - began
    until(lambda: not _open(stack, "wrong-", wrong), "no wrong text is left")
    _succeeds(stack, "resume", "channel", SMS, "--by", "ann")
    stack.settled(300.0)
    _judge(stack, story)
    return story


def _judge(stack: Stack, story: Story) -> None:
    messages = stack.state()["agent"]
    names = {stack.ref(one["message_id"]): one["message_id"] for one in messages}
    texts = Counter(names[parse_qs(urlsplit(one["callback_url"]).query)["m"][0]] for one in stack.sandbox("sms"))
    story.sent = sum(count for text, count in texts.items() if text.startswith("wrong-"))
    story.sent_after_the_pause = story.sent - story.sent_before_the_pause
    story.books_difference = stack.books().difference
    for message in messages:
        name = message["message_id"]
        receipts: list[dict[str, Any]] = list(message["receipts"].values())
        if len(receipts) != 1:
            story.faults.append(f"{name} has {len(receipts)} receipts")
            continue
        status, reasons = receipts[0]["status"], str(receipts[0]["reasons"])
        story.receipts_delivered += status == "Delivered"
        story.receipts_failed_500 += status == "Failed" and "500" in reasons
        if (status == "Delivered") is not (texts[name] > 0):
            story.faults.append(f"{name} is {status}, and was sent {texts[name]} times")
        if name.startswith("right-") and status != "Delivered":
            story.faults.append(f"{name} is {status}")
    story.cancelled = story.receipts_failed_500
    if story.books_difference:
        story.faults.append("the books do not add up")
    if story.cancelled + story.sent != story.wrong_texts:
        story.faults.append("cancelled and sent are not all of the wrong texts")
    if not story.cancelled_by_the_killed_command:
        story.faults.append("the command was killed before it cancelled anything")
    actions = [line["action"] for line in _audit(stack)]
    if not actions.count("cancel") or actions.count("pause") != 1 or actions.count("resume") != 1:
        story.faults.append(f"the audit has {actions}")


def _write(stack: Stack, names: list[str]) -> None:
    """Each in a conversation of its own; the sandbox sends a webhook again until it is answered."""
    for name in names:
        number = f"1650{2_000_000 + int(name.partition('-')[2]):07d}"
        stack.sandbox("agent/sms", {"to": number, "text": name, "messageId": name})


def _open(stack: Stack, prefix: str, count: int) -> int:
    """How many of them wait, or are under way."""
    with stack.ledger() as redis:
        refs: Any = redis.zrange(f"dcb:open:{SMS}", 0, -1)
    named = {stack.ref(f"{prefix}{n}").encode() for n in range(count)}
    return sum(1 for ref in refs if ref in named)


def _book(stack: Stack, word: str) -> int:
    with stack.ledger() as redis:
        found: Any = redis.hget(f"dcb:books:{SMS}", word)
    return int(found or 0)


def _audit(stack: Stack) -> list[dict[str, Any]]:
    with stack.ledger() as redis:
        rows: Any = redis.xrange("dcb:audit")
    return [{key.decode(): value.decode() for key, value in fields.items()} for _, fields in rows]


def _succeeds(stack: Stack, *words: str) -> str:
    done = stack.command(*words)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds * 1000) % 1000:03d}"


def main() -> int:
    """Print the figures; 1 when a promise was broken."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--messages", type=int, default=5000)
    options.add_argument("--right", type=int, default=100)
    options.add_argument("--rate", type=float, default=100.0)
    asked = options.parse_args()
    with Stack(providers={"twilio": {"pace": {"per_second": asked.rate}}}) as stack:
        story = play(stack, asked.messages, asked.right)
    print(story)  # noqa: T201 (a script prints)
    for fault in story.faults[:20]:
        print(f"wrong: {fault}")  # noqa: T201
    return 1 if story.faults else 0


if __name__ == "__main__":
    sys.exit(main())
