"""Retry-After, for each who hears one: it is obeyed up to a limit, and what was asked for is told."""

from __future__ import annotations

import time
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from tests.ledger.ledger_bench import Bench
from tests.workers.far_side import CONSUMER, SMS, FarSide, saying
from tests.workers.test_events_out import world
from tests.workers.test_reconciler_and_inbound import consumer_task, owe
from workers import consumer_messages, lookups, outbound
from workers import receipts as receipts_out

ABSURD = ["999999999", "99999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT", "9" * 300]
HOUR = 3600.0


@pytest.mark.parametrize("asked", ABSURD)
async def test_an_account_is_paused_for_an_hour_at_most_and_the_log_says_what_was_asked(
    side: FarSide, asked: str
) -> None:
    side.provider.usual = saying(429, {"code": 20429}, Retry_After=asked)
    ref = await side.accept(channel="taken")
    with capture_logs() as lines:
        await outbound.send(side.context, ref)
    assert HOUR - 60 < float(await side.redis.get("dcb:pause:twilio") or 0) / 1000 - time.time() <= HOUR
    [paused] = [line for line in lines if line["event"] == "provider_paused"]
    assert paused["seconds"] == HOUR
    assert paused["asked"] > 100_000_000
    assert side.counted("dcbridge_waits_cut_total", name="twilio") == 1
    [line] = [line for line in lines if line["event"] == "send_failed"]
    assert line["asked_to_wait"] == paused["asked"]
    assert (await side.entry(ref)).reason == "310"  # an hour is more than the conversation may be held up


async def test_a_message_waits_no_longer_than_that(side: FarSide) -> None:
    """A Retry-After that is not about the whole account."""
    side.provider.usual = saying(401, {"code": 20003}, Retry_After=ABSURD[0])
    ref = await side.accept()
    await outbound.send(side.context, ref)
    assert HOUR - 60 < await side.wait_of(ref) <= HOUR
    assert await side.redis.exists("dcb:pause:twilio") == 0
    assert side.counted("dcbridge_waits_cut_total", name="twilio") == 1


@pytest.mark.parametrize("asked", ["soon", "-1", "1e9", "٣"])
async def test_what_cannot_be_read_is_no_pause(side: FarSide, asked: str) -> None:
    side.provider.usual = saying(429, {"code": 20429}, Retry_After=asked.encode().decode("latin-1"))
    ref = await side.accept()
    await outbound.send(side.context, ref)
    assert 0 < await side.wait_of(ref) <= 2.0
    assert await side.redis.exists("dcb:pause:twilio") == 0


@pytest.mark.parametrize("asked", ABSURD)
@pytest.mark.parametrize("status", [429, 503])
async def test_a_receipt_waits_for_five_minutes_at_most(side: FarSide, asked: str, status: int) -> None:
    side.agents.usual = saying(status, b"busy", Retry_After=asked)
    [ref] = await owe(side, 1)
    with capture_logs() as lines:
        await receipts_out.post(side.context, SMS)
    due = await side.redis.zscore(f"dcb:receipts:{SMS}", ref)
    assert due is not None
    assert 240 < due / 1000 - time.time() <= 300
    [line] = [line for line in lines if line["event"] == "receipts_postponed"]
    assert line["seconds"] == 300
    assert line["asked_to_wait"] > 100_000_000
    assert side.counted("dcbridge_waits_cut_total", name="digital-channels") == 1


async def test_a_consumers_message_waits_for_five_minutes_at_most(side: FarSide) -> None:
    side.agents.usual = saying(503, b"busy", Retry_After=ABSURD[0])
    await consumer_task(side)
    await consumer_messages.post_consumer_message(side.context, "c-1")
    due = await side.redis.zscore("dcb:due", "t:c-1")
    assert due is not None
    assert 240 < due / 1000 - time.time() <= 300


async def test_a_question_waits_for_an_hour_at_most(side: FarSide) -> None:
    bench, side.provider.usual = Bench(side.redis), saying(429, b"", Retry_After=ABSURD[0])
    ref = await bench.sending(channel_id="asked", to_id=CONSUMER, payload=b"")
    await bench.ledger.messages.submitted(ref, "mine", 0, 1, "SM1", delivered=False, confirm_within=1.0)
    await bench.pass_time(2)
    await lookups.ask_or_decide(side.context, ref, "sent", side.context.channel("asked"))
    await lookups.ask(side.context, ref)
    assert HOUR - 60 < await side.wait_of(ref) <= HOUR
    assert HOUR - 60 < float(await side.redis.get("dcb:pause:asked") or 0) / 1000 - time.time() <= HOUR


@pytest.mark.parametrize("asked", ABSURD)
@pytest.mark.parametrize(("more", "most"), [("", HOUR), ("longest_pause: 90", 90.0)])
async def test_a_subscriber_is_paused_as_long_as_it_may_be(
    redis: Redis, redis_server: EmbeddedRedis, asked: str, more: str, most: float
) -> None:
    async with world(redis, redis_server.url, crm=more) as w:
        w["crm"].replies = [saying(429, Retry_After=asked)]
        await w.tell(("i-1", "STARTED"))
        await w.work()
        assert most - 60 < float(await redis.get("dcb:pause:subscribers/crm") or 0) / 1000 - time.time() <= most
        due_at: Any = await redis.zrange("dcb:due", 0, -1, withscores=True)
        [(_, due)] = due_at
        assert most - 60 < due / 1000 - time.time() <= most
        assert w.counted("dcbridge_waits_cut_total", name="subscribers/crm") == 1


async def test_a_single_event_that_is_deferred_waits_as_long_as_it_may(
    redis: Redis, redis_server: EmbeddedRedis
) -> None:
    async with world(redis, redis_server.url, crm="longest_pause: 90") as w:
        w["crm"].replies = [saying(500, Retry_After=ABSURD[0])]
        await w.tell(("i-1", "STARTED"))
        await w.work()
        due_at: Any = await redis.zrange("dcb:due", 0, -1, withscores=True)
        [(_, due)] = due_at
        assert 30 < due / 1000 - time.time() <= 90
