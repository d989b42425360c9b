"""A consumer's file that is fetched with a token: one is asked for, kept, and dropped when it is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest
from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import Response

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.providers import build
from dcbridge.providers.bandwidth import BandwidthFields
from dcbridge.providers.base import HasMedia, Provider
from tests.ledger.ledger_bench import Bench
from tests.workers.media_side import MEDIA_ID, PIXEL, MediaSide, media_side
from tests.workers.test_media_out import accepted
from workers import outbound
from workers.reconciler import sweep


class TokenServer:
    """A company that gives a new token each time, and takes the last one."""

    def __init__(self) -> None:
        self.given = 0
        self.shown: list[str] = []
        self.away = False

    async def answer(self, request: Request) -> Response:
        if request.url.path.endswith("/token"):
            if self.away:
                return Response(status_code=503)
            self.given += 1
            return Response(orjson.dumps({"access_token": f"t-{self.given}", "token_type": "bearer", "expires_in": 60}))
        self.shown.append(request.headers.get("authorization", ""))
        right = self.shown[-1] == f"Bearer t-{self.given}"
        return Response(PIXEL) if right else Response(status_code=401)


@pytest.fixture
async def media(redis: Redis, redis_server: EmbeddedRedis) -> AsyncIterator[MediaSide]:
    async with media_side(redis, redis_server.url) as opened:
        yield opened


def bandwidth(media: MediaSide) -> Provider:
    fields = {"account_id": "55", "application_id": "a", "client_id": "c", "client_secret": "s",
              "callback_secret": "0123456789abcdef", "base_url": f"{media.url}/2010-04-01",
              "token_url": f"{media.url}/2010-04-01/token"}  # fmt: skip
    return build("twilio", "bandwidth", BandwidthFields.model_validate(fields), media.url)


@pytest.fixture
def company(media: MediaSide) -> TokenServer:
    found = TokenServer()
    media.side.provider.usual = found.answer
    media.side.context.providers["twilio"] = bandwidth(media)
    return found


async def test_a_file_is_fetched_with_a_token_which_is_kept(media: MediaSide, company: TokenServer) -> None:
    for task_id in ("c-1", "c-2"):
        await media.posted(f"{media.url}/2010-04-01/{task_id}.png", task_id=task_id)
    assert company.shown == ["Bearer t-1"] * 2
    assert [data for _, _, data in media.store.files.values()] == [PIXEL] * 2


async def test_a_token_that_is_refused_is_dropped(media: MediaSide, company: TokenServer) -> None:
    await media.posted(f"{media.url}/2010-04-01/1.png", task_id="c-1")
    company.given += 1  # the company has forgotten the first
    provider, files = media.side.context.providers["twilio"], media.side.context.files
    assert isinstance(provider, HasMedia)
    with pytest.raises(Exception, match="http 401"):
        await files.fetch(provider, f"{media.url}/2010-04-01/2.png")
    assert await files.fetch(provider, f"{media.url}/2010-04-01/2.png") == PIXEL
    assert company.shown == ["Bearer t-1", "Bearer t-1", "Bearer t-3"]


async def test_a_file_waits_while_there_is_no_token(media: MediaSide, company: TokenServer) -> None:
    company.away = True
    assert await media.posted(f"{media.url}/2010-04-01/1.png") == []
    assert company.shown == []


async def test_a_slow_login_and_a_slow_file_together_do_not_outlast_the_claim(
    redis: Redis, redis_server: EmbeddedRedis
) -> None:
    """Each takes less than a lease: the message was never sent, so its outcome must not become unknown."""
    async with media_side(redis, redis_server.url, worker_silence=1.0) as media:
        media.store.files[MEDIA_ID] = ("cat.png", "image/png", PIXEL)
        bench, ctx, slow = Bench(redis), media.side.context, 0.7 * media.side.context.settings.lease
        sent: list[bytes] = []

        async def company(request: Request) -> Response:
            if request.url.path.endswith("/token"):
                await asyncio.sleep(0.6 * ctx.settings.worker_silence)
                await bench.pass_time(slow)
                return Response(orjson.dumps({"access_token": "t-1", "token_type": "bearer"}))
            sent.append(await request.body())
            return Response(orjson.dumps({"id": "m-1"}), 202)

        async def agents(request: Request) -> Response:
            if request.method == "GET":
                await bench.pass_time(slow)
                await sweep(ctx)
            return await media.store.answer(request)

        media.side.provider.usual, media.side.agents.usual = company, agents
        ctx.providers["twilio"] = bandwidth(media)
        ref = await accepted(media, text="Our offer")
        await outbound.send(ctx, ref)
        assert ((await media.side.entry(ref)).state, len(sent)) == ("sent", 1)
