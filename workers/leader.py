"""What one of many workers does at a time: by a lease, with which it ends at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog
from redis.exceptions import RedisError

from dcbridge.ledger import Ledger
from dcbridge.ledger.signals import Lead, LostLead

log = structlog.get_logger()

LEASE = 15.0  # seconds after which another one may lead, if this one says nothing
GOODBYE = 3.0  # seconds for what is to be said elsewhere when it ends


async def keep_leading(
    ledger: Ledger, name: str, work: Callable[[Lead], Awaitable[None]], lease: float = LEASE
) -> None:
    """Until cancelled: wait for the lead, and do the work while it lasts. `work` ends only by an error."""
    ledger = ledger.once
    while True:
        lead = ledger.signals.lead(name)
        try:
            if await lead.hold(lease):
                log.info("lead_taken", name=name)
                await _while_it_lasts(lead, work, lease)
                log.warning("lead_lost", name=name)
        except (RedisError, OSError) as error:
            log.warning("lead_postponed", name=name, error=type(error).__name__)
        await asyncio.sleep(lease / 3)


async def _while_it_lasts(lead: Lead, work: Callable[[Lead], Awaitable[None]], lease: float) -> None:
    working = asyncio.create_task(_worked(lead, work))
    try:
        held = time.monotonic()
        while not working.done():
            await asyncio.wait([working], timeout=lease / 3)
            began = time.monotonic()
            try:
                if not await lead.hold(lease):
                    return
                held = began
            except (RedisError, OSError):  # whoever cannot ask has to stop before another one begins
                if time.monotonic() - held > lease * 2 / 3:
                    return
    finally:
        working.cancel()
        await asyncio.wait([working], timeout=GOODBYE)
        with suppress(RedisError, OSError):
            await lead.end()


async def _worked(lead: Lead, work: Callable[[Lead], Awaitable[None]]) -> None:
    try:
        await work(lead)
    except LostLead:
        pass
    except (RedisError, OSError) as error:
        log.warning("lead_interrupted", name=lead.name, error=type(error).__name__)
    except Exception:
        log.error("lead_internal_error", name=lead.name, exc_info=True)
