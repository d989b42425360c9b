"""Where messages wait that may not go now: who goes first, what it costs, and that nobody waits longer than it may."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from dcbridge.ledger import lane_of
from dcbridge.ledger.reports.books import read
from tests.ledger.ledger_bench import CHANNEL, CONSUMER, new_message
from tests.ledger.test_pacing import OTHER, PacedBench


class LineBench(PacedBench):
    """Its helpers bring many messages into a line, and out of it."""

    async def many(self, count: int, name: str = "m", **changes: Any) -> list[str]:
        """Messages of as many conversations at one time."""
        copies = [new_message(f"{name}-{n}", to_id=f"{name}{n}", **changes) for n in range(count)]
        await self.ledger.messages.accept(copies)
        return [copy.ref for copy in copies]

    async def go(self) -> list[str]:
        """One sweep, and what workers would send then."""
        await self.sweep()
        went = []
        while (ref := await self.pop_job()) is not None:
            if await self.state(ref) != "sending" and await self.claim(ref, ref) == "go":
                went.append(ref)
        return went

    async def states(self, refs: list[str]) -> list[str]:
        return [await self.state(ref) for ref in refs]

    async def commands(self, sweeps: int) -> int:
        """Commands of Redis for so many sweeps, those inside of the script included."""
        await self.redis.config_resetstat()
        for _ in range(sweeps):
            await self.sweep()
        stats: Any = await self.redis.info("commandstats")
        return sum(one["calls"] for name, one in stats.items() if name not in ("cmdstat_evalsha", "cmdstat_config"))


@pytest.fixture
def bench(redis: Redis) -> LineBench:
    return LineBench(redis)


# ---------------------------------------------------------------- the time to live ends while a message waits


async def paced_by_the_channel(bench: LineBench) -> str:
    await bench.limit(channel="0.001 1 0")
    return (await bench.many(3, time_to_live=30.0))[2]


async def paced_by_the_provider(bench: LineBench) -> str:
    await bench.limit(provider="0.001 1 0")
    return (await bench.many(3, time_to_live=30.0))[2]


async def paced_by_both(bench: LineBench) -> str:
    await bench.limit(provider="0.001 1 0", channel="1 5 0")
    return (await bench.many(3, time_to_live=30.0))[1]


async def held_by_the_channel(bench: LineBench) -> str:
    await bench.limit(channel="0 1 1")
    return (await bench.many(3, time_to_live=30.0))[2]


async def held_by_the_provider(bench: LineBench) -> str:
    await bench.limit(provider="0 1 1")
    return (await bench.many(3, time_to_live=30.0))[1]


async def paused_before_it_came(bench: LineBench) -> str:
    await bench.limit()
    await bench.ledger.pauses.begin("acme", 600.0)
    return await bench.put(time_to_live=30.0)


async def paused_after_it_came(bench: LineBench) -> str:
    await bench.limit()
    ref = await bench.put(time_to_live=30.0)
    await bench.ledger.pauses.begin("acme", 600.0)
    assert await bench.claim(ref) == "paused"
    return ref


async def parked(bench: LineBench) -> str:
    await bench.limit()
    ref = await bench.put(time_to_live=30.0)
    await bench.record_failure("x", at_once=True)
    assert await bench.claim(ref) == "parked"
    return ref


async def parked_when_it_came(bench: LineBench) -> str:
    await bench.limit()
    await bench.record_failure("x", at_once=True)
    return await bench.put(time_to_live=30.0)


async def behind_one_that_waits(bench: LineBench) -> str:
    await bench.limit(channel="0.001 1 0")
    await bench.put("first", to_id="1")
    await bench.put("second", time_to_live=3000.0)
    return await bench.put("third", time_to_live=30.0)


async def behind_one_under_way(bench: LineBench) -> str:
    await bench.limit()
    await bench.sending("first", lease=500.0)
    return await bench.put("second", time_to_live=30.0)


async def behind_one_of_unknown_outcome(bench: LineBench) -> str:
    await bench.ledger.messages.unknown(await bench.sending("first"), "mine", 500.0, "timeout")
    return await bench.put("second", time_to_live=30.0)


async def before_its_next_attempt(bench: LineBench) -> str:
    """Its next attempt is due, and it has not got its turn."""
    await bench.limit(channel="0.001 1 0")
    ref = await bench.sending(time_to_live=30.0)
    await bench.retry(ref, delay=5.0)
    return ref


async def in_a_queue_without_a_worker(bench: LineBench) -> str:
    await bench.limit()
    return await bench.put(time_to_live=30.0)


async def in_the_queue_for_long(bench: LineBench) -> str:
    """Nobody's job is lost: it is not looked for, and still found."""
    ref = await bench.put("m-1", time_to_live=30.0)
    for _ in range(2):
        await bench.pass_time(14.0)
        await bench.sweep()
    assert await bench.state(ref) == "accepted"
    await bench.pass_time(-28.0)
    return ref


async def let_go_and_not_claimed(bench: LineBench) -> str:
    await bench.limit(channel="0 1 1")
    return await bench.put(time_to_live=30.0)


async def of_a_channel_without_configuration(bench: LineBench) -> str:
    ref = await bench.sending(time_to_live=30.0)
    assert await bench.ledger.unconfigured.strand(ref, "mine") == "waits"
    return ref


WAITS: list[Callable[[LineBench], Awaitable[str]]] = [
    paced_by_the_channel, paced_by_the_provider, paced_by_both, held_by_the_channel, held_by_the_provider,
    paused_before_it_came, paused_after_it_came, parked, parked_when_it_came, behind_one_that_waits,
    behind_one_under_way, behind_one_of_unknown_outcome, before_its_next_attempt, in_a_queue_without_a_worker,
    in_the_queue_for_long, let_go_and_not_claimed, of_a_channel_without_configuration,
]  # fmt: skip


@pytest.mark.parametrize("way", WAITS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("jobs", ["jobs are there", "jobs are lost"])
async def test_a_message_that_waits_fails_when_its_time_is_over_and_not_before(
    bench: LineBench, way: Callable[[LineBench], Awaitable[str]], jobs: str
) -> None:
    ref = await way(bench)
    await bench.pass_time(27.0)
    await bench.sweep()
    assert await bench.state(ref) in ("accepted", "retry")
    if jobs == "jobs are lost":
        await bench.drop_jobs()
    await bench.pass_time(3.1)
    await bench.sweep()
    entry = await bench.ledger.messages.entry(ref)
    assert (entry.state, entry.reason) == ("failed", "305")
    assert (entry.line, entry.slot) == ("", None)
    for key in await bench.keys("dcb:line:*") + await bench.keys("dcb:parked:*") + await bench.keys("dcb:flight:*"):
        assert await bench.redis.zscore(key, ref) is None, key
    assert await bench.difference() == 0


async def test_one_that_is_partly_sent_does_not_expire(bench: LineBench) -> None:
    await bench.limit(channel="0.001 1 0")
    ref = await bench.sending(time_to_live=30.0)
    assert await bench.taken(ref, part=0, count=2) == "next"
    await bench.pass_time(31.0)
    for _ in range(3):
        await bench.sweep()
    assert await bench.state(ref) == "accepted"
    assert await bench.commands(4) < 400  # and is not looked at again and again
    await bench.pass_time(1000.0)
    assert await bench.go() == [ref]


async def test_expired_ones_cost_no_place_in_time(bench: LineBench) -> None:
    await bench.limit(channel="0.05 1 0")
    first, *late = await bench.many(201, "late", time_to_live=15.0)
    assert await bench.go() == [first]
    await bench.pass_time(9.5)
    [fresh] = await bench.many(1, "fresh")
    await bench.pass_time(5.6)
    assert await bench.go() == []
    assert set(await bench.states(late)) == {"failed"}
    await bench.pass_time(5.0)
    assert await bench.go() == [fresh]


async def test_expired_ones_of_one_conversation_end_without_a_job_each(bench: LineBench) -> None:
    refs = [await bench.put(f"m-{n}", time_to_live=15.0) for n in range(50)]
    fresh = await bench.put("fresh")
    await bench.drop_jobs()
    await bench.pass_time(16.0)
    await bench.sweep()
    assert set(await bench.states(refs)) == {"failed"}
    assert await bench.queued() == [fresh]
    assert await bench.lanes() == {f"dcb:lane:{lane_of(CHANNEL, CONSUMER)}": [f"m:{fresh}"]}


async def test_thousands_expire_in_a_few_sweeps(bench: LineBench) -> None:
    await bench.limit(channel="0.001 1 0")
    for n in range(4):
        await bench.many(500, f"a{n}-", time_to_live=10.0)
    now: Any = await bench.redis.zrange("dcb:due", 0, -1, withscores=True)
    await bench.redis.zadd("dcb:due", {member: 1 for member, _ in now})
    for key in await bench.keys("dcb:m:*"):
        await bench.redis.hset(key, "exp", 1)
    for _ in range(12):
        looked = (await bench.ledger.sweep.report(500)).looked
    assert looked < 500  # there is no more to do
    [books] = (await read(bench.redis)).channels
    assert books.failed == 2000


# ---------------------------------------------------------------- who goes, and when


async def test_no_job_is_queued_for_one_that_has_to_wait(bench: LineBench) -> None:
    await bench.limit(channel="0.001 2 0")
    refs = await bench.many(20)
    assert await bench.queued() == refs[:2]
    await bench.limit(provider="0 1 1")
    await bench.drop_jobs()
    other = await bench.many(3, "other", channel_id=OTHER)
    assert await bench.queued() == other[:1]


@pytest.mark.parametrize(
    "limits", [{"provider": "2 1 0"}, {"channel": "2 1 0"}, {"provider": "2 1 0", "channel": "2 1 0"}]
)
async def test_they_go_at_the_rate_in_the_order_of_acceptance(bench: LineBench, limits: dict[str, str]) -> None:
    await bench.limit(**limits)
    refs = await bench.heads(4)  # apart in time: of two that came in one millisecond, either may be the first
    went = await bench.go()
    for _ in range(20):
        await bench.pass_time(0.25)
        now = await bench.go()
        assert len(now) <= 2
        went += now
        if len(went) == 4:
            break
    assert went == refs


async def test_a_rate_is_kept_however_seldom_somebody_looks(bench: LineBench) -> None:
    """As many as the rate allows in the time, though each look lets go what came due since the last."""
    await bench.limit(channel="20 1 0")
    await bench.many(450)
    began, went = time.monotonic(), 0
    for _ in range(10):
        await bench.pass_time(0.5)
        went += len(await bench.go())
    allowed = 20 * (5.0 + time.monotonic() - began)
    assert 70 <= went <= allowed + 25


async def test_nobody_who_looks_late_makes_up_for_all_that_time(bench: LineBench) -> None:
    await bench.limit(channel="2 1 0")
    await bench.many(300)
    await bench.go()
    await bench.pass_time(100.0)
    assert len(await bench.go()) <= 5


async def test_two_channels_of_one_provider_take_turns_by_age(bench: LineBench) -> None:
    await bench.limit(provider="0 1 1", channel="0 1 5")
    refs = []
    for n in range(6):
        refs += await bench.many(1, f"{n}", channel_id=(CHANNEL, OTHER)[n % 2])
        await bench.pass_time(0.01)
    went: list[str] = []
    for _ in range(20):
        went += await bench.go()
        if went and await bench.state(went[-1]) == "sending":
            await bench.taken(went[-1], went[-1])
    assert went == refs


async def test_a_channel_with_a_pace_of_its_own_does_not_hold_up_its_provider(bench: LineBench) -> None:
    await bench.ledger.pacing.announce({CHANNEL: "acme 0 1 5 0.001 1 0", OTHER: "acme 0 1 5 0 1 0"})
    paced = await bench.many(50)
    [free] = await bench.many(1, "free", channel_id=OTHER)
    assert await bench.queued() == [paced[0], free]


async def test_a_channels_rate_holds_while_its_provider_catches_up(bench: LineBench) -> None:
    """What waited for the provider must not leave faster than its channel may."""
    await bench.ledger.pacing.announce({CHANNEL: "acme 100 1 0 1 1 0", OTHER: "acme 100 1 0 0 1 0"})
    await bench.ledger.pauses.begin("acme", 60.0)
    await bench.many(50)
    await bench.pass_time(61.0)
    assert len(await bench.go()) <= 2
    await bench.pass_time(1.0)
    assert len(await bench.go()) <= 2


async def test_one_that_is_tried_again_stands_behind_what_is_new_and_before_what_comes_later(bench: LineBench) -> None:
    await bench.limit(channel="0 1 1")
    [sick] = await bench.many(1, "sick")
    fresh = await bench.many(2, "fresh")
    assert await bench.go() == [sick]
    await bench.retry(sick, sick, delay=1.0)
    await bench.pass_time(2.0)
    went = await bench.go()
    assert went == fresh[:1]
    late = await bench.many(1, "late", time_to_live=3600.0)
    await bench.redis.zincrby(f"dcb:line:c-{CHANNEL}", 120_000, late[0])
    for _ in range(3):
        await bench.taken(went[-1], went[-1])
        went += await bench.go()
    assert went == [*fresh, sick, *late]


async def test_the_order_within_a_conversation_stays(bench: LineBench) -> None:
    await bench.limit(channel="0 1 3")
    refs = [await bench.put(f"m-{n}") for n in range(4)]
    went: list[str] = []
    for _ in range(4):
        now = await bench.go()
        assert len(now) == 1
        went += now
        await bench.taken(now[0], now[0])
    assert went == refs


async def test_after_a_pause_the_queue_is_not_flooded(bench: LineBench) -> None:
    await bench.limit()
    await bench.ledger.pauses.begin("acme", 60.0)
    for n in range(3):
        await bench.many(500, f"{n}-")
    assert await bench.queued() == []
    await bench.pass_time(61.0)
    for _ in range(30):
        await bench.sweep()
    assert 400 <= len(await bench.queued()) <= 800
    went = 0
    for _ in range(40):
        went += len(await bench.go())
    assert went == 1500


async def test_a_pause_that_is_lifted_ends_soon(bench: LineBench) -> None:
    await bench.limit()
    await bench.ledger.pauses.begin("acme", 600.0)
    ref = await bench.put()
    await bench.redis.delete("dcb:pause:acme")
    await bench.pass_time(1.1)
    assert await bench.go() == [ref]


# ---------------------------------------------------------------- what waits costs nothing


@pytest.mark.parametrize(
    "limits", [{"channel": "0.001 1 0"}, {"channel": "0 1 1"}, {"provider": "0.001 1 0"}, {"provider": "0 1 1"}, {}]
)
async def test_waiting_costs_the_same_however_many_wait(bench: LineBench, limits: dict[str, str]) -> None:
    await bench.limit(**limits)
    if not limits:
        await bench.ledger.pauses.begin("acme", 3000.0)
    await bench.many(20, "few")
    await bench.go()
    await bench.pass_time(16.0)
    await bench.sweep()
    few = await bench.commands(10)
    for n in range(4):
        await bench.many(500, f"{n}-")
    await bench.pass_time(16.0)
    await bench.sweep()
    assert await bench.commands(10) <= few + 20
    assert await bench.queued() == []


# ---------------------------------------------------------------- changes while they wait


@pytest.mark.parametrize("before", [{"channel": "0.001 1 0"}, {"provider": "0.001 1 0"}, {"channel": "0 1 1"}])
async def test_a_limit_that_is_taken_away_lets_all_go(bench: LineBench, before: dict[str, str]) -> None:
    await bench.limit(**before)
    refs = await bench.many(10)
    went = await bench.go()
    await bench.limit()
    for _ in range(3):
        await bench.pass_time(16.0)
        went += await bench.go()
    assert sorted(went) == sorted(refs)


async def test_a_channel_that_changes_its_provider_takes_its_line_along(bench: LineBench) -> None:
    await bench.limit(provider="0.001 1 0")
    refs = await bench.many(4)
    went = await bench.go()
    await bench.ledger.pacing.announce({CHANNEL: "another 0 1 2 0 1 0"})
    await bench.pass_time(2000.0)
    went += await bench.go()
    assert went == refs[:3]
    assert await bench.redis.zrange("dcb:line:p-another", 0, -1) == [refs[3].encode()]


async def test_a_place_that_a_killed_worker_left_is_given_away(bench: LineBench) -> None:
    await bench.limit(channel="0 1 1")
    first, second, _third = await bench.many(3)
    await bench.drop_jobs()  # and with it the job of the first, which was never claimed
    await bench.pass_time(16.0)
    assert await bench.go() == [first]
    await bench.drop_jobs()
    await bench.pass_time(61.0)
    assert await bench.go() == [second]
