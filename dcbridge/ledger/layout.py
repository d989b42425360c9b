"""Which layout of the ledger lies in Redis, and whether this version can work on it.

The layout is a number, `dcb:layout`. It is raised when a process of an older version can no longer work on what a
newer one writes. A process that finds a newer number refuses to start; one that finds an older number carries on
with what lies there, as `LAYOUTS` says, and raises the number. Processes of the older version that run meanwhile go on:
they looked at the number when they started.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import cast

from redis import Redis as SyncRedis

from dcbridge.ledger.script import Script
from dcbridge.settings.problems import ConfigurationError, Problem

KEY = "dcb:layout"

# Layouts that this version carries on, and how. The last one is its own.
LAYOUTS = {
    1: "of 0.1.0, which wrote no number; read as it is, and those who waited in its lists are looked at at once",
    2: "adds lines, in which messages wait for a limit and have no due time but the end of their time to live",
}
LAYOUT = max(LAYOUTS)
FIRST = min(LAYOUTS)


class WrongLayout(ConfigurationError):
    """What lies in Redis is not for this version."""

    def __init__(self, sentence: str) -> None:
        super().__init__([Problem("Redis", 0, sentence)])


def problem(stored: bytes | str | None) -> str:
    """Why this version must not work on it, or ""."""
    if stored is None:
        return ""
    if not stored.isdigit() or not 0 < int(stored[:9]) <= 999_999:
        return f"{KEY} is not the number of a layout: another program wrote it, or it is damaged"
    if int(stored) > LAYOUT:
        return (
            f"the ledger has layout {int(stored)}, written by a newer version of dcbridge; this version knows"
            f" layouts {FIRST} to {LAYOUT}. Start the newer version again, or use another Redis"
        )
    return ""


def require(stored: bytes | None) -> None:
    """Raises WrongLayout."""
    if what := problem(stored):
        raise WrongLayout(what)


def require_sync(redis: SyncRedis) -> None:
    """As `Layout.require`, for a process that has no event loop yet."""
    require(cast(bytes | None, redis.get(KEY)))


class Layout:
    """The layout of one ledger."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def stored(self) -> bytes | None:
        """As it is in Redis; None where no process has written one."""
        return await cast(Awaitable[bytes | None], self._script.redis.get(KEY))

    async def require(self) -> None:
        """Raises WrongLayout where this version must not work on it."""
        require(await self.stored())

    async def raise_it(self) -> None:
        """From now on it is this version's, where it was an older one or there was none."""
        await self._script.call("layout", LAYOUT)
