"""What an operator stops, cancels, wakes and releases: nothing is lost, the order holds, the books add up."""

from __future__ import annotations

import time
from typing import Any, ClassVar

import pytest
from redis.asyncio import Redis

from dcbridge.config.statistics import HoldWhile
from dcbridge.ledger import lane_of
from dcbridge.ledger.controls import CANCELLED, Control, Target, What
from dcbridge.ledger.signals import NewSignal
from tests.ledger.ledger_bench import CHANNEL, CONSUMER
from tests.ledger.route_bench import RouteBench

PROVIDER = Target(What.PROVIDER, "acme")
STOPS = (
    PROVIDER,
    Target(What.CHANNEL, CHANNEL),
    Target(What.HOLD, CHANNEL),
    Target(What.CONVERSATION, lane_of(CHANNEL, CONSUMER)),
    Target(What.ALL),
)


class ControlBench(RouteBench):
    """Its clock moves what is stored of controls as well."""

    MOMENTS: ClassVar[dict[str, list[str]]] = {
        pattern: [*names, "ss"] if pattern == "dcb:m:*" else names for pattern, names in RouteBench.MOMENTS.items()
    }

    async def pass_time(self, seconds: float) -> None:
        await super().pass_time(seconds)
        back = round(seconds * 1000)
        stored: Any = await self.redis.hgetall("dcb:controls")
        for what, line in stored.items():
            since, till, rest = line.decode().split(" ", 2)
            moved = f"{int(since) - back} {int(till) - back if till != '0' else 0} {rest}"
            await self.redis.hset("dcb:controls", what, moved)
        spans: Any = await self.redis.hgetall("dcb:stood-still")
        for what, line in spans.items():
            pairs = [[int(ms) - back for ms in one.split("-")] for one in line.decode().split()]
            await self.redis.hset("dcb:stood-still", what, " ".join(f"{a}-{b}" for a, b in pairs))

    async def stop(self, target: Target, **options: Any) -> float | None:
        return await self.ledger.controls.begin(target, by="ann", why="wrong texts", **options)

    async def resume(self, target: Target) -> bool:
        return await self.ledger.controls.end(target, by="ann")

    async def goes(self, count: int = 1) -> list[str]:
        """What sweeps let go, within a few looks: the refs that have jobs."""
        for _ in range(5):
            await self.sweep()
            if len(found := await self.queued()) >= count:
                return found
            await self.pass_time(1.1)
        return await self.queued()

    async def waits(self) -> dict[str, int]:
        return {str(one.target.what): one.waiting for one in await self.ledger.controls.all()}


@pytest.fixture
def bench(redis: Redis) -> ControlBench:
    return ControlBench(redis)


async def quiet(bench: ControlBench, ref: str) -> str:
    """A claimed message, whose consumer has quiet hours for some minutes."""
    now = time.time()
    return await bench.ledger.quiet.hold(ref, "mine", now + 600, now, fingerprint="f", how="wait", detail="quiet hours")


@pytest.mark.parametrize("target", STOPS, ids=lambda one: one.what.value)
@pytest.mark.parametrize("limits", ["0 1 0", "1 1 0", "0 1 1"], ids=["no limit", "paced", "capped"])
async def test_what_is_stopped_waits_and_goes_on_in_order(bench: ControlBench, target: Target, limits: str) -> None:
    await bench.limit(provider=limits)
    refs = [await bench.put(f"m-{n}") for n in range(3)]  # of one conversation; the first has its job, and its place
    assert await bench.queued() == [refs[0]]
    await bench.stop(target)
    assert await bench.claim(refs[0]) == "paused"  # booked ahead, and yet it does not go
    late = await bench.put("m-late")
    await bench.drop_jobs()
    for _ in range(3):
        await bench.pass_time(61)
        await bench.sweep()
    assert await bench.queued() == []
    assert [await bench.claim(ref) for ref in (*refs, late)] == ["paused"] + ["not its turn"] * 3
    assert await bench.waits() == {str(target.what): 1}
    assert await bench.resume(target) is True
    assert await bench.resume(target) is False
    for ref in (*refs, late):
        assert ref in await bench.goes()
        assert await bench.claim(ref) == "go"
        assert await bench.taken(ref, delivered=True) == "delivered"
        await bench.pass_time(2)
    assert await bench.difference() == 0
    assert await bench.keys("dcb:line:*") == []


async def test_only_what_is_named_is_stopped(bench: ControlBench) -> None:
    await bench.limit()
    await bench.stop(Target(What.CONVERSATION, lane_of(CHANNEL, CONSUMER)))
    await bench.stop(Target(What.CHANNEL, "another"))
    await bench.stop(Target(What.PROVIDER, "another"))
    stopped, free = await bench.put("m-1"), await bench.put("m-2", to_id="1650466")
    assert await bench.queued() == [free]
    assert await bench.claim(free) == "go"
    assert await bench.claim(stopped) == "paused"


@pytest.mark.parametrize("target", STOPS, ids=lambda one: one.what.value)
async def test_a_pause_with_an_end_ends_by_itself(bench: ControlBench, target: Target) -> None:
    await bench.limit()
    until = await bench.stop(target, lasts=600.0)
    ref = await bench.put()
    [found] = await bench.ledger.controls.all()
    expected = Control(target, found.since, until, stands_still=False, by="ann", why="wrong texts", waiting=1)
    assert found == expected
    await bench.pass_time(590)
    assert await bench.goes() == []
    await bench.pass_time(20)
    assert await bench.goes() == [ref]
    assert await bench.claim(ref) == "go"
    assert await bench.ledger.controls.all() == []
    assert await bench.redis.hexists("dcb:watched", "controls") == 0
    assert await bench.redis.exists("dcb:pause:acme") == 0
    assert [(one.action, one.by) for one in await bench.ledger.controls.audit(9)] == [
        ("ended", ""),
        ("hold" if target.what == What.HOLD else "pause", "ann"),
    ]


async def test_time_to_live_goes_on(bench: ControlBench) -> None:
    await bench.limit()
    await bench.stop(STOPS[1])
    ref = await bench.put(time_to_live=100.0)
    await bench.pass_time(101)
    await bench.sweep()
    assert await bench.owed() == [("m-1", "Failed", "305")]
    assert await bench.state(ref) == "failed"


@pytest.mark.parametrize("target", STOPS, ids=lambda one: one.what.value)
async def test_time_to_live_stands_still_where_the_pause_says_so(bench: ControlBench, target: Target) -> None:
    """Of the first of a conversation, of those behind it, and of one that came meanwhile."""
    await bench.limit()
    before = [await bench.put(f"m-{n}", time_to_live=100.0) for n in range(2)]
    await bench.pass_time(40)
    await bench.stop(target, stands_still=True)
    await bench.pass_time(500)
    meanwhile = await bench.put("m-9", time_to_live=100.0)
    for _ in range(4):
        await bench.sweep()
        await bench.pass_time(125)
    assert {await bench.state(ref) for ref in (*before, meanwhile)} == {"accepted"}
    await bench.resume(target)
    await bench.pass_time(55)
    await bench.sweep()
    await bench.stop(target)  # a second pause, in which it goes on
    assert {await bench.state(ref) for ref in (*before, meanwhile)} == {"accepted"}
    await bench.pass_time(10)
    for _ in range(3):  # the one behind is looked at when the one before it has ended
        await bench.sweep()
    assert {await bench.state(ref) for ref in before} == {"failed"}  # 40 + 65 seconds have counted
    assert await bench.state(meanwhile) == "accepted"  # 65 have
    await bench.pass_time(40)
    await bench.sweep()
    assert await bench.state(meanwhile) == "failed"
    assert await bench.difference() == 0


async def test_a_message_that_is_claimed_late_has_its_time_too(bench: ControlBench) -> None:
    """Its job lay in the queue all the time."""
    await bench.limit()
    ref = await bench.put(time_to_live=100.0)
    await bench.stop(STOPS[1], stands_still=True)
    await bench.pass_time(500)
    await bench.resume(STOPS[1])
    assert await bench.claim(ref) == "go"
    assert await bench.ledger.messages.retry(ref, "mine", 90.0, lane_limit=0, reason=310, code="x") == "retry"


async def test_a_channel_with_another_provider_goes_on_through_it(bench: ControlBench) -> None:
    await bench.several()
    began = await bench.new("m-1")
    assert await bench.via(began) == "a"
    await bench.takes(began, "a", delivered=True)
    waiting = await bench.new("m-2")  # its conversation stays with a
    await bench.stop(Target(What.PROVIDER, "a"))
    assert await bench.via(waiting) == "b"
    assert (await bench.ledger.messages.entry(waiting)).provider_why == "paused"
    await bench.stop(Target(What.PROVIDER, "b"))
    await bench.drop_jobs()
    third = await bench.new("m-3", to="16504662222")
    assert await bench.goes() == []
    assert await bench.via(third) in ("parked", "paused")
    await bench.resume(Target(What.PROVIDER, "a"))
    assert await bench.goes() == [third]
    assert await bench.via(third) == "a"


async def test_a_message_of_which_a_part_was_sent_waits_for_its_own_provider(bench: ControlBench) -> None:
    await bench.several()
    ref = await bench.new()
    assert await bench.via(ref) == "a"
    assert await bench.taken(ref, count=2) == "next"
    await bench.stop(Target(What.PROVIDER, "a"))
    assert await bench.via(ref) == "paused"
    await bench.resume(Target(What.PROVIDER, "a"))
    await bench.drop_jobs()
    assert await bench.goes() == [ref]
    assert await bench.via(ref) == "a"


async def test_an_open_breaker_does_not_probe_a_provider_that_is_paused(bench: ControlBench) -> None:
    await bench.limit()
    refs = await bench.heads(3)
    await bench.open_breaker("acme")
    assert [await bench.claim(ref) for ref in refs] == ["parked"] * 3
    await bench.stop(PROVIDER)
    await bench.drop_jobs()
    await bench.pass_time(100)
    assert await bench.goes() == []
    assert await bench.claim(refs[0]) == "paused"
    assert (await bench.waits())["provider"] == 3
    await bench.resume(PROVIDER)
    assert await bench.goes() != []


async def test_a_breaker_probes_with_a_message_that_is_not_stopped(bench: ControlBench) -> None:
    await bench.limit()
    refs = await bench.heads(2)
    await bench.open_breaker("acme")
    assert [await bench.claim(ref) for ref in refs] == ["parked"] * 2
    await bench.stop(Target(What.CONVERSATION, (await bench.ledger.messages.entry(refs[0])).lane))
    await bench.drop_jobs()
    await bench.pass_time(10)
    assert await bench.goes() == [refs[1]]


async def test_a_stop_that_is_forgotten_by_a_field_is_found_by_the_sweep(bench: ControlBench) -> None:
    """dcb:watched may be written anew by an older version, or after damage."""
    await bench.limit()
    await bench.stop(STOPS[1])
    await bench.redis.delete("dcb:watched")
    await bench.sweep()
    assert await bench.claim(await bench.put()) == "paused"


async def test_no_more_than_so_many_are_in_force(bench: ControlBench) -> None:
    rows: dict[Any, Any] = {f"l/{n:018x}": '1 0 0 {"by": "", "why": ""}' for n in range(1000)}
    await bench.redis.hset("dcb:controls", mapping=rows)
    assert await bench.stop(STOPS[1]) is None
    await bench.redis.hdel("dcb:controls", next(iter(rows)))
    assert await bench.stop(STOPS[1]) == 0.0


async def test_of_what_a_newer_version_or_damage_has_left_nothing_breaks(bench: ControlBench) -> None:
    left: dict[Any, Any] = {"z/new": "1 0 0 {}", "c/bad": "what", "p/x": b"\xff", "nothing": ""}
    await bench.redis.hset("dcb:controls", mapping=left)
    await bench.sweep()
    assert await bench.ledger.controls.all() == []
    assert await bench.claim(await bench.put()) == "go"
    await bench.redis.delete("dcb:controls")
    await bench.redis.set("dcb:controls", "of another type")
    await bench.sweep()
    assert await bench.claim(await bench.put("m-2", to_id="1")) == "go"


@pytest.mark.parametrize("target", STOPS, ids=lambda one: one.what.value)
async def test_a_claim_of_which_nothing_is_written_is_given_back_when_it_is_asked_for_again(
    bench: ControlBench, target: Target
) -> None:
    """As of a message that waits in a worker for the window of its session."""
    await bench.limit(provider="5 1 1")
    ref = await bench.put()
    for _ in range(2):
        assert await bench.claim(ref) == "go"
        await bench.stop(target)
        assert await bench.claim(ref, "another") == "busy"
        assert await bench.claim(ref) == "paused"
        entry = await bench.ledger.messages.entry(ref)
        assert (entry.state, entry.attempts, entry.total_attempts, entry.token) == ("accepted", 0, 0, "")
        assert await bench.redis.zcard("dcb:flight:p-acme") == 0
        await bench.drop_jobs()
        await bench.resume(target)
        assert await bench.goes() == [ref]
        await bench.drop_jobs()
    assert await bench.claim(ref) == "go"
    assert await bench.difference() == 0


# ---------------------------------------------------------------- cancel


async def cancelled(bench: ControlBench, *refs: str) -> list[str]:
    return await bench.ledger.controls.cancel(list(refs))


async def test_what_waits_is_cancelled_and_the_agent_is_informed(bench: ControlBench) -> None:
    await bench.limit()
    refs = [await bench.put(f"m-{n}") for n in range(3)]
    await bench.stop(STOPS[1])
    assert await bench.claim(refs[0]) == "paused"
    assert await cancelled(bench, *refs, "nowhere") == ["cancelled"] * 3 + ["gone"]
    assert await cancelled(bench, *refs) == ["again"] * 3
    assert sorted(await bench.owed()) == [(f"m-{n}", "Failed", "500") for n in range(3)]
    assert (await bench.ledger.messages.entry(refs[1])).detail == CANCELLED
    assert await bench.keys("dcb:line:*") == await bench.keys("dcb:lane:*") == await bench.keys("dcb:p:*") == []
    assert await bench.difference() == 0


async def test_one_whose_request_is_under_way_is_not_cancelled(bench: ControlBench) -> None:
    await bench.limit()
    ref = await bench.sending()
    assert await cancelled(bench, ref) == ["under way"]
    assert await bench.taken(ref, delivered=True) == "delivered"
    assert await cancelled(bench, ref) == ["ended"]
    sent = await bench.sent("m-2", to_id="1")
    assert await cancelled(bench, sent) == ["sent"]


@pytest.mark.parametrize(
    "how", ["retry", "fail and switch", "unknown", "next part", "quiet hours", "statistic", "not configured"]
)
async def test_one_whose_request_was_under_way_is_not_sent_again(bench: ControlBench, how: str) -> None:
    await bench.several()
    ref, messages = await bench.sending(), bench.ledger.messages
    if how == "unknown":
        assert await messages.unknown(ref, "mine", 1.0, "timeout") == "unknown"
    assert await cancelled(bench, ref) == ["under way"]
    match how:
        case "retry":
            assert await bench.retry(ref) == "failed"
        case "fail and switch":
            assert await messages.fail(ref, "mine", 500, "x", switch="route") == "failed"
        case "unknown":
            await bench.pass_time(2)
            assert await messages.settle(ref, "resend") == "failed"
        case "next part":
            await bench.taken(ref, count=2)
        case "quiet hours":
            assert await quiet(bench, ref) == "failed"
        case "statistic":
            hold, lead = HoldWhile(statistic="wait", above=600), bench.ledger.signals.lead("statistics")
            await lead.hold(60.0)
            await bench.ledger.quiet.announce_holds({CHANNEL: hold.line(60.0)})
            await bench.ledger.signals.put(lead, [NewSignal("wait", 601)])
            name = hold.fingerprint(60.0)
            assert await bench.ledger.quiet.hold_while(ref, "mine", fingerprint=name, detail="") == "failed"
        case _:
            assert await bench.ledger.unconfigured.strand(ref, "mine") == "failed"
    assert await bench.state(ref) == "failed"
    assert await bench.claim(ref) == "failed"
    assert await bench.difference() == 0
    assert [(status, reason) for _, status, reason in await bench.owed()] == [("Failed", "500")]


async def test_one_that_waits_for_its_pace_its_breaker_or_quiet_hours_is_cancelled(bench: ControlBench) -> None:
    await bench.limit(provider="0.02 1 0")
    refs = await bench.heads(3)
    assert [await bench.claim(ref) for ref in refs] == ["go", "paced", "paced"]
    await bench.open_breaker("acme")
    night = await bench.put("m-night", to_id="9")
    await bench.drop_jobs()
    assert await cancelled(bench, *refs[1:], night) == ["cancelled"] * 3
    assert await bench.keys("dcb:line:*") == await bench.keys("dcb:parked:*") == []
    assert await bench.difference() == 0


# ---------------------------------------------------------------- hold and release, retry


async def test_a_held_message_goes_when_it_is_released_and_the_next_waits(bench: ControlBench) -> None:
    await bench.limit()
    await bench.stop(Target(What.HOLD, CHANNEL))
    first, second = await bench.put("m-1"), await bench.put("m-2")
    assert await bench.queued() == []
    assert await bench.ledger.controls.release([first, "nowhere"]) == ["released", "gone"]
    assert await bench.ledger.controls.release([first]) == ["again"]
    assert await bench.queued() == [first]
    assert await bench.claim(first) == "go"
    await bench.taken(first, delivered=True)
    await bench.drop_jobs()
    assert await bench.goes() == []
    assert await bench.ledger.controls.release([second]) == ["released"]
    assert await bench.queued() == [second]
    await bench.stop(Target(What.CHANNEL, CHANNEL))
    assert await bench.claim(second) == "paused"  # a pause stops what a review has let go


async def test_one_behind_may_be_released_before_its_turn(bench: ControlBench) -> None:
    await bench.limit()
    await bench.stop(Target(What.HOLD, CHANNEL))
    first, second = await bench.put("m-1"), await bench.put("m-2")
    assert await bench.ledger.controls.release([second]) == ["released"]
    assert await bench.queued() == []
    assert await bench.ledger.controls.cancel([first], "rejected by the operator") == ["cancelled"]
    assert await bench.queued() == [second]


async def test_retry_now(bench: ControlBench) -> None:
    await bench.limit()
    ref = await bench.sending()
    assert await bench.ledger.controls.retry([ref]) == ["sending"]
    await bench.retry(ref, delay=500.0)
    await bench.drop_jobs()
    await bench.sweep()
    assert await bench.queued() == []
    assert await bench.ledger.controls.retry([ref, "nowhere"]) == ["woken", "gone"]
    assert await bench.goes() == [ref]
    assert await bench.ledger.controls.retry([ref]) == ["on its way"]
    await bench.stop(STOPS[1])
    assert await bench.claim(ref) == "paused"
    assert await bench.ledger.controls.retry([ref]) == [f"in line k-c/{CHANNEL}"]  # a pause is ended by resume


async def test_retry_of_an_unknown_outcome_only_by_an_explicit_word(bench: ControlBench) -> None:
    await bench.limit()
    ref = await bench.sending()
    await bench.ledger.messages.unknown(ref, "mine", 500.0, "timeout")
    await bench.drop_jobs()
    assert await bench.ledger.controls.retry([ref]) == ["unknown"]
    assert await bench.goes() == []
    assert await bench.ledger.controls.retry([ref], with_unknown=True) == ["woken"]
    assert await bench.queued() == [ref]
    assert await bench.claim(ref) == "go"
    assert await bench.difference() == 0


# ---------------------------------------------------------------- other versions


async def test_an_older_version_leaves_a_paused_provider_alone(bench: ControlBench) -> None:
    """It knows the pause that a provider asks for, which is written anew while it lasts."""
    await bench.stop(PROVIDER)
    for _ in range(3):
        left = await bench.redis.pttl("dcb:pause:acme")
        assert left > 250_000
        await bench.pass_time(310)
        await bench.sweep()
    await bench.resume(PROVIDER)
    assert await bench.redis.exists("dcb:pause:acme") == 0


async def test_a_pause_that_the_provider_asked_for_outlasts_one_that_ends_by_itself(bench: ControlBench) -> None:
    await bench.limit()
    await bench.ledger.pauses.begin("acme", 3000.0, code="429")
    await bench.stop(PROVIDER, lasts=60.0)
    await bench.pass_time(70)
    await bench.sweep()
    assert await bench.ledger.controls.all() == []
    assert await bench.claim(await bench.put()) == "paused"
