"""Which emails of one consumer belong together, for the headers of the next one, and what we said in them.

A thread is a digest of channel and mailbox; what we said is kept as hashes of a few words each.
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection
from typing import cast

from dcbridge.ledger.script import Script, ms
from dcbridge.settings.process import DAY

KEEP = 30 * DAY  # seconds after the last email


class Threads:
    """The threads of one ledger."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def add(self, thread: str, message_id: str, shingles: Collection[int] = ()) -> None:
        """An email of either side; its shingles where it is ours. The last ten ids and 80 shingles are kept."""
        await self._script.record("thread_add", thread, message_id, ms(KEEP), *shingles)

    async def ids(self, thread: str) -> list[str]:
        """Message-IDs without their brackets, the oldest first."""
        return [one.decode(errors="replace") for one in reversed(await self._all(f"dcb:thread:{thread}"))]

    async def shingles(self, thread: str) -> frozenset[int]:
        """Of what we sent."""
        return frozenset(int(one) for one in await self._all(f"dcb:shingles:{thread}"))

    async def mails_of(self, thread: str, task_id: str, within: float) -> int:
        """How many mails of a consumer came in the last `within` seconds, this one included, which is counted once."""
        return int(await self._script.record("thread_mail", thread, task_id, ms(within)))

    async def remember_sent(self, ref: str, sealed: bytes) -> None:
        """The mailbox that an email of ours went to, which only `ReplyTokens` can read."""
        redis = self._script.redis
        await self._script.outlast(lambda: cast(Awaitable[bool], redis.set(f"dcb:reply:{ref}", sealed, px=ms(KEEP))))

    async def sent_to(self, ref: str) -> bytes:
        """The same; b"" where it is not known any more."""
        redis = self._script.redis
        return await self._script.outlast(lambda: cast(Awaitable[bytes | None], redis.get(f"dcb:reply:{ref}"))) or b""

    async def _all(self, key: str) -> list[bytes]:
        redis = self._script.redis
        return await self._script.outlast(lambda: cast(Awaitable[list[bytes]], redis.lrange(key, 0, -1)))
