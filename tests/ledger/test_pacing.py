"""Who may speak to a provider now: rates, places in flight, silence asked for, and the breaker."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from redis.asyncio import Redis

from dcbridge.ledger import MessageClaim
from tests.ledger.ledger_bench import CHANNEL, Bench

OTHER = "9876543210"


class PacedBench(Bench):
    """Its clock moves what pacing stores as well."""

    MOMENTS: ClassVar[dict[str, list[str]]] = {
        **{pattern: [*names, "sl", "le"] for pattern, names in Bench.MOMENTS.items()},
        "dcb:breaker:*": ["probe", "since"],
        "dcb:took:*": ["at", "closed"],
    }
    SCORES: ClassVar[list[str]] = [
        *Bench.SCORES, "dcb:flight:*", "dcb:parked:*", "dcb:line:*", "dcb:lines", "dcb:failing:*", "dcb:openings:*",
        "dcb:unconfigured",
    ]  # fmt: skip
    VALUES: ClassVar[list[str]] = ["dcb:tat:*", "dcb:pause:*"]
    ENDS: ClassVar[list[str]] = [*Bench.ENDS, "dcb:tat:*", "dcb:pause:*"]

    async def pass_time(self, seconds: float) -> None:
        """The count of successes goes by periods of ten seconds."""
        await super().pass_time(seconds)
        for key in await self.keys("dcb:took:*"):
            await self.redis.hincrby(key, "k", -int(seconds / 10))

    async def limit(self, **lines: str) -> None:
        """`provider` and `channel`: "per_second burst in_flight", for both channels of one provider."""
        line = f"acme {lines.get('provider', '0 1 0')} {lines.get('channel', '0 1 0')}"
        await self.ledger.pacing.announce({CHANNEL: line, OTHER: line})

    async def claim(self, ref: str, token: str = "mine") -> str:
        claimed: MessageClaim = await self.ledger.messages.claim(ref, token, 60.0)
        return claimed.why

    async def heads(self, count: int, **changes: Any) -> list[str]:
        """Messages of as many conversations, accepted one after another."""
        refs = []
        for n in range(count):
            refs.append(await self.put(f"m-{n}", to_id=f"1650466{n:04d}", **changes))
            await self.pass_time(0.005)
        return refs

    async def record_failure(self, ref: str, *, at_once: bool = False) -> str:
        return await self.ledger.pacing.record_failure(
            "acme", ref, "connect", at_once=at_once, threshold=3, first=5.0, most=8.0
        )


@pytest.fixture
def bench(redis: Redis) -> PacedBench:
    return PacedBench(redis)


async def test_without_limits_every_head_goes_at_once(bench: PacedBench) -> None:
    await bench.limit()
    assert [await bench.claim(ref) for ref in await bench.heads(5)] == ["go"] * 5


async def test_a_rate_lets_the_burst_go_and_gives_the_rest_their_place_in_time(bench: PacedBench) -> None:
    await bench.limit(provider="0.02 3 0")
    refs = await bench.heads(6)
    await bench.drop_jobs()
    assert [await bench.claim(ref) for ref in refs] == ["go", "go", "go", "paced", "paced", "paced"]
    assert await bench.sweep() == []
    assert await bench.queued() == []
    await bench.pass_time(60)
    await bench.sweep()
    assert await bench.queued() == [refs[3]]
    assert await bench.claim(refs[3]) == "go"
    await bench.pass_time(110)
    await bench.sweep()
    assert (await bench.queued())[1:] == refs[4:]
    assert [await bench.claim(ref) for ref in refs[4:]] == ["go", "go"]


async def test_a_place_in_time_is_asked_for_once(bench: PacedBench) -> None:
    await bench.limit(provider="0.01 1 0")
    first, second, third = await bench.heads(3)
    assert await bench.claim(first) == "go"
    assert [await bench.claim(second) for _ in range(5)] == ["paced"] * 5
    assert await bench.claim(third) == "paced"
    await bench.pass_time(110)
    assert await bench.claim(third) == "paced"
    assert await bench.claim(second) == "go"


async def test_a_message_that_waits_for_its_turn_spends_no_attempt(bench: PacedBench) -> None:
    await bench.limit(channel="0.01 1 0")
    first, second = await bench.heads(2)
    assert (await bench.claim(first), await bench.claim(second)) == ("go", "paced")
    assert (await bench.ledger.messages.entry(second)).attempts == 0
    assert await bench.state(second) == "accepted"


async def test_a_channels_rate_does_not_hold_another_channel(bench: PacedBench) -> None:
    await bench.limit(channel="0.01 1 0")
    first, second = await bench.heads(2)
    elsewhere = await bench.put("m-9", channel_id=OTHER)
    assert [await bench.claim(ref) for ref in (first, second, elsewhere)] == ["go", "paced", "go"]


@pytest.mark.parametrize("end", ["taken", "retry", "fail", "unknown", "failed by an update"])
async def test_a_place_in_flight_goes_to_the_one_who_waited_longest(bench: PacedBench, end: str) -> None:
    await bench.limit(provider="0 1 2")
    refs = await bench.heads(4)
    assert [await bench.claim(ref) for ref in refs] == ["go", "go", "held", "held"]
    await bench.drop_jobs()
    match end:
        case "taken":
            await bench.taken(refs[0])
        case "retry":
            await bench.retry(refs[0])
        case "fail":
            await bench.ledger.messages.fail(refs[0], "mine", 530, "21211")
        case "unknown":
            await bench.ledger.messages.unknown(refs[0], "mine", 30.0, "timeout")
        case _:
            await bench.update(refs[0], "failed", reason="530")
    assert await bench.queued() == [refs[2]]
    assert [await bench.claim(refs[2]), await bench.claim(refs[3])] == ["go", "held"]


async def test_a_place_that_is_free_wakes_nobody_who_went_already(bench: PacedBench) -> None:
    await bench.limit(provider="0 1 1")
    refs = await bench.heads(3)
    assert [await bench.claim(ref) for ref in refs] == ["go", "held", "held"]
    await bench.pass_time(61)  # the first one's lease is over, and the second is looked at before its turn
    assert await bench.claim(refs[1]) == "go"
    assert await bench.ledger.messages.unknown(refs[1], "mine", 300.0, "timeout") == "unknown"
    grace = await bench.redis.zscore("dcb:due", f"m:{refs[1]}")
    await bench.drop_jobs()
    await bench.limit(provider="0 1 2")
    assert await bench.claim(refs[2]) == "go"
    await bench.taken(refs[2])
    await bench.taken(refs[0])
    assert await bench.redis.zscore("dcb:due", f"m:{refs[1]}") == grace
    assert await bench.queued() == []


async def test_a_place_in_flight_of_a_dead_worker_is_free_when_its_lease_is_over(bench: PacedBench) -> None:
    await bench.limit(provider="0 1 1")
    first, second = await bench.heads(2)
    assert [await bench.claim(first), await bench.claim(second)] == ["go", "held"]
    await bench.pass_time(61)
    assert await bench.claim(second) == "go"


async def test_silence_that_the_provider_asked_for_holds_every_channel_of_it(bench: PacedBench) -> None:
    await bench.limit()
    await bench.ledger.pauses.begin("acme", 200.0)
    [here] = await bench.heads(1)
    elsewhere = await bench.put("m-9", channel_id=OTHER)
    assert [await bench.claim(here), await bench.claim(elsewhere)] == ["paused", "paused"]
    await bench.pass_time(250)
    assert [await bench.claim(here), await bench.claim(elsewhere)] == ["go", "go"]


async def test_failures_in_a_row_open_the_breaker_and_a_success_between_them_does_not(bench: PacedBench) -> None:
    await bench.limit()
    refs = await bench.heads(4)
    assert [await bench.record_failure(ref) for ref in refs[:2]] == ["closed", "closed"]
    assert await bench.claim(refs[2]) == "go"
    await bench.taken(refs[2])
    assert [await bench.record_failure(ref) for ref in refs[:2]] == ["closed", "closed"]
    assert await bench.record_failure(refs[3]) == "opened"


async def test_a_refused_account_opens_the_breaker_at_once(bench: PacedBench) -> None:
    await bench.limit()
    [ref] = await bench.heads(1)
    assert await bench.record_failure(ref, at_once=True) == "opened"


async def test_an_open_breaker_parks_probes_with_the_oldest_and_lets_all_go_when_that_is_taken(
    bench: PacedBench,
) -> None:
    await bench.limit()
    failed, *refs = await bench.heads(4)
    assert await bench.claim(failed) == "go"
    assert await bench.record_failure(failed, at_once=True) == "opened"
    await bench.retry(failed, delay=600.0)
    assert [await bench.claim(ref) for ref in refs] == ["parked"] * 3
    assert {(await bench.ledger.messages.entry(ref)).attempts for ref in refs} == {0}
    await bench.drop_jobs()
    await bench.sweep()
    assert await bench.queued() == []
    await bench.pass_time(5.1)
    await bench.sweep()
    await bench.sweep()
    assert await bench.queued() == [refs[0]]
    assert [await bench.claim(ref) for ref in refs] == ["go", "parked", "parked"]
    assert await bench.taken(refs[0]) == "sent"
    await bench.drop_jobs()
    await bench.sweep()
    assert await bench.queued() == refs[1:]
    assert [await bench.claim(ref) for ref in refs[1:]] == ["go", "go"]
    await bench.sweep()
    assert await bench.keys("dcb:breaker*") == []


async def test_a_probe_that_fails_doubles_the_wait_up_to_the_most(bench: PacedBench) -> None:
    await bench.limit()
    failed, probe = await bench.heads(2)
    await bench.record_failure(failed, at_once=True)
    assert await bench.claim(probe) == "parked"
    waits = []
    for turn in range(3):
        await bench.pass_time(9)
        await bench.sweep()
        assert await bench.claim(probe, f"token-{turn}") == "go"
        assert await bench.record_failure(failed) == "open"  # somebody else's late failure says nothing of the probe
        assert await bench.record_failure(probe) == "open"
        await bench.retry(probe, f"token-{turn}", delay=0.0)
        waits.append(await bench._hget("dcb:breaker:acme", "wait"))
        assert await bench.claim(probe, "early") == "parked"
    assert waits == [b"8000", b"8000", b"8000"]


async def test_an_answer_about_the_message_alone_closes_the_breaker(bench: PacedBench) -> None:
    await bench.limit()
    failed, waiting = await bench.heads(2)
    await bench.record_failure(failed, at_once=True)
    assert await bench.claim(waiting) == "parked"
    await bench.ledger.pacing.record_success("acme", failed)
    assert await bench.claim(waiting) == "go"


async def test_parked_messages_expire_when_their_time_is_over(bench: PacedBench) -> None:
    await bench.limit()
    failed, parked = await bench.heads(2, time_to_live=60.0)
    await bench.record_failure(failed, at_once=True)
    assert await bench.claim(parked) == "parked"
    await bench.pass_time(61)
    await bench.drop_jobs()
    await bench.sweep()
    assert (await bench.state(parked), await bench.queued()) == ("failed", [])
    assert (await bench.ledger.messages.entry(parked)).reason == "305"
    assert await bench.keys("dcb:parked:*") == []
    assert await bench.difference() == 0


async def test_a_lane_behind_a_parked_head_keeps_its_order(bench: PacedBench) -> None:
    await bench.limit()
    [failed] = await bench.heads(1)
    first, second = await bench.put("a"), await bench.put("b")
    await bench.record_failure(failed, at_once=True)
    assert [await bench.claim(first), await bench.claim(second)] == ["parked", "not its turn"]
    await bench.ledger.pacing.record_success("acme", failed)
    assert [await bench.claim(second), await bench.claim(first)] == ["not its turn", "go"]


# ---------------------------------------------------------------- what opens a breaker


async def others_succeed(bench: PacedBench, count: int, name: str = "good") -> None:
    for n in range(count):
        ref = await bench.put(f"{name}-{n}", to_id=f"{name}{n}")
        assert await bench.claim(ref, ref) == "go"
        assert await bench.taken(ref, ref) == "sent"


async def test_one_message_alone_opens_no_breaker_however_often_it_fails(bench: PacedBench) -> None:
    await bench.limit()
    [ref] = await bench.heads(1)
    for _ in range(50):
        assert await bench.record_failure(ref) == "closed"
        await bench.pass_time(60)


async def test_several_messages_of_one_conversation_count_once(bench: PacedBench) -> None:
    await bench.limit()
    refs = [await bench.put(f"m-{n}") for n in range(6)]
    assert {await bench.record_failure(ref) for ref in refs} == {"closed"}


@pytest.mark.parametrize(
    ("good", "state"), [(0, "opened"), (2, "opened"), (3, "opened"), (4, "closed"), (30, "closed")]
)
async def test_those_who_fail_are_weighed_against_those_who_do_not(bench: PacedBench, good: int, state: str) -> None:
    """Three have to fail, and be half of all."""
    await bench.limit()
    refs = await bench.heads(3)
    await others_succeed(bench, good)
    assert [await bench.record_failure(ref) for ref in refs] == ["closed", "closed", state]


async def test_those_who_opened_it_do_not_open_it_again_with_the_first_newcomer(bench: PacedBench) -> None:
    await bench.limit()
    *refs, newcomer = await bench.heads(4)
    assert [await bench.record_failure(ref) for ref in refs] == ["closed", "closed", "opened"]
    await bench.ledger.pacing.record_success("acme", "somebody")
    assert await bench.record_failure(newcomer) == "closed"


async def test_a_share_of_one_asks_for_nothing_but_failures(bench: PacedBench) -> None:
    await bench.limit()
    refs = await bench.heads(4)
    await others_succeed(bench, 1)
    for ref in refs:
        state = await bench.ledger.pacing.record_failure(
            "acme", ref, "x", at_once=False, threshold=3, first=5.0, most=8.0, share=1.0
        )
        assert state == "closed"


async def test_sick_recipients_beside_a_trickle_of_others_open_it_once_at_most(bench: PacedBench) -> None:
    """Six fail for a quarter of an hour, and somebody else writes every twenty seconds."""
    await bench.limit()
    sick = await bench.heads(6)
    opened = 0
    for _ in range(45):
        opened += sum([await bench.record_failure(ref) == "opened" for ref in sick])
        await bench.ledger.pacing.record_success("acme", "somebody")
        await bench.pass_time(20)
    assert opened <= 1


async def test_a_provider_that_dies_after_much_traffic_is_noticed_soon(bench: PacedBench) -> None:
    await bench.limit()
    await others_succeed(bench, 60)
    opened_after = 0
    for n in range(200):  # ten a second
        await bench.pass_time(0.1)
        [ref] = await bench.heads(1) if n == 0 else [await bench.put(f"late-{n}", to_id=f"late{n}")]
        if await bench.record_failure(ref) == "opened":
            opened_after = n
            break
    assert 0 < opened_after < 120


async def test_a_dead_provider_is_noticed_when_few_write(bench: PacedBench) -> None:
    await bench.limit()
    states = []
    for ref in await bench.heads(3):
        states.append(await bench.record_failure(ref))
        await bench.pass_time(100)
    assert states == ["closed", "closed", "opened"]


async def test_who_got_through_counts_again(bench: PacedBench) -> None:
    await bench.limit()
    refs = await bench.heads(3)
    assert [await bench.record_failure(ref) for ref in refs] == ["closed", "closed", "opened"]
    for ref in refs:
        await bench.ledger.pacing.record_success("acme", ref)
    await bench.pass_time(30)
    assert [await bench.record_failure(ref) for ref in refs] == ["closed", "closed", "opened"]
    assert await bench.redis.zcard("dcb:openings:acme") == 2
    await bench.pass_time(3700)
    await bench.ledger.pacing.record_success("acme", refs[0])
    await bench.record_failure(refs[0], at_once=True)
    assert await bench.redis.zcard("dcb:openings:acme") == 1


async def test_after_a_probe_that_failed_the_next_one_is_another(bench: PacedBench) -> None:
    await bench.limit()
    sick, good = await bench.heads(2)
    await bench.record_failure(sick)
    await bench.record_failure("x", at_once=True)
    assert [await bench.claim(ref, ref) for ref in (sick, good)] == ["parked", "parked"]
    await bench.drop_jobs()
    await bench.pass_time(5.1)
    await bench.sweep()
    assert await bench.queued() == [good]  # the older one is known to fail
    assert await bench.claim(good, "a") == "go"
    assert await bench.record_failure(good) == "open"
    await bench.retry(good, "a", delay=0.0)
    assert await bench.claim(good, "b") == "parked"
    await bench.drop_jobs()
    await bench.pass_time(8.1)
    await bench.sweep()
    assert await bench.queued() == [sick]
    assert await bench.claim(sick, "c") == "go"
    assert await bench.record_failure(sick) == "open"
    assert await bench._hget("dcb:breaker:acme", "wait") == b"8000"


async def test_a_probe_goes_past_a_pace_that_is_used_up(bench: PacedBench) -> None:
    await bench.limit(provider="0.001 1 1", channel="0.001 1 1")
    first, second, third = await bench.heads(3)
    assert await bench.claim(first, "a") == "go"
    assert await bench.record_failure(first, at_once=True) == "opened"
    await bench.retry(first, "a", delay=600.0)
    for _ in range(6):
        await bench.pass_time(1.1)
        await bench.sweep()
    assert await bench.queued() == [first, second]  # of the first it is the job that it had
    assert [await bench.claim(second), await bench.claim(third)] == ["go", "parked"]


# ---------------------------------------------------------------- attempts


@pytest.mark.parametrize(("attempts", "ends"), [(0, "retry"), (4, "retry"), (3, "failed"), (1, "failed")])
async def test_a_message_has_so_many_attempts(bench: PacedBench, attempts: int, ends: str) -> None:
    [ref] = await bench.heads(1)
    state = ""
    for n in range(3):
        if await bench.claim(ref, f"t-{n}") != "go":
            break
        state = await bench.ledger.messages.retry(
            ref, f"t-{n}", 0.0, lane_limit=900.0, reason=310, code="20429", attempts=attempts
        )
    assert state == ends
    entry = await bench.ledger.messages.entry(ref)
    assert (entry.state, entry.reason) == ((ends, "310") if ends == "failed" else (ends, ""))


@pytest.mark.parametrize(("attempts", "ends"), [(0, "retry"), (2, "retry"), (1, "failed")])
async def test_resends_count_as_attempts(bench: PacedBench, attempts: int, ends: str) -> None:
    ref = await bench.sending()
    await bench.ledger.messages.unknown(ref, "mine", 10.0, "500")
    await bench.pass_time(11)
    assert await bench.ledger.messages.settle(ref, "resend", 5, attempts=attempts) == ends
