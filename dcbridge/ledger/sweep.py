"""The sweep: whatever is due or lost gets its job again, and what needs a decision is handed out."""

from __future__ import annotations

import secrets

from dcbridge.ledger.entries import Decision, Swept
from dcbridge.ledger.leases import Worker
from dcbridge.ledger.script import Retention, Script
from dcbridge.messages import channel_of

SWEEP = 500  # members that one sweep looks at


class Sweep:
    """The sweeps of one ledger. `worker`: who sweeps, which is a heartbeat as well."""

    def __init__(self, script: Script, keep: Retention, worker: Worker) -> None:
        self._script, self._keep, self._worker = script, keep, worker

    async def run(self, limit: int = SWEEP) -> list[Decision]:
        """Queue what is due or lost; return what needs a decision. Idempotent, for any process."""
        return list((await self.report(limit)).decisions)

    async def report(self, limit: int = SWEEP) -> Swept:
        """As `run`, and what it saw of the store."""
        worker, store = self._worker, secrets.token_hex(6)
        answer = await self._script.call("sweep", limit, self._keep.dead_ms, worker.name, worker.silence_ms, store)
        seen, *rows = answer
        found = [tuple(one.decode(errors="replace") for one in row) for row in rows]
        return Swept(
            looked=int(seen[0]),
            decisions=[
                Decision(member[:1], member[2:], state, channel_of(books), provider)
                for member, state, books, provider in found
            ],
            ahead=int(seen[1]) / 1000,
            store=seen[2].decode(errors="replace"),
            latest=int(seen[3]) / 1000,
            heard=bool(seen[4]),
        )
