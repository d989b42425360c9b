"""Sessions that workers hold at an SMSC: who may have one, who gets its messages, and what arrives in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

from dcbridge.ledger.jobs import INBOUND
from dcbridge.ledger.leases import Worker
from dcbridge.ledger.script import Script, ms, word
from dcbridge.ledger.tasks import NewTask
from dcbridge.tracing import switch

KEPT = 600.0  # seconds that an arrival is remembered whose answer may not have been read
_SLICE = 500
Arrived = Literal["new", "again", "wait"]


def queue_of(provider: str) -> str:
    """The RQ queue of messages that only a worker with a session of this account can send."""
    return f"outbound-{provider}"


class Sessions:
    """The sessions of one worker."""

    def __init__(self, script: Script, worker: Worker) -> None:
        self._script, self._worker = script, worker

    async def hold(self, provider: str, binds: int, ttl: float, *, up: bool, session: str = "") -> tuple[bool, int]:
        """Whether this worker may hold a session for `ttl` seconds from now, and how many workers are bound. `session`:
        the one whose connection is there.
        """
        if not self._worker.name:  # it lives for one job
            return False, 0
        answer = await self._script.call("bind_hold", provider, self._worker.name, binds, ms(ttl), int(up), session)
        return bool(answer[0]), int(answer[1])

    async def release(self, provider: str) -> None:
        """Another worker may have its session."""
        await self._script.call("bind_release", provider, self._worker.name)

    async def pass_on(self, ref: str, token: str, provider: str) -> str:
        """Give a claim back, for a worker that holds a session: "accepted" or "stale"."""
        return word(await self._script.record("pass_on", ref, token, provider))

    async def ended(self, provider: str, session: str) -> None:
        """Its connection is no more. The SMSC has read what it is known to have read."""
        await self._script.call("session_ended", provider, session)

    async def arrive(self, provider: str, ttl: float, digest: str, session: str, task: NewTask) -> Arrived:
        """Store what came in a session, whose connection is there for `ttl` seconds from now.

        "again": it was stored in a session that has ended, and whose answer the SMSC may not have read. "wait": that
        session is there, and it is not known yet whether it has; nothing is stored.
        """
        t = task
        answer = await self._script.call(
            "arrive", digest, session, ms(KEPT), t.id, t.job, t.lane, t.payload, t.trace_id, provider, ms(ttl)
        )
        how = cast(Arrived, word(answer))
        if how == "new":
            switch.created(INBOUND, [(t.id, t.trace_id)])
        return how

    async def read(self, session: str, digests: Sequence[str]) -> None:
        """The SMSC has read the answers to these."""
        for start in range(0, len(digests), _SLICE):
            await self._script.call("arrivals_read", session, *digests[start : start + _SLICE])
