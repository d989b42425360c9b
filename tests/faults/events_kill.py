"""kill -9 of the service and the worker at random while events fan out, three of five subscribers being sick.

python -m tests.faults.events_kill --events 10000 --seconds 90

Every event has to reach each well subscriber at least once, under the one id that its content gives it.
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime

from dcbridge.events.event import split
from dcbridge.ledger.reports.books import SubscriberBooks
from tests.faults.events import SICK, WELL, EventStack, Told, batches_of
from tests.stack import until


@dataclass
class Figures:
    """One storm. What must be 0 has no comment."""

    events: int = 0
    kills_of_service: int = 0  # …
    kills_of_worker: int = 0  # …
    webhooks_again: int = 0  # sent again by Digital Channels, since no 200 came
    heard: int = 0  # …events, each counted once a well subscriber, under the id that its content gives
    heard_of: int = 0  # …what that has to be
    told_again: int = 0  # requests to well subscribers with an id that they had heard: allowed when somebody is killed
    seconds_after_last_kill: float = 0.0  # until the well subscribers had everything
    never_told: int = 0
    unknown_ids: int = 0
    dead_or_dropped: int = 0  # of any subscriber
    books_difference: int = 0
    late: list[str] = field(default_factory=list)

    def wrong(self) -> list[str]:
        """What breaks a promise."""
        zero = ("never_told", "unknown_ids", "dead_or_dropped", "books_difference")
        return [f"{name} is {getattr(self, name)}" for name in zero if getattr(self, name)] + self.late

    def __str__(self) -> str:
        return "\n".join(
            f"{f.name.replace('_', ' '):>26} {round(getattr(self, f.name), 1)}"
            for f in fields(self)
            if f.name != "late"
        )


def storm(bridge: EventStack, events: int, seconds: float, seed: int = 1, patience: float = 180.0) -> Figures:
    """Tell of `events` over `seconds` and kill meanwhile; wait until the well subscribers have heard of all."""
    dice, figures = random.Random(seed), Figures(events=events)
    batches = batches_of(events // 2, per_batch=2)
    expected = {kept.event.id for body in batches for kept in split("main", body, datetime.now(UTC))[0]}
    told: list[Told] = []
    webhook = threading.Thread(target=lambda: told.append(bridge.tell(batches, seconds * 0.8)))
    webhook.start()
    end = time.monotonic() + seconds
    while time.monotonic() < end or webhook.is_alive():
        time.sleep(dice.uniform(0.3, 3.0))
        _kill(bridge, dice, figures)
    webhook.join()
    until(lambda: all(bridge.stack.is_ready(name) for name in ("service", "worker")), "everything is up")
    last_kill = time.monotonic()
    try:
        bridge.wait_for(events, patience)
        figures.seconds_after_last_kill = time.monotonic() - last_kill
        until(lambda: all(one.waiting == 0 for one in _well(bridge)), "nothing waits for the well ones", 60)
    except AssertionError as late:
        figures.late.append(str(late))
    for name in WELL:
        heard = [one[0] for one in bridge.heard(name)]
        figures.heard += len(expected & set(heard))
        figures.heard_of += len(expected)
        figures.never_told += len(expected - set(heard))
        figures.unknown_ids += len(set(heard) - expected)
        figures.told_again += len(heard) - len(set(heard))
    figures.webhooks_again = told[0].again
    figures.dead_or_dropped = sum(one.dead + one.dropped for one in bridge.stack.books().subscribers)
    figures.books_difference = sum(abs(one.difference) for one in bridge.stack.books().subscribers)
    return figures


def _well(bridge: EventStack) -> Iterator[SubscriberBooks]:
    yield from (one for one in bridge.stack.books().subscribers if one.name in WELL)


def _kill(bridge: EventStack, dice: random.Random, figures: Figures) -> None:
    """One of them, or both at once; it is missing for a moment, and not always waited for."""
    victims = dice.choice([("service",), ("worker",), ("worker",), ("service", "worker")])
    bridge.stack.kill(*victims)
    figures.kills_of_service += "service" in victims
    figures.kills_of_worker += "worker" in victims
    time.sleep(dice.uniform(0.0, 0.5))
    bridge.stack.start(*victims, wait=dice.random() < 0.7)


def main() -> int:
    """Print the figures; 1 when a promise was broken."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--events", type=int, default=10_000)
    options.add_argument("--seconds", type=float, default=90.0)
    options.add_argument("--seed", type=int, default=1)
    asked = options.parse_args()
    with EventStack(SICK) as bridge:
        figures = storm(bridge, asked.events, asked.seconds, asked.seed)
        print(figures)  # noqa: T201 (a script prints)
        for wrong in figures.wrong():
            print(f"wrong: {wrong}")  # noqa: T201
        print("every promise was kept" if not figures.wrong() else "a promise was broken")  # noqa: T201
    return 1 if figures.wrong() else 0


if __name__ == "__main__":
    sys.exit(main())
