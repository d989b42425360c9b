"""Pauses that a provider asked for: never longer than the configuration says, and ended on demand."""

from __future__ import annotations

import time

import pytest
from redis.asyncio import Redis

from dcbridge.ledger import NewTask
from tests.ledger.ledger_bench import CHANNEL
from tests.ledger.test_pacing import PacedBench

DAY, YEARS = 86400.0, 30 * 365 * 86400.0


@pytest.fixture
def bench(redis: Redis) -> PacedBench:
    return PacedBench(redis)


async def lasts(bench: PacedBench, provider: str = "acme") -> float:
    """Seconds that the pause goes on."""
    till = await bench.redis.get(f"dcb:pause:{provider}")
    return float(till) / 1000 - time.time() if till else 0.0


async def older_version_pauses(bench: PacedBench, seconds: float = YEARS, provider: str = "acme") -> None:
    """As a version did that believed everything."""
    await bench.redis.set(f"dcb:pause:{provider}", round((time.time() + seconds) * 1000), px=round(seconds * 1000))


@pytest.mark.parametrize(
    ("most", "asked", "kept"),
    [
        (None, 60.0, 60.0),
        (None, 3600.0, 3600.0),
        (None, 3601.0, 3600.0),
        (None, YEARS, 3600.0),
        (60.0, 30.0, 30.0),
        (60.0, YEARS, 60.0),
        (DAY, 7200.0, 7200.0),
        (DAY, YEARS, DAY),
    ],
)
async def test_a_pause_is_as_long_as_the_longest_allowed(
    bench: PacedBench, most: float | None, asked: float, kept: float
) -> None:
    await bench.limit()
    if most is not None:
        await bench.ledger.pauses.bound({"acme": most})
    assert await bench.ledger.pauses.begin("acme", asked) is True
    assert kept - 5 < await lasts(bench) <= kept
    assert await bench.ledger.pauses.begin("acme", asked / 2) is False  # it is paused already
    assert kept - 5 < await lasts(bench) <= kept
    assert kept - 5 < await bench.redis.ttl("dcb:paused:acme") <= kept


async def test_a_pause_of_an_older_version_is_cut_when_it_is_looked_at(bench: PacedBench) -> None:
    await bench.limit()
    [ref] = await bench.heads(1, time_to_live=DAY)
    await older_version_pauses(bench)
    assert await bench.claim(ref) == "paused"
    assert await lasts(bench) <= 3600
    assert await bench.claim(ref) == "paused"  # and it does not begin anew with each look
    await bench.pass_time(3700)
    assert await bench.claim(ref) == "go"


async def test_a_pause_of_an_older_version_is_cut_when_a_worker_starts_and_wakes_what_waits(bench: PacedBench) -> None:
    await bench.limit()
    [ref] = await bench.heads(1)
    await older_version_pauses(bench)
    await older_version_pauses(bench, 1800, "fine")
    await bench.redis.hdel(f"dcb:m:{ref}", "qa")
    await bench.redis.zadd("dcb:due", {f"m:{ref}": (time.time() + YEARS) * 1000})  # as it was told to wait
    assert await bench.ledger.pauses.bound({"acme": 600.0, "fine": 3600.0, "quiet": 60.0}) == ["acme"]
    assert 590 < await lasts(bench) <= 600
    assert 1790 < await lasts(bench, "fine") <= 1800
    await bench.drop_jobs()
    await bench.sweep()
    assert await bench.claim(ref) == "paused"
    await bench.pass_time(602)
    await bench.sweep()
    assert await bench.queued() == [ref]


async def test_what_an_older_version_put_off_for_millennia_is_looked_at_now(bench: PacedBench) -> None:
    far = (time.time() + YEARS) * 1000
    ref = await bench.sending("m-1")
    await bench.ledger.messages.fail(ref, "mine", 530, "")
    await bench.ledger.tasks.put([NewTask("c-1", "consumer", "lane", b"{}", "", CHANNEL)])
    claimed = await bench.ledger.tasks.claim("c-1", "mine", 60)
    assert claimed.ours
    await bench.ledger.tasks.retry("c-1", "mine", YEARS, "http 503")
    await bench.redis.zadd(f"dcb:receipts:{CHANNEL}", {ref: far})
    await bench.ledger.pauses.bound({})
    assert [owed.ref for owed in await bench.ledger.receipts.take(CHANNEL, 10, 60)] == [ref]
    assert (await bench.ledger.tasks.claim("c-1", "again", 60)).ours


async def test_what_waits_for_less_than_that_is_left_alone(bench: PacedBench) -> None:
    ref = await bench.sending("m-1")
    await bench.ledger.messages.fail(ref, "mine", 530, "")
    later = round((time.time() + DAY) * 1000)
    await bench.redis.zadd(f"dcb:receipts:{CHANNEL}", {ref: later})
    sent = await bench.sent("m-2")
    await bench.redis.zadd("dcb:due", {f"m:{sent}": later * 2})  # confirm_within may be long
    await bench.ledger.pauses.bound({})
    assert await bench.redis.zscore(f"dcb:receipts:{CHANNEL}", ref) == later
    assert await bench.redis.zscore("dcb:due", f"m:{sent}") == later * 2


async def test_a_pause_that_is_ended_lets_everything_go(bench: PacedBench) -> None:
    await bench.limit()
    asked, *waiting = await bench.heads(4)
    assert await bench.claim(asked) == "go"
    await bench.ledger.pauses.begin("acme", 3000.0)
    await bench.ledger.messages.retry(asked, "mine", 3000.0, lane_limit=0.0, reason=310, code="20429")
    assert [await bench.claim(ref) for ref in waiting] == ["paused"] * 3
    await bench.drop_jobs()
    assert await bench.sweep() == []
    assert await bench.ledger.pauses.end("another") == (False, 0)
    assert await bench.queued() == []
    was, woken = await bench.ledger.pauses.end("acme")
    assert was
    assert 1 <= woken <= 4
    await bench.sweep()
    assert sorted(await bench.queued()) == sorted([asked, *waiting])
    assert [await bench.claim(ref, ref) for ref in (asked, *waiting)] == ["go"] * 4
    assert await bench.ledger.pauses.end("acme") == (False, 0)
    assert await bench.redis.exists("dcb:paused:acme") == 0
