"""Leases: in whose name messages and tasks are claimed, and whether that worker still runs."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from dcbridge.ledger.script import Script


@dataclass(frozen=True, slots=True)
class Worker:
    """Who claims. Without a name a claim ends with its lease alone; after `silence_ms` without a heartbeat it counts as
    dead.
    """

    name: str
    silence_ms: int


class Leases:
    """What one worker holds."""

    def __init__(self, script: Script, worker: Worker) -> None:
        self._script, self._worker = script, worker

    def token(self) -> str:
        """What fences one claim, and says whose it is."""
        return f"{self._worker.name}.{secrets.token_hex(8)}"

    async def heartbeat(self) -> None:
        """Say that this worker runs. Each sweep says it again; claims of a worker that says nothing end early."""
        await self._script.call("heartbeat", self._worker.name, self._worker.silence_ms)

    async def release(self) -> None:
        """This worker holds nothing any more that it will finish."""
        await self._script.call("release", self._worker.name)
