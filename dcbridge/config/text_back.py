"""A phone line whose missed calls are answered by a text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from dcbridge.config.own_messages import SEGMENTS
from dcbridge.providers.segmentation import segments
from dcbridge.settings.problems import Path, did_you_mean
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


def check(tree: Mapping[str, Any]) -> Iterator[tuple[Path, str, str, bool]]:
    """What does not fit, as answer_checks.py has it."""
    genesys, channels = tree.get("genesys"), tree.get("channels")
    line = genesys.get("text_back") if isinstance(genesys, Mapping) else None
    if not isinstance(line, Mapping):
        return
    path: Path = ("genesys", "text_back")
    known = channels if isinstance(channels, Mapping) else {}
    channel = line.get("channel")
    if isinstance(channel, str) and channel not in known:
        yield (*path, "channel"), "is no channel", did_you_mean(channel, known) or "name one of `channels`", True
    elif isinstance(channel, str) and isinstance(known[channel], Mapping) and known[channel].get("type") == "email":
        yield (*path, "channel"), "is a channel of type email, and a text-back is an SMS", "name an sms channel", True
    dispositions = line.get("dispositions")
    texts: dict[Path, object] = {(*path, "missed"): line.get("missed")}
    if isinstance(dispositions, Mapping):
        texts |= {(*path, "dispositions", name): text for name, text in dispositions.items()}
    for place, text in texts.items():
        if not isinstance(text, str):
            continue
        if not text.strip():
            yield place, "has nothing to read", "", True
        elif (count := segments(text)) > SEGMENTS:
            yield place, f"takes {count} SMS, and {SEGMENTS} are the most", "shorten it", True
