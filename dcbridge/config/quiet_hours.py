"""Quiet hours of a channel: when its consumers are not written to, by their own clocks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property, lru_cache
from hashlib import blake2b
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from dcbridge.settings.problems import did_you_mean, refuse
from dcbridge.settings.types import Model, Region, Seconds

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MIDNIGHT = 24 * 60  # minutes
HORIZON = timedelta(days=40)  # nothing is looked for beyond it
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|24:00", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


def _minutes(value: Any) -> Any:
    if isinstance(value, str):
        found = _CLOCK.fullmatch(value)
        if not found:
            raise ValueError("should be a time of day from 00:00 to 24:00, such as 21:00")
        return int(value[:2]) * 60 + int(value[3:])
    return value


def _day(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        if _DATE.fullmatch(value):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise ValueError("should be a date that exists, such as 2026-12-25")


def _zone(value: Any) -> Any:
    if isinstance(value, str) and not _is_zone(value):
        near = did_you_mean(value, available_timezones())
        known = "should be a time zone of the IANA database, such as America/New_York"
        raise ValueError(f"{known}; {near}" if near else known)
    return value


def _is_zone(name: str) -> bool:
    try:
        return bool(ZoneInfo(name))
    except (ValueError, OSError, LookupError):
        return False


ClockTime = Annotated[int, BeforeValidator(_minutes)]
Date = Annotated[date, BeforeValidator(_day)]
Zone = Annotated[str, BeforeValidator(_zone)]


class QuietTimes(Model):
    """A time of some days."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, validate_by_name=False)

    begin: ClockTime = Field(
        0,
        alias="from",
        description="When it begins, such as 21:00, by the consumer's clock.",
        json_schema_extra={"default": "`00:00`"},
    )
    end: ClockTime = Field(
        MIDNIGHT,
        alias="to",
        description="When it ends; what is not later than `from` is of the next day.",
        json_schema_extra={"default": "`24:00`"},
    )
    days: tuple[Day, ...] = Field(
        DAYS,
        min_length=1,
        description="On which days of the week it begins.",
        json_schema_extra={"default": "all"},
    )
    dates: tuple[Date, ...] = Field(
        (), max_length=500, description="On which dates it begins, instead of days of the week; such as 2026-12-25."
    )

    @model_validator(mode="after")
    def _sense(self) -> Self:
        if self.begin == MIDNIGHT:
            refuse((("from",), "is the end of a day; write 00:00, of the next day"))
        if self.begin == self.end:
            refuse((("to",), "is the same as from; leave both out for the whole day"))
        if self.dates and "days" in self.model_fields_set:
            refuse((("dates",), "stands beside days: keep one of the two, and write another entry for the other"))
        return self

    def begins_on(self, day: date) -> bool:
        return day in self.dates if self.dates else DAYS[day.weekday()] in self.days


class QuietHours(Model):
    """When the consumers of a channel are not written to, and what becomes of a message then."""

    times: tuple[QuietTimes, ...] = Field(
        min_length=1, max_length=50, description="When it is quiet; each has `from` and `to`, and `days` or `dates`."
    )
    zone: Zone = Field(
        description="Time zone, such as America/New_York, of consumers whose number does not tell theirs."
    )
    zones: dict[Region, Zone] = Field(
        {},
        description="Time zone by country, for numbers of that country that may be in several. Without it a message is"
        " sent when it is quiet in none of them.",
        json_schema_extra={"default": "none"},
    )
    then: Literal["wait", "fail", "send"] = Field(
        "wait",
        description="What becomes of a message: it waits until quiet hours end; it fails with 350; it is sent, and"
        " counted.",
    )
    answers_within: Seconds = Field(
        3600.0,
        description="Seconds after a consumer's message in which messages to them are sent all the same; 0: never.",
    )

    @cached_property
    def fingerprint(self) -> str:
        """Another one where something else would be decided."""
        return blake2b(self.model_dump_json().encode(), digest_size=6).hexdigest()

    def opens(self, at: datetime, zones: Sequence[str]) -> datetime:
        """The first moment, `at` or later, at which it is quiet in none of these zones; HORIZON where there is none."""
        moment, end = at.astimezone(UTC), at.astimezone(UTC) + HORIZON
        spans = _Spans(self.times)
        while moment < end:
            quiet = [until for zone in zones if (until := _quiet_until(moment, zone, spans)) is not None]
            if not quiet:
                return moment
            moment = max(quiet)
        return end

    def longest(self) -> timedelta:
        """How long it is quiet at most in an ordinary week, and around the dates."""
        days = [date(2001, 1, 1) + timedelta(days=n) for n in range(8)]
        days += [day for one in self.times for day in one.dates]
        spans = _Spans(self.times)
        begins = [begin for day in days for begin, _ in spans["UTC", day]]
        return max((self.opens(begin, ("UTC",)) - begin for begin in begins), default=timedelta())


def fingerprints(channels: Mapping[str, Any]) -> dict[str, str]:
    """Channel id -> the fingerprint of its quiet hours, of the channels that have some."""
    return {name: one.quiet_hours.fingerprint for name, one in channels.items() if one.quiet_hours is not None}


class Openings:
    """When quiet hours end, as one process has worked it out: of many zones and times that takes a while, so it is kept
    until then.
    """

    MOST = 4096

    def __init__(self) -> None:
        self._known: dict[tuple[str, tuple[str, ...]], tuple[datetime, datetime]] = {}

    def of(self, quiet: QuietHours, at: datetime, zones: tuple[str, ...]) -> datetime:
        """As `QuietHours.opens`."""
        key = quiet.fingerprint, zones
        since, until = self._known.get(key, (at, at))
        if since <= at < until:
            return until
        until = quiet.opens(at, zones)
        if until > at:
            if len(self._known) >= self.MOST:
                self._known.clear()
            self._known[key] = (at, until)
        return until


class _Spans(dict[tuple[str, date], tuple[tuple[datetime, datetime], ...]]):
    """(zone, day) -> the quiet times that begin then, in UTC."""

    def __init__(self, times: Sequence[QuietTimes]) -> None:
        self._times = times

    def __missing__(self, key: tuple[str, date]) -> tuple[tuple[datetime, datetime], ...]:
        self[key] = tuple(_spans_of(self._times, zone_info(key[0]), key[1]))
        return self[key]


def _quiet_until(moment: datetime, zone: str, spans: _Spans) -> datetime | None:
    """When the quiet time ends in which it is; None where it is in none."""
    today = moment.astimezone(zone_info(zone)).date()
    around = (today + timedelta(days=n) for n in (-1, 0, 1))
    ends = [end for day in around for begin, end in spans[zone, day] if begin <= moment < end]
    return max(ends, default=None)


@lru_cache(maxsize=512)
def zone_info(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _spans_of(times: Sequence[QuietTimes], zone: ZoneInfo, day: date) -> Iterator[tuple[datetime, datetime]]:
    for one in times:
        if one.begins_on(day):
            last = day if one.end > one.begin else day + timedelta(days=1)
            yield min(_moments(zone, day, one.begin)), max(_moments(zone, last, one.end))


def _moments(zone: ZoneInfo, day: date, minutes: int) -> tuple[datetime, datetime]:
    """A time of day in UTC: two moments where a clock is set back then, or skips it."""
    clock = datetime.combine(day, time()) + timedelta(minutes=minutes)
    return (
        clock.replace(tzinfo=zone).astimezone(UTC),
        clock.replace(tzinfo=zone, fold=1).astimezone(UTC),
    )
