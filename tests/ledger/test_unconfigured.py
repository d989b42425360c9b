"""Channels that are not configured: however many are named, what they cost ends."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.ledger.reports.books import read
from dcbridge.runtime.metrics import Metrics
from tests.ledger.ledger_bench import CHANNEL, Bench, new_message
from tests.service.client import SMS, open_service, sms

MINUTE, DAY = 60.0, 86400.0


@pytest.fixture
def bench(redis: Redis) -> Bench:
    return Bench(redis)


async def named(bench: Bench, *channels: str, receipt: bool = False) -> None:
    """As the service does it: a message to each, which fails at once. Its receipt is posted, or owed for ever."""
    await bench.ledger.unconfigured.remember(channels, "main")
    await bench.ledger.messages.accept(
        [new_message(channel_id=channel, reason=530, detail="x") for channel in channels]
    )
    if not receipt:  # what waits at one moment travels in one script
        take = [bench.ledger.receipts.take(channel, 10, 60.0) for channel in channels]
        owed = zip(channels, await asyncio.gather(*take), strict=True)
        await asyncio.gather(*(bench.ledger.receipts.done(name, [one.ref for one in some]) for name, some in owed))


async def grow_older(bench: Bench, seconds: float) -> None:
    rows: Any = await bench.redis.zrange("dcb:strays-named", 0, -1, withscores=True)
    if rows:
        await bench.redis.zadd("dcb:strays-named", {channel: score - seconds * 1000 for channel, score in rows})


async def channels(bench: Bench) -> set[str]:
    return {one.channel_id for one in (await read(bench.redis)).channels}


async def known(bench: Bench) -> int:
    endpoints: Any = bench.redis.hlen("dcb:strays")
    assert int(await endpoints) == await bench.redis.zcard("dcb:strays-named")
    return await bench.redis.zcard("dcb:strays-named")


async def swept(bench: Bench, times: int = 30) -> None:
    for _ in range(times):
        await bench.ledger.sweep.run()


async def test_of_many_the_oldest_become_one_and_the_books_still_balance(bench: Bench) -> None:
    await named(bench, *(f"stray-{n}" for n in range(500)))
    assert await known(bench) == 500  # nobody knows yet whether all of their messages are here
    await grow_older(bench, 2 * MINUTE)
    await swept(bench)
    assert await known(bench) == 200
    books = await read(bench.redis)
    assert len(books.channels) == 201
    assert (sum(one.accepted for one in books.channels), books.difference) == (500, 0)
    [rest] = [one for one in books.channels if one.channel_id == "(unknown)"]
    assert (rest.accepted, rest.failed, rest.in_flight) == (300, 300, 0)


@pytest.mark.parametrize(("days", "left"), [(29, {"stray", CHANNEL}), (31, {"(unknown)", CHANNEL})])
async def test_one_that_nobody_names_any_more_is_forgotten(bench: Bench, days: float, left: set[str]) -> None:
    await named(bench, "stray")
    await named(bench, "named-again")
    await bench.put()
    await grow_older(bench, days * DAY)
    await named(bench, "named-again")
    await swept(bench, 1)
    assert await channels(bench) == left | {"named-again"}
    assert await bench.ledger.unconfigured.endpoint_of("named-again") == "main"
    assert await bench.ledger.unconfigured.endpoint_of("stray") == ("main" if days < 30 else "")


async def test_one_whose_receipt_is_owed_keeps_its_endpoint(bench: Bench) -> None:
    await named(bench, "owed", receipt=True)
    await named(bench, *(f"stray-{n}" for n in range(300)))
    await grow_older(bench, 40 * DAY)
    await swept(bench)
    assert await channels(bench) == {"owed", "(unknown)"}
    assert await bench.ledger.unconfigured.endpoint_of("owed") == "main"


async def test_one_that_is_configured_since_keeps_its_books(bench: Bench) -> None:
    await named(bench, "stray", "(unknown)")
    await bench.ledger.pacing.announce({"stray": "twilio 0 1 0 0 1 0"})
    await grow_older(bench, 40 * DAY)
    await swept(bench, 1)
    assert await known(bench) == 0
    assert await channels(bench) == {"stray", "(unknown)"}


async def test_those_of_an_older_version_are_forgotten_as_well(bench: Bench) -> None:
    await named(bench, *(f"stray-{n}" for n in range(300)))
    await bench.redis.delete("dcb:strays-named")
    await swept(bench, 1)
    assert await known(bench) == 300
    await grow_older(bench, 2 * MINUTE)
    await swept(bench)
    assert await known(bench) == 200


async def test_what_a_scrape_costs_does_not_grow_with_them(bench: Bench) -> None:
    async def seconds() -> float:
        began = time.process_time()
        Metrics().render(await read(bench.redis), [CHANNEL])
        return time.process_time() - began

    await named(bench, *(f"stray-{n}" for n in range(150)))
    few = min([await seconds() for _ in range(3)])
    for hundreds in range(20):
        await named(bench, *(f"stray-{hundreds}-{n}" for n in range(100)))
        await grow_older(bench, 2 * MINUTE)
    await swept(bench)
    assert min([await seconds() for _ in range(3)]) < 5 * few + 0.02
    rendered = Metrics().render(await read(bench.redis), [CHANNEL]).decode()
    assert 'dcbridge_books_total{channel="(unknown)",state="accepted"} 2150.0' in rendered
    assert "stray" not in rendered  # a label is never data


async def test_one_webhook_that_names_many_needs_no_more_connections(redis: Redis, redis_server: EmbeddedRedis) -> None:
    await redis.ping()
    async with open_service(redis_server.url, body_limit=1 << 20) as client:
        await client.webhook(sms())
        before = int((await redis.info("stats"))["total_connections_received"])
        body = [sms(str(n), channel=f"stray-{n}" if n else SMS) for n in range(500)]
        answer = await client.webhook(orjson.dumps(body))
        assert (answer.status_code, len(answer.json()["messages"])) == (200, 500)
        assert int((await redis.info("stats"))["total_connections_received"]) - before <= 3
        assert await client.ctx.ledger.unconfigured.endpoint_of("stray-499") == "main"
