"""A look into the bridge itself. The sandbox cannot take it: whoever starts it beside a bridge lends it one
(`SandboxConfig.bridge`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class Bridge(Protocol):
    """A look into one bridge. Raises ConnectionError where it cannot be taken."""

    @property
    def console(self) -> str:
        """Where its console is, without a slash at the end; "" where none runs."""

    async def books(self) -> Mapping[str, int]:
        """accepted, delivered, failed; and under_way: what has not ended, and receipts that are owed."""

    async def states(self, pairs: Sequence[tuple[str, str]]) -> Sequence[Sequence[Mapping[str, str]]]:
        """Of each (channel, messageId) its copies, of each (provider, id of a consumer's message) its task: `ref`,
        `state` and `why` it waits. None of what is not known.
        """

    async def close(self) -> None: ...
