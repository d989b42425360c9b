"""Ends of a connection that a well-behaved server never shows: no answer at all, and a reset."""

from __future__ import annotations

import asyncio
import socket
import struct

from starlette.requests import Request

LONGEST_SILENCE = 120.0


async def wait_for_disconnect(request: Request) -> None:
    """Hold the request until the caller gives up, two minutes at most."""
    try:
        async with asyncio.timeout(LONGEST_SILENCE):
            while (await request.receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return


async def reset(request: Request) -> None:
    """Reset the TCP connection under a request, with RST and not with an orderly end.

    ASGI has no word for this: uvicorn's `receive` is a bound method of the object that owns the
    transport (true of 0.54, both of its HTTP implementations, asyncio and uvloop).
    """
    transport = getattr(getattr(request.receive, "__self__", None), "transport", None)
    if transport is None:
        raise TypeError("a reset needs uvicorn's own transport")
    if transport.is_closing():  # the caller was quicker
        return
    tcp = transport.get_extra_info("socket")
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    await asyncio.sleep(0.01)
