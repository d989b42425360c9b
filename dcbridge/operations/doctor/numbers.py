"""Our numbers at a company."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dcbridge.config.models import Configuration
from dcbridge.providers import KINDS
from dcbridge.providers.phone import own_number

MOST_NUMBERS = 25  # of one account, that are looked at


@dataclass(frozen=True, slots=True)
class Number:
    """One of them, as it is sent from, and its channel."""

    written: str
    channel: str

    @property
    def is_number(self) -> bool:
        return self.written.startswith("+")

    @property
    def is_short_code(self) -> bool:
        return self.written.isdecimal()


def numbers_at(configuration: Configuration, name: str, channel_id: str | None = None) -> list[Number]:
    """Those of an account, each once; of one channel, or of all."""
    return list(dict.fromkeys(_numbers(configuration, name, channel_id)))


def _numbers(configuration: Configuration, name: str, channel_id: str | None) -> Iterator[Number]:
    account = configuration.providers[name]
    senders = KINDS[account.kind].senders
    fixed = getattr(account.fields, "from_number", None)
    for one, channel in configuration.channels.items():
        if name not in channel.providers or channel_id not in (None, one):
            continue
        region = channel.default_region or getattr(account.fields, "default_region", None)
        for number in channel.numbers_at(name):
            try:
                yield Number(own_number(fixed or number or one, region, senders), one)
            except ValueError:
                continue  # the configuration's own check has said so
