"""Texts that must not leave: paused, cancelled by a command that is killed, and the books add up."""

from __future__ import annotations

from tests.faults.wrong_texts import play
from tests.stack import Stack


def test_wrong_texts_are_cancelled_although_the_command_and_the_worker_are_killed() -> None:
    with Stack(providers={"twilio": {"pace": {"per_second": 10}}}) as stack:
        story = play(stack, 220, 5)
    assert story.faults == [], str(story)
    assert 0 < story.cancelled_by_the_killed_command <= story.cancelled
    assert story.receipts_failed_500 + story.receipts_delivered == 225
    assert story.receipts_delivered == story.sent + 5
