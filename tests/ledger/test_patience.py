"""Which calls wait for a Redis that is away, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.ledger import Ledger, NewPiece, NewTask
from dcbridge.ledger.fields import Kind
from dcbridge.ledger.patience import Patience
from tests.ledger.ledger_bench import CHANNEL, new_message

REF = new_message().ref
TASK = NewTask("c-1", "consumer", "", b"{}")
PIECE = NewPiece("c-1", "set", 1, 2, CHANNEL, "", b'{"text":', "Hello")

# What claims, and what writes down something that has happened outside.
WAITS: dict[str, Callable[[Ledger], Awaitable[Any]]] = {
    "claim": lambda ledger: ledger.messages.claim(REF, "t", 60.0),
    "task_claim": lambda ledger: ledger.tasks.claim("c-1", "t", 60.0),
    "lookup_claim": lambda ledger: ledger.lookups.claim(REF, "t", 60.0),
    "parts": lambda ledger: ledger.messages.parts(REF, "t", 2),
    "submitted": lambda ledger: ledger.messages.submitted(REF, "t", 0, 1, "SM", delivered=False, confirm_within=1.0),
    "retry": lambda ledger: ledger.messages.retry(REF, "t", 1.0, lane_limit=1.0, reason=310, code="c"),
    "strand": lambda ledger: ledger.unconfigured.strand(REF, "t"),
    "fail": lambda ledger: ledger.messages.fail(REF, "t", 500, "x"),
    "unknown": lambda ledger: ledger.messages.unknown(REF, "t", 1.0, "timeout"),
    "update": lambda ledger: ledger.messages.update(REF, 0, "sent", "SM", "", "", 1.0),
    "entry": lambda ledger: ledger.messages.entry(REF),
    "whose": lambda ledger: ledger.lookups.whose("acme", ["SM"]),
    "copies": lambda ledger: ledger.lookups.copies(REF),
    "pause": lambda ledger: ledger.pauses.begin("acme", 1.0),
    "record_success": lambda ledger: ledger.pacing.record_success("acme", REF),
    "receipts_done": lambda ledger: ledger.receipts.done(CHANNEL, [REF]),
    "receipts_again": lambda ledger: ledger.receipts.again(CHANNEL, {REF: 1.0}),
    "receipts_refused": lambda ledger: ledger.receipts.refused(CHANNEL, REF, "404", b""),
    "task_put": lambda ledger: ledger.tasks.put([TASK]),
    "piece_put": lambda ledger: ledger.tasks.put_piece(PIECE, 60.0, 60.0),
    "task_done": lambda ledger: ledger.tasks.done("c-1", "t", 1.0),
    "task_retry": lambda ledger: ledger.tasks.retry("c-1", "t", 1.0, "c"),
    "task_dead": lambda ledger: ledger.tasks.dead("c-1", "t", "c", b"", 1.0),
    "dead_letter": lambda ledger: ledger.dead_letters.add("l-1", Kind.CALLBACK, CHANNEL, "c", b""),
}
# What comes again by itself, or has somebody who waits for the answer.
ONCE: dict[str, Callable[[Ledger], Awaitable[Any]]] = {
    "accept": lambda ledger: ledger.messages.accept([new_message()]),
    "sweep": lambda ledger: ledger.sweep.run(),
    "heartbeat": lambda ledger: ledger.leases.heartbeat(),
    "lookup": lambda ledger: ledger.lookups.ask(REF, 1.0),
    "settle": lambda ledger: ledger.messages.settle(REF, "fail"),
    "receipts_take": lambda ledger: ledger.receipts.take(CHANNEL, 1, 1.0),
    "limits": lambda ledger: ledger.pacing.announce({CHANNEL: "acme 0 0 0 0 0 0"}),
}


@pytest.fixture
async def own(own_redis: EmbeddedRedis) -> AsyncIterator[Redis]:
    async with Redis.from_url(own_redis.url, retry=Retry(NoBackoff(), 0)) as client:
        yield client


def patient(redis: Redis, refused: float = 60.0) -> Ledger:
    return Ledger(redis, keep=1.0, keep_dead=1.0, patience=Patience(refused))


async def test_what_must_not_be_lost_waits_and_the_rest_does_not(own_redis: EmbeddedRedis, own: Redis) -> None:
    own_redis.kill()
    ledger = patient(own)
    waiting = {name: asyncio.create_task(_call(call, ledger)) for name, call in WAITS.items()}
    for name, call in ONCE.items():
        with pytest.raises(RedisError):
            await call(ledger)
        assert not waiting[next(iter(waiting))].done(), name
    assert [name for name, task in waiting.items() if task.done()] == []
    own_redis.start()
    await asyncio.wait_for(asyncio.gather(*waiting.values()), 60)


async def _call(call: Callable[[Ledger], Awaitable[Any]], ledger: Ledger) -> Any:
    return await call(ledger)


@pytest.mark.parametrize("name", sorted(WAITS))
async def test_once_is_once_and_so_is_a_ledger_without_patience(
    own_redis: EmbeddedRedis, own: Redis, name: str
) -> None:
    own_redis.kill()
    for ledger in (patient(own).once, Ledger(own, keep=1.0, keep_dead=1.0)):
        with pytest.raises(RedisError):
            await WAITS[name](ledger)


async def test_a_redis_that_refuses_is_not_away(redis: Redis) -> None:
    await redis.rpush("dcb:pause:odd", "not a string")
    with pytest.raises(ResponseError):
        await asyncio.wait_for(patient(redis, refused=0.5).pauses.begin("odd", 1.0), 30)
