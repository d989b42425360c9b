"""One sick installation of those that `python -m tests.faults.sick_installations` shows, of real processes."""

from __future__ import annotations

from tests.faults.sick_installations import SICK, play


def test_an_installation_whose_receipts_are_refused_is_named_with_the_code() -> None:
    told = play("receipts are refused", SICK["receipts are refused"])
    assert told.faults == ()
    assert (told.key, told.code) == ("platform.refuses-receipts", 1)
    assert told.says.startswith("0123456789: receipts are refused (http 401) since 20")
