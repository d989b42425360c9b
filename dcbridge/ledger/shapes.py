"""Names and JSON types of the fields that Genesys' interfaces answered, never values (tokens.lua)."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import cast

from dcbridge.ledger.script import Script

MOST_SEEN = 10_000  # fields that this process remembers; more are written again, which changes nothing


class Shapes:
    """The shapes of one ledger. What this process has seen already costs it no call."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._seen: set[tuple[str, str, str]] = set()

    async def note(self, operation: str, fields: Iterable[tuple[str, str]]) -> int:
        """(path, type) of each field; how many were never seen before, by any process."""
        fresh = [one for one in fields if (operation, *one) not in self._seen]
        if not fresh:
            return 0
        new = int(await self._script.record("shapes", operation, *(word for pair in fresh for word in pair)))
        if len(self._seen) < MOST_SEEN:
            self._seen.update((operation, *one) for one in fresh)
        return new

    async def all(self) -> dict[str, dict[str, str]]:
        """Operation -> path -> types."""
        found = await cast(Awaitable[dict[bytes, bytes]], self._script.redis.hgetall("dcb:shapes"))
        shapes: dict[str, dict[str, str]] = {}
        for name, types in sorted(found.items()):
            operation, _, path = name.decode(errors="replace").partition(" ")
            shapes.setdefault(operation, {})[path] = types.decode(errors="replace").replace(",", " or ")
        return shapes

    async def forget(self) -> None:
        """Begin to learn anew."""
        await self._script.redis.delete("dcb:shapes")
