"""Answers to keywords, and messages of dcbridge's own: once each, in books of their own, and never against a STOP."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import structlog.testing
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.config.answers import AnswerRule
from dcbridge.config.consent import Consent
from dcbridge.config.own_messages import OwnMessages
from dcbridge.config.quiet_hours import QuietHours
from dcbridge.ledger import lane_of
from dcbridge.ledger.reports.books import read
from dcbridge.messages import message_ref, own_books
from dcbridge.own_messages import Said
from tests.ledger.ledger_bench import Bench
from tests.workers.far_side import SMS, FarSide, far_side
from tests.workers.test_quiet_hours import around_now
from tests.workers.test_reconciler_and_inbound import inbound_callback, read_one, status_callback
from workers import outbound, receipts
from workers.answers import Registry, filled
from workers.context import WorkerContext
from workers.heard import Heard
from workers.own_messages import say
from workers.reconciler import sweep

CONSUMER = "16504661149"
HOURS = {"when": ["hours", "Opening hours"], "say": "8 to 18."}
STOPS = {"when": ["address"], "match": "first_word", "say": "Harbour Street 12", "then": "stop"}


@pytest.fixture
async def side(redis: Redis, redis_server: EmbeddedRedis) -> AsyncIterator[FarSide]:
    async with answering(redis, redis_server, HOURS, STOPS) as opened:
        yield opened


@asynccontextmanager
async def answering(redis: Redis, server: EmbeddedRedis, *rules: dict[str, Any], **own: Any) -> AsyncIterator[FarSide]:
    """A worker whose sms channel has these answers, and keeps opt-outs."""
    async with far_side(redis, server.url) as side:
        how = Consent(enforce="always")
        configuration = side.context.configuration
        changes = {
            "answers": tuple(AnswerRule.model_validate(rule) for rule in rules),
            "own_messages": OwnMessages(**own),
        }
        channel = configuration.channels[SMS].model_copy(update=changes)
        configuration = configuration.model_copy(
            update={"channels": {**configuration.channels, SMS: channel}, "consent": how}
        )
        side.context = replace(side.context, configuration=configuration, consent_words=how.words())
        await side.context.announce()
        yield side


async def own_refs(side: FarSide) -> list[str]:
    """Of all messages of dcbridge's own, the newest last."""
    keys = [key.removeprefix("dcb:m:") for key in await Bench(side.redis).keys("dcb:m:*")]
    entries = {key: await side.entry(key) for key in keys}
    return sorted((key for key, one in entries.items() if one.is_own), key=lambda key: entries[key].accepted_at)


async def for_the_agent(side: FarSide) -> int:
    return len(await Bench(side.redis).keys("dcb:t:c-*"))


async def test_an_answer_is_sent_once_and_owes_no_receipt(side: FarSide) -> None:
    callback = inbound_callback(text="Opening+hours!")
    await read_one(side, callback)
    await read_one(side, callback, "b-2")  # as after a crash
    [ref] = await own_refs(side)
    await outbound.send(side.context, ref)
    assert "8+to+18." in side.provider.heard[0].decode()
    await read_one(side, status_callback(ref, status="delivered"), "b-3")
    entry = await side.entry(ref)
    assert (entry.state, entry.receipt_status, entry.channel_id, entry.to_id) == ("delivered", "", SMS, "")
    assert entry.message_id.startswith("own-")
    assert entry.cause.startswith("answer c-")
    books = {one.channel_id: one for one in (await read(side.redis)).channels}
    own = books[own_books(SMS)]
    assert (own.accepted, own.delivered, own.difference, own.receipts_waiting) == (1, 1, 0, 0)
    assert SMS not in books or books[SMS].accepted == 0
    assert await for_the_agent(side) == 1
    assert not side.agents.messages


@pytest.mark.parametrize(
    ("platform", "written"), [("digital_channels", "16504661149"), ("open_messaging", "+16504661149")]
)
async def test_an_answer_waits_in_the_lane_of_the_conversation(side: FarSide, platform: str, written: str) -> None:
    """Genesys Cloud writes the plus of a number, and Digital Channels does not."""
    channel = side.context.configuration.channels[SMS].model_copy(update={"platform": platform})
    configuration = side.context.configuration.model_copy(update={"channels": {SMS: channel}})
    side.context = replace(side.context, configuration=configuration)
    for given in ("16504661149", "+16504661149"):
        await say(side.context, channel=SMS, consumer=given, text="x", cause=f"for {given}")
    assert await side.redis.llen(f"dcb:lane:{lane_of(SMS, written)}") == 2


async def test_what_stops_at_the_answer_is_not_for_the_agent(side: FarSide) -> None:
    await read_one(side, inbound_callback(text="ADDRESS+please"))
    assert (len(await own_refs(side)), await for_the_agent(side)) == (1, 0)
    await read_one(side, inbound_callback(text="the+address", sid="SM2"), "b-2")
    assert (len(await own_refs(side)), await for_the_agent(side)) == (1, 1)


async def test_a_stop_comes_before_any_answer_and_after_it_there_is_none(side: FarSide) -> None:
    """What would have stopped at the answer goes to the agent, since there was no answer."""
    await read_one(side, inbound_callback(text="hours"))
    [waiting] = await own_refs(side)
    await read_one(side, inbound_callback(text="STOP", sid="SM2"), "b-2")
    await read_one(side, inbound_callback(text="address", sid="SM3"), "b-3")
    assert (await own_refs(side), await for_the_agent(side)) == ([waiting], 3)
    await outbound.send(side.context, waiting)
    assert ((await side.entry(waiting)).reason, side.provider.heard) == ("350", [])


async def test_a_rule_that_fits_a_word_of_consent_is_not_heard(redis: Redis, redis_server: EmbeddedRedis) -> None:
    async with answering(redis, redis_server, {"when": ["start", "info"], "say": "x", "then": "stop"}) as side:
        await read_one(side, inbound_callback(text="START"))
        await read_one(side, inbound_callback(text="Info", sid="SM2"), "b-2")
        assert (await own_refs(side), await for_the_agent(side)) == ([], 2)


async def test_two_machines_that_answer_each_other_come_to_an_end(redis: Redis, redis_server: EmbeddedRedis) -> None:
    rule = {"when": ["hours", "address"], "say": "x", "then": "stop"}
    async with answering(redis, redis_server, rule, repeats=2) as side:
        for n in range(4):
            await read_one(side, inbound_callback(text="hours", sid=f"SM{n}"), f"b-{n}")
        assert (len(await own_refs(side)), await for_the_agent(side)) == (2, 2)
        other = await say(side.context, channel=SMS, consumer="16504661148", text="x", cause="of another consumer")
        assert other.outcome == "queued"


async def test_a_consumer_gets_so_many_a_day(redis: Redis, redis_server: EmbeddedRedis) -> None:
    async with answering(redis, redis_server, a_day=3) as side:
        for n in range(5):
            said = await own(side, f"text {n}", f"cause {n}")
            assert (said.outcome, said.reason) == (("queued", "") if n < 3 else ("refused", "day_cap"))
        assert (await own(side, "text 0", "cause 0")).outcome == "again"
        assert not [key for key in await Bench(side.redis).keys("dcb:own:*") if await side.redis.ttl(key) < 0]
        await Bench(side.redis).pass_time(86_401)
        assert (await own(side, "text 9", "cause 9")).outcome == "queued"


async def own(side: FarSide, text: str, cause: str, channel: str = SMS) -> Said:
    return await say(side.context, channel=channel, consumer=CONSUMER, text=text, cause=cause)


async def test_what_is_refused_is_not_written(side: FarSide) -> None:
    assert (await own(side, " ", "1")).reason == "empty"
    assert (await own(side, "ê" * 202, "2")).reason == "too_long"
    assert (await own(side, "x", "3", "fails")).reason == "not_configured"
    assert (await own(side, "x", "4", "nowhere")).reason == "not_configured"
    assert await own_refs(side) == []


async def test_it_keeps_its_place_in_the_conversation(side: FarSide) -> None:
    first = await side.accept("m-1")
    said = await say(side.context, channel=SMS, consumer="+1 650 466 1149", text="between", cause="cause")
    last = await side.accept("m-2")
    for ref in (last, said.ref, first, said.ref, last):
        await outbound.send(side.context, ref)
    assert [one.split(b"Body=")[1].split(b"&")[0] for one in side.provider.heard][1] == b"between"
    assert len(side.provider.heard) == 3


async def test_an_answer_that_is_late_is_not_sent(side: FarSide) -> None:
    said = await own(side, "late", "cause")
    await Bench(side.redis).pass_time(301)
    await sweep(side.context)
    entry = await side.entry(said.ref)
    assert (entry.state, entry.reason, entry.receipt_status, side.provider.heard) == ("failed", "305", "", [])
    assert await side.difference() == 0


async def test_placeholders_and_actions_are_those_of_the_registry(side: FarSide) -> None:
    asked: list[str] = []

    async def wait(ctx: WorkerContext, heard: Heard, argument: str) -> str | None:
        asked.append(f"{heard.channel_id} {argument}")
        return {"sales": "4 minutes"}.get(argument)

    async def breaks(ctx: WorkerContext, heard: Heard, argument: str) -> str | None:
        raise ValueError(argument)

    registry = Registry({"wait": wait, "breaks": breaks})
    heard = Heard("c-1", SMS, CONSUMER, "WAIT")
    assert await filled(side.context, heard, "About {wait:sales}.", registry) == "About 4 minutes."
    with structlog.testing.capture_logs() as logged:  # to show what broke takes two seconds
        for unknown in ("{wait:service}", "{breaks:x}", "{other:x}"):
            assert await filled(side.context, heard, f"About {unknown}.", registry) is None
    assert [one["event"] for one in logged] == ["answer_internal_error"]
    assert asked == [f"{SMS} sales", f"{SMS} service"]


async def test_what_an_older_worker_does_with_it_is_put_right(side: FarSide) -> None:
    """It knows no channel of this name, leaves what it claims, and would owe a receipt for what ends."""
    said = await own(side, "x", "cause")
    claim = side.context.ledger.leases.token()
    claimed = await side.context.ledger.messages.claim(said.ref, claim, 60.0)
    assert (claimed.ours, claimed.entry.hash[b"ch"]) == (True, b"own/0123456789")
    await side.context.ledger.unconfigured.strand(said.ref, claim)
    await Bench(side.redis).pass_time(10)
    await sweep(side.context)
    await outbound.send(side.context, said.ref)
    assert (await side.entry(said.ref)).state == "sent"
    books = own_books(SMS)
    await side.redis.hset(f"dcb:m:{said.ref}", mapping={"rs": "Delivered", "from": SMS})
    await side.redis.zadd(f"dcb:receipts:{books}", {said.ref: 1})
    await receipts.post(side.context, books)
    assert (side.agents.messages, await side.redis.zcard(f"dcb:receipts:{books}")) == ([], 0)
    assert await side.redis.pttl(f"dcb:m:{said.ref}") > 0
    await side.redis.zadd("dcb:aside", {f"r:{said.ref}": time.time() * 1000, "r:another": 1})
    await side.context.announce()
    assert await side.redis.zrange("dcb:aside", 0, -1) == [b"r:another"]


async def test_operators_see_what_caused_it(side: FarSide) -> None:
    said = await own(side, "x", "answer c-1")
    text = side.context.metrics.render(await read(side.redis), side.context.configuration.channels).decode()
    assert 'dcbridge_books_total{channel="own/0123456789",state="accepted"} 1.0' in text
    assert 'dcbridge_own_messages_total{channel="0123456789",result="queued"} 1.0' in text
    assert "(unknown)" not in text.split("dcbridge_books_total")[2]
    assert said.ref == message_ref(SMS, said.message_id)


async def test_at_night_who_has_just_written_is_answered_and_others_wait(side: FarSide) -> None:
    configuration = side.context.configuration
    night = {"zone": "America/Los_Angeles", "times": [around_now("America/Los_Angeles")]}
    channel = configuration.channels[SMS].model_copy(update={"quiet_hours": QuietHours.model_validate(night)})
    channels = {**configuration.channels, SMS: channel}
    side.context = replace(side.context, configuration=configuration.model_copy(update={"channels": channels}))
    await side.context.announce()
    await read_one(side, inbound_callback(text="hours"))
    [answer] = await own_refs(side)
    await outbound.send(side.context, answer)
    assert (await side.entry(answer)).state == "sent"
    other = await say(
        side.context, channel=SMS, consumer="16504661148", text="x", cause="a trigger", time_to_live=86_400
    )
    late = await say(side.context, channel=SMS, consumer="16504661147", text="y", cause="2")
    for said in (other, late):
        await outbound.send(side.context, said.ref)
    waits, fails = await side.entry(other.ref), await side.entry(late.ref)
    assert (waits.state, waits.line[:2]) == ("accepted", "n-")
    assert (fails.state, fails.reason, len(side.provider.heard)) == ("failed", "305", 1)


@pytest.mark.parametrize("sender", ["+881612345678", "+19005551234", "+4915123456789", "12345"])
async def test_an_expensive_number_is_not_answered(redis: Redis, redis_server: EmbeddedRedis, sender: str) -> None:
    """Its owner would earn with each text, and a sender can be forged."""
    async with answering(redis, redis_server, HOURS, countries=("US",)) as side:
        await read_one(side, inbound_callback(text="hours", sender=sender))
        assert await own_refs(side) == []
        assert await for_the_agent(side) == 1
        said = await say(side.context, channel=SMS, consumer=sender.lstrip("+"), text="x", cause="a call")
        assert (said.outcome, said.reason) == ("refused", "country")


async def test_what_forged_numbers_get_together_is_bounded(redis: Redis, redis_server: EmbeddedRedis) -> None:
    async with answering(redis, redis_server, HOURS, an_hour=3) as side:
        numbers = [f"1650466{n}" for n in range(1000, 1005)]
        said = [await say(side.context, channel=SMS, consumer=one, text="x", cause=one) for one in numbers]
        assert [one.reason for one in said] == ["", "", "", "hour_cap", "hour_cap"]
        await read_one(side, inbound_callback(text="hours"))
        assert await for_the_agent(side) == 1
        assert len(await own_refs(side)) == 3
