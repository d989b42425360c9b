"""Messages that wait while a statistic is too high: not on an old value, not beyond their time, and not an answer."""

from __future__ import annotations

import time
from typing import cast

import pytest
from redis.asyncio import Redis

from dcbridge.config.statistics import HoldWhile
from dcbridge.ledger.signals import Lead, NewSignal
from tests.ledger.ledger_bench import CHANNEL, Bench

HOLD = HoldWhile(statistic="sales-wait", above=600)
FRESH = 60.0


class Floor:
    """A channel that waits, and the statistic that it waits for."""

    def __init__(self, redis: Redis) -> None:
        self.bench = Bench(redis)
        self.signals = self.bench.ledger.signals
        self.lead: Lead = self.signals.lead("statistics")

    async def begins(self) -> None:
        assert await self.lead.hold(60.0)
        await self.bench.ledger.quiet.announce_holds({CHANNEL: HOLD.line(FRESH)})

    async def is_at(self, value: float | None, age: float = 0.0) -> None:
        await self.signals.put(self.lead, [NewSignal("sales-wait", value, age)])

    async def hold(self, ref: str, token: str = "mine") -> str:
        return await self.bench.ledger.quiet.hold_while(
            ref, token, fingerprint=HOLD.fingerprint(FRESH), detail="statistic"
        )

    async def goes(self, ref: str) -> bool:
        """Whether a sweep lets it go."""
        for name in cast(list[bytes], await self.bench.redis.zrange("dcb:lines", 0, -1)):
            await self.bench.redis.zadd("dcb:lines", {name.decode(): 1})
        await self.bench.ledger.sweep.report()
        return not (await self.bench.ledger.messages.entry(ref)).line


@pytest.fixture
async def floor(redis: Redis) -> Floor:
    found = Floor(redis)
    await found.begins()
    return found


async def test_it_waits_until_the_statistic_has_fallen(floor: Floor) -> None:
    await floor.is_at(601)
    ref = await floor.bench.sending()
    assert await floor.hold(ref) == "waits"
    assert not await floor.goes(ref)
    await floor.is_at(600)
    assert await floor.goes(ref)
    assert (await floor.bench.ledger.messages.claim(ref, "again", 60.0)).ours
    assert await floor.hold(ref, "again") == "send"
    entry = await floor.bench.ledger.messages.entry(ref)
    assert (entry.attempts, entry.total_attempts) == (1, 1)


@pytest.mark.parametrize(("value", "age"), [(601, 61.0), (None, 0.0), (600, 0.0)])
async def test_an_old_value_or_none_holds_nothing(floor: Floor, value: float | None, age: float) -> None:
    await floor.is_at(value, age)
    assert await floor.hold(await floor.bench.sending()) == "send"


async def test_no_value_at_all_holds_nothing(floor: Floor) -> None:
    assert await floor.hold(await floor.bench.sending()) == "send"


@pytest.mark.parametrize("how", ["unavailable", "old", "not configured"])
async def test_what_waits_goes_when_the_value_is_good_no_more(floor: Floor, how: str) -> None:
    await floor.is_at(601)
    ref = await floor.bench.sending()
    assert await floor.hold(ref) == "waits"
    assert not await floor.goes(ref)
    if how == "unavailable":
        await floor.signals.unavailable(floor.lead, "service", ["sales-wait"])
    elif how == "old":
        await floor.bench.redis.hset("dcb:signal:sales-wait", "at", str(int(time.time() * 1000) - 61_000))
    else:
        await floor.bench.ledger.quiet.announce_holds({})
    assert await floor.goes(ref)


async def test_the_answer_to_a_consumer_does_not_wait(floor: Floor) -> None:
    await floor.is_at(601)
    ref = await floor.bench.sending()
    lane = (await floor.bench.ledger.messages.entry(ref)).lane
    assert await floor.hold(ref) == "waits"
    assert await floor.bench.ledger.quiet.consumer_wrote(lane, 60.0)
    assert (await floor.bench.ledger.messages.claim(ref, "again", 60.0)).ours
    assert await floor.hold(ref, "again") == "answer"


async def test_it_never_waits_beyond_its_time_to_live(floor: Floor) -> None:
    await floor.is_at(601)
    ref = await floor.bench.sending()
    assert await floor.hold(ref) == "waits"
    await floor.bench.redis.hset(f"dcb:m:{ref}", "exp", str(int(time.time() * 1000) - 1))
    await floor.bench.redis.zadd("dcb:due", {f"m:{ref}": 1})
    await floor.goes(ref)
    entry = await floor.bench.ledger.messages.entry(ref)
    assert (entry.state, entry.reason) == ("failed", "305")


async def test_a_sweep_finds_it_without_its_line(floor: Floor) -> None:
    await floor.is_at(601)
    ref = await floor.bench.sending()
    assert await floor.hold(ref) == "waits"
    line = (await floor.bench.ledger.messages.entry(ref)).line
    await floor.bench.redis.delete(f"dcb:line:{line}", "dcb:lines")
    await floor.bench.redis.zadd("dcb:due", {f"m:{ref}": 1})
    await floor.goes(ref)
    assert await floor.bench.redis.zrange(f"dcb:line:{line}", 0, -1) == [ref.encode()]
