"""Dead letters as an operator selects, replays and drops them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from dcbridge.ledger.dead_letters import DeadLetter, DeadLetters, Selection
from dcbridge.operations.session import Progress, Session, unwatched
from dcbridge.operations.wording import utc
from dcbridge.replay import GONE, Replay, Replayed

_DROP_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Chosen:
    """Letters by id, or by what they are."""

    ids: tuple[str, ...]
    selection: Selection

    async def ids_of(self, letters: DeadLetters) -> list[str]:
        """Those to look at, the oldest first."""
        return list(dict.fromkeys(self.ids)) if self.ids else await letters.ids(self.selection.since)


async def matching(letters: DeadLetters, ids: Sequence[str], selection: Selection) -> AsyncIterator[DeadLetter]:
    """Those of these ids that are selected and still there."""
    async for letter in letters.read(ids):
        if letter is not None and selection.has(letter):
            yield letter


async def replay_all(
    session: Session,
    chosen: Chosen,
    ids: Sequence[str],
    *,
    dry_run: bool = False,
    rate: float = 0.0,
    looked: Progress = unwatched,
) -> AsyncIterator[tuple[str, Replayed]]:
    """Process `ids` of what is chosen again, one after the other: id and what became of it. `rate` a second, 0 for as
    fast as can be.
    """
    replayer = Replay(session.ledger, session.configuration, dry_run=dry_run)
    began, tried, place = time.monotonic(), 0, 0
    async for letter in session.ledger.dead_letters.read(ids):
        letter_id, place = ids[place], place + 1
        looked(1)
        if letter is None and not chosen.ids:
            continue
        if letter is not None and not chosen.selection.has(letter):
            continue
        if letter is not None and rate and not dry_run:
            await asyncio.sleep(max(0.0, began + tried / rate - time.monotonic()))
        tried += 1
        yield letter_id, await replayer.one(letter) if letter is not None else GONE


async def drop_all(session: Session, ids: Sequence[str], *, dry_run: bool = False, done: Progress = unwatched) -> int:
    """Delete these with their raw bytes: how many there were."""
    dropped = 0
    for start in range(0, len(ids), _DROP_AT_ONCE):
        some = ids[start : start + _DROP_AT_ONCE]
        dropped += len(some) if dry_run else await session.ledger.dead_letters.drop(some)
        done(len(some))
    return dropped


def as_json(letter: DeadLetter) -> dict[str, Any]:
    """For machines; nothing of its raw bytes."""
    return {
        "id": letter.id,
        "what": letter.what,
        "channel": letter.channel_id,
        "reason": letter.reason,
        "at": utc(letter.at),
        "bytes": letter.size,
        **({"work_item": f"open since {utc(letter.item_opened)}"} if letter.item_opened else {}),
        **({"work_item": f"ended by an agent at {utc(letter.handled)}"} if letter.handled else {}),
    }
