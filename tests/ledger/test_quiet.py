"""Messages in quiet hours beside what else the ledger keeps of them: books of several providers, other versions."""

from __future__ import annotations

import time

import pytest
from redis.asyncio import Redis

from dcbridge.ledger.reports.books import read
from tests.ledger.ledger_bench import CHANNEL
from tests.ledger.route_bench import RouteBench


@pytest.fixture
def bench(redis: Redis) -> RouteBench:
    return RouteBench(redis)


async def hold(bench: RouteBench, ref: str, seconds: float = 600.0) -> str:
    now = time.time()
    return await bench.ledger.quiet.hold(
        ref, "mine", now + seconds, now, fingerprint="f", how="wait", detail="quiet hours"
    )


async def accepted(bench: RouteBench) -> dict[str, int]:
    """By provider; the books add up."""
    books = await read(bench.redis)
    assert books.difference == 0
    [channel] = [one for one in books.channels if one.channel_id == CHANNEL]
    return {one.name: one.accepted for one in channel.providers if one.accepted}


async def test_a_message_that_waits_is_in_no_providers_books(bench: RouteBench) -> None:
    await bench.several()
    ref = await bench.new()
    assert await bench.via(ref) == "a"
    assert await accepted(bench) == {"a": 1}
    assert await hold(bench, ref) == "waits"
    assert await accepted(bench) == {}
    await bench.open_breaker("a")
    await bench.ledger.quiet.announce({})  # other quiet hours: none
    await bench.sweep()
    assert await bench.via(ref) == "b"
    assert await accepted(bench) == {"b": 1}
    entry = await bench.ledger.messages.entry(ref)
    assert (entry.left_providers, entry.total_attempts) == ("", 1)


async def test_one_that_was_tried_stays_in_the_books_of_who_had_it(bench: RouteBench) -> None:
    await bench.several()
    ref = await bench.new()
    await bench.via(ref)
    await bench.fails(ref, "")
    await bench.pass_time(6)
    assert await bench.via(ref) == "a"
    assert await hold(bench, ref) == "waits"
    assert await accepted(bench) == {"a": 1}


async def test_the_line_is_not_needed_to_find_it(bench: RouteBench) -> None:
    """As after a rollback to a version that does not know it, or a Redis that has lost a key."""
    await bench.ledger.quiet.announce({CHANNEL: "f"})
    ref = await bench.sending()
    assert await hold(bench, ref) == "waits"
    line = (await bench.ledger.messages.entry(ref)).line
    for key in (f"dcb:line:{line}", "dcb:lines"):
        await bench.redis.delete(key)
    due = await bench.redis.zscore("dcb:due", f"m:{ref}")
    assert due is not None
    assert 600 < due / 1000 - time.time() < 700  # not only when its time to live ends, in an hour
    await bench.redis.zadd("dcb:due", {f"m:{ref}": 1})
    await bench.sweep()
    assert await bench.redis.zrange(f"dcb:line:{line}", 0, -1) == [ref.encode()]
    assert await bench.redis.zscore("dcb:lines", line) == int(line.split("-")[1])
