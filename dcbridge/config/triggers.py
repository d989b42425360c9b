"""Triggers: a system outside calls `POST /triggers/{name}`, and a consumer gets the trigger's text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field

from dcbridge.config.answers import Text, pieces
from dcbridge.config.own_messages import SEGMENTS
from dcbridge.events.sinks.signing import SigningSecret
from dcbridge.providers.segmentation import segments
from dcbridge.settings.problems import Path, did_you_mean
from dcbridge.settings.process import DAY
from dcbridge.settings.types import Model, SomeSeconds

LONGEST_VALUE = 100  # characters of one variable


class Trigger(Model):
    """One text that may be caused from outside."""

    channel: str = Field(description="Id of the sms channel that it is sent on.")
    text: Text = Field(description="The text; each {name} in it is a variable of the call.")
    secrets: Annotated[tuple[SigningSecret, ...], Field(min_length=1, max_length=8)] = Field(
        description="Secrets whose signatures are accepted, whsec_… as Standard Webhooks writes them."
    )
    tolerance: SomeSeconds = Field(
        300.0, le=3600, description="Seconds by which the time of a call may differ from ours."
    )
    per_minute: int = Field(
        60, ge=1, le=60_000, description="How many calls a minute are accepted at most; others get 429."
    )
    time_to_live: SomeSeconds = Field(
        3600.0, le=DAY, description="Seconds in which the provider must accept the message; a later one is not sent."
    )

    @property
    def variables(self) -> frozenset[str]:
        """What a call has to give."""
        return frozenset(piece.name for piece in pieces(self.text) if piece.name)

    def filled(self, values: Mapping[str, str]) -> str:
        """The text. Raises KeyError with the name of a variable that is missing."""
        return "".join(values[piece.name] if piece.name else piece.words for piece in pieces(self.text))


def check(tree: Mapping[str, Any]) -> Iterator[tuple[Path, str, str, bool]]:
    """What does not fit, as answer_checks.py has it."""
    triggers, channels = tree.get("triggers"), tree.get("channels")
    known = channels if isinstance(channels, Mapping) else {}
    for name, trigger in triggers.items() if isinstance(triggers, Mapping) else ():
        if not isinstance(trigger, Mapping):
            continue
        path: Path = ("triggers", name)
        channel = trigger.get("channel")
        if isinstance(channel, str) and channel not in known:
            yield (*path, "channel"), "is no channel", did_you_mean(channel, known) or "name one of `channels`", True
        elif isinstance(channel, str) and isinstance(known[channel], Mapping) and known[channel].get("type") == "email":
            yield (*path, "channel"), "is a channel of type email, and a trigger sends SMS", "name an sms channel", True
        if isinstance(text := trigger.get("text"), str):
            yield from _text((*path, "text"), text)


def _text(path: Path, text: str) -> Iterator[tuple[Path, str, str, bool]]:
    try:
        found = list(pieces(text))
    except ValueError as error:
        yield path, str(error).replace("{name:argument}", "{name}"), "", True
        return
    for piece in found:
        if piece.argument:
            yield path, f"has a placeholder {{{piece.name}:…}}", "write {name}: a variable of the call", True
    alone = "".join(piece.words or ("0" if piece.name else "") for piece in found)
    if (count := segments(alone)) > SEGMENTS:
        yield path, f"takes {count} SMS, and {SEGMENTS} are the most", "shorten it", True
    elif not alone.strip():
        yield path, "has nothing to read", "", True
