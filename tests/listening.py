"""An app behind a real listener on a free port of loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from dcbridge.runtime.server import Listener


@asynccontextmanager
async def listening(app: ASGIApp) -> AsyncIterator[str]:
    """Its URL, without a slash at the end. What is open at the end is given a second."""
    async with serving(Listener(app, "127.0.0.1", 0, graceful=1.0)) as listener:
        yield f"http://127.0.0.1:{listener.port}"


@asynccontextmanager
async def serving(listener: Listener) -> AsyncIterator[Listener]:
    """A listener that serves."""
    task = asyncio.create_task(listener.serve())
    await _answers(listener.port, task)
    try:
        yield listener
    finally:
        listener.stop()
        await task


async def _answers(port: int, task: asyncio.Task[None]) -> None:
    while not task.done():
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.005)
        else:
            writer.close()
            return
    raise AssertionError("the listener did not start")
