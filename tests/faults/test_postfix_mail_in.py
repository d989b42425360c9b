"""Real Postfix delivers mail by LMTP, while `dcbridge mail-in` and then Redis are away for a moment."""

from __future__ import annotations

import pytest

from tests.faults.postfix import why_not
from tests.faults.postfix_mail_in import play


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can be run")
def test_no_mail_is_lost_and_none_comes_twice() -> None:
    found = play(away=2.0, mails=20)
    assert found.deferred > 0
    assert (found.lost, found.twice, found.bounced) == (0, 0, 0), found
