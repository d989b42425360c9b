"""The small versions of the soak: seconds instead of minutes, the same promises."""

from __future__ import annotations

from tests.faults.soak import MOVES_WITHIN, Plan, soak


def test_two_workers_are_killed_at_random_and_every_promise_holds() -> None:
    report = soak(Plan(conversations=60, seconds=12, rate=12, patience=90))
    assert report.faults == [], str(report)
    assert report.kills >= 2
    assert report.stranded["m"] > 0
    assert max(report.moved_after.values()) < MOVES_WITHIN
    assert report.verdict.accepted > 100
    assert report.verdict.consumer_messages > 10
    assert "The books balance." in report.books
    assert "workers, 3 queues" in report.rq_info


def test_a_redis_that_hangs_makes_no_outcome_doubtful() -> None:
    """It hangs for longer than a worker may be silent, with requests on the wire from before until after it."""
    report = soak(Plan(conversations=100, seconds=9, rate=8, hang=12, patience=90))
    assert report.faults == [], str(report)
    assert report.refused_while_hung >= 1
    assert report.verdict.accepted > 100


def test_a_redis_that_is_killed_under_load_comes_back_with_everything() -> None:
    """It is away for longer than a worker may be silent, with requests on the wire from before until after it."""
    report = soak(Plan(conversations=100, seconds=9, rate=8, redis_kills=2, patience=90))
    assert report.faults == [], str(report)
    assert report.redis_kills == 2
    assert report.verdict.accepted > 50
