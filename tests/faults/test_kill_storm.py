"""kill -9 of the service and the worker, again and again, while messages go through."""

from __future__ import annotations

from tests.faults.kill_storm import storm
from tests.stack import Stack


def test_every_message_ends_in_one_receipt_whoever_is_killed(own_stack: Stack) -> None:
    figures = storm(own_stack, messages=300, seconds=15)
    assert figures.kills_of_service >= 2
    assert figures.kills_of_worker >= 2
    assert figures.wrong() == [], str(figures)
