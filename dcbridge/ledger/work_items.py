"""Work items: dead letters that an agent has as a task, and when Genesys is asked what became of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from dcbridge.ledger.script import Script, ms, word


@dataclass(frozen=True, slots=True)
class DueItem:
    """An item to be asked about. `at`: ms since 1970 when its letter was written, which tells two items of one letter
    apart.
    """

    letter: str
    at: int
    subscriber: str


class WorkItems:
    """The work items of one ledger."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def opened(self, letter: str, at: int, subscriber: str) -> str:
        """Genesys has it: "opened", "again", or "gone" where the letter is no more."""
        return word(await self._script.call("item_opened", letter, at, subscriber))

    async def due(self, limit: int, lease: float) -> list[DueItem]:
        """Those to be asked about now. Nobody else gets them for `lease` seconds."""
        found = cast(list[list[Any]], await self._script.call("items_due", limit, ms(lease)))
        return [DueItem(word(letter), int(at), word(subscriber)) for letter, at, subscriber in found]

    async def seen(self, item: DueItem, state: str) -> str:
        """`state`: open, ended or gone. "handled" where it has ended with that, "gone" where the letter is no more."""
        return word(await self._script.call("item_seen", item.letter, item.at, state))
