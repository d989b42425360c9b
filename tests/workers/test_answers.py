"""Answers to keywords, and messages of dcbridge's own: once each, in books of their own, and never against a STOP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.config.answers import AnswerRule
from dcbridge.config.consent import Consent
from dcbridge.config.own_messages import OwnMessages
from dcbridge.ledger.reports.books import read
from dcbridge.messages import own_books
from tests.ledger.ledger_bench import Bench
from tests.workers.far_side import SMS, FarSide, far_side
from tests.workers.test_reconciler_and_inbound import inbound_callback, read_one, status_callback
from workers import outbound

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
