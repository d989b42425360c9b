"""Both sides' books: in which of the four sets a message is, and why."""

from __future__ import annotations

from typing import Any

import pytest

from dcbridge.genesys.exports import KeptMessage
from dcbridge.ledger.reports.kept import OurMessage
from dcbridge.reconcile import (
    AT_THE_EDGE,
    NO_CHANNEL,
    NO_ID,
    SEVERAL,
    TOO_OLD,
    Comparison,
    Result,
)

SINCE, UNTIL, MIDDLE = 1_000_000.0, 1_010_000.0, 1_005_000.0


def ours(name: str, at: float = MIDDLE, channel: str = "a", ref: str = "") -> OurMessage:
    return OurMessage(ref or f"ref-{name}", "agent", channel, name, at, "delivered")


def theirs(*ids: str, at: float | None = MIDDLE, channel: str = "a") -> KeptMessage:
    return KeptMessage("f:1", "i", ids, channel, at)


def compared(mine: list[OurMessage], kept: list[KeptMessage], **changes: Any) -> Result:
    given: dict[str, Any] = {"since": SINCE, "until": UNTIL, "remembered": 0.0} | changes
    comparison = Comparison({"a", "b"}, given["since"], given["until"], 100, given["remembered"])
    for one in mine:
        comparison.ours(one)
    for other in kept:
        comparison.theirs(other)
    return comparison.result()


def counts(result: Result) -> tuple[int, int, int, int]:
    return result.both.count, result.only_ours.count, result.only_theirs.count, result.ambiguous.count


@pytest.mark.parametrize(
    ("mine", "kept", "sets", "why"),
    [
        ([ours("1")], [theirs("1")], (1, 0, 0, 0), ""),
        ([ours("1")], [theirs("x", "1")], (1, 0, 0, 0), ""),
        ([ours("1")], [theirs("1", channel="")], (1, 0, 0, 0), ""),
        ([ours("1"), ours("1", ref="ref-1-1")], [theirs("1")], (1, 0, 0, 0), ""),  # copies of one message
        ([ours("1")], [], (0, 1, 0, 0), ""),
        ([], [theirs("1")], (0, 0, 1, 0), ""),
        ([ours("1")], [theirs("2")], (0, 1, 1, 0), ""),
        ([ours("1")], [theirs("1", channel="b")], (0, 1, 1, 0), ""),
        ([ours("1"), ours("1", channel="b")], [theirs("1"), theirs("1", channel="b")], (2, 0, 0, 0), ""),
        ([], [theirs("1", at=None)], (0, 0, 1, 0), ""),
        ([], [theirs("1", channel="another")], (0, 0, 0, 0), ""),
        ([], [theirs("1", at=SINCE - 1)], (0, 0, 0, 0), ""),
        ([ours("1", at=SINCE - 1)], [theirs("1", at=SINCE - 1)], (1, 0, 0, 0), ""),
        ([ours("1", at=UNTIL)], [], (0, 0, 0, 0), ""),
        ([ours("1"), ours("1", channel="b")], [theirs("1", channel="")], (0, 0, 0, 3), SEVERAL),
        ([ours("1"), ours("2")], [theirs("1", "2")], (2, 0, 0, 1), SEVERAL),
        ([ours("1")], [theirs("1"), theirs("1")], (0, 0, 0, 1), "Genesys has it 2 times"),
        ([], [theirs("1", channel="")], (0, 0, 0, 1), NO_CHANNEL),
        ([ours("")], [], (0, 0, 0, 1), NO_ID),
        ([ours("", at=UNTIL)], [], (0, 0, 0, 0), ""),
    ],
)
def test_in_which_set_a_message_is(
    mine: list[OurMessage], kept: list[KeptMessage], sets: tuple[int, int, int, int], why: str
) -> None:
    result = compared(mine, kept)
    if sets[3] == 3:  # neither of ours was seen by itself
        assert counts(result) == (2, 0, 0, 1)
    else:
        assert counts(result) == sets
    assert result.differs == bool(sum(sets[1:]))
    if why:
        assert [one.why for one in result.ambiguous.first] == [why]


@pytest.mark.parametrize(
    ("mine", "kept"),
    [
        ([ours("1", at=SINCE + 59)], []),
        ([ours("1", at=UNTIL - 59)], []),
        ([], [theirs("1", at=SINCE + 59)]),
        ([], [theirs("1", at=UNTIL - 59)]),
    ],
)
def test_the_edge_of_the_period_is_no_difference(mine: list[OurMessage], kept: list[KeptMessage]) -> None:
    result = compared(mine, kept)
    assert (counts(result), result.differs) == ((0, 0, 0, 1), False)
    assert result.ambiguous.first[0].why == AT_THE_EDGE


def test_what_is_older_than_our_memory_is_not_missing() -> None:
    result = compared([], [theirs("1", at=MIDDLE - 1), theirs("2", at=MIDDLE)], remembered=MIDDLE)
    assert counts(result) == (0, 0, 1, 1)
    assert result.ambiguous.first[0].why == TOO_OLD


def test_without_a_period_it_is_that_of_the_export() -> None:
    mine = [ours("early", at=SINCE - 1), ours("late", at=UNTIL + 1), ours("missing"), ours("1", at=SINCE)]
    result = compared(mine, [theirs("1", at=SINCE), theirs("2", at=UNTIL)], since=None, until=None)
    assert counts(result) == (1, 1, 1, 0)
    assert result.only_ours.first[0].id == "missing"


def test_only_so_many_are_kept_of_each_set() -> None:
    comparison = Comparison({"a"}, SINCE, UNTIL, 2)
    for number in range(5):
        comparison.ours(ours(str(number)))
    result = comparison.result()
    assert (result.only_ours.count, len(result.only_ours.first)) == (5, 2)
