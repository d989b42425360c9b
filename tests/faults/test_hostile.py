"""A few thousand hostile requests; benchmarks/hostile.py sends a hundred thousand."""

from __future__ import annotations

from benchmarks.hostile import run


def test_hostile_requests_are_refused_and_good_ones_in_between_are_taken() -> None:
    report = run(3000, bigs=4)
    assert report.wrong == []
    assert report.good == 6
    assert report.requests > 3000
    assert len(report.answers) >= 13
