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
