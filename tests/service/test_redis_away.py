"""The service while Redis is gone, or hangs: 503 in time, nothing is taken for stored, and it recovers by itself."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import httpx
import pytest

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from tests.service.client import MAIL_SECRET, ServiceClient, open_service, sms


async def message(client: ServiceClient) -> httpx.Response:
    return await client.webhook(sms())


async def unreadable(client: ServiceClient) -> httpx.Response:
    return await client.webhook(b"no json")


async def stray(client: ServiceClient) -> httpx.Response:
    return await client.webhook(sms(channel="nobody"))


async def interaction(client: ServiceClient) -> httpx.Response:
    return await client.webhook({"operationId": "op"}, path="/webhooks/interactions/events")


async def report(client: ServiceClient) -> httpx.Response:
    headers = {"Authorization": f"Bearer {MAIL_SECRET}"}
    return await client.http.post("/callbacks/mail/status", content=b"Message-ID: <1@x>\r\n\r\n", headers=headers)


Knock = Callable[[ServiceClient], Awaitable[httpx.Response]]
KNOCKS: list[Knock] = [message, unreadable, stray, interaction, report]


def is_a_promise_to_take_it_later(answer: httpx.Response) -> bool:
    said = (answer.status_code, answer.headers.get("retry-after"), answer.json())
    return said == (503, "5", {"error": "not stored; send it again"})


async def test_a_redis_that_is_gone(own_redis: EmbeddedRedis) -> None:
    async with open_service(own_redis.url, redis_timeout=3.0) as client:
        own_redis.kill()
        for knock in KNOCKS:
            assert is_a_promise_to_take_it_later(await knock(client)), knock.__name__
        assert (await client.webhook(sms(), secret="a-secret-of-nobody")).status_code == 401  # that needs no Redis
        own_redis.start()
        for knock in KNOCKS:
            assert (await knock(client)).status_code == 200, knock.__name__
        assert (await client.books()).difference == 0
        unavailable = {"route": "messages_webhook", "name": "main", "outcome": "unavailable"}
        assert client.counted("dcbridge_http_requests_total", **unavailable) == 3


@pytest.mark.parametrize(
    ("redis_timeout", "answer_within"),
    [(0.6, 9.0), (1.9, 2.0)],  # Redis' own limit ends the wait, or the service's
)
async def test_a_redis_that_hangs(own_redis: EmbeddedRedis, redis_timeout: float, answer_within: float) -> None:
    async with open_service(own_redis.url, redis_timeout=redis_timeout, answer_within=answer_within) as client:
        assert own_redis.process is not None
        os.kill(own_redis.process.pid, signal.SIGSTOP)
        try:
            answers = await asyncio.gather(*(knock(client) for knock in KNOCKS))
        finally:
            os.kill(own_redis.process.pid, signal.SIGCONT)
        assert all(map(is_a_promise_to_take_it_later, answers))
        for knock in KNOCKS:  # sent again, as it was told; what had been written all the same is not written twice
            assert (await knock(client)).status_code == 200, knock.__name__
        books = await client.books()
        assert books.difference == 0
        assert [(c.channel_id, c.accepted) for c in books.channels] == [("0123456789", 1), ("nobody", 1)]


async def test_a_redis_that_takes_no_writes(own_redis: EmbeddedRedis) -> None:
    async with open_service(own_redis.url) as client:
        await client.redis.config_set("maxmemory", "1")
        for knock in (message, interaction, report):
            assert is_a_promise_to_take_it_later(await knock(client)), knock.__name__
        await client.redis.config_set("maxmemory", "0")
        for knock in (message, interaction, report):
            assert (await knock(client)).status_code == 200, knock.__name__
        assert (await client.books()).difference == 0


async def test_many_at_once_share_few_scripts_and_each_hears_of_its_own(own_redis: EmbeddedRedis) -> None:
    async with open_service(own_redis.url) as client:
        await client.webhook(sms("first"))
        before = (await client.redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
        ids = [f"m-{n // 2}" for n in range(128)]  # each of them twice
        answers = await asyncio.gather(*(client.webhook(sms(one, to=one)) for one in ids))
        assert [answer.json() for answer in answers] == [{"messageId": one} for one in ids]
        [books] = (await client.books()).channels
        assert (books.accepted, books.redelivered, books.difference) == (65, 64, 0)
        calls = (await client.redis.info("commandstats"))["cmdstat_evalsha"]["calls"] - before
        assert calls < 100
