"""Sessions that workers hold at an SMSC: who may have one, who gets its messages, and what arrives in them."""

from __future__ import annotations

from collections.abc import Sequence

from dcbridge.ledger.leases import Worker
from dcbridge.ledger.script import Script, ms, word
from dcbridge.ledger.tasks import NewTask

KEPT = 600.0  # seconds that an arrival is remembered whose answer may not have been read
_SLICE = 500


def queue_of(provider: str) -> str:
    """The RQ queue of messages that only a worker with a session of this account can send."""
    return f"outbound-{provider}"


class Sessions:
    """The sessions of one worker."""

    def __init__(self, script: Script, worker: Worker) -> None:
        self._script, self._worker = script, worker

    async def hold(self, provider: str, binds: int, ttl: float, *, up: bool) -> tuple[bool, int]:
        """Whether this worker may hold a session for `ttl` seconds from now, and how many workers are bound."""
        if not self._worker.name:  # it lives for one job
            return False, 0
        answer = await self._script.call("bind_hold", provider, self._worker.name, binds, ms(ttl), int(up))
        return bool(answer[0]), int(answer[1])

    async def release(self, provider: str) -> None:
        """Another worker may have its session."""
        await self._script.call("bind_release", provider, self._worker.name)

    async def pass_on(self, ref: str, token: str, provider: str) -> str:
        """Give a claim back, for a worker that holds a session: "accepted" or "stale"."""
        return word(await self._script.record("pass_on", ref, token, provider))

    async def arrive(self, digest: str, session: str, task: NewTask) -> bool:
        """True where it is new. False: it was stored in another session, whose answer the SMSC has not read."""
        t = task
        answer = await self._script.call(
            "arrive", digest, session, ms(KEPT), t.id, t.job, t.lane, t.payload, t.trace_id
        )
        return bool(answer == b"new")

    async def read(self, session: str, digests: Sequence[str]) -> None:
        """The SMSC has read the answers to these."""
        for start in range(0, len(digests), _SLICE):
            await self._script.call("arrivals_read", session, *digests[start : start + _SLICE])
