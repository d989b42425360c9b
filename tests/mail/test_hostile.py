"""No mail takes long, whatever it is made of; the figures are printed by `python -m tests.mail.hostile`."""

from __future__ import annotations

import pytest

from tests.mail.hostile import cost_of, mails

ENOUGH = 10.0  # seconds of processor time on a busy machine; the worst takes one on an idle one


MAILS = dict(mails())


@pytest.mark.parametrize("name", MAILS)
def test_the_worst_mails_are_read(name: str) -> None:
    raw = MAILS[name]()
    seconds, found = cost_of(raw)
    assert seconds < ENOUGH
    assert "text" in found.whole or found.cut or b"text" not in raw[-10:]
