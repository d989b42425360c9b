"""A provider that loses a fifth of its answers, beside another one; the full size is a command."""

from __future__ import annotations

import pytest

from tests.faults.lossy_provider import FIRST, SECOND, run


@pytest.mark.parametrize("lossy", [FIRST, SECOND])
def test_nothing_is_doubled_and_the_books_of_each_add_up(lossy: str) -> None:
    report = run(60, lossy)
    assert report.faults == []
    assert report.counts["unknown"] > 0  # answers were lost
    [mine] = [one for one in report.books.providers if one.name == lossy]
    if lossy == FIRST:  # it can be asked: each is found out
        assert (mine.unknown, report.books.delivered) == (0, 60)
    else:
        assert mine.unknown + mine.delivered == mine.accepted
