"""What this version cannot read, and set aside: a list to look at, to put back, or to drop (aside.lua)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

from dcbridge.ledger.script import Script, word

_FIELDS = ("why", "channel", "at")


@dataclass(frozen=True, slots=True)
class Aside:
    """One that was set aside. `at` in seconds since 1970."""

    id: str  # "m:…" an agent message, "t:…" a task, "r:…" a receipt
    why: str
    channel_id: str
    at: float


class Asides:
    """Those of one ledger."""

    def __init__(self, script: Script) -> None:
        self._script, self._redis = script, script.redis

    async def all(self) -> AsyncIterator[Aside]:
        """The oldest first."""
        found: Any = await self._redis.zrange("dcb:aside", 0, -1, withscores=True)
        for member, score in found:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hmget(b"dcb:aside:" + member, *_FIELDS)
                (answer,) = await pipe.execute(raise_on_error=False)
            why, channel, _ = [(one or b"").decode(errors="replace") for one in _list(answer)]
            yield Aside(member.decode(errors="replace"), why, channel, score / 1000)

    async def fields(self, member: str) -> dict[str, str] | None:
        """Names of fields and how long each is, since what they hold is private; None where it is gone."""
        async with self._redis.pipeline(transaction=False) as pipe:
            key = f"dcb:{'m' + member[1:] if member.startswith('r:') else member}"
            pipe.type(key)
            pipe.hgetall(key)
            kind, found = await pipe.execute(raise_on_error=False)
        if kind == b"none":
            return None
        if not isinstance(found, dict):
            return {"(key)": f"a {kind.decode()}"}
        state = found.get(b"s", b"").decode(errors="replace")
        told = {name.decode(errors="replace"): f"{len(value)} bytes" for name, value in found.items()}
        return {"s": state} | {name: said for name, said in sorted(told.items()) if name != "s"}

    async def put_back(self, member: str) -> str:
        """ "back", "gone", or why it still cannot be read."""
        return word(await self._script.call("aside_back", member))

    async def drop(self, members: Iterable[str]) -> int:
        """Forget them; how many there were. An agent message counts as failed, and nobody tells the agent."""
        return int(await self._script.call("aside_drop", *members))


def _list(answer: Any) -> list[bytes | None]:
    return answer if isinstance(answer, list) else [None] * len(_FIELDS)
