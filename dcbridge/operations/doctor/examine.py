"""Run checks side by side, each within its time, so that none of them holds up or hides another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from dcbridge.operations.doctor.finding import About, Finding

WITHIN = 10.0  # seconds for one check
AT_ONCE = 16
ALL_WITHIN = 60.0  # seconds for all of them


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at. `run` gives what it found, and raises nothing that anybody would have to know."""

    about: str
    run: Callable[[], Awaitable[Iterable[Finding]]]


async def examine(
    checks: Sequence[Check], within: float = WITHIN, all_within: float = ALL_WITHIN
) -> AsyncIterator[Sequence[Finding]]:
    """What each check found, in the order of the checks."""
    room = asyncio.Semaphore(AT_ONCE)
    until = asyncio.get_running_loop().time() + all_within

    async def one(check: Check) -> Sequence[Finding]:
        try:
            async with asyncio.timeout_at(until), room, asyncio.timeout(within):
                return tuple(await check.run())
        except TimeoutError:
            return (About(check.about).error("was not looked at to the end: something did not answer in time"),)
        except Exception as error:  # a check with a fault of its own must not take the others along
            return (About(check.about).error(f"could not be looked at ({type(error).__name__})"),)

    running = [asyncio.ensure_future(one(check)) for check in checks]
    try:
        for task in running:
            yield await task
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
