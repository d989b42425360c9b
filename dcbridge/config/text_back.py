"""A phone line whose missed calls are answered by a text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from dcbridge.config import own_texts
from dcbridge.settings.types import Model, Secret, SomeSeconds, Url

Text = Annotated[str, StringConstraints(min_length=1, max_length=1600)]


class TextBack(Model):
    """One login of Genesys' Web Services API, with one number of its own."""

    base_url: Url = Field(description="URL of the Web Services API, /api/v2 included.")
    username: str = Field(min_length=1, max_length=200, pattern=r"^[^:\r\n]+$", description="The login's user.")
    password: Secret = Field(description="Its password, for HTTP basic authentication.")
    place: str = Field("", max_length=200, description="Place that it signs in at, such as SIP_5999; empty: its own.")
    channel: str = Field(min_length=1, max_length=200, description="The channel of type sms that the texts go out on.")
    missed: Text | None = Field(
        None, description="Text to a caller whose call was not answered; without it, none is sent."
    )
    again_after: SomeSeconds = Field(
        1800.0, le=604_800, description="Seconds in which a caller gets one such text at most."
    )
    disposition_key: str = Field(
        "DispositionCode", min_length=1, max_length=200, description="Key of the attached data that has a disposition."
    )
    dispositions: Annotated[dict[str, Text], Field(max_length=50)] = Field(
        {}, description="Disposition of a call on this line → text to its caller."
    )


def check(tree: Mapping[str, Any]) -> Iterator[own_texts.Found]:
    """What does not fit."""
    line, path = own_texts.part_of(tree, "text_back"), ("genesys", "text_back")
    yield from own_texts.channel((*path, "channel"), tree, line.get("channel"))
    yield from own_texts.text((*path, "missed"), line.get("missed"))
    dispositions = line.get("dispositions")
    for name, said in dispositions.items() if isinstance(dispositions, Mapping) else ():
        yield from own_texts.text((*path, "dispositions", name), said)
