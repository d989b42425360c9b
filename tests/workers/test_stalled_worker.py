"""A worker stands still between its claim and its request: it asks whether the message is still its own.

The matrix (tests/faults/crash_cell.py) does the same to whole processes, with another worker that takes over.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import orjson
import pytest
import redis as sync
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.ledger import NewTask
from dcbridge.runtime.logs import Token, Tokens
from tests.workers.far_side import CONSUMER, SMS, FarSide, far_side
from workers import consumer_messages, outbound

SILENCE = 1.0  # seconds


class StandsStill(Tokens):
    """What a job needs after its claim, and before it sends, makes the whole process wait once."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        super().__init__(b"0123456789abcdef")
        self._meanwhile = meanwhile
        self.stood = False

    def of(self, address: str) -> Token:
        if not self.stood:
            self.stood = True
            time.sleep(SILENCE)
            self._meanwhile()
        return super().of(address)


@pytest.fixture
async def side(redis: Redis, redis_server: EmbeddedRedis) -> AsyncIterator[FarSide]:
    async with far_side(redis, redis_server.url, worker_silence=SILENCE) as opened:
        yield opened


@pytest.mark.parametrize(("claimed_by_another", "sent"), [(True, 0), (False, 1)])
async def test_an_agents_message(
    side: FarSide, redis_server: EmbeddedRedis, claimed_by_another: bool, sent: int
) -> None:
    ref = await side.accept()
    with sync.Redis(port=redis_server.port) as meanwhile:
        tokens = StandsStill(lambda: claimed_by_another and meanwhile.hset(f"dcb:m:{ref}", "tok", "another"))
        await outbound.send(replace(side.context, tokens=tokens), ref)
    assert tokens.stood
    assert len(side.provider.heard) == sent
    entry = await side.entry(ref)
    assert (entry.state, entry.total_attempts) == ("sent" if sent else "sending", 1)


async def test_a_part_that_another_has_sent_meanwhile_is_not_sent_again(
    side: FarSide, redis_server: EmbeddedRedis
) -> None:
    """The next part waits for its turn: whoever stood still may have it, and sends that one."""
    ref = await side.accept(text="word " * 400)

    def sends_the_first_part() -> None:
        with sync.Redis(port=redis_server.port) as meanwhile:
            meanwhile.hset(f"dcb:m:{ref}", mapping={"s": "accepted", "pt": 1, "n": 2, "x0": "SM0"})
            meanwhile.hdel(f"dcb:m:{ref}", "tok")

    await outbound.send(replace(side.context, tokens=StandsStill(sends_the_first_part)), ref)
    [form] = side.provider.forms
    assert len(form["Body"]) < 1000  # the second one
    assert (await side.entry(ref)).state == "sent"


@pytest.mark.parametrize(("claimed_by_another", "posted"), [(True, 0), (False, 1)])
async def test_a_consumers_message(
    side: FarSide, redis_server: EmbeddedRedis, claimed_by_another: bool, posted: int
) -> None:
    payload = orjson.dumps({"from": CONSUMER, "text": "Hello", "media": [], "provider": "twilio"})
    await side.context.ledger.tasks.put([NewTask("c-1", "consumer", "lane", payload, "trace", SMS)])
    with sync.Redis(port=redis_server.port) as meanwhile:
        tokens = StandsStill(lambda: claimed_by_another and meanwhile.hset("dcb:t:c-1", "tok", "another"))
        await consumer_messages.post_consumer_message(replace(side.context, tokens=tokens), "c-1")
    assert tokens.stood
    assert len(side.agents.heard) == posted
    assert (await side.context.ledger.tasks.entry("c-1")).state == ("done" if posted else "running")
