"""kill -9 of the service and the worker while consumers get answers and systems outside call a trigger.

    python -m tests.faults.own_kill [consumers] [kills]

Each consumer writes a keyword, and a trigger is called about each, whose caller repeats a call until it is taken, and
some after that. So each consumer must get one answer and one text of the trigger, and the agent must see each keyword.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import httpx
import standardwebhooks
import yaml

from dcbridge.messages import own_books
from tests.stack import SMS, Stack, until

SECRET = "whsec_" + "A" * 43 + "="
ANSWERS = [{"when": ["hours"], "say": "8 to 18."}]
TRIGGER = {"channel": SMS, "text": "Call back {number}.", "secrets": [SECRET], "per_minute": 60_000}


def call(stack: Stack, number: str) -> str:
    """What a caller is answered who repeats a call until it is taken."""
    body = json.dumps({"id": f"call-{number}", "to": f"+{number}", "vars": {"number": number}})

    def taken() -> str:
        now = datetime.now(UTC)
        signed = standardwebhooks.Webhook(SECRET).sign("msg_1", now, body)
        headers = {
            "webhook-id": "msg_1",
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": signed,
        }
        try:
            answer = stack.client.post(f"{stack.public}/triggers/textback", content=body, headers=headers)
        except httpx.HTTPError:
            return ""
        assert answer.status_code in (202, 503), answer.text
        return str(answer.json().get("outcome", ""))

    return until(taken, "the call is taken")


def run(consumers: int, kills: int, folder: Path | None = None, seed: int = 1) -> list[str]:
    """What was wrong."""
    dice = random.Random(seed)
    stack = Stack(folder, channels={SMS: {"answers": ANSWERS}}, sandbox={"callback_tries": 100})
    path = stack.folder / "bridge.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"triggers": {"textback": TRIGGER}}))
    numbers = [f"1650{2_000_000 + n}" for n in range(consumers)]
    with stack:
        for n, number in enumerate(numbers):
            stack.sandbox("consumer/sms", {"from": f"+{number}", "text": "Hours?"})
            call(stack, number)
            if kills and n % max(1, consumers // kills) == 0:
                time.sleep(dice.uniform(0.0, 0.3))
                victim = dice.choice(["worker", "worker", "service"])
                stack.kill(victim)
                stack.start(victim, wait=dice.random() < 0.5)
        for number in dice.sample(numbers, consumers // 4):
            assert call(stack, number) == "again"
        until(lambda: len(stack.sandbox("sms")) >= 2 * consumers, "all are sent", 180)
        until(lambda: len(stack.state()["seen"]) >= consumers, "the agent has all", 180)
        stack.settled()
        return list(_wrong(stack, numbers))


def _wrong(stack: Stack, numbers: list[str]) -> list[str]:
    state = stack.state()
    sent = Counter((sms["to"], sms["body"]) for sms in state["sms"])
    seen = Counter(one["sender"] for one in state["seen"])
    found = [f"{to} got {text!r} {times} times" for (to, text), times in sent.items() if times > 1]
    for number in numbers:
        found += [f"{number} did not get {text!r}" for text in ("8 to 18.", f"Call back {number}.")
                  if not sent[f"+{number}", text]]  # fmt: skip
        found += [] if seen[number] else [f"what {number} wrote did not reach the agent"]
    books = {one.channel_id: one for one in stack.books().channels}
    own = books.pop(own_books(SMS))
    if (own.accepted, own.delivered, own.receipts_waiting) != (2 * len(numbers), 2 * len(numbers), 0):
        found.append(f"the books of own messages: {own}")
    if stack.books().difference or any(one.accepted for one in books.values()):
        found.append(f"the books: {books}")
    return found + [f"{one['rule']}: {one['detail']}" for one in stack.state()["violations"]]


def main(consumers: int = 200, kills: int = 40) -> int:
    began = time.monotonic()
    wrong = run(consumers, kills)
    sys.stdout.write(f"{consumers} consumers, {kills} kills, {len(wrong)} wrong, {time.monotonic() - began:.0f} s\n")
    sys.stdout.writelines(f"wrong: {one}\n" for one in wrong[:20])
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
