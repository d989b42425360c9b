"""Opt-outs: what a consumer said last counts, however often and in whatever order it is written down."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.ledger.consent import NOW, Consent, ConsumerTokens, OptOut, OtherKey, order_of
from tests.ledger.ledger_bench import Bench

AT = 1_764_150_000_000
SCOPE, WHO = "brand", "0" * 32


@pytest.fixture
def consent(redis: Redis) -> Consent:
    return Bench(redis).ledger.consent


async def events(redis: Redis) -> list[str]:
    entries: Any = await redis.xrange("dcb:interactions")
    return [fields[b"own"].decode() for _, fields in entries]


async def test_a_stop_counts_until_a_start_and_is_an_event_once(redis: Redis, consent: Consent) -> None:
    assert await consent.find(SCOPE, WHO) is None
    assert await consent.stop(SCOPE, WHO, order_of(AT), "keyword", "SM1", "0123456789") == "stopped"
    assert await consent.stop(SCOPE, WHO, order_of(AT), "keyword", "SM1", "0123456789") == "same"
    assert await consent.stop(SCOPE, WHO, order_of(AT + 9), "provider", "21610") == "same"  # the first date stays
    found = await consent.find(SCOPE, WHO)
    assert found == OptOut(SCOPE, WHO, datetime(2025, 11, 26, 9, 40, tzinfo=UTC), "keyword", "SM1")
    assert found.detail == "opted out 2025-11-26"
    assert await consent.find("channel/1", WHO) is None
    assert await consent.start(SCOPE, WHO, order_of(AT + 10), "keyword") == "started"
    assert await consent.start(SCOPE, WHO, order_of(AT + 10), "keyword") == "same"
    assert await consent.find(SCOPE, WHO) is None
    assert await events(redis) == ["consent.stopped", "consent.started"]
    entries: Any = await redis.xrange("dcb:interactions")
    told = entries[1][1]
    facts = {"own": "consent.started", "consumer": WHO, "scope": "brand", "channel": "", "by": "keyword"}
    assert {name.decode(): value.decode() for name, value in told.items()} == facts


@pytest.mark.parametrize("turn", list(permutations(range(3))), ids=str)
async def test_the_last_word_counts_in_whatever_order_it_is_read(consent: Consent, turn: tuple[int, ...]) -> None:
    said = ["stop", "start", "stop"]
    for _ in range(2):  # and read again, as after a worker that died
        for place in turn:
            await getattr(consent, said[place])(SCOPE, WHO, order_of(AT, place), "keyword")
    assert await consent.find(SCOPE, WHO) is not None
    for place in (1, 3, 0, 2):
        verb = consent.start if place in (1, 3) else consent.stop
        await verb(SCOPE, WHO, order_of(AT, place), "keyword")
    assert await consent.find(SCOPE, WHO) is None


@pytest.mark.parametrize("turn", list(permutations(range(4))), ids=str)
async def test_the_last_word_counts_when_each_is_read_once(consent: Consent, turn: tuple[int, ...]) -> None:
    said = ["stop", "start", "stop", "stop"]
    for place in turn:
        if said[place] == "start":
            await consent.start(SCOPE, WHO, order_of(AT, place), "keyword")
        else:
            await consent.stop(SCOPE, WHO, order_of(AT, place), "keyword", "21610")
    found = await consent.find(SCOPE, WHO)
    assert found is not None
    assert found.proof == "21610"


async def test_this_moment_is_by_the_ledgers_clock(consent: Consent) -> None:
    """What a callback says is dated by it as well; the clock of a worker would be another."""
    await consent.stop(SCOPE, WHO, NOW, "provider")
    found = await consent.find(SCOPE, WHO)
    assert found is not None
    assert abs((found.at - datetime.now(UTC)).total_seconds()) < 60
    assert await consent.start(SCOPE, WHO, order_of(AT), "keyword") == "late"
    assert await consent.start(SCOPE, WHO, NOW, "operator") == "started"


async def test_a_start_is_remembered_for_as_long_as_an_older_stop_may_be_read(redis: Redis, consent: Consent) -> None:
    await consent.start(SCOPE, WHO, order_of(AT), "keyword", remember=7.0)
    assert 6000 < await redis.pttl(f"dcb:start:{SCOPE}:{WHO}") <= 7000
    assert await consent.stop(SCOPE, WHO, order_of(AT - 1), "keyword") == "late"
    assert await redis.ttl(f"dcb:stop:{SCOPE}") == -2
    await consent.stop(SCOPE, WHO, order_of(AT + 1), "keyword")
    assert await redis.ttl(f"dcb:stop:{SCOPE}") == -1  # an opt-out never ends by itself


async def test_all_of_them_are_exported_and_put_back(redis: Redis, consent: Consent) -> None:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    many = [
        OptOut(f"channel/{n % 3}", f"{n:032x}", began + timedelta(hours=n), "keyword", f"SM{n}") for n in range(1200)
    ]
    assert await consent.put(many) == 1200
    assert await consent.put(many[:7]) == 0
    assert sorted([one async for one in consent.all()], key=lambda one: one.token) == many
    assert await events(redis) == []


@pytest.mark.parametrize("stored", [b"", b"x", b"nan keyword SM1", b"9" * 400, b"\xff\xfe", b"-1 keyword a", b"1 x y"])
async def test_one_that_cannot_be_read_stops_all_the_same(redis: Redis, consent: Consent, stored: bytes) -> None:
    await redis.hset(f"dcb:stop:{SCOPE}", WHO, stored)
    found = await consent.find(SCOPE, WHO)
    assert found is not None
    assert found.detail == "opted out 1970-01-01"
    assert [one.token async for one in consent.all()] == [WHO]
    assert await consent.stop(SCOPE, WHO, order_of(AT), "keyword") == "same"
    assert await consent.start(SCOPE, WHO, order_of(AT), "operator") in ("started", "late")


async def test_another_key_is_refused(consent: Consent) -> None:
    one, other = ConsumerTokens(b"one key of sixteen"), ConsumerTokens(b"another of sixteen")
    assert one.of("16504661149") != other.of("16504661149")
    assert one.of("16504661149") != one.of("16504661148")
    await consent.require_key(one.fingerprint)
    await consent.require_key(one.fingerprint)
    with pytest.raises(OtherKey):
        await consent.require_key(other.fingerprint)


async def test_no_number_is_stored(redis: Redis, consent: Consent) -> None:
    token = ConsumerTokens(b"one key of sixteen").of("16504661149")
    await consent.stop(SCOPE, token, order_of(AT), "keyword", "SM1\n16504661149 x" + "y" * 999)
    found = await consent.find(SCOPE, token)
    assert found is not None
    assert len(found.proof) == 128


async def test_those_who_ask_at_one_moment_share_a_command(redis: Redis, consent: Consent) -> None:
    """Every message asks before it is sent."""
    tokens = [f"{number:032x}" for number in range(50)]
    for scope, token in ((SCOPE, tokens[3]), (SCOPE, tokens[40]), ("other", tokens[7])):
        await consent.stop(scope, token, order_of(AT), "keyword", token[-2:])
    before: Any = await redis.info("commandstats")
    asked = [consent.find(scope, token) for scope in (SCOPE, "other") for token in [*tokens, tokens[3]]]
    given_up = asyncio.create_task(consent.find(SCOPE, tokens[3]))
    found = await asyncio.gather(*asked, asyncio.sleep(0, given_up.cancel()))
    assert [(one.scope, one.token, one.proof) for one in found if isinstance(one, OptOut)] == [
        (SCOPE, tokens[3], "03"), (SCOPE, tokens[40], "28"), (SCOPE, tokens[3], "03"), ("other", tokens[7], "07"),
    ]  # fmt: skip
    after: Any = await redis.info("commandstats")
    assert after["cmdstat_hmget"]["calls"] - before.get("cmdstat_hmget", {"calls": 0})["calls"] == 2


async def test_each_who_asks_hears_that_redis_does_not_answer(own_redis: EmbeddedRedis) -> None:
    async with Redis.from_url(own_redis.url) as client:
        consent = Bench(client).ledger.consent
        own_redis.stop()
        said = await asyncio.gather(*(consent.find(SCOPE, WHO) for _ in range(3)), return_exceptions=True)
        assert [isinstance(one, RedisError) for one in said] == [True] * 3
        own_redis.start()
        assert await consent.find(SCOPE, WHO) is None
