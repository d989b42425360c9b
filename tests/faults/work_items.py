"""Dead letters become work items while the worker is killed again and again and Genesys' answers are lost.

    python -m tests.faults.work_items [letters] [kills]

Each letter must have exactly one item, with an externalId of its own, and no letter may be without one.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter

from tests.stack import Stack, until


def main(letters: int = 200, kills: int = 10) -> int:
    with Stack(items=True) as stack:
        stack.control(digital_channels={"mode": "refuse_text"})
        began = time.monotonic()
        for number in range(letters):
            told = {"from": f"+{stack.new_number()}", "to": "+15557650123", "text": f"Text {number}", "wait": True}
            assert stack.sandbox("consumer/sms", told)["state"] == "taken"
            if kills and number % max(1, letters // kills) == 0:
                stack.control(genesys={"mode": "lost_answer", "count": 2})
                time.sleep(random.uniform(0.0, 0.5))
                stack.kill("worker")
                stack.start("worker")
        stack.control(genesys={"mode": "ok"})
        until(lambda: stack.books().dead_letters == letters, "every message is a dead letter", 300)
        until(lambda: stack.books().work_items == letters, "every letter has its item", 300)
        items = stack.sandbox("items")
        texts = Counter(item["data"].get("Letter") for item in items)
        doubled = sum(count - 1 for count in texts.values())
        asked = stack.sandbox("counts")["items.asked"]
        books = stack.settled()
        sys.stdout.write(
            f"{letters} letters, {kills} kills, {asked} requests to create: {len(items)} items,"
            f" {doubled} doubled, {letters - len(texts)} missing, difference {books.difference},"
            f" {len(stack.violations())} broken rules, {time.monotonic() - began:.0f} s\n"
        )
        return int(bool(doubled or len(texts) != letters or books.difference or stack.violations()))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
