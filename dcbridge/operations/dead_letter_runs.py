"""Replays of many dead letters in the background: how far each is, until it is done, stopped or its process ends.

Each letter leaves in the step that queues it again, so a run that is cut off is simply begun again. Where it stands is
known to its own process alone.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import structlog
from redis.exceptions import RedisError

from dcbridge.operations.controls import Who
from dcbridge.operations.dead_letters import Chosen, replay_all
from dcbridge.operations.session import Session
from dcbridge.replay import Replayed

log = structlog.get_logger()

RUNS = 20  # that are remembered
AT_ONCE = 3  # that may be under way
NAMED = 20  # letters whose fate is told one by one


class TooMany(Exception):
    """As many as may be are under way."""


@dataclass(slots=True)
class Run:
    """One. Times in seconds since 1970."""

    id: str
    by: str
    of: str  # what was chosen, in words
    total: int
    rate: float
    began: float
    looked: int = 0
    counts: Counter[tuple[bool, str]] = field(default_factory=Counter)
    named: list[tuple[str, Replayed]] = field(default_factory=list)
    stopping: bool = False
    ended: str = ""  # "done", "stopped", "interrupted"; "" while it is under way

    @property
    def replayed(self) -> int:
        return sum(count for (done, _), count in self.counts.items() if done)

    @property
    def stayed(self) -> int:
        return sum(self.counts.values()) - self.replayed

    @property
    def summary(self) -> str:
        return f"{self.replayed} replayed, {self.stayed} not"


class Runs:
    """Those of one process."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def get(self, run_id: str) -> Run | None:
        return self._runs.get(run_id)

    def under_way(self) -> list[Run]:
        return [run for run in self._runs.values() if not run.ended]

    async def begin(
        self, session: Session, chosen: Chosen, ids: Sequence[str], of: str, who: Who, rate: float = 0.0
    ) -> Run:
        """Replay these in the background. Raises TooMany."""
        if len(self.under_way()) >= AT_ONCE:
            raise TooMany
        run = Run(secrets.token_urlsafe(9), who.by, of, len(ids), rate, time.time())
        self._runs[run.id] = run
        for old in [one.id for one in self._runs.values() if one.ended][: max(0, len(self._runs) - RUNS)]:
            del self._runs[old]
        await session.ledger.controls.note(who.by, "dead.replay", of, who.why, f"began, of {len(ids)}")
        task = asyncio.create_task(self._work(session, run, chosen, ids, who))
        self._tasks[run.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(run.id, None))
        return run

    async def stop(self, run_id: str) -> bool:
        """Before the next letter; False where none is under way."""
        task = self._tasks.get(run_id)
        if task is None:
            return False
        self._runs[run_id].stopping = True
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        run = self._runs[run_id]
        run.ended = run.ended or "stopped"  # before its first step
        return True

    async def _work(self, session: Session, run: Run, chosen: Chosen, ids: Sequence[str], who: Who) -> None:
        def looked(count: int) -> None:
            run.looked += count

        try:
            async for letter_id, result in replay_all(session, chosen, ids, rate=run.rate, looked=looked):
                run.counts[result.done, result.says] += 1
                if len(run.named) < NAMED:
                    run.named.append((letter_id, result))
                if run.stopping:  # a cancellation may have been lost in a client of Redis
                    break
            run.ended = "stopped" if run.stopping else "done"
        except asyncio.CancelledError:
            run.ended = "stopped"
        except (RedisError, OSError):
            run.ended = "interrupted"
            log.warning("dead_letter_replay_interrupted", exc_info=True)
        except Exception:
            run.ended = "interrupted"
            log.error("dead_letter_replay_failed", exc_info=True)
        with suppress(RedisError, OSError):
            await session.ledger.controls.note(who.by, "dead.replay", run.of, who.why, f"{run.ended}: {run.summary}")
