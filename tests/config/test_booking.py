"""Calls by text in bridge.yaml: what is refused, with the field and why."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from dcbridge.config.booking import Book, OnFailed, Texts
from dcbridge.config.loader import parse
from dcbridge.events.sinks.openmedia import Openmedia
from dcbridge.ledger.fields import Kind
from dcbridge.messages import Reason
from dcbridge.settings.problems import ConfigurationError
from tests.workers.far_side import CONFIGURATION, SMS, TOKEN
from workers.letters import read_content

RULE = {"when": ["call me"], "book": {"service": "Sales"}}
GENESYS = {"base_url": "https://gapi-use1.example.com", "api_key": "k", "engagement": {}}


def written(channel: dict[str, Any], genesys: dict[str, Any] | None = GENESYS, channel_id: str = SMS) -> str:
    tree = yaml.safe_load(CONFIGURATION.format(url="http://127.0.0.1:1", nowhere="http://127.0.0.1:1", token=TOKEN))
    tree["channels"][channel_id].update(channel)
    return yaml.safe_dump(tree | ({"genesys": genesys} if genesys else {}))


def test_what_is_configured_is_what_is_read() -> None:
    found = parse(written({"answers": [RULE], "on_failed": {"book": {"service": "Sales", "queue": "Q"}}}), {})
    channel = found.channels[SMS]
    assert channel.answers[0].book == Book(service="Sales")
    assert channel.on_failed is not None
    assert (channel.on_failed.reasons, channel.on_failed.book.queue_name) == ((Reason.INVALID_DESTINATION,), "Q")
    assert found.genesys is not None
    assert found.genesys.engagement_url == "https://gapi-use1.example.com/engagement/v3"


@pytest.mark.parametrize(
    ("channel", "genesys", "channel_id", "says"),
    [
        ({"answers": [RULE]}, None, SMS, "answers[0].book: needs genesys.engagement"),
        ({"answers": [RULE]}, {**GENESYS, "engagement": None}, SMS, "answers[0].book: needs genesys.engagement"),
        ({"on_failed": {"book": {"service": "S"}}}, None, SMS, "on_failed: needs genesys.engagement"),
        ({"answers": [RULE, {**RULE, "when": ["ring"]}]}, GENESYS, SMS, "answers[1].book: is the second rule here"),
        ({"on_failed": {"book": {"service": "S"}}}, GENESYS, "company.com", "on_failed: is for channels of type sms"),
    ],
)
def test_a_call_that_could_not_be_booked_is_refused(
    channel: dict[str, Any], genesys: dict[str, Any] | None, channel_id: str, says: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(written(channel, genesys, channel_id), {})
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("book", "says"),
    [
        ({"service": "a/b"}, "service"), ({"service": " x"}, "service"), ({"slots": 10}, "slots"),
        ({"horizon_days": 31}, "horizon_days"), ({"timezone": "Berlin"}, "should be a time zone such as Europe/Berlin"),
        ({"timezone": "../etc/passwd"}, "should be a time zone"), ({"language": "en"}, "language"),
        ({"words": {"cancel": []}}, "cancel"), ({"texts": {"ask": "When?"}}, "should have {slots} in it"),
        ({"texts": {"now": "{minutes} {slots}"}}, "should have {minutes} in it"),
        ({"texts": {"soon": "{time}"}}, "should have no braces in it"), ({"texts": {"booked": "{time!r}"}}, "{time}"),
        ({"texts": {"booked": "{time.year}"}}, "{time}"), ({"texts": {"booked": "{time"}}, "a brace without its other"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(book: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Book.model_validate({"service": "Sales"} | book)
    assert says in str(caught.value)


def test_a_reason_is_one_of_digital_channels() -> None:
    with pytest.raises(ValidationError):
        OnFailed.model_validate({"reasons": [404], "book": {"service": "Sales"}})


def test_our_own_texts_pass_and_each_fits_into_one_sms() -> None:
    assert all(len(text) <= 120 for text in Texts().model_dump().values())


def test_a_refused_booking_becomes_an_item_with_the_number() -> None:
    assert Kind.BOOK in Openmedia.model_fields["kinds"].default
    found = read_content("book", b'{"kind":"start","from":"16504661149","key":"k","at":0,"offset":null}', {})
    assert (found.address, found.text) == ("16504661149", "")
