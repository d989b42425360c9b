"""What the rows of a provider's list mean for a message that has no id yet."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcbridge.messages import MessageStatus, Reason, UpdateStatus
from dcbridge.providers.base import ListedMessage
from dcbridge.providers.lookup import CannotTell, Found, NotThere, judge, name_of

MINE, OTHER = name_of("a" * 24, 0), name_of("b" * 24, 0)
SENT, DELIVERED, FAILED, REMOVED = (
    UpdateStatus.SENT,
    UpdateStatus.DELIVERED,
    UpdateStatus.FAILED,
    UpdateStatus.REMOVED,
)


def row(sid: str, status: UpdateStatus = SENT, *, same: bool = True) -> ListedMessage:
    reason = Reason.INVALID_DESTINATION if status is FAILED else None
    return ListedMessage(MessageStatus(sid, status, reason), same)


S1, S2, S3 = row("S1"), row("S2"), row("S3")
ELSE = row("S9", same=False)

# rows, whose they are, how many requests went out, the list was read to its end; then ids that are found, or a word
TABLE: list[tuple[str, list[ListedMessage], dict[str, str], int, bool, object]] = [
    ("nothing at all", [], {}, 1, True, NotThere()),
    ("nothing so far", [], {}, 1, False, CannotTell("the list is too long")),
    ("one", [S1], {}, 1, True, ("S1",)),
    ("one, and the list goes on", [S1], {}, 1, False, ("S1",)),
    ("one that is another message's", [S1], {"S1": OTHER}, 1, True, NotThere()),
    ("another message's, and the list goes on", [S1], {"S1": OTHER}, 1, False, CannotTell("the list is too long")),
    ("another part's of the same message", [S1], {"S1": name_of("a" * 24, 1)}, 1, True, NotThere()),
    ("one that is ours already", [S1], {"S1": MINE}, 1, True, ("S1",)),
    ("two, one of them another's", [S1, S2], {"S1": OTHER}, 1, True, ("S2",)),
    ("two for one request", [S1, S2], {}, 1, True, CannotTell("several with this text")),
    ("two for two requests", [S1, S2], {}, 2, True, ("S1", "S2")),
    ("one for two requests", [S1], {}, 2, True, ("S1",)),
    ("three for two requests", [S1, S2, S3], {}, 2, True, CannotTell("several with this text")),
    ("three for two, one another's", [S1, S2, S3], {"S2": OTHER}, 2, True, ("S1", "S3")),
    ("the same row on two pages", [S1, S1], {}, 1, True, ("S1",)),
    ("another text that is nobody's", [ELSE], {}, 1, True, CannotTell("one with another text")),
    ("another text that is another's", [ELSE], {"S9": OTHER}, 1, True, NotThere()),
    ("another text beside ours", [ELSE, S1], {}, 1, True, ("S1",)),
    ("another text beside another's same", [ELSE, S1], {"S1": OTHER}, 1, True, CannotTell("one with another text")),
    ("no request is known to be open", [S1], {}, 0, True, CannotTell("several with this text")),
]


@pytest.mark.parametrize(
    ("rows", "whose", "requests", "complete", "then"), [r[1:] for r in TABLE], ids=[r[0] for r in TABLE]
)
def test_what_the_rows_mean(
    rows: list[ListedMessage], whose: dict[str, str], requests: int, complete: bool, then: Any
) -> None:
    verdict = judge(rows, whose, MINE, requests, complete=complete)
    assert (verdict.ids if isinstance(verdict, Found) else verdict) == then


@pytest.mark.parametrize(
    ("statuses", "speaks"),
    [
        ((SENT, DELIVERED), DELIVERED),
        ((DELIVERED, FAILED), DELIVERED),
        ((FAILED, SENT), SENT),
        ((FAILED, FAILED), FAILED),
        ((REMOVED, FAILED), REMOVED),
    ],
)
def test_of_several_that_are_ours_the_one_that_got_furthest_speaks(
    statuses: tuple[UpdateStatus, ...], speaks: UpdateStatus
) -> None:
    rows = [row(f"S{n}", status) for n, status in enumerate(statuses)]
    verdict = judge(rows, {}, MINE, len(rows), complete=True)
    assert isinstance(verdict, Found)
    assert verdict.reported.status is speaks
    assert verdict.ids[0] == verdict.reported.provider_id
    assert sorted(verdict.ids) == sorted(r.reported.provider_id for r in rows)


ROWS = st.lists(st.builds(row, st.sampled_from(["S1", "S2", "S3", "S4"]), same=st.booleans()), max_size=6)
WHOSE = st.dictionaries(st.sampled_from(["S1", "S2", "S3", "S4"]), st.sampled_from([MINE, OTHER]))


@given(ROWS, WHOSE, st.integers(0, 3), st.booleans())
def test_no_message_is_ever_given_anothers_row_nor_called_absent_while_there_may_be_one(
    rows: list[ListedMessage], whose: dict[str, str], requests: int, complete: bool
) -> None:
    verdict = judge(rows, whose, MINE, requests, complete=complete)
    if isinstance(verdict, Found):
        assert all(whose.get(sid, MINE) == MINE for sid in verdict.ids)
        assert 1 <= len(verdict.ids) <= requests
    if isinstance(verdict, NotThere):
        assert complete
        assert all(whose.get(r.reported.provider_id) == OTHER for r in rows)
