"""When it is quiet: by each zone's own clock, over midnight, over days and dates, and where clocks are changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from dcbridge.config.loader import parse
from dcbridge.config.models import Configuration
from dcbridge.config.quiet_hours import HORIZON, Openings, QuietHours
from dcbridge.providers.zones import zones_of
from dcbridge.settings.problems import ConfigurationError

EARLY, SMALL_HOURS = {"from": "00:30", "to": "02:30"}, {"from": "02:30", "to": "05:00"}
SELDOM = {"from": "11:00", "to": "09:00"}  # all but two hours
NIGHT = {"from": "21:00", "to": "08:00"}
CALIFORNIA, BERLIN, APIA, PAGO = "America/Los_Angeles", "Europe/Berlin", "Pacific/Apia", "Pacific/Pago_Pago"
# Apia is at +13 and Pago Pago, 80 miles from it, at -11: the date line is between them.


def quiet(*times: dict[str, Any]) -> QuietHours:
    return QuietHours.model_validate({"zone": "UTC", "times": times or [NIGHT]})


def at(local: str, zone: str = BERLIN, fold: int = 0) -> datetime:
    return datetime.fromisoformat(local).replace(tzinfo=ZoneInfo(zone), fold=fold)


@pytest.mark.parametrize(
    ("times", "moment", "zones", "opens"),
    [
        ([NIGHT], at("2026-11-26T20:59:59"), [BERLIN], None),
        ([NIGHT], at("2026-11-26T21:00"), [BERLIN], at("2026-11-27T08:00")),
        ([NIGHT], at("2026-11-26T23:59"), [BERLIN], at("2026-11-27T08:00")),
        ([NIGHT], at("2026-11-27T00:00"), [BERLIN], at("2026-11-27T08:00")),
        ([NIGHT], at("2026-11-27T07:59:59"), [BERLIN], at("2026-11-27T08:00")),
        ([NIGHT], at("2026-11-27T08:00"), [BERLIN], None),
        ([{"from": "12:00", "to": "13:00"}], at("2026-11-27T12:30"), [BERLIN], at("2026-11-27T13:00")),
        # days: the night that begins on Saturday ends on Sunday; Sunday itself is free
        ([{**NIGHT, "days": ["sat"]}], at("2026-11-29T07:00"), [BERLIN], at("2026-11-29T08:00")),
        ([{**NIGHT, "days": ["sat"]}], at("2026-11-29T22:00"), [BERLIN], None),
        ([{"days": ["sun"]}], at("2026-11-29T12:00"), [BERLIN], at("2026-11-30T00:00")),
        ([NIGHT, {"days": ["sun"]}], at("2026-11-28T22:00"), [BERLIN], at("2026-11-30T08:00")),
        ([NIGHT, {"dates": ["2026-12-25", "2026-12-26"]}], at("2026-12-24T21:00"), [BERLIN], at("2026-12-27T08:00")),
        ([{"dates": ["2026-12-25"]}], at("2026-12-26T00:00"), [BERLIN], None),
        # clocks are set forward at 02:00 (2026-03-29) and back at 03:00 (2026-10-25); a time that is skipped or comes
        # twice is read so that it is quiet for longer
        ([NIGHT], at("2026-03-28T22:00"), [BERLIN], datetime(2026, 3, 29, 6, tzinfo=UTC)),
        ([NIGHT], at("2026-10-24T22:00"), [BERLIN], datetime(2026, 10, 25, 7, tzinfo=UTC)),
        ([SMALL_HOURS], datetime(2026, 3, 29, 0, 45, tzinfo=UTC), [BERLIN], at("2026-03-29T05:00")),
        ([EARLY], datetime(2026, 3, 29, 1, 15, tzinfo=UTC), [BERLIN], datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),
        ([SMALL_HOURS], at("2026-10-25T02:45"), [BERLIN], at("2026-10-25T05:00")),
        ([EARLY], at("2026-10-25T02:15", fold=1), [BERLIN], at("2026-10-25T02:30", fold=1)),
        ([EARLY], at("2026-10-25T02:45", fold=0), [BERLIN], at("2026-10-25T02:30", fold=1)),
        # several zones: when it is quiet in none of them
        ([NIGHT], at("2026-11-26T16:00", BERLIN), [BERLIN, CALIFORNIA], at("2026-11-26T08:00", CALIFORNIA)),
        ([NIGHT], at("2026-11-26T20:00", BERLIN), [BERLIN, CALIFORNIA], None),
        ([NIGHT], at("2026-11-26T22:00", BERLIN), [BERLIN, CALIFORNIA], at("2026-11-27T08:00", CALIFORNIA)),
        # the date line: there it is Sunday the 29th already
        ([{"days": ["sun"]}], at("2026-11-29T12:00", APIA), [APIA], at("2026-11-30T00:00", APIA)),
        ([{"days": ["sun"]}], at("2026-11-29T12:00", APIA), [PAGO], None),
        ([{"days": ["sun"]}], at("2026-11-29T12:00", APIA), [PAGO, APIA], at("2026-11-30T00:00", PAGO)),
        # a time that never comes
        ([{}], at("2026-11-26T12:00"), [BERLIN], at("2026-11-26T12:00") + HORIZON),
        ([SELDOM], at("2026-11-26T12:00"), [BERLIN, CALIFORNIA], at("2026-11-26T12:00") + HORIZON),
    ],
)  # fmt: skip
def test_when_it_may_be_written(
    times: list[dict[str, Any]], moment: datetime, zones: list[str], opens: datetime | None
) -> None:
    assert quiet(*times).opens(moment, zones) == (opens or moment).astimezone(UTC)


def test_an_end_that_is_known_is_kept_until_then() -> None:
    openings, night = Openings(), quiet(NIGHT)
    evening, morning = at("2026-11-26T22:00"), at("2026-11-27T08:00")
    assert openings.of(night, evening, (BERLIN,)) == morning
    for later, end in (
        (1, morning),
        (10, evening + timedelta(hours=10)),
        (24, morning + timedelta(days=1)),
        (-2, None),
    ):
        moment = evening + timedelta(hours=later)
        assert openings.of(night, moment, (BERLIN,)) == (end or moment)
    assert openings.of(quiet({"from": "21:00", "to": "09:00"}), evening, (BERLIN,)) == at("2026-11-27T09:00")
    assert openings.of(night, evening, (CALIFORNIA,)) == evening


@pytest.mark.parametrize(
    ("digits", "country", "zones"),
    [
        ("16504661149", "US", {CALIFORNIA}),
        ("12025550123", "US", {"America/New_York"}),
        ("19075550123", "US", {"America/Anchorage", "America/Adak"}),  # Alaska, whose islands are west of it
        ("4915112345678", "DE", {BERLIN}),
        ("61412345678", "AU", {"Australia/Sydney", "Australia/Perth", "Australia/Lord_Howe"}),
        ("6857212345", "WS", {APIA}),
        ("16847331234", "AS", {PAGO}),
        ("883510012345678", "", set()),  # of no country
        ("12345", "", set()),
        ("12345678901234567890", "", set()),
        ("ACME", "", set()),
        ("", "", set()),
        ("٣٤٥٦٧٨٩٠١", "", set()),
    ],
)
def test_in_which_zones_a_number_may_be(digits: str, country: str, zones: set[str]) -> None:
    found = zones_of(digits)
    assert zones <= set(found[1])
    assert bool(zones) == bool(found[1])
    assert found[0] == country or not zones


BRIDGE = """
public_url: http://localhost:8080
digital_channels: {{base_url: http://localhost/nexus/v3, contact_center_id: 0ff723ff-6c6f-44e0-9ce3-ce579337eadd}}
endpoints: {{main: {{secrets: [0123456789abcdef0]}}}}
providers:
  acme: {{kind: vonage, api_key: k, api_secret: "0123456789abcdef", callback_secret: "0123456789abcdef"}}
  mail: {{kind: smtp, host: localhost}}
channels:
  "0123456789":
    {channel}
    quiet_hours: {hours}
"""
SMS = '{type: sms, provider: acme, number: "+15557650123"}'


def read(hours: str, channel: str = 'type: sms\n    provider: acme\n    number: "+15557650123"') -> Configuration:
    return parse(BRIDGE.format(hours=hours, channel=channel), {})


@pytest.mark.parametrize(
    ("hours", "problem"),
    [
        ("{times: [{from: 21:00, to: 08:00}]}", "quiet_hours.zone: is missing"),
        ("{zone: Europe/Berlin}", "quiet_hours.times: is missing"),
        ("{zone: Europe/Berlin, times: []}", "quiet_hours.times"),
        ("{zone: Europe/Berln, times: [{}]}", 'did you mean "Europe/Berlin"?'),
        ("{zone: ../../etc/passwd, times: [{}]}", "time zone of the IANA database"),
        ("{zone: UTC, times: [{from: 25:00}]}", "should be a time of day from 00:00 to 24:00"),
        ("{zone: UTC, times: [{from: 8}]}", "should be a time of day"),
        ("{zone: UTC, times: [{from: '24:00'}]}", "quiet_hours.times[0].from"),
        ("{zone: UTC, times: [{from: '21:00', to: '21:00'}]}", "leave both out for the whole day"),
        ("{zone: UTC, times: [{dates: [2026-02-30]}]}", "should be a date that exists"),
        ("{zone: UTC, times: [{dates: [1767225600]}]}", "should be a date that exists"),
        ("{zone: UTC, times: [{dates: [2026-12-25], days: [sun]}]}", "keep one of the two"),
        ("{zone: UTC, times: [{days: []}]}", "quiet_hours.times[0].days"),
        ("{zone: UTC, times: [{days: [monday]}]}", "quiet_hours.times[0].days[0]"),
        ("{zone: UTC, times: [{begin: '21:00'}]}", "quiet_hours.times[0].begin"),
        ("{zone: UTC, zones: {XX: UTC}, times: [{}]}", "quiet_hours.zones"),
        ("{zone: UTC, times: [{}], answers_within: -1}", "quiet_hours.answers_within"),
        ("{zone: UTC, times: [{}], then: later}", "quiet_hours.then"),
    ],
)
def test_what_is_refused(hours: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read(hours)
    assert problem in str(refused.value)


def test_hours_of_an_email_channel_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"quiet_hours: is for channels of type sms"):
        read("{zone: UTC, times: [{}]}", "type: email\n    provider: mail\n    number: a@example.org")


@pytest.mark.parametrize(
    ("hours", "live", "warned"),
    [
        ("{zone: UTC, times: [{from: 21:00, to: 08:00}]}", 14400, True),
        ("{zone: UTC, times: [{from: 21:00, to: 08:00}]}", 50000, False),
        ("{zone: UTC, times: [{from: 21:00, to: 08:00}, {days: [sun]}]}", 50000, True),
        ("{zone: UTC, times: [{dates: [2026-12-25, 2026-12-26]}]}", 100000, True),
        ("{zone: UTC, then: fail, times: [{from: 21:00, to: 08:00}]}", 14400, False),
    ],
)
def test_a_time_to_live_that_ends_before_the_quiet_hours_is_told_of(hours: str, live: int, warned: bool) -> None:
    found = read(hours, f'type: sms\n    provider: acme\n    number: "+15557650123"\n    time_to_live: {live}')
    assert any("time_to_live" in one.path for one in found.warnings) == warned
