"""A sender that stalls, drips or goes away is not our unavailability: no alarm and no figure of ours is fed by it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import orjson
import pytest
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.genesys.signature import sign
from tests.service.client import SECRET, ServiceClient, open_service, sms

BODY = orjson.dumps(sms())
ROUTES = [
    ("/webhooks/messages/main", "messages_webhook", "main"),
    ("/webhooks/interactions/events", "interactions_webhook", "events"),
    ("/callbacks/twilio/status", "provider_callback", "twilio"),
    ("/callbacks/mail/inbound", "provider_callback", "mail"),
]


@pytest.fixture
async def client(redis: Redis, redis_server: EmbeddedRedis) -> AsyncIterator[ServiceClient]:
    await redis.ping()  # the fixture empties the server
    async with open_service(redis_server.url, answer_within=0.8, redis_timeout=0.5) as opened:
        yield opened


async def stall(client: ServiceClient, path: str, *pieces: bytes, pause: float = 0.0, leave: bool = False) -> bytes:
    """What is answered to pieces of a signed request; nothing where the sender leaves."""
    url = client.http.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nX-Hub-Signature: {sign(SECRET.encode(), BODY)}\r\n"
    writer.write(head.encode() + b"Content-Length: %d\r\n\r\n" % len(BODY))
    for piece in pieces:
        await asyncio.sleep(pause)
        writer.write(piece)
    if leave:
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.close()
        return b""
    answer = await asyncio.wait_for(reader.read(16), 10)
    writer.close()
    return answer


def figures(client: ServiceClient, route: str, name: str) -> dict[str, float]:
    metrics = client.ctx.metrics
    counted = {
        word: client.counted("dcbridge_http_requests_total", route=route, name=name, outcome=word) for word in OUTCOMES
    }
    observed = client.counted("dcbridge_http_request_duration_seconds_count", route=route)
    return {
        **counted,
        "observed": observed,
        "headroom": round(metrics.registry.get_sample_value("dcbridge_headroom_seconds") or 0),
    }


OUTCOMES = ("too slow", "disconnected", "unavailable", "accepted")


@pytest.mark.parametrize(("path", "route", "name"), ROUTES)
async def test_a_body_that_does_not_come(client: ServiceClient, path: str, route: str, name: str) -> None:
    dripped = [BODY[n : n + 1] for n in range(20)]
    answers = await asyncio.gather(
        stall(client, path), stall(client, path, BODY[:9]), stall(client, path, *dripped, pause=0.03)
    )
    assert [answer[9:12] for answer in answers] == [b"408"] * 3
    wanted = {"too slow": 3, "disconnected": 0, "unavailable": 0, "accepted": 0, "observed": 0, "headroom": 10}
    assert figures(client, route, name) == wanted


@pytest.mark.parametrize(("path", "route", "name"), ROUTES)
async def test_a_sender_that_goes_away(
    redis: Redis, redis_server: EmbeddedRedis, path: str, route: str, name: str
) -> None:
    await redis.ping()
    async with open_service(redis_server.url) as client:
        await asyncio.gather(*(stall(client, path, BODY[:9], leave=True) for _ in range(3)))
        async with asyncio.timeout(10):
            while figures(client, route, name)["disconnected"] < 3:  # noqa: ASYNC110  (a counter)
                await asyncio.sleep(0.05)
        wanted = {"too slow": 0, "disconnected": 3, "unavailable": 0, "accepted": 0, "observed": 0, "headroom": 10}
        assert figures(client, route, name) == wanted


async def test_the_time_that_a_body_takes_is_not_ours(redis: Redis, redis_server: EmbeddedRedis) -> None:
    await redis.ping()
    async with open_service(redis_server.url, answer_within=6.0, redis_timeout=2.0) as client:
        answer = await stall(client, ROUTES[0][0], BODY[:9], BODY[9:], pause=1.5)
        assert answer[9:12] == b"200"
        found = figures(client, "messages_webhook", "main")
        assert (found["accepted"], found["observed"]) == (1, 1)
        assert found["headroom"] > 7  # it took three seconds to come


async def test_redis_that_does_not_answer_still_is(own_redis: EmbeddedRedis) -> None:
    async with open_service(own_redis.url, answer_within=6.0, redis_timeout=3.0) as client:
        assert (await client.webhook(sms())).status_code == 200
        own_redis.kill()
        assert (await client.webhook(sms("another"))).status_code == 503
        found = figures(client, "messages_webhook", "main")
        assert (found["unavailable"], found["too slow"], found["observed"]) == (1, 0, 2)
