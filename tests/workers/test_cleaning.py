"""Files whose time is over are deleted beside the sweep, and what cannot be deleted holds up nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import Response

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from tests.workers.far_side import SMS
from tests.workers.media_side import MediaSide, media_side
from workers.cleaning import delete_uploads, keep_cleaning
from workers.reconciler import sweep


@pytest.fixture
async def media(redis: Redis, redis_server: EmbeddedRedis) -> AsyncIterator[MediaSide]:
    async with media_side(redis, redis_server.url) as opened:
        yield opened


async def overdue(media: MediaSide, *files: str) -> None:
    """Files at Digital Channels, each as "<channel> <id>", whose time is over."""
    media.store.files |= {file.partition(" ")[2]: ("file.png", "image/png", b"") for file in files}
    await media.side.redis.zadd("dcb:uploads", dict.fromkeys(files, 1.0))


async def left(media: MediaSide) -> list[str]:
    found: list[bytes] = await cast(Any, media.side.redis.zrange("dcb:uploads", 0, -1))
    return sorted(member.decode() for member in found)


async def test_the_sweep_waits_for_no_file(media: MediaSide) -> None:
    """It is the heartbeat of its worker, and Digital Channels may take half a minute for each file."""
    await overdue(media, f"{SMS} one")
    asked, answer = asyncio.Event(), asyncio.Event()

    async def hangs(request: Request) -> Response:
        asked.set()
        await answer.wait()
        return await media.store.answer(request)

    media.side.agents.usual = hangs
    assert await asyncio.wait_for(sweep(media.side.context), 60) == 0
    assert not asked.is_set()
    cleaning = asyncio.create_task(keep_cleaning(media.side.context))
    try:
        await asyncio.wait_for(asked.wait(), 60)
        answer.set()
        async with asyncio.timeout(60):
            while await left(media):  # noqa: ASYNC110 (the answer is read by another task)
                await asyncio.sleep(0.01)
    finally:
        cleaning.cancel()
        await asyncio.gather(cleaning, return_exceptions=True)
    assert media.store.deleted == ["one"]


async def test_a_channel_whose_secret_is_refused_holds_up_no_other(media: MediaSide) -> None:
    """Those that are due together come again together, in the same order."""
    await overdue(media, *(f"0000 {number}" for number in range(5)), f"{SMS} ours")
    asked: list[str] = []

    async def refuses_one(request: Request) -> Response:
        asked.append(request.url.path)
        return Response(status_code=401) if "/0000/" in request.url.path else await media.store.answer(request)

    media.side.agents.usual = refuses_one
    await delete_uploads(media.side.context)
    assert media.store.deleted == ["ours"]
    assert len([path for path in asked if "/0000/" in path]) == 1
    assert await left(media) == [f"0000 {number}" for number in range(5)]


async def test_what_is_not_there_any_more_is_forgotten_and_a_store_that_is_away_is_left_alone(media: MediaSide) -> None:
    await overdue(media, f"{SMS} gone", f"{SMS} here")
    del media.store.files["gone"]
    media.side.agents.replies = [media.store.answer, _away]
    await delete_uploads(media.side.context)
    assert await left(media) == [f"{SMS} here"]
    assert media.store.deleted == []


async def _away(_request: Request) -> Response:
    return Response(status_code=503)
