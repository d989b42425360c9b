"""Numbers at the provider's edge, both ways."""

from __future__ import annotations

import pytest

from bridge.errors import Refused
from bridge.messages import Reason
from bridge.phone import from_e164, sender_id, to_e164


@pytest.mark.parametrize(
    ("number", "region", "expected"),
    [
        ("16504661149", None, "+16504661149"),
        ("+16504661149", None, "+16504661149"),
        ("0016504661149", None, "+16504661149"),
        ("+1 (650) 466-1149", None, "+16504661149"),
        (" 447911123456 ", None, "+447911123456"),
        ("390612345678", None, "+390612345678"),  # Italy keeps its zero
        ("6504661149", "US", "+16504661149"),
        ("16504661149", "US", "+16504661149"),
        ("07911123456", "GB", "+447911123456"),
        ("447911123456", "US", "+447911123456"),  # too long for the region: international
        ("+447911123456", "US", "+447911123456"),
    ],
)
def test_a_number_becomes_e164(number: str, region: str | None, expected: str) -> None:
    assert to_e164(number, region) == expected


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("", "16504661149"),
        ("1650466114", "16504661149"),
        ("165046611490", "16504661149"),
        ("06504661149", "16504661149"),
        ("1650466114x", "16504661149"),
        ("++16504661149", "+16504661149"),
        ("١٦٥٠٤٦٦١١٤٩", "16504661149"),
        ("+14661149", "+16504661149"),  # a local number without its area code
        ("12345", "16504661149"),
        ("ana@example.com", "16504661149"),
        ("tel:16504661149", "16504661149"),
        ("16504661149;ext=1", "16504661149"),
        ("1800FLOWERS", "18003569377"),
        ("1" * 100_000, "16504661149"),
    ],
)
def test_what_is_no_number_is_refused_without_being_quoted(wrong: str, right: str) -> None:
    with pytest.raises(Refused) as refused:
        to_e164(wrong)
    assert refused.value.reason is Reason.INVALID_DESTINATION
    assert not wrong or wrong not in str(refused.value)
    assert to_e164(right).startswith("+1")


@pytest.mark.parametrize(
    ("sender", "expected"),
    [("16504661149", "+16504661149"), ("12345", "12345"), ("898989", "898989"), ("ACME", "ACME"), ("", "")],
)
def test_senders_that_are_no_numbers_stay(sender: str, expected: str) -> None:
    assert sender_id(sender) == expected


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("+16504661149", "16504661149"),
        ("16504661149", "16504661149"),
        ("12345", "12345"),
        ("ACME", "ACME"),
        ("+ACME", "+ACME"),
        ("whatsapp:+16504661149", "whatsapp:+16504661149"),
        ("", ""),
    ],
)
def test_the_way_back_drops_the_plus(theirs: str, ours: str) -> None:
    assert from_e164(theirs) == ours
