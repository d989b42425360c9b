"""What redis-py's connections lack: commands as bytes made by hiredis, and a cancellation that always arrives.

A script carries a word for each field of each message. Packed in Python, they are a twentieth of what a webhook costs.
redis-py asks hiredis in its blocking client alone.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any

import hiredis
from redis.asyncio import ConnectionPool


class _Packed:
    """Stands before a class of connections."""

    def pack_command(self, *words: Any) -> list[bytes]:
        name = words[0]
        if isinstance(name, str) and " " not in name:
            try:
                return [hiredis.pack_command(words)]
            except TypeError:  # what only redis-py packs, or refuses with words of its own
                pass
        packed: list[bytes] = super().pack_command(*words)  # type: ignore[misc]
        return packed

    async def send_packed_command(self, *words: Any, **how: Any) -> None:
        """redis-py sends by `asyncio.wait_for`, which forgets a cancellation that comes when the command is just sent
        (Python 3.11; 3.12 has mended it). The task would go on, and nothing would ever stop it.
        """
        task = asyncio.current_task()
        before = task.cancelling() if task else 0
        await super().send_packed_command(*words, **how)  # type: ignore[misc]
        if task and task.cancelling() > before:
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]  # the answer is nobody else's
            raise asyncio.CancelledError


def pack_in_c(pool: ConnectionPool) -> None:
    """Connections that the pool opens from now on."""
    kind: Any = pool.connection_class
    pool.connection_class = _packed(kind)


@cache
def _packed(kind: Any) -> Any:
    return type(f"Packed{kind.__name__}", (_Packed, kind), {})
