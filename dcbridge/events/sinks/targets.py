"""Which subscribers send the same events to the same place, which is seldom meant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

from dcbridge.events.sinks.kinds import KINDS
from dcbridge.events.subscription import EVERYTHING


def shared(subscribers: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """(subscriber, the one before it that some events reach at the same place); entries are those of bridge.yaml.

    Entries that cannot be read are left out: they are refused elsewhere.
    """
    live = [(name, one) for name, one in subscribers.items() if one.get("on", True) is not False]
    for (first, one), (second, other) in combinations(live, 2):
        if _same_place(one.get("sink"), other.get("sink")) and _same_events(one, other):
            yield second, first


def _same_events(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(_overlap(one.get(name), other.get(name)) for name in ("events", "media", "subtypes"))


def _overlap(one: object, other: object) -> bool:
    """Two filters that let something through together; none, or `*`, lets everything through."""
    words = [
        {word.casefold() for word in filter_ if isinstance(word, str)} if isinstance(filter_, list | tuple) else set()
        for filter_ in (one, other)
    ]
    return any(not some or EVERYTHING in some for some in words) or bool(words[0] & words[1])


def _same_place(one: object, other: object) -> bool:
    if not isinstance(one, Mapping) or not isinstance(other, Mapping) or one.get("kind") != other.get("kind"):
        return False
    kind = KINDS.get(str(one.get("kind")))
    try:
        return kind is not None and kind.fields.same_place(one, other)
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
