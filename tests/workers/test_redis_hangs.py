"""Redis hangs at any step of a job: the job waits and goes on, and nothing is in doubt that was not before.

What was asked of a Redis that hangs is done when it wakes up, also where nobody waits for the answer any more.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from copy import copy
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.ledger import NewTask
from tests.ledger.ledger_bench import Bench
from tests.workers.far_side import SMS, FarSide, far_side
from tests.workers.test_reconciler_and_inbound import inbound_callback, status_callback
from workers import callbacks, consumer_messages, outbound
from workers.context import WorkerContext

HANGS = 1.5  # seconds: longer than a call waits, and than its one repetition


@pytest.fixture
async def side(own_redis: EmbeddedRedis) -> AsyncIterator[FarSide]:
    async with Redis.from_url(own_redis.url) as client, far_side(client, own_redis.url, redis_timeout=0.3) as opened:
        yield opened


class HangsAt:
    """A part of a ledger whose Redis stops just before the first call of one verb, and goes on `seconds` later."""

    def __init__(self, part: Any, verb: str, server: EmbeddedRedis, seconds: float) -> None:
        self._part, self._verb, self._server, self._seconds = part, verb, server, seconds
        self.hung = False

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._part, name)
        if name != self._verb or self.hung:
            return real

        async def hanging(*arguments: Any, **named: Any) -> Any:
            assert self._server.process is not None
            self.hung = True
            os.kill(self._server.process.pid, signal.SIGSTOP)
            asyncio.get_running_loop().call_later(self._seconds, os.kill, self._server.process.pid, signal.SIGCONT)
            return await real(*arguments, **named)

        return hanging


def context_that_hangs(
    side: FarSide, verb: str, server: EmbeddedRedis, seconds: float = HANGS
) -> tuple[WorkerContext, HangsAt]:
    ledger = copy(side.context.ledger)
    name, _, verb = verb.partition(".")
    part = HangsAt(getattr(ledger, name), verb, server, seconds)
    vars(ledger)[name] = part
    return replace(side.context, ledger=ledger), part


@pytest.mark.parametrize("verb", ["messages.claim", "messages.parts", "messages.submitted"])
async def test_a_message_is_sent_once_and_never_in_doubt(side: FarSide, own_redis: EmbeddedRedis, verb: str) -> None:
    ref = await side.accept(text="word " * 400)
    context, part = context_that_hangs(side, verb, own_redis)
    await outbound.send(context, ref)
    await outbound.send(context, ref)
    assert part.hung
    entry = await side.entry(ref)
    assert (entry.state, entry.total_attempts, entry.times_unknown) == ("sent", 2, 0)
    assert len(side.provider.heard) == 2  # its two parts
    assert await side.difference() == 0


@pytest.mark.parametrize("verb", ["tasks.claim", "tasks.put", "messages.entries", "messages.update", "tasks.done"])
async def test_a_callback_is_read_at_once_when_redis_goes_on(
    side: FarSide, own_redis: EmbeddedRedis, verb: str
) -> None:
    """Left for its lease to end, a status would come after its message was sent again for want of it."""
    ref = await side.accept()
    await outbound.send(side.context, ref)
    await side.context.ledger.tasks.put([NewTask("b-1", "callback", "", status_callback(ref), "trace")])
    context, part = context_that_hangs(side, verb, own_redis)
    await callbacks.read_callback(context, "b-1")
    assert part.hung
    assert ((await side.context.ledger.tasks.entry("b-1")).state, (await side.entry(ref)).state) == (
        "done",
        "delivered",
    )


@pytest.mark.parametrize("verb", ["tasks.claim", "tasks.done"])
async def test_a_consumers_message_is_posted_once(side: FarSide, own_redis: EmbeddedRedis, verb: str) -> None:
    await side.context.ledger.tasks.put([NewTask("b-1", "callback", "", inbound_callback(), "trace")])
    await callbacks.read_callback(side.context, "b-1")
    [task] = [key.removeprefix("dcb:t:") for key in await Bench(side.redis).keys("dcb:t:c-*")]
    context, part = context_that_hangs(side, verb, own_redis)
    await consumer_messages.post_consumer_message(context, task)
    assert part.hung
    assert (await side.context.ledger.tasks.entry(task)).state == "done"
    assert len(side.agents.heard) == 1


@pytest.mark.parametrize("verb", ["messages.claim", "messages.submitted"])
async def test_redis_may_be_away_for_longer_than_a_lease(own_redis: EmbeddedRedis, verb: str) -> None:
    """The provider has it, and the worker knows: it says so before the message is sent again for want of an answer."""
    short = {"connect_timeout": 0.1, "write_timeout": 0.1, "read_timeout": 0.5, "pool_timeout": 0.1, "lease": 5.8}
    async with (
        Redis.from_url(own_redis.url) as client,
        far_side(client, own_redis.url, redis_timeout=0.3, **short) as side,
    ):
        ref = await side.accept()
        context, part = context_that_hangs(side, verb, own_redis, seconds=8.0)
        await outbound.send(context, ref)
        assert part.hung
        entry = await side.entry(ref)
        assert (entry.state, entry.times_unknown) == ("sent", 0)
        assert len(side.provider.heard) == 1


async def test_a_claim_that_is_asked_for_again_has_its_whole_lease(side: FarSide) -> None:
    ledger, ref = side.context.ledger, await side.accept()
    await ledger.tasks.put([NewTask("c-1", "consumer", "", b"{}", "", SMS)])
    for _ in range(2):
        assert (await ledger.messages.claim(ref, "mine", 60.0)).ours
        assert (await ledger.tasks.claim("c-1", "mine", 60.0)).ours
        for member in (f"m:{ref}", "t:c-1"):
            seconds, _ = await side.redis.time()
            due = await side.redis.zscore("dcb:due", member)
            ends: Any = side.redis.hget(f"dcb:{member}", "le")
            assert int(await ends or 0) > (seconds + 50) * 1000
            assert due is not None
            assert due > seconds * 1000
            await side.redis.zadd("dcb:due", {member: 1})
            stored: Any = side.redis.hset(f"dcb:{member}", "le", 1)
            await stored
