"""Messages of dcbridge's own on one channel: how many one consumer gets at most, and for how long they are tried."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dcbridge.settings.process import DAY
from dcbridge.settings.types import Model, Region, SomeSeconds

SEGMENTS = 3  # SMS of one such message at most
REPEATS_WITHIN = 600.0  # seconds


class OwnMessages(Model):
    """Answers, and what a trigger causes. A channel that has neither sends none."""

    a_day: int = Field(10, ge=1, le=100, description="How many such messages one consumer gets in 24 hours at most.")
    repeats: int = Field(
        2,
        ge=1,
        le=20,
        description="How often one consumer gets the same text in ten minutes at most: two machines that answer each"
        " other stop there.",
    )
    an_hour: int = Field(
        1000,
        ge=1,
        le=1_000_000,
        description="How many such messages the channel sends in an hour at most. What triggers cause does not count:"
        " they have `per_minute`.",
    )
    countries: tuple[Region | Literal["all"], ...] = Field(
        (),
        max_length=250,
        description="Countries whose numbers get such messages, or `all`: anybody can write, or call, with a number of"
        " an expensive one.",
        json_schema_extra={"default": "those of the channel's numbers and of `default_region`; US and CA go together"},
    )
    time_to_live: SomeSeconds = Field(
        300.0,
        le=DAY,
        description="Seconds in which the provider must accept an answer; one that is late is not sent.",
    )
