"""Checks of what makes dcbridge write by itself: the channel that it writes on, and the text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dcbridge.config.own_messages import SEGMENTS
from dcbridge.providers.segmentation import segments
from dcbridge.settings.problems import Path, did_you_mean

Found = tuple[Path, str, str, bool]  # as answer_checks.py has it


def part_of(tree: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A section of `genesys`; {} where there is none."""
    genesys = tree.get("genesys")
    part = genesys.get(name) if isinstance(genesys, Mapping) else None
    return part if isinstance(part, Mapping) else {}


def channel(path: Path, tree: Mapping[str, Any], name: object) -> Iterator[Found]:
    """A channel that is not there, or that carries no SMS."""
    channels = tree.get("channels")
    known = channels if isinstance(channels, Mapping) else {}
    if not isinstance(name, str):
        return
    if name not in known:
        yield path, "is no channel", did_you_mean(name, known) or "name one of `channels`", True
    elif isinstance(known[name], Mapping) and known[name].get("type") == "email":
        yield path, "is a channel of type email, and what is sent is an SMS", "name an sms channel", True


def text(path: Path, said: object) -> Iterator[Found]:
    """A text that says nothing, or too much."""
    if not isinstance(said, str):
        return
    if not said.strip():
        yield path, "has nothing to read", "", True
    elif (count := segments(said)) > SEGMENTS:
        yield path, f"takes {count} SMS, and {SEGMENTS} are the most", "shorten it", True
