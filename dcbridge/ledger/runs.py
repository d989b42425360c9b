"""How far an action on many messages has come: for whoever looks, also after the browser that began it is closed.

It decides nothing. What is done stands in the messages, and in the record; a run that is lost can be begun again.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

import orjson

from dcbridge.json_values import json_object
from dcbridge.ledger import moment
from dcbridge.ledger.script import Script, ms

KEPT = 86400.0  # seconds after its last word
SILENT = 15.0  # seconds without a word after which it counts as interrupted


@dataclass(frozen=True, slots=True)
class Run:
    """One of them. Times in seconds since 1970, 0 for not yet; `counts`: how many by what came of them."""

    id: str
    action: str
    of: str  # what was asked for, as the record has it
    by: str
    why: str
    began: float
    address: str = ""  # where it can be begun again
    total: int = 0
    done: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    heard: float = 0.0
    ended: float = 0.0
    failed: str = ""

    def is_interrupted(self, now: float) -> bool:
        """Its process has gone."""
        return not self.ended and now - self.heard > SILENT


class Runs:
    """The runs of one ledger."""

    def __init__(self, script: Script) -> None:
        self._script, self._redis = script, script.redis

    async def begin(self, action: str, of: str, by: str, why: str, address: str = "") -> Run:
        """A new one."""
        now = (await moment.read(self._redis)).at
        return await self.note(Run(secrets.token_hex(8), action, of, by, why, now, address))

    async def note(self, run: Run, *, ended: bool = False) -> Run:
        """How far it is."""
        now = (await moment.read(self._redis)).at
        run = replace(run, heard=now, ended=now if ended else 0.0)
        await cast(Awaitable[Any], self._redis.set(f"dcb:run:{run.id}", orjson.dumps(asdict(run)), px=ms(KEPT)))
        return run

    async def read(self, name: str) -> Run | None:
        """None where it is not known, or cannot be read."""
        found = await cast(Awaitable[bytes | None], self._redis.get(f"dcb:run:{name}"))
        return _run(found) if found else None


def _run(raw: bytes) -> Run | None:
    known: dict[str, Any] = json_object(raw)
    try:
        counts = {str(word): int(count) for word, count in dict(known.pop("counts")).items()}
        return Run(**known, counts=counts)
    except (ValueError, KeyError, TypeError):
        return None
