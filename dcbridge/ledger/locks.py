"""What one process of many does at a time: a lock with a lease (locks.lua)."""

from __future__ import annotations

from dcbridge.ledger.script import Script, ms


async def lock(script: Script, key: str, owner: str, ttl: float) -> bool:
    """Whether `owner` holds it for `ttl` seconds from now."""
    return bool(await script.call("lock", key, owner, ms(ttl)))


async def unlock(script: Script, key: str, owner: str) -> None:
    """Another owner may hold it."""
    await script.call("unlock", key, owner)
