"""Real Postfix posts its reports by our recipe while the service is away for a moment."""

from __future__ import annotations

import pytest

from tests.faults.postfix import why_not
from tests.faults.postfix_reports import ANA, BOB, JOSE, JURGEN, play


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can be run")
@pytest.mark.parametrize("smtputf8", [True, False], ids=["with SMTPUTF8", "without SMTPUTF8"])
def test_no_report_is_lost_and_no_secret_is_told(smtputf8: bool) -> None:
    found = play(away=2.0, emails=2, smtputf8=smtputf8)
    beyond = ("Delivered", "530") if smtputf8 else ("530", "530")
    assert found.ended == {ANA: "Delivered", BOB: "530", JOSE: beyond[0], JURGEN: beyond[1]}, found
    assert found.waited > 0
    assert found.command_lines_seen > 0
    assert (found.lost, found.dead_letters, found.kept) == (0, 0, 0)
    assert (found.secrets_in_log, found.secrets_in_command_lines) == (0, 0)
