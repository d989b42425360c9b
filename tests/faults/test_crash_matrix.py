"""The crash matrix can be red: what is not reached, not proved or not allowed is told."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from tests.faults.crash_cell import CELLS, QUARTERS, Outcome, play, quarter
from tests.faults.crash_load import Findings, Unknown
from tests.faults.crash_points import FAULTS, KILL, POINTS, owner_of
from tests.faults.crash_stack import CrashStack

CELL = CELLS[0]


def test_the_suite_plays_every_point_killed_and_every_fault() -> None:
    played = [cell for number in range(QUARTERS) for cell in quarter(number)]
    assert {cell.point.name for cell in played if cell.fault == KILL} == {point.name for point in POINTS}
    assert {cell.fault for cell in played} == set(FAULTS)
    assert set(played) <= set(CELLS)
    assert len({point.name for point in POINTS}) == len(POINTS)


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.name)
def test_a_point_is_a_function_of_the_product(point: Any) -> None:
    owner, name = owner_of(point.at)
    assert callable(getattr(owner, name))


def test_a_message_that_passes_its_point_by_is_followed_by_another_one_until_the_cell_is_red() -> None:
    assert CELL.point.alone
    with CrashStack() as stack:
        assert play(stack, replace(CELL, point=replace(CELL.point, nth=2))).wrong() == []
        never = play(stack, replace(CELL, point=replace(CELL.point, nth=1000)), patience=3.0)
    assert "the point was not reached" in never.wrong()


def test_a_cell_without_a_proof_or_a_movement_is_red() -> None:
    assert "the fault did not happen" in Outcome(CELL, subject="x", moved=1.0).wrong()
    assert "the interrupted message did not move" in Outcome(CELL, subject="x", proof="exit code -9").wrong()
    assert Outcome(CELL, subject="x", proof="exit code -9", moved=1.0).wrong() == []


def test_every_finding_but_what_is_allowed_is_red() -> None:
    allowed = {"messages", "accepted", "sends", "counts", "violations"}
    allowed |= {"posted_twice_unknown", "receipts_repeated_unknown"}
    for found in fields(Findings):
        if found.name not in allowed:
            one: dict[str, Any] = {found.name: 1}
            assert Findings(**one).wrong() == [f"{found.name.replace('_', ' ')}: 1"]
    assert Findings(violations=["a rule"]).wrong() == ["a rule"]


def line(what: str, when: str, subject: str, pid: int = 1, at: float = 5.0) -> dict[str, Any]:
    return {"what": what, "when": when, "subject": subject, "pid": pid, "at": at}


def test_receipts_and_posts_that_a_lost_process_had_not_noted() -> None:
    lines = [line("receipts", "begins", "m-1 m-2"), line("receipts noted", "done", "ref-1")]
    told = Unknown([*lines, line("posted", "begins", "c-1"), line("posted", "begins", "c-2")], lost=1, at=7.0)
    assert [told.receipt(f"m-{n}", f"ref-{n}") for n in (1, 2, 3)] == [False, True, False]
    assert told.posts == 2
    noted = Unknown([line("posted", "begins", "c-1"), line("posted noted", "done", "c-1")], lost=1, at=7.0)
    assert noted.posts == 0
