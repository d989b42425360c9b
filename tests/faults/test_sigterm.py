"""SIGTERM is every rolling deploy: it loses nothing and repeats nothing."""

from __future__ import annotations

from tests.faults.sigterm_loop import terminate_again_and_again

RESTARTS = 6


def test_restarts_of_the_only_worker_lose_and_repeat_nothing() -> None:
    report = terminate_again_and_again(RESTARTS, workers=1, rate=10)
    assert report.faults == [], str(report)
    assert report.exits == {0: RESTARTS}
    assert report.drained > 0
    assert report.verdict.accepted == report.verdict.delivered > 50
