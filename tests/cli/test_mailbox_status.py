"""IMAP mailboxes in `dcbridge status`: which words follow from what was noted of them."""

from __future__ import annotations

import pytest

from dcbridge.ledger.mailboxes import MailboxNote
from dcbridge.operations.mailboxes import MailboxStatus

GOOD = MailboxNote(contact_age=5.0, noted_age=5.0, waiting=0, left=0, error="")


@pytest.mark.parametrize(
    ("note", "says", "state"),
    [
        (GOOD, "", "ok"),
        (None, "nobody has looked into it; is dcbridge mail-in running?", "not looked into"),
        (MailboxNote(100.0, 2.0, 3, 0, "login refused"), "no mail is fetched (login refused)", "login refused"),
        (MailboxNote(179.0, 179.0, 0, 0, ""), "", "ok"),  # between two looks
        (MailboxNote(181.0, 181.0, 0, 0, ""), "looked into 3 min ago; is dcbridge mail-in running?", "ok"),
        (MailboxNote(5.0, 5.0, 0, 2, ""), "2 mails are left in it; see mail_left in the log", "ok"),
    ],
)
def test_what_is_wrong_with_a_mailbox(note: MailboxNote | None, says: str, state: str) -> None:
    one = MailboxStatus("company.com", "care", 60.0, note)
    assert one.problem == (f"mailbox care of company.com: {says}" if says else "")
    assert one.cells[:2] == ("company.com", "care")
    assert one.cells[-1] == state
