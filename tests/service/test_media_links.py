"""GET and HEAD /m/{token}: a file for whoever has a link of ours, and nothing for anybody else."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx
import pytest
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.config.loader import parse
from dcbridge.ledger.blobs import SMALL
from dcbridge.media.links import Links
from service.media import A_SECOND, OF_ONE, Reads
from tests.listening import listening
from tests.service.client import CONFIGURATION, PUBLIC, SMS, ServiceClient, open_service
from tests.workers.media_side import MEDIA_ID, PIXEL, Store

KEY, SOON = b"0123456789abcdef", 60.0


@dataclass(slots=True)
class Opened:
    client: ServiceClient
    store: Store
    links: Links

    def path(self, media_id: str = MEDIA_ID, channel: str = SMS, life: float = SOON) -> str:
        return self.links.url(channel, media_id, time.time() + life).removeprefix(PUBLIC)

    async def get(self, path: str, method: str = "GET") -> httpx.Response:
        return await self.client.http.request(method, path)


@pytest.fixture
async def opened(redis: Redis, redis_server: EmbeddedRedis) -> AsyncIterator[Opened]:
    store = Store()
    routes = [Route("/nexus/v3/{path:path}", store.answer, methods=["GET", "POST", "DELETE"])]
    async with listening(Starlette(routes=routes)) as url:
        configuration = parse(CONFIGURATION.replace("http://127.0.0.1:1/nexus", f"{url}/nexus"), {})
        async with open_service(redis_server.url, configuration) as client:
            yield Opened(client, store, Links(KEY, PUBLIC, configuration.channels))


def put(opened: Opened, data: bytes, media_id: str = MEDIA_ID) -> None:
    opened.store.files[media_id] = ("cat.png", "text/html", data)


async def test_a_file_is_shown_and_nothing_in_it_is_run(opened: Opened) -> None:
    put(opened, PIXEL)
    answer = await opened.get(opened.path())
    assert (answer.status_code, answer.content) == (200, PIXEL)
    assert answer.headers["content-type"] == "image/png"  # by its bytes, and not by what was said
    assert answer.headers["content-disposition"] == 'inline; filename="file.png"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("sandbox;")
    assert answer.headers["content-length"] == str(len(PIXEL))
    assert opened.store.wrong == []
    assert opened.client.counted("dcbridge_http_requests_total", route="media_link", name="file", outcome="read") == 1


@pytest.mark.parametrize("data", [b"<html><script>alert(1)</script>", b"MZ\x90", b"", b"<svg/>"])
async def test_what_is_not_known_is_not_shown(opened: Opened, data: bytes) -> None:
    put(opened, data)
    answer = await opened.get(opened.path())
    assert (answer.status_code, answer.content) == (200, data)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment;")


async def test_head_says_the_same_without_the_file(opened: Opened) -> None:
    put(opened, PIXEL)
    answer = await opened.get(opened.path(), "HEAD")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-length"] == str(len(PIXEL))
    assert (await opened.get(opened.path(), "POST")).status_code == 405


async def test_a_small_file_is_read_once_from_digital_channels_and_a_large_one_each_time(opened: Opened) -> None:
    put(opened, PIXEL + bytes(SMALL))
    put(opened, PIXEL, "small")
    for _ in range(2):
        assert (await opened.get(opened.path("small"))).content == PIXEL
        assert (await opened.get(opened.path())).content == PIXEL + bytes(SMALL)
    assert opened.store.read.count("small") == 1
    assert opened.store.read.count(MEDIA_ID) == 2


@pytest.mark.parametrize("shape", ["changed", "cut", "longer", "of another key", "not base64", "nothing", "very long"])
async def test_a_link_cannot_be_made_or_changed(opened: Opened, shape: str) -> None:
    put(opened, PIXEL)
    token = opened.path().removeprefix("/m/")
    assert (await opened.get(f"/m/{token}")).status_code == 200
    wrong = {
        "changed": token[:-3] + ("A" if token[-3] != "A" else "B") + token[-2:],
        "cut": token[:-4],
        "longer": token + "AAAA",
        "of another key": Links(b"another key", PUBLIC, [SMS]).url(SMS, MEDIA_ID, time.time() + 9).rpartition("/")[2],
        "not base64": "%2e%2e%2fmessages" + token,
        "nothing": "",
        "very long": token * 100,
    }[shape]
    read = len(opened.store.read)
    answer = await opened.get(f"/m/{wrong}")
    assert answer.status_code == 404
    assert token not in answer.text
    assert len(opened.store.read) == read


async def test_every_other_last_byte_is_refused(opened: Opened) -> None:
    """No bit of a token is without meaning, so none is another name of the same file."""
    token = opened.path().removeprefix("/m/")
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    for bit in range(0, len(raw) * 8, 7):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        other = base64.urlsafe_b64encode(bytes(changed)).rstrip(b"=").decode()
        assert (await opened.get(f"/m/{other}")).status_code == 404
    put(opened, PIXEL)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    found = [letter for letter in letters if (await opened.get(f"/m/{token[:-1]}{letter}")).status_code != 404]
    assert found == [token[-1]]


async def test_a_link_ends(opened: Opened) -> None:
    put(opened, PIXEL)
    assert (await opened.get(opened.path(life=-2))).status_code == 410
    assert (await opened.get(opened.path(life=5))).status_code == 200


async def test_a_file_that_is_gone_and_a_channel_that_is_gone(opened: Opened) -> None:
    assert (await opened.get(opened.path())).status_code == 404
    other = Links(KEY, PUBLIC, ["not configured"]).url("not configured", MEDIA_ID, time.time() + 60)
    assert (await opened.get(other.removeprefix(PUBLIC))).status_code == 404


async def test_a_link_is_read_a_few_times_a_second(opened: Opened) -> None:
    put(opened, PIXEL)
    path = opened.path()
    answers = await asyncio.gather(*(opened.get(path) for _ in range(12)))
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(200) + statuses.count(429) == 12
    assert statuses.count(200) >= A_SECOND
    assert statuses.count(429) >= 1
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.headers["retry-after"] == "1"


@dataclass(slots=True)
class Endless:
    """Digital Channels with a file that comes for ever. `under_way`: how often it is read now."""

    under_way: int = 0

    async def answer(self, _request: Request) -> Response:
        return StreamingResponse(self._pieces())

    async def _pieces(self) -> AsyncIterator[bytes]:
        self.under_way += 1
        try:
            yield PIXEL
            while True:
                await asyncio.sleep(0.02)
                yield bytes(1000)
        finally:
            self.under_way -= 1

    async def reach(self, number: int) -> None:
        async with asyncio.timeout(30):
            while self.under_way != number:  # noqa: ASYNC110 (it happens in a server)
                await asyncio.sleep(0.01)


@pytest.fixture
async def endless(redis: Redis, redis_server: EmbeddedRedis) -> AsyncIterator[tuple[Opened, Endless]]:
    file = Endless()
    async with listening(Starlette(routes=[Route("/nexus/v3/{path:path}", file.answer)])) as url:
        configuration = parse(CONFIGURATION.replace("http://127.0.0.1:1/nexus", f"{url}/nexus"), {})
        async with open_service(redis_server.url, configuration) as client:
            yield Opened(client, Store(), Links(KEY, PUBLIC, configuration.channels)), file


async def test_whoever_reads_one_link_slowly_keeps_nobody_else_out(endless: tuple[Opened, Endless]) -> None:
    opened, file = endless
    mine, other = opened.path("a"), opened.path("b")
    async with AsyncExitStack() as readers:
        statuses = []
        for _ in range(OF_ONE + 1):
            await asyncio.sleep(0.4)  # three a second, and no more
            answer = await readers.enter_async_context(opened.client.http.stream("GET", mine))
            statuses.append(answer.status_code)
        assert statuses == [200] * OF_ONE + [429]
        answer = await readers.enter_async_context(opened.client.http.stream("GET", other))
        assert answer.status_code == 200
    await file.reach(0)
    async with opened.client.http.stream("GET", mine) as answer:
        assert answer.status_code == 200


async def test_a_file_is_read_no_further_when_its_reader_has_left(endless: tuple[Opened, Endless]) -> None:
    opened, file = endless
    async with opened.client.http.stream("GET", opened.path()) as answer:
        assert answer.status_code == 200
        await file.reach(1)
    await file.reach(0)


def test_three_at_once_and_then_three_a_second() -> None:
    reads = Reads()
    assert [reads.may("a", 100.0) for _ in range(5)] == [True, True, True, False, False]
    assert reads.may("b", 100.0)
    assert [reads.may("a", 100.4) for _ in range(2)] == [True, False]
    assert [reads.may("a", 200.0) for _ in range(4)] == [True, True, True, False]


async def test_digital_channels_away_is_said(redis: Redis, redis_server: EmbeddedRedis) -> None:
    """Nothing listens at the base_url of the usual configuration."""
    async with open_service(redis_server.url) as client:
        path = Links(KEY, PUBLIC, [SMS]).url(SMS, MEDIA_ID, time.time() + SOON).removeprefix(PUBLIC)
        answer = await client.http.get(path)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


async def test_no_token_is_in_a_metric(opened: Opened) -> None:
    put(opened, PIXEL)
    await opened.get(opened.path())
    await opened.get("/m/" + "A" * 60)
    text = opened.client.ctx.metrics.text().decode()
    assert opened.path().removeprefix("/m/")[:20] not in text
    assert "AAAAAAAA" not in text


def test_the_same_file_channel_and_end_give_the_same_link() -> None:
    links, again = (Links(KEY, PUBLIC, [SMS, "other"]) for _ in range(2))
    assert links.url(SMS, MEDIA_ID, 1000.4) == again.url(SMS, MEDIA_ID, 1000.0)
    others = {links.url(c, m, t) for c in (SMS, "other") for m in (MEDIA_ID, "a") for t in (1000, 1001)}
    assert len(others) == 8
    assert len(links.url(SMS, MEDIA_ID, 1000)) < len(PUBLIC) + 80  # it stands in an SMS
    assert links.open(links.url(SMS, MEDIA_ID.upper(), 1000).rpartition("/")[2], 0).media_id == MEDIA_ID.upper()
    with pytest.raises(ValueError, match="too long"):
        links.url(SMS, "m" * 400, 1000)
