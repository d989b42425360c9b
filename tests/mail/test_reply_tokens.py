"""References in addresses: what is made is read, and nothing else is."""

from __future__ import annotations

import pytest

from dcbridge.mail.reply_tokens import LONGEST, LONGEST_LOCAL, Kind, ReplyTokens
from dcbridge.settings.process import DAY

KEY, OTHER = b"0123456789abcdef", b"fedcba9876543210"
TOKENS = ReplyTokens([KEY])
REF = "0123456789abcdef01234567"
NOW = 20_000 * DAY
UNTIL = NOW + 30 * DAY


@pytest.mark.parametrize("kind", ["r", "b"])
@pytest.mark.parametrize("ref", [REF, f"{REF}-1", f"{REF}-999999"])
@pytest.mark.parametrize("whole", [False, True])
def test_what_is_made_is_read(kind: Kind, ref: str, *, whole: bool) -> None:
    made = TOKENS.mailbox(kind, ref, UNTIL, "Care@Company.com", whole_local_part=whole)
    local, _, domain = made.rpartition("@")
    assert (local.startswith(kind if whole else f"Care+{kind}"), domain) == (True, "Company.com")
    assert len(local) <= LONGEST + 5
    assert TOKENS.mailbox(kind, ref, UNTIL, "Care@Company.com", whole_local_part=whole) == made, "the same each time"
    for written in (made, made.upper(), f" {made.lower()} "):
        assert TOKENS.ref_of(written, NOW) == ref
    assert TOKENS.ref_of(made, UNTIL) == ref, "on its last day"
    assert TOKENS.ref_of(made, UNTIL + DAY) == ""


def test_a_changed_letter_is_no_reference() -> None:
    made = TOKENS.mailbox("r", f"{REF}-12", UNTIL, "care@company.com")
    at = made.index("+") + 1
    for place in range(at, made.index("@")):
        for letter in "ab":
            forged = made[:place] + letter + made[place + 1 :]
            assert forged == made or TOKENS.ref_of(forged, NOW) == ""
    for wrong in ("", "care@company.com", "care+rabbit@company.com", made.replace("@", "a@"), made.replace("+", "")):
        assert TOKENS.ref_of(wrong, NOW) == ""
    assert TOKENS.ref_of(made.replace("+r", "+b"), NOW) == "", "it says what it is for"


def test_another_key_reads_nothing_and_the_earlier_one_is_kept() -> None:
    made = TOKENS.mailbox("r", REF, UNTIL, "care@company.com")
    sealed = TOKENS.seal(REF, "ana@example.org")
    assert b"ana" not in sealed
    new = ReplyTokens([OTHER])
    assert (new.ref_of(made, NOW), new.open(REF, sealed)) == ("", "")
    rotated = ReplyTokens([OTHER, KEY])
    assert (rotated.ref_of(made, NOW), rotated.open(REF, sealed)) == (REF, "ana@example.org")
    assert new.ref_of(rotated.mailbox("r", REF, UNTIL, "care@company.com"), NOW) == REF, "the first key makes them"
    assert rotated.open(f"{REF}-1", sealed) == "", "it is of this copy alone"
    assert rotated.open(REF, b"short") == ""


def test_a_mailbox_without_room_stays_as_it_is() -> None:
    longest = "x" * (LONGEST_LOCAL - LONGEST - 1)
    made = TOKENS.mailbox("r", f"{REF}-999999", UNTIL, f"{longest}@company.com")
    assert len(made.rpartition("@")[0]) == LONGEST_LOCAL
    assert TOKENS.mailbox("r", f"{REF}-1", UNTIL, f"{longest}y@company.com") == f"{longest}y@company.com"
    assert TOKENS.mailbox("r", "no reference", UNTIL, "care@company.com") == "care@company.com"
