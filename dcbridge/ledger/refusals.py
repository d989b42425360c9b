"""What a platform does not take at this moment: receipts and consumers' messages, by channel (owed.lua)."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import cast

from dcbridge.ledger.script import Script

_WHAT = {"r": "receipts", "c": "consumer messages"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Times in seconds since 1970."""

    channel_id: str
    what: str  # "receipts" or "consumer messages"
    since: float  # the first request that failed since one was taken
    at: float  # the last
    requests: int
    code: str  # of the last: "http 401", "connect"


class Refusals:
    """Those of one ledger."""

    def __init__(self, script: Script) -> None:
        self._redis = script.redis

    async def all(self) -> list[Refusal]:
        """By channel; what a newer version wrote is left out."""
        found = await cast(Awaitable[dict[bytes, bytes]], self._redis.hgetall("dcb:refusing"))
        read = (_read(field.decode(errors="replace"), line.decode(errors="replace")) for field, line in found.items())
        return sorted(filter(None, read), key=lambda one: (one.channel_id, one.what))


def _read(field: str, line: str) -> Refusal | None:
    kind, _, channel = field.partition("/")
    since, at, requests, code = [*line.split(" ", 3), "", "", "", ""][:4]
    numbers = (since, at, requests)
    if kind not in _WHAT or not all(one.isascii() and one.isdigit() and len(one) < 15 for one in numbers):
        return None
    return Refusal(channel, _WHAT[kind], int(since) / 1000, int(at) / 1000, int(requests), code)
