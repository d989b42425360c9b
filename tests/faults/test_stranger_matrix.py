"""The matrix of what strangers cost with short waits: docs/security.md has the table of the whole one."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.faults.stranger_matrix import BEGIN, PAGE, Aims, Plan, play
from tests.faults.stranger_rows import Row, at_once, waiting, with_few_descriptors

# The aims of the matrix are for a quiet machine. Without a limit each of these costs a multiple, or stays for ever.
BUSY = Aims(memory=24.0, processor=0.5, health=5.0, honest=5.0, sockets=0)
# An honest request that is as slow as this is closed as well; on a busy machine half a second may pass in its midst.
LIMITS = (("DCBRIDGE_HEAD_TIMEOUT", "1.5"), ("DCBRIDGE_BODY_TIMEOUT", "1.5"), ("DCBRIDGE_IDLE_TIMEOUT", "1.5"))
SHORT = Plan(hold=3.5, calm=0.3, settings=LIMITS)
ON_OPERATORS = ("header lines", "a trailer", "3 × 1 MB", "40,000")  # the listener is the same


def test_a_stranger_costs_little_and_delays_nobody() -> None:
    groups: list[tuple[Sequence[Row], bool]] = [
        (at_once("public"), False),
        ([row for row in at_once("operator") if row.name.startswith(ON_OPERATORS)] + waiting("operator")[:2], False),
        ([row for row in at_once("worker") if row.name.startswith(ON_OPERATORS[:2])] + waiting("worker")[3:4], False),
        (waiting("public"), False),
        (with_few_descriptors(), True),
    ]
    with ThreadPoolExecutor(3) as threads:
        played = [threads.submit(play, rows, SHORT, few=few) for rows, few in groups]
        costs = [cost for one in played for cost in one.result()]
    assert len(costs) > 35
    assert {cost.row.title: over for cost in costs if (over := cost.over(BUSY))} == {}


def test_the_published_table_has_every_row() -> None:
    table = PAGE.read_text().partition(BEGIN)[2]
    rows = [row for listener in ("public", "operator", "worker") for row in at_once(listener) + waiting(listener)]
    assert [row.title for row in rows + with_few_descriptors() if f"| {row.title} |" not in table] == []
