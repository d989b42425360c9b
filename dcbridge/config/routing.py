"""Through which of a channel's providers its messages go: when one is left for another, and which one is slow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from dcbridge.settings.problems import refuse
from dcbridge.settings.types import Model, Seconds, SomeSeconds

SwitchReason = Literal["unreachable", "throttled", "account", "breaker", "slow"]
REASONS: dict[SwitchReason, str] = {"unreachable": "u", "throttled": "t", "account": "a", "breaker": "b", "slow": "s"}


class Switch(Model):
    """When a message, or a conversation, leaves its provider for another one of the channel."""

    on: tuple[SwitchReason, ...] = Field(
        tuple(REASONS),
        description="What a provider is left for: it cannot be reached; it is throttled for longer than `after`; it"
        " refuses the account; its breaker is open; its delivery updates are slow. A message that it may have taken is"
        " never sent through another one.",
    )
    after: Seconds = Field(30.0, description="Seconds that a provider may ask to wait before it is left.")
    stay: SomeSeconds = Field(
        604800.0,
        description="Seconds, from its last message, for which a conversation stays with one provider.",
    )

    @property
    def letters(self) -> str:
        """As routes.lua reads them; "-" where nothing is a reason."""
        return "".join(REASONS[reason] for reason in dict.fromkeys(self.on)) or "-"

    def among(self, providers: Sequence[str], *, pool: bool) -> str:
        """As pacing.lua reads it; "" for a channel that has no choice. `pool`: it has several numbers."""
        if len(providers) < 2:
            return " pool" if pool else ""
        after, stay = (min(seconds * 1000, 9e14) for seconds in (self.after, self.stay))
        return f" via {after:.0f} {stay:.0f} {self.letters}{'P' if pool else ''} {' '.join(providers)}"


class Slow(Model):
    """When a provider's delivery updates are slow, so that it is the last choice of its channels."""

    after: SomeSeconds = Field(
        240.0, description="Seconds after acceptance by the provider in which the first delivery update should come."
    )
    share: float = Field(
        0.15, gt=0, le=1, description="Share of messages without one, of the last ten minutes, above which it is slow."
    )
    back: float = Field(
        0.05, ge=0, lt=1, description="Share below which it has to stay for ten minutes until it is slow no more."
    )
    messages: int = Field(50, ge=1, description="Messages that have to be known of, before it can be slow.")

    @property
    def words(self) -> str:
        """As routes.lua reads them."""
        return f"slow {self.after * 1000:.0f} {self.share:g} {self.back:g} {self.messages}"


def with_both(channel: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields of a channel with `provider`, the first one, and `providers`, all of them, whichever it has."""
    one, several = channel.get("provider"), channel.get("providers")
    if several is None:
        return channel if one is None else {**channel, "providers": (one,)}
    if one is not None:
        refuse((("providers",), "stands beside provider: keep one of the two"))
    if not isinstance(several, (list, tuple)) or not several:
        if several == [] or several == ():
            refuse((("providers",), "should not be empty"))
        return {**channel, "provider": "?"}  # refused by its field
    for at, name in enumerate(several):
        if name in several[:at]:
            refuse((("providers", at), "is named twice"))
    return {**channel, "provider": several[0]}
