"""Some rows of the crash matrix's other ways, and that a row can be red; `tests.faults.crash_matrix --ways` has all."""

from __future__ import annotations

import pytest

from tests.faults import call_crashes, crash_rows, crash_table, item_crashes, mail_crashes
from tests.faults.crash_matrix import WAYS
from tests.faults.crash_points import KILL, Point, owner_of
from tests.faults.crash_rows import Row, each
from tests.stack import Stack

POINTS = {point.name: point for way in WAYS for point in way.POINTS}
MAILS = ("LMTP: stored, not acknowledged", "IMAP: stored, not marked", "attachment uploaded, not noted")
CALLS = ("call booked, not noted",)
ITEMS = ("item made, not noted", "letter dropped, item not ended")


def test_no_mail_is_lost_or_doubled() -> None:
    rows = mail_crashes.play([(POINTS[name], KILL) for name in MAILS], print)
    assert [str(row) for row in rows if not row.good] == []
    assert len(rows) == len(MAILS)


def test_every_letter_has_one_item_and_no_call_is_booked_twice() -> None:
    """In one bridge: a start of it costs more than a row."""
    with Stack(items=True, own=True) as stack:
        rows = each(item_crashes.WAY, [(POINTS[name], KILL) for name in ITEMS], item_crashes.Play(stack).row, print)
        rows += each(call_crashes.WAY, [(POINTS[name], KILL) for name in CALLS], call_crashes.Play(stack).row, print)
    assert [str(row) for row in rows if not row.good] == []
    assert len(rows) == len(ITEMS) + len(CALLS)


@pytest.mark.parametrize("point", POINTS.values(), ids=lambda point: point.name)
def test_a_point_is_a_function_of_the_product(point: Point) -> None:
    owner, name = owner_of(point.at)
    assert callable(getattr(owner, name))


def test_a_row_is_red_for_anything_that_is_wrong_and_the_page_says_what() -> None:
    point = mail_crashes.POINTS[0]
    good = Row("mail", point, KILL, 5, 1.23, {"lost": 0, "twice": 0}, excused=1)
    bad = Row("mail", point, "TERM", 5, 1.23, {"lost": 0, "twice": 2})
    assert (good.good, bad.good, str(bad)) == (True, False, f"mail, {point.name}-TERM: twice: 2")
    text = crash_rows.markdown([good, bad])
    assert f"| mail | {point.name} | 1.2 s, 1 posted twice | **red**: twice: 2 |" in text
    assert (
        "1 of 2 cells green; 5 mails, letters, calls and texts in them: none lost but as a point says, 1 twice." in text
    )


def test_a_row_that_does_not_end_is_red_and_the_last() -> None:
    def row(point: Point, fault: str) -> Row:
        raise AssertionError(f"every mail reaches the agent: not within 90 s\n{point}")

    chosen = [(mail_crashes.POINTS[0], KILL)] * 2
    assert [one.bad for one in crash_rows.each("mail", chosen, row, print)] == [
        "not in time: every mail reaches the agent: 1"
    ]


def test_the_page_has_a_place_for_both_tables() -> None:
    from tests.faults.crash_matrix import PAGE

    page = PAGE.read_text(encoding="utf-8")
    for mark in (crash_table.BEGIN, crash_table.END, crash_table.WAYS_BEGIN, crash_table.WAYS_END):
        assert page.count(mark) == 1
    for point in POINTS.values():
        assert f"| {point.name}" in page
