"""Commands as bytes, made by hiredis, which redis-py asks in its blocking client alone.

A script carries a word for each field of each message. Packed in Python, they are a twentieth of what a webhook costs.
"""

from __future__ import annotations

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


def pack_in_c(pool: ConnectionPool) -> None:
    """Connections that the pool opens from now on."""
    kind: Any = pool.connection_class
    pool.connection_class = _packed(kind)


@cache
def _packed(kind: Any) -> Any:
    return type(f"Packed{kind.__name__}", (_Packed, kind), {})
