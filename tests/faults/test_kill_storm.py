"""kill -9 of the service and the worker, again and again, while messages go through."""

from __future__ import annotations

from tests.faults.kill_storm import storm
from tests.stack import Stack


def test_every_message_ends_in_one_receipt_whoever_is_killed(own_stack: Stack) -> None:
    found = storm(own_stack, messages=300, seconds=15)
    assert found.kills_of_service >= 2
    assert found.kills_of_worker >= 2
    assert found.wrong() == [], str(found)
