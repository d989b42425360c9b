"""Actions on many messages: they go on when the browser is closed, and say in the ledger how far they are."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import structlog

from dcbridge.ledger import Ledger
from dcbridge.ledger.runs import Run

log = structlog.get_logger()

EVERY = 1.0  # seconds between two words about how far it is

Work = Callable[[Callable[[int], object]], Awaitable[Counter[str]]]
_TASKS: set[asyncio.Task[None]] = set()  # the loop itself holds no reference to them


async def start(
    ledger: Ledger, run: Run, refs: Callable[[], Awaitable[Sequence[str]]], act: Callable[..., Work]
) -> None:
    """Begin it, and come back at once. `refs`: which messages; `act`: of them the work, which says how far it is."""
    task = asyncio.create_task(_run(ledger, run, refs, act))
    _TASKS.add(task)
    task.add_done_callback(_TASKS.discard)


async def _run(
    ledger: Ledger, run: Run, refs: Callable[[], Awaitable[Sequence[str]]], act: Callable[..., Work]
) -> None:
    done = 0

    def went(count: int) -> None:
        nonlocal done
        done += count

    over = asyncio.Event()

    async def tell() -> None:
        """It ends by itself: a cancellation could come after the last word was written, and before it was answered."""
        while not over.is_set():
            with suppress(Exception):  # Redis may be away; the work itself finds out
                await ledger.runs.note(replace(run, done=done))
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY):
                    await over.wait()

    telling = asyncio.create_task(tell())
    try:
        chosen = await refs()
        run = replace(run, total=len(chosen))
        counts = await act(chosen)(went)
        run = replace(run, done=run.total, counts=dict(counts))
    except Exception as error:
        log.error("console_run_failed", run=run.id, action=run.action, exc_info=True)
        run = replace(run, done=done, failed=type(error).__name__)
    finally:
        over.set()
        await telling
    await ledger.runs.note(run, ended=True)
    log.info("console_run_ended", run=run.id, action=run.action, messages=run.done)
