"""Quiet hours through a worker: what waits costs nothing and keeps its order, and whoever is awake is written to."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.config.quiet_hours import Openings, QuietHours
from dcbridge.ledger.reports import conversations, overview
from dcbridge.ledger.reports.books import read
from tests.ledger.ledger_bench import Bench
from tests.workers.far_side import SMS, FarSide, far_side, hang_up, saying
from tests.workers.test_reconciler_and_inbound import inbound_callback, read_one
from workers import outbound, quiet
from workers.reconciler import sweep

Open = Callable[..., Any]
CALIFORNIA, BERLIN = "16504661149", "4915112345678"  # a consumer of each
ZONES = {CALIFORNIA: "America/Los_Angeles", BERLIN: "Europe/Berlin"}
DAY = 86400.0


def around_now(zone: str, hours: float = 3.0) -> dict[str, str]:
    """Quiet since an hour ago, for some more hours, by the clock of a zone."""
    local = datetime.now(ZoneInfo(zone))
    return {"from": f"{local - timedelta(hours=1):%H:%M}", "to": f"{local + timedelta(hours=hours):%H:%M}"}


@pytest.fixture
def opened(redis: Redis, redis_server: EmbeddedRedis) -> Open:
    """A worker whose sms channel has quiet hours; by default they are now, in California."""

    @asynccontextmanager
    async def open_one(**given: Any) -> AsyncIterator[FarSide]:
        async with far_side(redis, redis_server.url) as side:
            await change(side, **given)
            yield side

    return open_one


async def change(side: FarSide, live: float = DAY, **given: Any) -> None:
    """From now on these quiet hours, or none where `times` is empty: as after a restart with another bridge.yaml."""
    hours: dict[str, Any] = {"zone": "America/Los_Angeles", "times": [around_now(ZONES[CALIFORNIA])]} | given
    wanted = QuietHours.model_validate(hours) if hours["times"] else None
    configuration = side.context.configuration
    channel = configuration.channels[SMS].model_copy(update={"quiet_hours": wanted, "time_to_live": live})
    channels = {**configuration.channels, SMS: channel}
    side.context = replace(side.context, configuration=configuration.model_copy(update={"channels": channels}))
    await side.context.announce()


async def sends(side: FarSide, message_id: str, **changes: Any) -> tuple[str, str, str]:
    """State, reason and line of a message whose turn comes."""
    ref = await side.accept(message_id, **changes)
    return await turn(side, ref)


async def turn(side: FarSide, ref: str) -> tuple[str, str, str]:
    await outbound.send(side.context, ref)
    entry = await side.entry(ref)
    return entry.state, entry.reason, entry.line[:2]


async def queued(side: FarSide) -> list[str]:
    """The messages that have a job, in order; they are taken."""
    jobs: Any = await side.redis.lrange("rq:queue:outbound", 0, -1)
    await side.redis.delete("rq:queue:outbound")
    return [job.decode().split("-")[1] for job in jobs]


async def opens_now(side: FarSide) -> None:
    """The moment has come at which a line may go."""
    for key in await Bench(side.redis).keys("dcb:line:n-*"):
        kind, _, fingerprint, channel = key.removeprefix("dcb:line:").split("-", 3)
        name = f"{kind}-1000-{fingerprint}-{channel}"
        refs: Any = await side.redis.zrange(key, 0, -1)
        for ref in refs:
            await side.redis.hset(f"dcb:m:{ref.decode()}", "q", name)
        await side.redis.rename(key, f"dcb:line:{name}")
        await side.redis.zrem("dcb:lines", key.removeprefix("dcb:line:"))
        await side.redis.zadd("dcb:lines", {name: 1000})


WAITS = ("accepted", "", "n-")


async def test_a_message_waits_without_an_attempt_and_is_sent_once_it_may_be(opened: Open) -> None:
    async with opened() as side:
        assert await sends(side, "m-1") == WAITS
        assert await sends(side, "m-2", to=BERLIN) == ("sent", "", "")
        await queued(side)
        await sweep(side.context)
        assert await queued(side) == []
        await opens_now(side)
        await sweep(side.context)
        [ref] = await queued(side)
        entry = await side.entry(ref)
        assert (entry.attempts, entry.total_attempts, entry.began_at, entry.line) == (0, 0, None, "")
        await change(side, times=[])
        assert await turn(side, ref) == ("sent", "", "")
        assert await side.difference() == 0
        assert side.counted("dcbridge_quiet_hours_total", channel=SMS, outcome="waits") == 1


async def test_the_moment_is_that_of_the_consumers_zone(opened: Open) -> None:
    async with opened(times=[around_now(ZONES[CALIFORNIA]), around_now(ZONES[BERLIN], 5)]) as side:
        opening = {}
        for to, zone in ZONES.items():
            entry = await side.entry(await held(side, f"m-{to}", to=to))
            opening[to] = datetime.fromtimestamp(int(entry.line.split("-")[1]) / 1000, ZoneInfo(zone))
        now = datetime.now(UTC)
        assert [round((opening[to] - now) / timedelta(hours=1)) for to in ZONES] == [3, 5]


async def held(side: FarSide, message_id: str, **changes: Any) -> str:
    ref = await side.accept(message_id, **changes)
    assert (await turn(side, ref))[2] == "n-"
    return ref


@pytest.mark.parametrize(
    ("given", "to", "waits"),
    [
        ({"zone": "America/Los_Angeles"}, "12345", True),  # a short code, of which no zone is known
        ({"zone": "Europe/Berlin"}, "12345", False),
        ({"zone": "Europe/Berlin"}, CALIFORNIA, True),  # its own zone counts
        ({"times": [around_now("Australia/Perth", 1)]}, "61412345678", True),  # may be in Perth, or in Sydney
        ({"times": [around_now("Australia/Perth", 1)], "zones": {"AU": "Australia/Sydney"}}, "61412345678", False),
        ({"times": [around_now("Australia/Perth", 1)], "zones": {"AU": "Australia/Perth"}}, "61412345678", True),
        ({"zones": {"US": "Europe/Berlin"}}, CALIFORNIA, True),  # the number says it already
    ],
)
def test_whose_zone_counts(given: dict[str, Any], to: str, waits: bool) -> None:
    hours = {"zone": "America/Los_Angeles", "times": [around_now(ZONES[CALIFORNIA])]} | given
    now = time.time()
    assert (quiet.opens(QuietHours.model_validate(hours), to, now, Openings()) > now) == waits


async def test_what_waits_is_in_order_and_holds_up_nobody_else(opened: Open) -> None:
    async with opened() as side:
        first = await held(side, "m-1")
        behind = await side.accept("m-2")
        other = await side.accept("m-3", to=BERLIN)
        assert await queued(side) == [first, other]
        assert (await turn(side, other))[0] == "sent"
        await change(side, times=[])
        await sweep(side.context)
        assert await queued(side) == [first]
        assert (await turn(side, first))[0] == "sent"
        assert await queued(side) == [behind]
        assert await side.difference() == 0


@pytest.mark.parametrize(
    ("given", "state", "reason", "outcome"),
    [
        ({"then": "fail"}, "failed", "350", "failed"),
        ({"then": "send"}, "sent", "", "sent"),
        ({"live": 3600.0}, "failed", "305", "failed"),  # its time to live ends before
        ({"live": 4 * 3600.0}, "accepted", "", "waits"),
        ({"times": [{}]}, "failed", "305", "failed"),  # it never ends
    ],
)
async def test_what_becomes_of_it(opened: Open, given: dict[str, Any], state: str, reason: str, outcome: str) -> None:
    async with opened(**given) as side:
        ref = await side.accept("m-1")
        assert (await turn(side, ref))[:2] == (state, reason)
        entry = await side.entry(ref)
        assert entry.detail.startswith("quiet hours until 20") == (state == "failed")
        assert entry.total_attempts == (1 if state == "sent" else 0)
        assert side.counted("dcbridge_quiet_hours_total", channel=SMS, outcome=outcome) == 1
        assert await side.difference() == 0


@pytest.mark.parametrize(("within", "sent"), [(3600.0, True), (0.0, False)])
async def test_a_consumer_who_has_just_written_is_answered(opened: Open, within: float, sent: bool) -> None:
    async with opened(answers_within=within) as side:
        await read_one(side, inbound_callback(text="hello"))
        assert await sends(side, "m-1") == (("sent", "", "") if sent else WAITS)
        assert await sends(side, "m-2", to="14155550100") == WAITS  # another consumer
        life = await side.redis.pttl(f"dcb:wrote:{(await side.entry(await side.accept('m-3'))).lane}")
        assert (0 < life <= 3600_000) if sent else life == -2


async def test_what_waited_goes_before_the_answer_to_a_consumer_who_writes(opened: Open) -> None:
    async with opened() as side:
        first, second = await held(side, "m-1"), await side.accept("m-2")
        assert await queued(side) == [first]
        await read_one(side, inbound_callback(text="hello"))
        assert await queued(side) == [first]
        assert (await turn(side, first))[0] == "sent"
        assert await queued(side) == [second]
        assert (await turn(side, second))[0] == "sent"
        assert side.counted("dcbridge_quiet_hours_total", channel=SMS, outcome="woken") == 1
        assert side.counted("dcbridge_quiet_hours_total", channel=SMS, outcome="answer") == 2


async def test_a_message_of_which_a_part_is_sent_goes_on(opened: Open) -> None:
    async with opened(times=[]) as side:
        ref = await side.accept("m-1", text="long " * 400)
        assert (await turn(side, ref))[0] == "accepted"
        await change(side)
        assert await turn(side, ref) == ("sent", "", "")
        assert side.counted("dcbridge_quiet_hours_total", channel=SMS, outcome="begun") == 1


async def test_a_message_that_may_have_been_sent_is_not_put_off(opened: Open) -> None:
    """Put off until the morning, its repetition would come hours after the first."""
    async with opened(times=[]) as side:
        bench = Bench(side.redis)
        side.provider.replies = [hang_up]
        ref = await side.accept("m-1")
        assert (await turn(side, ref))[0] == "unknown"
        await bench.pass_time(8)
        await sweep(side.context)
        await change(side)
        assert (await turn(side, ref))[0] == "sent"


async def test_a_retry_waits_and_its_lane_limit_begins_anew(opened: Open) -> None:
    async with opened(times=[]) as side:
        bench = Bench(side.redis)
        side.provider.replies = [saying(429, {"code": 20429}), saying(429, {"code": 20429})]
        ref = await side.accept("m-1")
        assert (await turn(side, ref))[0] == "retry"
        await bench.pass_time(5)
        await change(side)
        assert await turn(side, ref) == ("retry", "", "n-")
        assert (await side.entry(ref)).total_attempts == 1
        await bench.pass_time(3 * 3600)
        await change(side, times=[])
        await sweep(side.context)
        assert await turn(side, ref) == (
            "retry",
            "",
            "",
        )  # and not failed: 900 seconds have passed since the first attempt
        await bench.pass_time(30)
        assert await turn(side, ref) == ("sent", "", "")


async def test_hours_that_are_changed_count_for_what_waits(opened: Open) -> None:
    async with opened() as side:
        ref = await held(side, "m-1")
        before = (await side.entry(ref)).line
        await queued(side)
        await side.context.announce()  # as every ten minutes
        await sweep(side.context)
        assert await queued(side) == []
        await change(side, times=[around_now(ZONES[CALIFORNIA], 5)])
        await sweep(side.context)
        assert await queued(side) == [ref]
        assert (await turn(side, ref))[2] == "n-"
        assert (await side.entry(ref)).line > before


async def test_clocks_that_disagree_make_nobody_busy(opened: Open, redis: Redis) -> None:
    """A worker whose clock is two hours behind says that it is quiet, while it is over by Redis' clock."""
    async with opened() as side:
        ref = await side.accept("m-1")
        assert (await side.context.ledger.messages.claim(ref, "t", 10.0)).ours
        now = (await redis.time())[0]
        behind = now - 7200.0
        assert await side.context.ledger.quiet.hold(
            ref, "t", behind + 60, behind, fingerprint="f", how="wait", detail="x"
        ) == "waits"  # fmt: skip
        till = int((await side.entry(ref)).line.split("-")[1]) / 1000
        assert 55 <= till - now <= 65


async def test_a_lost_reply_changes_nothing(opened: Open) -> None:
    async with opened() as side:
        ref = await side.accept("m-1")
        hold = side.context.ledger.quiet.hold
        assert (await side.context.ledger.messages.claim(ref, "t", 10.0)).ours
        facts: Any = {"fingerprint": "f", "how": "wait", "detail": "x"}
        now = time.time()
        assert [await hold(ref, "t", now + 60, now, **facts) for _ in range(2)] == ["waits", "stale"]
        assert (await side.entry(ref)).total_attempts == 0


async def test_its_time_to_live_ends_while_it_waits(opened: Open) -> None:
    async with opened() as side:
        ref = await held(side, "m-1")
        await Bench(side.redis).pass_time(DAY)
        await sweep(side.context)
        entry = await side.entry(ref)
        assert (entry.state, entry.reason) == ("failed", "305")
        assert await Bench(side.redis).keys("dcb:line:*") == []
        assert await side.difference() == 0


async def test_the_pace_of_a_channel_is_not_spent_on_those_who_sleep(opened: Open) -> None:
    async with opened() as side:
        await side.context.ledger.pacing.announce({SMS: "twilio 0 1 0 1 1 1"})
        ref = await side.accept("m-1")
        other = await side.accept("m-2", to=BERLIN)
        assert await queued(side) == [ref]
        assert (await turn(side, ref))[2] == "n-"
        assert await queued(side) == [other]  # within the same second


async def test_the_probe_of_a_breaker_is_another_message(opened: Open) -> None:
    async with opened() as side:
        pacing = side.context.ledger.pacing
        asleep, awake = await side.accept("m-1"), await side.accept("m-2", to=BERLIN)
        failure: Any = {"at_once": True, "threshold": 1, "first": 5.0, "most": 60.0}
        await pacing.record_failure("twilio", "some", "connect", **failure)
        for ref in (asleep, awake):
            assert (await turn(side, ref))[2] == "b-"
        await queued(side)
        await side.redis.hset("dcb:breaker:twilio", "probe", 1)
        await sweep(side.context)
        assert await queued(side) == [asleep]
        assert (await turn(side, asleep))[2] == "n-"
        await sweep(side.context)
        assert await queued(side) == [awake]
        assert (await turn(side, awake))[0] == "sent"


async def test_what_waits_is_told_of_and_is_not_old(opened: Open) -> None:
    async with opened() as side:
        ref = await held(side, "m-1")
        await queued(side)
        await Bench(side.redis).pass_time(3600)
        [channel] = [one for one in (await read(side.redis)).channels if one.channel_id == SMS]
        assert (channel.in_flight, channel.oldest_age) == (1, 0.0)
        seen = (await overview.read(side.redis)).quiet[SMS]
        assert (seen.messages, 3 * 3600 - 70 < seen.opens_in < 3 * 3600 + 70) == (1, True)
        lanes = await conversations.lanes_of(side.redis, (await side.redis.time())[0], [SMS], {SMS: "twilio"}, 10)
        [head] = lanes.heads
        assert (head.id, head.why) == (ref, "quiet")
        assert head.due_in == pytest.approx(seen.opens_in, abs=5)


async def test_those_of_one_zone_do_not_fill_the_queue(opened: Open) -> None:
    """At eight in the morning others are written to as well."""
    async with opened() as side:
        for n in range(8):
            await held(side, f"m-{n}", to=f"1650466{n:04}")
        await queued(side)
        await change(side, times=[])
        await side.redis.rpush("rq:queue:outbound", *["send-another-1"] * 495)
        for _ in range(4):
            await sweep(side.context)
        assert await side.redis.llen("rq:queue:outbound") == 500
        await queued(side)
        await sweep(side.context)
        assert len(await queued(side)) == 3
