"""Whom dcbridge writes to by itself: nobody whose number earns with each text."""

from __future__ import annotations

import pytest

from dcbridge.config.models import Channel
from dcbridge.config.own_messages import OwnMessages
from dcbridge.own_messages import may_be_contacted


@pytest.mark.parametrize(
    ("consumer", "region", "countries", "may"),
    [
        ("16504661149", None, (), True),
        ("+16504661149", None, ("US", "CA"), True),
        ("16504661149", None, ("CA",), False),
        ("4915123456789", None, ("US",), False),
        ("4915123456789", "DE", ("DE",), True),
        ("015123456789", "DE", ("DE",), True),
        ("whatsapp:+4915123456789", None, ("US",), False),
        ("whatsapp:+4915123456789", None, (), True),
        ("messenger:1234567890", None, (), True),
        ("messenger:some-name", None, ("US",), False),
        ("8816 1234 5678", None, (), False),  # Iridium
        ("870773123456", None, (), False),  # Inmarsat
        ("88213123456789", None, (), False),  # an international network
        ("88213123456789", None, ("US",), False),
        ("97912345678", None, (), False),  # international premium rate
        ("80012345678", None, (), False),
        ("19005551234", None, (), False),  # premium rate of a country
        ("44909879000011", None, (), False),
        ("449098790000", None, (), False),
        ("09001234567", "DE", (), False),
        ("999123456789", None, (), False),  # of nobody
        ("12345", None, (), False),
        ("ACME", None, (), False),
        ("", None, (), False),
        ("x" * 100_000, None, (), False),
    ],
)
def test_who_is_written_to(consumer: str, region: str | None, countries: tuple[str, ...], may: bool) -> None:
    own = OwnMessages(countries=countries) if countries else None
    channel = Channel.model_construct(type="sms", provider="acme", default_region=region, own_messages=own)
    assert may_be_contacted(channel, consumer) is may


@pytest.mark.parametrize(
    ("number", "region", "countries", "reached"),
    [
        ("+15557650123", None, (), "US CA"),
        ("+14165550123", None, (), "US CA"),
        ("+4930901820", None, (), "DE"),
        ("+4930901820", "AT", (), "DE AT"),
        ("+15557650123", None, ("DE",), "DE"),
        ("+15557650123", None, ("all",), "US CA DE AT JM"),
        ("ACME", None, (), "US CA DE AT JM"),
        ("ACME", "DE", (), "DE"),
        ("12345", None, (), "US CA DE AT JM"),
        (None, None, (), "US CA DE AT JM"),
    ],
)
def test_the_countries_of_a_channel_are_those_of_its_number(
    number: str | None, region: str | None, countries: tuple[str, ...], reached: str
) -> None:
    own = OwnMessages.model_validate({"countries": countries})
    channel = Channel.model_construct(
        type="sms", provider="acme", number=number, default_region=region, own_messages=own
    )
    consumers = {
        "US": "+16504661149", "CA": "+14165551234", "DE": "+4915123456789", "AT": "+436641234567", "JM": "+18765551234",
    }  # fmt: skip
    assert [name for name, one in consumers.items() if may_be_contacted(channel, one)] == reached.split()
    assert may_be_contacted(channel, "whatsapp:+436641234567") == (not countries or "all" in countries)
