"""Dead letters as work items of Genesys while the worker ends at one point of their way: one item each, none left open.

    python -m tests.faults.item_crashes            # every row, by SIGKILL and by SIGTERM

A consumer's texts are refused by Digital Channels, so that they become dead letters, and these become items. Then the
letters are dropped, or an agent finishes the items. tests/faults/work_items.py kills at random instead.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from tests.faults.crash_points import Call, Point
from tests.faults.crash_rows import Row, Victim, each, main
from tests.stack import Stack, until

WAY, MODULE, WORKER, LETTERS = "work items", "tests.faults.item_crashes", "worker", 4


def _first(call: Call, _result: Any) -> str:
    return str(call[1])


def _event(call: Call, _result: Any) -> str:
    return str(call[2])


def _finished(call: Call, _result: Any) -> str:
    return str(call[1].letter) if call[2] != "open" else ""


_SINK, _LEDGER = "dcbridge.events.sinks.openmedia:OpenmediaSink.", "dcbridge.ledger.work_items:WorkItems."
MADE = (
    Point("letter written, no item", WORKER, _SINK + "_open_item", "before", "task", _event),
    Point("item made, not noted", WORKER, _LEDGER + "opened", "before", "task", _first, says="Genesys has it"),
    Point("item noted, delivery not done", WORKER, _LEDGER + "opened", "after", "task", _first),
)
DROPPED = (
    Point("letter dropped, item not ended", WORKER, _SINK + "_end_item", "before", "task", _first),
    Point("item ended, delivery not done", WORKER, _SINK + "_end_item", "after", "task", _first),
)
FINISHED = (
    Point("item finished, letter not ended", WORKER, _LEDGER + "seen", "before", "task", _finished,
          says="by an agent"),
    Point("item finished, letter ended", WORKER, _LEDGER + "seen", "after", "task", _finished, says="by an agent"),
)  # fmt: skip
POINTS = (*MADE, *DROPPED, *FINISHED)


class Play:
    """All rows, one after the other, in one bridge."""

    def __init__(self, stack: Stack) -> None:
        self._stack, self._victim = stack, Victim(stack, MODULE, (WORKER,))

    def row(self, point: Point, fault: str) -> Row:
        stack = self._stack
        stack.command("dead", "drop", "--all", "--yes")
        stack.settled()
        stack.sandbox("reset", {})
        stack.control(digital_channels={"mode": "refuse_text"})
        if point in MADE:
            died = self._victim.dies(point, fault, self._write)
            until(lambda: len(self._open()) >= LETTERS, "every letter has an item")
        else:
            self._write()
            until(lambda: self._open() and stack.books().work_items == LETTERS, "every letter has an item")
            died = self._victim.dies(point, fault, self._drop if point in DROPPED else self._finish)
            until(lambda: not self._open(), "no item is open")
        wanted = LETTERS if point in MADE else 0
        until(lambda: self._with_items() == wanted, f"{wanted} letters have an item")
        until(lambda: stack.books().dead_letters == wanted, f"{wanted} letters are left")
        books = stack.settled()
        items = stack.sandbox("items")
        letters = {item["data"]["Letter"] for item in items}
        wrong = {
            "missing": LETTERS - len(letters),
            "doubled": len(items) - len(letters),
            "not_discarded": sum(item["reason"] != "Discarded" for item in items) if point in DROPPED else 0,
            "difference": abs(books.difference),
            "broken_rules": len(stack.violations()),
        }
        return Row(WAY, point, fault, LETTERS, time.monotonic() - died, wrong)

    def _open(self) -> list[Any]:
        return [item for item in self._stack.sandbox("items") if item["state"] == "open"]

    def _write(self) -> None:
        for number in range(LETTERS):
            told = {
                "from": f"+{self._stack.new_number()}",
                "to": "+15557650123",
                "text": f"Text {number}",
                "wait": True,
            }
            assert self._stack.sandbox("consumer/sms", told)["state"] == "taken"

    def _drop(self) -> None:
        self._stack.command("dead", "drop", "--all", "--yes")

    def _finish(self) -> None:
        """By agents."""
        for item in self._open():
            self._stack.sandbox("item/done", {"external": item["external"]})
        self._with_items()

    def _with_items(self) -> int:
        """How many letters have an item; the time of the next look at them has come."""
        with self._stack.ledger() as connection:
            letters: Any = connection.zrange("dcb:work-items", 0, -1)
            if letters:
                connection.zadd("dcb:work-items", dict.fromkeys(letters, 0), xx=True)
        return self._stack.books().work_items


def play(chosen: Sequence[tuple[Point, str]], tell: Callable[[Row], object]) -> list[Row]:
    with Stack(items=True) as stack:
        return each(WAY, chosen, Play(stack).row, tell)


if __name__ == "__main__":
    sys.exit(main(POINTS, play))
