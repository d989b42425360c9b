"""The look into the bridge that the sandbox's page has in `dcbridge dev`: its ledger is read, and never written."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from dcbridge.operations.session import Session

T = TypeVar("T")
MOST_COPIES = 20  # of one message that are shown


class BridgeView:
    """See `sandbox.bridge.Bridge`. Nothing is imported or opened before somebody looks."""

    def __init__(self, console: str) -> None:
        self._console = console
        self._session: Session | None = None

    @property
    def console(self) -> str:
        return self._console

    async def books(self) -> Mapping[str, int]:
        from dcbridge.ledger.reports.books import read

        channels = await self._read(read(self._opened().ledger.redis))
        return {
            "accepted": sum(one.accepted for one in channels.channels),
            "delivered": sum(one.delivered for one in channels.channels),
            "failed": sum(one.failed for one in channels.channels),
            "under_way": channels.in_flight + sum(one.receipts_waiting for one in channels.channels),
        }

    async def states(self, pairs: Sequence[tuple[str, str]]) -> Sequence[Sequence[Mapping[str, str]]]:
        return await self._read(asyncio.gather(*(self._of(*pair) for pair in pairs)))

    async def close(self) -> None:
        if self._session is not None:
            await self._session.ledger.redis.aclose()

    def _opened(self) -> Session:
        if self._session is None:
            from dcbridge.config.loader import load
            from dcbridge.ledger import Ledger
            from dcbridge.operations.session import Session
            from dcbridge.settings.process import read_settings
            from dcbridge.store.connection import connect

            settings, _ = read_settings(os.environ)
            ledger = Ledger.of(settings, connect(settings))
            self._session = Session(settings, load(settings.config, os.environ), ledger)
        return self._session

    async def _read(self, look: Awaitable[T]) -> T:
        from redis.exceptions import RedisError

        from dcbridge.operations.session import explain_redis_error

        try:
            return await look
        except (RedisError, OSError) as error:
            raise ConnectionError(explain_redis_error(self._opened().settings, error)) from None

    async def _of(self, place: str, name: str) -> list[Mapping[str, str]]:
        from dcbridge.messages import message_ref
        from dcbridge.operations.lives import lives_of
        from dcbridge.providers.callback import consumer_task_id

        session = self._opened()
        if place in session.configuration.providers:
            members = [f"t:{consumer_task_id(place, name)}"]
        else:
            members = [f"m:{message_ref(place, name, number)}" for number in range(MOST_COPIES)]
            first = await session.ledger.messages.entries([member[2:] for member in members])
            members = [member for member, entry in zip(members, first, strict=True) if entry]
        found = await lives_of(session, members)
        return [{"ref": _ref(one.facts), "state": str(one.facts["state"]), "why": _why(one.facts)} for one in found]


def _ref(facts: Mapping[str, object]) -> str:
    return str(facts.get("message") or facts.get("task"))


def _why(facts: Mapping[str, object]) -> str:
    """What it waits for, or the code of its last attempt; "" where nothing is to be said."""
    paused = facts.get("paused")
    words = [
        *(paused[:1] if isinstance(paused, list) else []),
        facts.get("held back"),
        f"behind {facts['waits behind']}" if facts.get("waits behind") else "",
        f"last answer {facts['last code']}" if facts.get("last code") else "",
    ]
    return "; ".join(str(word) for word in words if word)[:200]
