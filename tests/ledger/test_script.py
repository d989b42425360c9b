"""Group commit: what waits at one moment shares a script, and each gets its own answer."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.ledger import Ledger, NewTask
from dcbridge.ledger.script import weigh, whole
from dcbridge.settings.process import Settings
from dcbridge.store.connection import connect
from tests.ledger.ledger_bench import Bench, copies_of, new_message


async def scripts(redis: Redis) -> int:
    """How many scripts this server has run."""
    stats = await redis.info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("eval", "evalsha"))


@pytest.mark.parametrize(("waiting", "most"), [(1, 1), (64, 1), (65, 2), (200, 4)])
async def test_what_waits_together_travels_together(redis: Redis, waiting: int, most: int) -> None:
    bench = Bench(redis)
    await bench.put("first")  # the script is known by then
    before = await scripts(redis)
    messages = [new_message(f"m-{n}", to_id=str(n)) for n in range(waiting)]
    answers = await asyncio.gather(*(bench.ledger.messages.accept([message]) for message in messages))
    assert answers == [[True]] * waiting
    assert await scripts(redis) - before == most
    assert await bench.queued() == [new_message("first").ref, *(message.ref for message in messages)]


async def test_each_gets_the_answer_to_its_own_question(redis: Redis) -> None:
    bench = Bench(redis)
    known = await bench.sending("known")
    found = await asyncio.gather(
        bench.ledger.messages.accept([new_message("known"), new_message("new")]),
        bench.ledger.messages.claim("f" * 24, "t", 60.0),
        bench.taken(known, "another's"),
        bench.taken(known),
        bench.ledger.messages.accept([new_message("new")]),
        bench.ledger.sweep.run(),
    )
    accepted, claimed, late, sent, again, decisions = found
    assert (accepted, again, decisions) == ([False, True], [False], [])
    assert (claimed.why, late, sent) == ("gone", "parked", "sent")


async def test_one_that_fails_in_the_script_fails_alone(redis: Redis) -> None:
    bench = Bench(redis)
    await redis.rpush("dcb:pause:odd", "not a string")
    odd, good = await asyncio.gather(
        bench.ledger.pauses.begin("odd", 60.0),
        bench.ledger.messages.accept([new_message("good")]),
        return_exceptions=True,
    )
    assert isinstance(odd, ResponseError)
    assert good == [True]


async def test_who_stops_waiting_takes_nobody_along(redis: Redis) -> None:
    bench = Bench(redis)
    tasks = [asyncio.create_task(bench.ledger.messages.accept([new_message(f"m-{n}")])) for n in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert (found[0], found[2]) == ([True], [True])
    assert isinstance(found[1], asyncio.CancelledError)
    assert await bench.ledger.messages.accept([new_message("m-1")]) in ([True], [False])  # it may have been written


# ---------------------------------------------------------------- a script is bounded by its work


async def test_a_webhook_of_500_messages_travels_in_slices_and_stays_in_order(redis: Redis) -> None:
    bench = Bench(redis)
    await bench.put("first")
    before = await scripts(redis)
    messages = [new_message(f"m-{n}", to_id=str(n)) for n in range(500)]
    assert await bench.ledger.messages.accept(messages) == [True] * 500
    assert 8 <= await scripts(redis) - before <= 10
    assert await bench.queued() == [new_message("first").ref, *(message.ref for message in messages)]


async def test_a_webhook_that_was_written_in_part_is_completed_by_its_redelivery(redis: Redis) -> None:
    bench = Bench(redis)
    messages = [new_message(f"m-{n}", to_id=str(n)) for n in range(200)]
    await bench.ledger.messages.accept(messages[:64])
    assert await bench.ledger.messages.accept(messages) == [False] * 64 + [True] * 136
    assert await bench.queued() == [message.ref for message in messages]
    assert await bench.difference() == 0


async def test_copies_of_one_message_are_never_parted(redis: Redis) -> None:
    bench = Bench(redis)
    many = copies_of("many", *(f"to-{n}" for n in range(150)))
    alone = [new_message(f"m-{n}", to_id=str(n)) for n in range(40)]
    assert await bench.ledger.messages.accept([*alone, *many]) == [True] * 190
    assert await bench.ledger.messages.accept(many) == [False] * 150
    assert [len(piece) for piece in whole([*alone, *many], 64, lambda one: one.first_ref)] == [40, 150]


@pytest.mark.parametrize("what", ["messages", "tasks"])
async def test_what_is_light_does_not_wait_for_all_of_what_is_bulk(redis: Redis, what: str) -> None:
    bench, ended = Bench(redis), list[str]()
    await bench.put("first")

    async def end(name: str, work: Awaitable[object]) -> None:
        await work
        ended.append(name)

    bulk: Awaitable[object]
    if what == "messages":
        bulk = bench.ledger.messages.accept([new_message(f"m-{n}", to_id=str(n)) for n in range(1500)])
    else:
        bulk = bench.ledger.tasks.put([NewTask(f"b-{n}", "callback", "", b"x") for n in range(1500)])
    heavy = asyncio.create_task(end("bulk", bulk))
    await asyncio.sleep(0)
    await asyncio.gather(
        heavy, *(end("light", bench.ledger.messages.accept([new_message(f"l-{n}")])) for n in range(3))
    )
    assert ended == ["light"] * 3 + ["bulk"]


async def test_bulk_has_its_turn_beside_light_verbs_without_end(redis: Redis) -> None:
    bench = Bench(redis)
    messages = [new_message(f"m-{n}", to_id=str(n)) for n in range(640)]
    heavy = asyncio.create_task(bench.ledger.messages.accept(messages))
    rounds = 0
    while not heavy.done():
        await asyncio.gather(*(bench.ledger.pacing.record_success("acme", "") for _ in range(64)))
        rounds += 1
    assert rounds < 40
    assert await heavy == [True] * 640


@pytest.mark.parametrize(
    ("words", "weight"),
    [
        (("claim", "ref", "token", 60000, 1000), 1),
        (("accept", *["x"] * 20), 1),
        (("accept", *["x"] * 20, b"x" * 20_000), 2),
        (("accept", *["x"] * 1028), 43),
    ],
)
def test_a_verb_weighs_as_much_as_there_is_in_it(words: tuple[str | bytes | int, ...], weight: int) -> None:
    assert weigh(words) == weight


# ---------------------------------------------------------------- a Redis that goes away


async def test_a_redis_that_hangs_fails_only_what_was_under_way(own_redis: EmbeddedRedis) -> None:
    redis = connect(Settings(redis_url=SecretStr(own_redis.url), redis_timeout=1.5))
    ledger = Ledger(redis, keep=100.0, keep_dead=100.0)
    assert await ledger.messages.accept([new_message("before")]) == [True]
    assert own_redis.process is not None
    os.kill(own_redis.process.pid, signal.SIGSTOP)
    try:
        under_way = [asyncio.create_task(ledger.messages.accept([new_message(f"m-{n}")])) for n in range(3)]
        await asyncio.sleep(0.05)  # they are written, and nobody answers
        later = asyncio.create_task(ledger.messages.accept([new_message("later")]))
        failed = await asyncio.gather(*under_way, return_exceptions=True)
    finally:
        os.kill(own_redis.process.pid, signal.SIGCONT)
    assert all(isinstance(error, RedisError) for error in failed)
    assert await later == [True]
    assert await ledger.messages.accept([new_message("after")]) == [True]
    assert (await Bench(redis).difference()) == 0
    await redis.aclose()


async def test_what_was_answered_is_there_after_a_kill(own_redis: EmbeddedRedis) -> None:
    redis = connect(Settings(redis_url=SecretStr(own_redis.url), redis_timeout=3.0))
    bench = Bench(redis)
    refs = [await bench.put(f"m-{n}") for n in range(5)]
    own_redis.kill()
    with pytest.raises((RedisError, OSError)):
        await bench.put("lost")
    own_redis.start()
    assert [await bench.state(ref) for ref in refs] == ["accepted"] * 5
    assert await bench.difference() == 0
    await redis.aclose()
