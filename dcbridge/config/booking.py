"""Callbacks by text: which service of Genesys' Engagement API books them, what is offered, and in which words."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Annotated, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from dcbridge.messages import Reason
from dcbridge.settings.problems import refuse
from dcbridge.settings.types import Model

ResourceName = Annotated[str, StringConstraints(pattern=r"^[^\s/?#%](?:[^\x00-\x1f/?#%]*[^\s/?#%])?$", max_length=100)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=320)]
Phrase = Annotated[str, StringConstraints(min_length=1, max_length=40)]

# What a text may have in it, and what it must have: a question without its slots could not be answered.
_FIELDS: Mapping[str, frozenset[str]] = {
    "now": frozenset({"minutes"}),
    "ask": frozenset({"slots"}),
    "taken": frozenset({"slots"}),
    "booked": frozenset({"time"}),
}


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        raise ValueError("should be a time zone such as Europe/Berlin") from None
    return name


class Texts(Model):
    """What the consumer is told."""

    now: Text = Field(
        "We call you in about {minutes} min. Reply CANCEL CALL to cancel.", description="Booked, and how long it takes."
    )
    soon: Text = Field(
        "We call you as soon as an agent is free. Reply CANCEL CALL to cancel.",
        description="Booked, where nothing is known of how long it takes.",
    )
    ask: Text = Field(
        "When may we call you? {slots}. Reply with the number.", description="The question; {slots} are numbered."
    )
    taken: Text = Field(
        "That time is taken meanwhile. {slots}. Reply with the number.", description="The next question after it."
    )
    booked: Text = Field("We call you at {time}. Reply CANCEL CALL to cancel.", description="Booked for a time.")
    already: Text = Field(
        "A call to you is booked already. Reply CANCEL CALL to cancel.", description="A second wish for a call."
    )
    cancelled: Text = Field("Your call is cancelled.", description="Cancelled.")
    too_late: Text = Field("Your call cannot be cancelled any more.", description="Not cancelled.")
    closed: Text = Field("We cannot offer you a call at the moment.", description="There is no time to offer.")
    failed: Text = Field(
        "That did not work. Please try again later.", description="Genesys refused it, or cannot be reached."
    )
    unknown: Text = Field(
        "We cannot say whether your call is booked. Reply AGAIN to book it once more.",
        description="The outcome is unknown; nothing is repeated without this answer.",
    )
    next: Text = Field("You are next: we call you in a moment.", description="With `notices`.")

    @model_validator(mode="after")
    def _placeholders(self) -> Self:
        problems = []
        for name in type(self).model_fields:
            may = _FIELDS.get(name, frozenset())
            try:
                found = {one for _, one, form, how in string.Formatter().parse(getattr(self, name)) if one is not None
                         and not form and not how}  # fmt: skip
            except ValueError:
                problems.append(((name,), "has a brace without its other one"))
                continue
            if found != may:
                should = "{" + next(iter(may)) + "}" if may else "no braces"
                problems.append(((name,), f"should have {should} in it"))
        refuse(*problems)
        return self


class Words(Model):
    """What a consumer answers. Each is a whole message; case does not count."""

    cancel: Annotated[tuple[Phrase, ...], Field(min_length=1, max_length=20)] = Field(
        ("cancel call", "cancel"),
        description="Cancels the call. CANCEL alone is also an opt-out, to carriers as well as to `consent`.",
    )
    again: Annotated[tuple[Phrase, ...], Field(min_length=1, max_length=20)] = Field(
        ("again",), description="Books once more after an unknown outcome."
    )


class Book(Model):
    """The action of a rule: a call is booked for the consumer."""

    service: ResourceName = Field(description="Name of the callback service.")
    queue: ResourceName | None = Field(
        None, description="Name of its queue.", json_schema_extra={"default": "the name of the service"}
    )
    slots: int = Field(3, ge=1, le=9, description="Times that are offered in one question.")
    horizon_days: int = Field(2, ge=1, le=30, description="Days in which they are.")
    language: str | None = Field(
        None, pattern=r"^[a-z]{2}-[A-Z]{2}$", description="Language of the voice prompts, such as en-US."
    )
    timezone: Annotated[str, AfterValidator(_zone)] | None = Field(
        None,
        description="Time zone in which times are written, such as Europe/Berlin.",
        json_schema_extra={"default": "that of the service"},
    )
    notices: bool = Field(False, description="Whether the consumer is told when there is no more than one before.")
    texts: Texts = Field(Texts(), description="What the consumer is told.")
    words: Words = Field(Words(), description="What the consumer answers.")

    @property
    def queue_name(self) -> str:
        return self.queue or self.service


class OnFailed(Model):
    """An agent's message that failed becomes a call, once."""

    reasons: Annotated[tuple[Reason, ...], Field(min_length=1)] = Field(
        (Reason.INVALID_DESTINATION,),
        description="Reasons of Digital Channels for which it does.",
        json_schema_extra={"default": "530"},
    )
    book: Book = Field(description="What is booked. Nobody is asked: the first free time is taken.")
