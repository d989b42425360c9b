"""When a request to one of Genesys' interfaces may go, where bridge.yaml limits their number."""

from __future__ import annotations

import asyncio

from dcbridge.config.interface_pace import InterfacePace
from dcbridge.errors import Throttled
from workers.context import WorkerContext


async def turn(ctx: WorkerContext, interface: str, pace: InterfacePace, most: float) -> None:
    """Waits for it. Raises Throttled where that would take more than `most` seconds."""
    if not pace.per_second:
        return
    wait = await ctx.ledger.requests.slot(interface, pace.per_second, pace.burst, most)
    if wait is None:
        raise Throttled("pace", retry_after=most)
    await asyncio.sleep(wait)
