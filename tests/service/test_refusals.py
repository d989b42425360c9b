"""Signatures that are refused: counted in the process, reported to Redis, and nothing of what was sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.genesys.signature import sign
from dcbridge.ledger import Ledger
from dcbridge.ledger.signatures import Refusals
from service.presence import report_refusals
from service.refusals import MOST, RefusalCounts
from tests.service.client import OTHER, RETIRED, ServiceClient, open_service, sms

CANARY = "<script>canary"


@pytest.fixture
async def client(redis: Redis, redis_server: EmbeddedRedis) -> AsyncIterator[ServiceClient]:
    async with open_service(redis_server.url) as opened:
        yield opened


async def reported(client: ServiceClient) -> dict[tuple[str, str], int]:
    await report_refusals(client.ctx.presence, client.ctx.ledger)
    return {(one.where, one.why): one.count for one in await client.ctx.ledger.signatures.refused()}


async def test_each_kind_of_refusal_is_told_apart(client: ServiceClient) -> None:
    assert (await client.webhook(sms())).status_code == 200
    assert await reported(client) == {}
    for secret in (RETIRED, RETIRED, OTHER, CANARY):
        assert (await client.webhook(sms(), secret=secret)).status_code == 401
    await client.webhook(sms(), path="/webhooks/interactions/events", secret=OTHER)
    await client.webhook(sms(), headers={"X-Hub-Signature": None})
    await client.webhook(sms(), path=f"/webhooks/messages/{CANARY}")
    await client.webhook(sms(), path="/webhooks/open-messaging/main")
    await client.webhook(sms(), path="/triggers/none")
    await client.http.post("/callbacks/twilio/status", content=CANARY, headers={"X-Twilio-Signature": CANARY})
    await client.http.post("/callbacks/twilio/events")
    assert await reported(client) == {
        ("main", "matches a retired secret"): 2,
        ("main", "matches a secret of another endpoint"): 1,
        ("main", "no secret matches"): 1,
        ("main", "missing"): 1,
        ("interactions/events", "matches a secret of another endpoint"): 1,
        ("(unknown)", "no such endpoint"): 1,
        ("main", "another webhook's address"): 1,
        ("(unknown)", "no such trigger"): 1,
        ("callback/twilio", "no secret matches"): 1,
        ("callback/twilio", "no such provider or callback"): 1,
    }
    stored = cast(dict[bytes, bytes], await cast(Any, client.redis.hgetall("dcb:signatures")))
    assert b"canary" not in b"".join([*stored, *stored.values()])


async def test_a_flood_costs_redis_nothing_until_the_next_report(client: ServiceClient) -> None:
    async def commands() -> int:
        return int((await cast(Any, client.redis.info("stats")))["total_commands_processed"])

    body = b"{}"
    headers = {"X-Hub-Signature": sign(b"wrong", body)}
    before = await commands()
    await asyncio.gather(
        *(client.http.post("/webhooks/messages/main", content=body, headers=headers) for _ in range(50))
    )
    assert await commands() - before <= 1  # the question itself
    assert await reported(client) == {("main", "no secret matches"): 50}


def test_what_is_counted_is_bounded_and_a_report_is_repeated_until_it_is_stored() -> None:
    now = 1000.0
    counts = RefusalCounts(clock=lambda: now)
    assert counts.report() == (0, [])
    counts.note("main", "missing")
    now = 1001.0
    counts.note("main", "missing")
    first = counts.report()
    assert first == (1_001_000, [Refusals("main", "missing", 2, 1000.0, 1001.0)])
    counts.note("main", "missing")
    assert counts.report() == first
    counts.stored()
    assert counts.report() == (1_001_001, [Refusals("main", "missing", 1, 1001.0, 1001.0)])
    counts.stored()
    for number in range(2 * MOST):
        counts.note("main", f"why {number}")
    assert len(counts.report()[1]) == MOST


async def test_reports_add_up_count_once_and_old_ones_go(redis: Redis) -> None:
    ledger = Ledger(redis, keep=100.0, keep_dead=100.0)
    at = float(round((await cast(Any, redis.time()))[0]))

    def one(count: int, first: float, last: float, where: str = "main") -> Refusals:
        return Refusals(where, "missing", count, at + first, at + last)

    assert await ledger.signatures.report("a", 1, [one(2, -10, -5)])
    assert not await ledger.signatures.report("a", 1, [one(2, -10, -5)])
    assert await ledger.signatures.report("b", 1, [one(3, -20, -8)])
    assert await ledger.signatures.refused() == [one(5, -20, -5)]
    day = 86400.0
    assert await ledger.signatures.report("a", 2, [one(4, 2 * day, 2 * day)])
    assert await ledger.signatures.refused() == [one(4, 2 * day, 2 * day)]  # a new episode
    assert await ledger.signatures.report("a", 3, [one(1, -31 * day, -31 * day, "gone")])
    assert [found.where for found in await ledger.signatures.refused()] == ["main"]
    many = [one(1, -n, -n, f"m{n}") for n in range(1, 600)]
    assert await ledger.signatures.report("a", 4, many)
    kept = await ledger.signatures.refused()
    assert len(kept) == 500
    assert [found.where for found in kept[:3]] == ["main", "m1", "m2"]
    assert 0 < await redis.pttl("dcb:signatures") <= 30 * day * 1000


async def test_what_is_stored_may_be_anything(redis: Redis) -> None:
    ledger = Ledger(redis, keep=100.0, keep_dead=100.0)
    odd = {
        b"main x": b"",
        b"": b"1 2",
        b"y": b"1 2 99999999999999999999",
        b"main \xff": b"1 1000 2000",
        b"z z": b"-1 0 0",
    }
    await redis.hset("dcb:signatures", mapping=cast(Any, odd))
    assert await ledger.signatures.refused() == [Refusals("main", "\ufffd", 1, 1.0, 2.0)]
    assert await ledger.signatures.report("a", 1, [Refusals("main", "x", 1, 1e9, 4e9)])
    assert [(found.why, found.count) for found in await ledger.signatures.refused()] == [("x", 1)]
