"""A company's request to the bridge, sent as often as the company would, and written down."""

from __future__ import annotations

import asyncio
import time
from urllib.parse import urldefrag

import aiohttp
import httpx

from sandbox.wires.base import Call
from sandbox.world import World

ANSWER_LIMIT = 15.0
BETWEEN_TRIES = 0.5


async def deliver(world: World, who: str, proof: str, call: Call) -> tuple[int, bytes]:
    """The bridge's last answer; (0, b"") is none."""
    url, _ = urldefrag(call.url)
    public = world.config.public_url
    where = world.config.bridge_url + url.removeprefix(public) if public and url.startswith(public) else url
    status, answered = 0, b""
    for attempt in range(max(call.tries, world.config.callback_tries)):
        if attempt:
            await asyncio.sleep(BETWEEN_TRIES * attempt)
        started = time.perf_counter()
        status, answered = 0, b""
        try:
            async with asyncio.timeout(ANSWER_LIMIT):
                response = await world.client.request(
                    call.method, where, content=call.body or None, headers=dict(call.headers)
                )
            status, answered = response.status_code, response.content
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError):
            pass
        path = url.partition("://")[2].partition("/")[2]
        world.exchange(who, False, call.method, f"/{path}", started, status, call.body, answered, proof)
        if 200 <= status < 300:
            return status, answered
    if 400 <= status < 500:
        world.violation(who, "a callback that is signed right is taken", f"answered {status}")
    return status, answered
