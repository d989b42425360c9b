"""Channels and providers by health: a word, how bad it is, and why, from one look at the installation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dcbridge.console.filters import counted, duration, utc
from dcbridge.ledger.controls import Control, What
from dcbridge.ledger.reports.books import ChannelBooks
from dcbridge.ledger.reports.overview import Overview, Provider

LATE = 60.0  # seconds that a receipt may be owed before that is worth a word
_ORDER = {"bad": 0, "warn": 1, "wait": 2, "off": 3, "good": 4}


@dataclass(frozen=True, slots=True)
class Health:
    """`kind`: of a badge; `word` for it; `why` in a sentence, or ""."""

    kind: str
    word: str
    why: str = ""

    @property
    def rank(self) -> int:
        return _ORDER[self.kind]


WELL = Health("good", "ok")


def of_provider(one: Provider, controls: Sequence[Control], now: float) -> Health:
    """The worst that is true of it."""
    if one.open:
        probe = f" Next attempt {f'in {duration(one.next_probe_in)}' if one.next_probe_in else 'is due'}."
        code = f" ({one.why})" if one.why else ""
        return Health("bad", "breaker open", f"Nothing was sent for {duration(one.open_for)}{code}.{probe}")
    if control := _control(controls, What.PROVIDER, one.name):
        return Health("warn", "paused", _by(control, now))
    if one.paused_for:
        return Health("warn", "asked for a pause", f"Until {utc(now + one.paused_for)}.")
    if one.speed.slow_since is not None:
        late = f"{one.speed.slow} of {one.speed.messages} messages had no delivery update in time."
        return Health("warn", "slow", late)
    if one.failing:
        return Health("warn", "failing", f"The last attempt of {counted(one.failing, 'conversation')} failed.")
    return WELL


def of_channel(one: ChannelBooks, seen: Overview) -> Health:
    """The worst that is true of it."""
    now = seen.at
    if one.difference or one.provider_difference:
        return Health("bad", "books differ", f"{one.difference or one.provider_difference} unaccounted for.")
    if since := seen.unconfigured.get(one.channel_id):
        return Health("bad", "not configured", f"Messages have waited for {duration(since)}.")
    if control := _control(seen.controls, What.CHANNEL, one.channel_id):
        return Health("warn", "paused", _by(control, now))
    if control := _control(seen.controls, What.HOLD, one.channel_id):
        return Health("warn", "held for review", _by(control, now))
    if one.oldest_receipt_age > LATE:
        owed = f"{counted(one.receipts_waiting, 'receipt')} owed, the oldest for {duration(one.oldest_receipt_age)}."
        return Health("bad", "receipts owed", owed)
    if quiet := seen.quiet.get(one.channel_id):
        return Health("wait", "quiet hours", _waiting(quiet.messages))
    return WELL


def worst_first(rows: Iterable[tuple[Health, str]]) -> list[str]:
    """Names, by health and then by name."""
    return [name for _, name in sorted((health.rank, name) for health, name in rows)]


def _control(controls: Sequence[Control], what: What, name: str) -> Control | None:
    return next((one for one in controls if one.target.what == what and one.target.name == name), None)


def _by(control: Control, now: float) -> str:
    why = f": {control.why}" if control.why else ""
    until = f", until {utc(control.until)}" if control.until else ""
    return f"By {control.by} for {duration(max(0.0, now - control.since))}{until}{why}. {_waiting(control.waiting)}"


def _waiting(messages: int) -> str:
    return f"{counted(messages, 'message')} wait{'s' if messages == 1 else ''}."
