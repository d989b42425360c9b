"""Which number of a channel a conversation stays with."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from dcbridge.ledger import lane_of
from tests.ledger.ledger_bench import CHANNEL, CONSUMER
from tests.ledger.route_bench import RouteBench

KEY = f"dcb:sender:{lane_of(CHANNEL, CONSUMER)}"
A, B = "aaaaaaaa", "bbbbbbbb"
MONTH = 30 * 86400


@pytest.fixture
def bench(redis: Redis) -> RouteBench:
    return RouteBench(redis)


async def pool(bench: RouteBench, *providers: str) -> None:
    """As a worker announces a channel with several numbers."""
    await bench.several(*providers)
    found = await bench.redis.hget("dcb:limits", CHANNEL)
    assert isinstance(found, bytes)
    line = found.decode()
    before, via, after = line.partition(" via ")
    words = after.split()
    await bench.redis.hset(
        "dcb:limits",
        CHANNEL,
        f"{before}{via}{' '.join([*words[:2], words[2] + 'P', *words[3:]])}" if via else f"{line} pool",
    )


async def kept_at_claim(bench: RouteBench, message: str) -> tuple[str, str]:
    """The ref, and what the claim brings along."""
    ref = await bench.new(message)
    await bench.via(ref)
    return ref, (await bench.ledger.messages.entry(ref)).sender_kept


async def takes(bench: RouteBench, ref: str, sender: str) -> None:
    token = (await bench.ledger.messages.entry(ref)).token
    await bench.ledger.messages.submitted(
        ref, token, 0, 1, "x", delivered=True, confirm_within=60, provider="a", sender=sender
    )


@pytest.mark.parametrize("providers", [("a",), ("a", "b")])
async def test_what_was_sent_from_is_remembered_until_the_consumer_writes(
    bench: RouteBench, providers: tuple[str, ...]
) -> None:
    await pool(bench, *providers)
    ref, kept = await kept_at_claim(bench, "m-1")
    assert kept == "-"
    await takes(bench, ref, f"p {A} +15557650101")
    assert (await bench.ledger.messages.entry(ref)).sent_from == "p +15557650101"
    assert await bench.redis.get(KEY) == f"s{A}".encode()
    assert MONTH - 5 < await bench.redis.ttl(KEY) <= MONTH
    ref, kept = await kept_at_claim(bench, "m-2")
    assert kept == f"s{A}"
    assert await bench.ledger.routes.stick(CHANNEL, lane_of(CHANNEL, CONSUMER), "a", B) is (len(providers) > 1)
    assert (await bench.ledger.messages.entry(ref)).sender_kept == f"s{A}"  # all attempts of one message have the same
    await takes(bench, ref, f"k {A} +15557650101")
    ref, kept = await kept_at_claim(bench, "m-3")
    assert kept == f"s{A}"
    await takes(bench, ref, f"w {B} +15557650102")
    assert await bench.redis.get(KEY) == f"w{B}".encode()


async def test_what_the_consumer_wrote_to_stays_known_while_it_is_sent_from(bench: RouteBench) -> None:
    await pool(bench, "a")
    await bench.ledger.routes.stick(CHANNEL, lane_of(CHANNEL, CONSUMER), "a", A)
    await bench.redis.expire(KEY, 60)
    ref, kept = await kept_at_claim(bench, "m-1")
    assert kept == f"w{A}"
    await takes(bench, ref, f"k {A} +15557650101")
    assert await bench.redis.get(KEY) == f"w{A}".encode()
    assert MONTH - 5 < await bench.redis.ttl(KEY) <= MONTH


@pytest.mark.parametrize("words", ["", "c - ACME", "nonsense"])
async def test_a_sender_of_no_pool_is_not_remembered(bench: RouteBench, words: str) -> None:
    await pool(bench, "a")
    ref, _ = await kept_at_claim(bench, "m-1")
    await takes(bench, ref, words)
    assert await bench.redis.exists(KEY) == 0
    assert (await bench.ledger.messages.entry(ref)).sent_from == ("c ACME" if words.startswith("c") else "")


async def test_a_channel_with_one_number_remembers_none(bench: RouteBench) -> None:
    await bench.several("a")
    await bench.redis.set(KEY, f"w{A}")
    _, kept = await kept_at_claim(bench, "m-1")
    assert kept == ""


async def test_something_else_under_the_name_of_a_conversation_is_nothing(bench: RouteBench) -> None:
    await pool(bench, "a")
    await bench.redis.rpush(KEY, "x")
    ref, kept = await kept_at_claim(bench, "m-1")
    assert kept == "-"
    await takes(bench, ref, f"p {A} +15557650101")
    assert await bench.redis.get(KEY) == f"s{A}".encode()
