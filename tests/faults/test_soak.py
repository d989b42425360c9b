"""The small versions of the soak: seconds instead of minutes, the same promises."""

from __future__ import annotations

from tests.faults.soak import MOVES_WITHIN, SANDBOX, Plan, as_shipped, channel_as_shipped, soak
from tests.stack import SMS, Stack


def test_two_workers_are_killed_at_random_and_every_promise_holds() -> None:
    with Stack(sandbox=SANDBOX | {"slow_answer": 1.0}, workers=2) as stack:
        report = soak(stack, Plan(conversations=60, seconds=12, rate=20, patience=60))
    assert report.faults == [], str(report)
    assert report.kills >= 2
    assert report.stranded["m"] > 0
    assert max(report.moved_after.values()) < MOVES_WITHIN
    assert report.verdict.accepted > 150
    assert report.verdict.consumer_messages > 20
    assert "The books balance." in report.books
    assert "2 workers" in report.rq_info or "jobs:" in report.rq_info


def test_a_redis_that_hangs_makes_no_outcome_doubtful() -> None:
    """As shipped: the hang is longer than a worker may be silent, and shorter than a lease."""
    with Stack(
        settings=as_shipped(), sandbox=SANDBOX, channels={SMS: channel_as_shipped()}, workers=2
    ) as stack:  # fmt: skip
        report = soak(stack, Plan(conversations=60, seconds=6, rate=20, hang=12, patience=60))
    assert report.faults == [], str(report)
    assert report.refused_while_hung >= 1
    assert report.verdict.accepted > 100


def test_a_redis_that_is_killed_under_load_comes_back_with_everything() -> None:
    with Stack(sandbox=SANDBOX | {"slow_answer": 1.0}, workers=2) as stack:
        report = soak(stack, Plan(conversations=60, seconds=9, rate=20, redis_kills=3, patience=60))
    assert report.faults == [], str(report)
    assert report.redis_kills == 3
    assert report.verdict.accepted > 150
