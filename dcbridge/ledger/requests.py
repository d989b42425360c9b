"""Requests to Genesys' interfaces: how fast they go, and those that are written once (requests.lua)."""

from __future__ import annotations

from dcbridge.ledger.script import Script, ms, word


class Requests:
    """The requests of one ledger. `interface`: its name, as that of its breaker."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def slot(self, interface: str, per_second: float, burst: int, most: float) -> float | None:
        """Seconds until one more may be written; None where that is more than `most`, and no place is taken."""
        answer = await self._script.record("request_slot", interface, f"{per_second:g}", burst, ms(most))
        return None if int(answer) < 0 else int(answer) / 1000

    async def begin(self, task_id: str, token: str) -> str:
        """Just before a request that may be written once: "go", "stale", or "began" where it was written before."""
        return word(await self._script.record("post_begin", task_id, token))

    async def free(self, task_id: str, token: str) -> None:
        """It is certain that Genesys does not have it."""
        await self._script.record("post_free", task_id, token)
