"""Numbers at the provider's edge, both ways."""

from __future__ import annotations

import re
import tracemalloc

import phonenumbers
import pytest

from dcbridge.errors import Refused
from dcbridge.messages import Reason
from dcbridge.providers.phone import (
    Senders,
    address_key,
    consumer_id,
    is_blank,
    own_number,
    recipient,
    sender_id,
    spellings,
    to_e164,
)


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
        ("16504661149", "DE", "+16504661149"),  # as Digital Channels writes it, and no number of Germany
        ("81234567", "SG", "+6581234567"),
        ("5215512345678", None, "+5215512345678"),  # a Mexican mobile number as many providers write it
        ("5491123456789", None, "+5491123456789"),
        ("tel:+1-650-466-1149", None, "+16504661149"),
        ("١٦٥٠٤٦٦١١٤٩", None, "+16504661149"),
        ("＋１（６５０）４６６－１１４９", None, "+16504661149"),
        ("\u202a+1\u00a0650\u2011466\u20131149\u202c", None, "+16504661149"),
        ("+44 (0)20 7946 0958", None, "+442079460958"),
        ("(+44) 20 7946 0958", None, "+442079460958"),
    ],
)
def test_a_number_becomes_e164(number: str, region: str | None, expected: str) -> None:
    assert to_e164(number, region) == expected


@pytest.mark.parametrize("region", [None, *phonenumbers.COUNTRY_CODE_TO_REGION_CODE[1]])
def test_numbers_of_north_america_are_read_without_the_library_as_it_reads_them(region: str | None) -> None:
    for area in range(200, 1000, 3):
        number = f"1{area}{area * 7919 % 10_000_000:07}"
        parsed = phonenumbers.parse(f"+{number}")
        assert phonenumbers.is_possible_number_with_reason(parsed) == phonenumbers.ValidationResult.IS_POSSIBLE
        assert to_e164(number, region) == phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
        if region is not None:
            parsed = phonenumbers.parse(number, region)
            assert to_e164(number, region) == phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("", "16504661149"),
        ("1650466114", "16504661149"),
        ("165046611490", "16504661149"),
        ("06504661149", "16504661149"),
        ("1650466114x", "16504661149"),
        ("++16504661149", "+16504661149"),
        ("+14661149", "+16504661149"),  # a local number without its area code
        ("12345", "16504661149"),
        ("ana@example.com", "16504661149"),
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


TWILIO = Senders(short_codes=True, names=True, prefixes=frozenset({"whatsapp:", "messenger:"}))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("+16504661149", "16504661149"),
        ("16504661149", "16504661149"),
        (" 16504661149", "16504661149"),  # a plus in a query that nobody encoded
        ("\u200b+1650\u2060466\ufeff1149\u00ad", "16504661149"),
        ("\u202a+1 (650) 466-1149\u202c", "16504661149"),
        ("+5215512345678", "5215512345678"),
        ("+5491123456789", "5491123456789"),
        ("+447911123456", "447911123456"),
        ("12345", "12345"),
        ("ACME", "ACME"),
        ("+ACME", "+ACME"),
        ("whatsapp:+16504661149", "whatsapp:+16504661149"),
        ("whatsapp:+5215512345678", "whatsapp:+5215512345678"),
        ("messenger:1234567890123456", "messenger:1234567890123456"),
        ("+1555", "+1555"),  # without its plus it would be a short code
        ("+21012345678", "+21012345678"),  # of a network that our data does not know
        ("", ""),
    ],
)
def test_what_a_provider_calls_a_consumer_can_be_answered(theirs: str, ours: str) -> None:
    assert consumer_id(theirs) == ours
    if theirs not in ("", "+ACME", "+1555"):
        sent_to = recipient(ours, None, TWILIO.prefixes)
        assert address_key(sent_to) == address_key(theirs)
        assert sent_to.startswith("+") == ("+" in theirs and ":" not in theirs) or theirs.strip() == "16504661149"


@pytest.mark.parametrize(
    ("theirs", "region", "ours"),
    [
        ("+6562636645", "US", "+6562636645"),  # Singapore; 656 is an area code of Florida, too
        ("+6562636645", None, "6562636645"),
        ("+16562636645", "US", "16562636645"),
        ("+16504661149", "DE", "16504661149"),
        ("+6581234567", "SG", "6581234567"),
    ],
)
def test_an_answer_goes_where_the_message_came_from_whatever_the_region(
    theirs: str, region: str | None, ours: str
) -> None:
    assert consumer_id(theirs, region) == ours
    assert recipient(ours, region) == theirs
    assert consumer_id(consumer_id(theirs), region) == ours


@pytest.mark.parametrize("wrong", ["", " ", "\u200b", "+", "+1", "ana@example.com", "1650466114x", "1650466114",
    "165046611490", "1800FLOWERS", "sip:+16504661149", "whatsapp:", "whatsapp:+1 650 x", "16504661149;ext=1",
    "++16504661149", "1" * 100_000, "+1" + "\u200b" * 300 + "6504661149"])  # fmt: skip
def test_what_cannot_be_an_address_is_refused(wrong: str) -> None:
    with pytest.raises(Refused) as refused:
        recipient(wrong, None, TWILIO.prefixes)
    assert refused.value.reason is Reason.INVALID_DESTINATION


# ---------------------------------------------------------------- our own


@pytest.mark.parametrize(
    ("written", "region", "sent_from"),
    [
        ("+1 555 000 0001", None, "+15550000001"),
        ("+1-555-000-0001", None, "+15550000001"),
        ("+1.555.000.0001", None, "+15550000001"),
        ("+1 (555) 000-0001", None, "+15550000001"),
        ("15550000001", None, "+15550000001"),
        ("0015550000001", None, "+15550000001"),
        ("00 44 20 7946 0958", None, "+442079460958"),
        ("07911 123456", "GB", "+447911123456"),
        ("5550000001", "US", "+15550000001"),
        ("81234567", "SG", "+6581234567"),
        ("＋１５５５０００００01", None, "+15550000001"),
        ("\ufeff+1\u200b555\u202a000\u00ad0001\u202c\u00a0", None, "+15550000001"),
        ("+1\u00a0555\u2009000\u20110001", None, "+15550000001"),
        ("tel:+1-555-000-0001", None, "+15550000001"),
        ("+5215512345678", None, "+5215512345678"),
        ("12345", None, "12345"),
        ("12345", "DE", "12345"),
        ("Acme", None, "Acme"),
        ("ACME Bank 24".removesuffix(" 24"), None, "ACME Bank"),
        ("7-Eleven", None, "7-Eleven"),
        ("whatsapp:+1 555 000 0001", None, "whatsapp:+15550000001"),
        ("WhatsApp:15550000001", None, "whatsapp:+15550000001"),
        ("messenger:acme.page", None, "messenger:acme.page"),
    ],
)
def test_our_own_number_has_one_spelling(written: str, region: str | None, sent_from: str) -> None:
    assert own_number(written, region, TWILIO) == sent_from
    assert own_number(sent_from, region, TWILIO) == sent_from
    assert address_key(written, region) == address_key(sent_from)


@pytest.mark.parametrize(
    ("written", "region", "says"),
    [
        ("“+15550000001”", None, "has a quotation mark in it"),
        ("+15550000001’", None, "has a quotation mark in it"),
        ("'+15550000001'", None, "has a quotation mark in it"),
        ("+1555CALLNOW", None, "has letters among its digits"),
        ("1800FLOWERS", None, "has letters among its digits"),
        ("1-800-FLOWERS", None, "has letters among its digits"),
        ("+1 555 000 000l", None, "has letters among its digits"),
        ("+1 555 OOO 0001", None, "has letters among its digits"),
        ("1.5550000001e+10", None, "has letters among its digits"),
        ("+1 555 000 0001 (Support)", None, "has letters among its digits"),
        ("tel:+15550000001;ext=12", None, "has an extension"),
        ("+15550000001 x12", None, "has an extension"),
        ("+15550000001 ext. 12", None, "has an extension"),
        ("+15550000001#12", None, "has an extension"),
        ("07911 123456", None, "has no country code: write it with one, such as '+15557650123', or set default_region"),
        ("0123456789", None, "has no country code"),
        ("5550000001", None, "is no number with a country code"),  # of Brazil, or of the United States?
        ("6504661149", None, "is no number with a country code"),
        ("123456789", None, "is no number with a country code"),
        ("15550000001.0", None, "is no number with a country code"),
        ("123456789", "US", "is no number in US or with a country code"),
        ("+1555000000", None, "has too few digits"),
        ("+155500000011", None, "has too many digits"),
        ("+44 20 7946 09588", None, "has too many digits"),
        ("+15550000001, +15550000002", None, "should be one number"),
        ("+15550000001; +15550000002", None, "should be one number"),
        ("+15550000001 / +15550000002", None, "should be one number"),
        ("Support +15550000001", None, "should be a number with its country code"),
        ("Äcme", None, "should be a number with its country code"),
        ("ACME Bank 2024 Ltd", None, "should be a number with its country code"),
        ("care@company.com", None, "should be a number with its country code"),
        ("sip:+15550000001", None, "should be a number with its country code"),
        ("\u200b", None, "has nothing that can be seen"),
    ],
)
def test_what_cannot_be_sent_from_is_refused_with_its_fix(written: str, region: str | None, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)) as refused:
        own_number(written, region, TWILIO)
    assert written not in str(refused.value)


@pytest.mark.parametrize("written", ["12345", "Acme", "whatsapp:+15550000001"])
def test_a_kind_that_sends_from_numbers_alone_takes_nothing_else(written: str) -> None:
    assert own_number("+1 555 000 0001", None, Senders()) == "+15550000001"
    with pytest.raises(ValueError, match=r"write a number|write one|should be a number"):
        own_number(written, None, Senders())


@pytest.mark.parametrize(("one", "other"), [("+525512345678", "+5215512345678"),
    ("+541123456789", "+5491123456789"), ("15550000001", "+1 555 000 0001"), ("Acme", "ACME"),
    ("whatsapp:+15550000001", "WhatsApp:15550000001")])  # fmt: skip
def test_two_spellings_of_one_number_have_one_key(one: str, other: str) -> None:
    assert address_key(one) == address_key(other)
    assert address_key(one) != address_key(one[:-1] + "0")


def test_an_address_is_looked_for_in_every_spelling() -> None:
    for typed in ("+44 7911 123456", "07911 123456", "447911123456"):
        assert {"447911123456", "+447911123456", "07911123456"} <= set(spellings(typed, "GB"))
    assert "whatsapp:+16504661149" in spellings("whatsapp:+1 650 466 1149")
    assert spellings("Reader@Somewhere.example") == ["Reader@Somewhere.example", "reader@somewhere.example"]


@pytest.mark.parametrize(
    "text", ["", " ", "\r\n\t", "\u00a0\u3000", "\u200b\u200d\ufeff", "\u2800", "\u3164", "\ufe0f", "\u00ad"]
)
def test_a_text_of_nothing_that_can_be_seen_is_blank(text: str) -> None:
    assert is_blank(text)
    assert not is_blank(f"{text}.{text}")


def test_what_is_too_long_to_be_a_number_is_not_kept() -> None:
    def read(fill: str) -> None:
        for n in range(50):
            address_key(f"+{n}{fill * 20_000}")
            consumer_id(f"{n}{fill * 20_000}", "US")

    read("1")
    tracemalloc.start()
    read("2")
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 500_000  # of two million characters
