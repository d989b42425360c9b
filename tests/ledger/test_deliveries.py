"""One subscriber's deliveries: whose turn it is, what a failure means for its event and for the others, and the end."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from dcbridge.ledger import Decision
from tests.ledger.events_bench import CRM, LAKE, EventsBench
from tests.ledger.ledger_bench import KEEP


@pytest.fixture
def bench(redis: Redis) -> EventsBench:
    return EventsBench(redis)


async def several(bench: EventsBench, count: int) -> list[str]:
    """Events for CRM, each received a second after the one before it."""
    return [await bench.put_event(CRM, age=100.0 - n) for n in range(count)]


# ---------------------------------------------------------------- turns


async def test_as_many_jobs_as_places_in_flight_and_the_others_wait_without_one(bench: EventsBench) -> None:
    await bench.subscribers(CRM, LAKE)
    events = await several(bench, 4)
    elsewhere = await bench.put_event(LAKE)
    assert await bench.jobs() == [f"{events[0]}-{CRM}", f"{events[1]}-{CRM}", f"{elsewhere}-{LAKE}"]
    assert await bench.turn() == [f"{events[2]}-{CRM}", f"{events[3]}-{CRM}"]
    assert await bench.why(events[2]) == "held"
    await bench.drop_jobs()
    assert [await bench.why(event) for event in events[:2]] == ["go", "go"]
    await bench.delivered(events[1])
    assert await bench.jobs() == [f"{events[2]}-{CRM}"]
    assert [await bench.why(event) for event in events] == ["go", "gone", "go", "held"]  # one's own token twice


async def test_a_place_is_not_given_twice_however_late_its_job_runs(bench: EventsBench) -> None:
    await bench.subscribers(CRM, in_flight=1)
    first, second = await several(bench, 2)
    await bench.pass_time(61)  # longer than a place is reserved
    await bench.events.sweep()
    assert await bench.why(second) == "go"
    assert await bench.why(first) == "held"
    await bench.drop_jobs()
    await bench.delivered(second)
    assert await bench.jobs() == [f"{first}-{CRM}"]


async def test_a_lost_job_is_queued_again(bench: EventsBench) -> None:
    await bench.subscribers(CRM)
    [event] = await several(bench, 1)
    await bench.drop_jobs()
    await bench.pass_time(16)
    await bench.sweep_all()
    await bench.sweep_all()
    assert await bench.jobs() == [f"{event}-{CRM}"]
    assert await bench.why(event) == "go"


async def test_what_a_dead_worker_held_goes_out_again_under_the_same_id(bench: EventsBench) -> None:
    await bench.subscribers(CRM, in_flight=1)
    first, second = await several(bench, 2)
    assert (await bench.claim(first, token="dead.1")).ours
    await bench.drop_jobs()
    await bench.pass_time(61)
    assert await bench.sweep() == [Decision("t", f"{first}-{CRM}", "running", f"subscribers/{CRM}")]
    assert await bench.ledger.tasks.retry(f"{first}-{CRM}", "", 0.0, "lease ended") == "waiting"
    await bench.sweep_all()
    jobs = await bench.jobs()
    assert jobs[0] in (f"{first}-{CRM}", f"{second}-{CRM}")
    assert len(jobs) == 1


async def test_a_late_answer_of_a_worker_given_up_is_a_fact(bench: EventsBench) -> None:
    await bench.subscribers(CRM, in_flight=1)
    first, second = await several(bench, 2)
    assert (await bench.claim(first, token="dead.1")).ours
    await bench.pass_time(61)
    await bench.ledger.tasks.retry(f"{first}-{CRM}", "", 0.0, "lease ended")
    assert await bench.delivered(first) == "delivered"
    assert await bench.delivered(first) == "stale"
    assert await bench.why(first) == "gone"
    assert await bench.why(second) == "go"
    assert (await bench.books()).difference == 0


async def test_first_attempts_go_before_retries_and_retries_are_not_starved(bench: EventsBench) -> None:
    await bench.subscribers(CRM, in_flight=1)
    [retried] = await several(bench, 1)
    assert (await bench.claim(retried)).ours
    await bench.failed(retried, delay=5.0)
    blocker = await bench.put_event(CRM)
    assert (await bench.claim(blocker)).ours
    await bench.pass_time(6)
    await bench.sweep_all()
    fresh = await bench.put_event(CRM)
    assert await bench.turn() == [f"{fresh}-{CRM}", f"{retried}-{CRM}"]
    await bench.pass_time(70)  # the blocker's lease ends as well, and the next one goes
    later = await bench.put_event(CRM)
    assert await bench.turn() == [f"{retried}-{CRM}", f"{later}-{CRM}"]


async def test_a_rate_spreads_them_over_time(bench: EventsBench) -> None:
    await bench.subscribers(CRM, rate=0.01, in_flight=10)  # 100 seconds apart: time for a busy machine
    events = await several(bench, 3)
    assert await bench.jobs() == [f"{events[0]}-{CRM}"]
    assert await bench.why(events[0]) == "go"
    for turn in (1, 2):
        await bench.drop_jobs()
        await bench.pass_time(80)
        await bench.sweep_all()
        assert await bench.jobs() == []
        await bench.pass_time(30)
        await bench.sweep_all()
        await bench.sweep_all()
        assert await bench.jobs() == [f"{events[turn]}-{CRM}"]
        assert await bench.why(events[turn]) == "go"


async def test_a_subscriber_that_no_worker_has_told_of_waits(bench: EventsBench) -> None:
    event = await bench.put_event(CRM)
    assert await bench.jobs() == []
    assert await bench.why(event) == "no limits"
    await bench.subscribers(CRM)
    await bench.events.sweep()
    assert await bench.jobs() == [f"{event}-{CRM}"]


# ---------------------------------------------------------------- order


async def test_events_of_one_interaction_keep_their_order_where_it_is_asked_for(bench: EventsBench) -> None:
    await bench.subscribers(CRM, LAKE, in_flight=5)
    started = await bench.put_event(CRM, lane="i-1")
    finished = await bench.put_event(CRM, lane="i-1")
    other = await bench.put_event(CRM, lane="i-2")
    assert await bench.jobs() == [f"{started}-{CRM}", f"{other}-{CRM}"]
    assert await bench.why(finished) == "not its turn"
    assert (await bench.claim(started)).ours
    await bench.failed(started, delay=5.0)
    await bench.pass_time(6)
    await bench.sweep_all()
    assert await bench.why(finished) == "not its turn"
    assert (await bench.claim(started)).ours
    await bench.delivered(started)
    assert await bench.why(finished) == "go"


async def test_a_dead_letter_does_not_hold_up_its_interaction(bench: EventsBench) -> None:
    await bench.subscribers(CRM)
    started = await bench.put_event(CRM, lane="i-1")
    finished = await bench.put_event(CRM, lane="i-1")
    assert (await bench.claim(started)).ours
    assert await bench.failed(started, delay=None) == "dead"
    assert await bench.why(finished) == "go"


# ---------------------------------------------------------------- failures


async def test_an_event_that_failed_is_tried_again_and_ends_as_a_dead_letter(bench: EventsBench) -> None:
    await bench.subscribers(CRM)
    [event] = await several(bench, 1)
    for attempt in (1, 2):
        claimed = await bench.claim(event, token=f"w.{attempt}")
        assert claimed.entry.attempts == attempt
        assert await bench.failed(event, token="w.other") == "stale"
        assert await bench.failed(event, token=f"w.{attempt}", delay=5.0) == "waiting"
        assert await bench.why(event) == "not yet"
        await bench.pass_time(6)
        await bench.sweep_all()
    assert (await bench.claim(event, token="w.3")).ours
    assert await bench.failed(event, token="w.3", delay=None, code="422") == "dead"
    letters = bench.ledger.dead_letters
    [letter_id] = await letters.ids()
    letter = await anext(letters.read([letter_id]))
    assert letter is not None
    assert (letter.what, letter.channel_id, letter.reason) == ("delivery", f"subscribers/{CRM}", "422")
    assert (await bench.events.ended(event))[CRM].how == "dead"
    books = await bench.books()
    assert (books.dead, books.waiting, books.difference) == (1, 0, 0)
    assert ("delivery.dead", {"subscriber": CRM, "code": "422", "of": event}) in await bench.told()


async def test_a_dead_letter_is_put_back_with_its_event_even_when_that_was_forgotten(bench: EventsBench) -> None:
    await bench.subscribers(CRM)
    [event] = await several(bench, 1)
    content = await bench.events.one(event)
    assert (await bench.claim(event)).ours
    await bench.failed(event, delay=None)
    letters = bench.ledger.dead_letters
    [letter_id] = await letters.ids()
    raw = await letters.raw(letter_id)
    assert raw is not None
    assert raw == content
    await bench.redis.delete(f"dcb:e:{event}")
    assert await letters.put_delivery(letter_id, event, CRM, "", raw) == "new"
    assert await letters.put_delivery(letter_id, event, CRM, "", raw) == "gone"
    assert await letters.ids() == []
    assert (await bench.claim(event)).entry.payload == content


async def test_an_attempt_that_does_not_count_leaves_the_number_as_it_was(bench: EventsBench) -> None:
    await bench.subscribers(CRM)
    [event] = await several(bench, 1)
    assert (await bench.claim(event)).entry.attempts == 1
    await bench.failed(event, spends=False, means="later")
    await bench.pass_time(6)
    await bench.sweep_all()
    assert (await bench.claim(event)).entry.attempts == 1


async def opened(bench: EventsBench, count: int = 5) -> list[str]:
    """Three failures in a row have opened the breaker; the events, of which the first three wait for a retry."""
    await bench.subscribers(CRM, in_flight=3)
    events = await several(bench, count)
    for event in events[:3]:
        assert (await bench.claim(event)).ours
        await bench.failed(event, delay=600.0)
    assert (await bench.books()).breaker_open
    assert [await bench.why(event) for event in events[3:]] == ["parked"] * (count - 3)  # those that had a job already
    await bench.drop_jobs()
    return events


async def test_failures_in_a_row_stop_everything_but_one_probe_at_a_time(bench: EventsBench) -> None:
    events = await opened(bench)
    await bench.sweep_all()
    assert await bench.jobs() == []
    assert [await bench.why(event) for event in events[3:]] == ["parked", "parked"]
    await bench.pass_time(5.1)
    await bench.sweep_all()
    await bench.sweep_all()
    assert await bench.jobs() == [f"{events[3]}-{CRM}"]
    assert [await bench.why(event) for event in events[3:]] == ["go", "parked"]
    assert ("subscriber.failing", {"subscriber": CRM, "code": "500"}) in await bench.told()


async def test_a_probe_that_fails_spends_no_attempt_and_the_next_probe_is_another(bench: EventsBench) -> None:
    events = await opened(bench)
    await bench.pass_time(5.1)
    await bench.sweep_all()
    assert (await bench.claim(events[3])).entry.attempts == 1
    assert await bench.failed(events[3], delay=None) == "waiting"
    await bench.drop_jobs()
    await bench.pass_time(8.1)
    await bench.sweep_all()
    assert await bench.jobs() == [f"{events[4]}-{CRM}"]
    assert (await bench.claim(events[4])).ours
    await bench.failed(events[4], delay=None)
    await bench.pass_time(8.1)
    await bench.sweep_all()
    assert (await bench.claim(events[3])).entry.attempts == 1


async def test_one_success_lets_all_go_again(bench: EventsBench) -> None:
    events = await opened(bench, 7)
    await bench.pass_time(5.1)
    await bench.sweep_all()
    assert (await bench.claim(events[3])).ours
    await bench.drop_jobs()
    await bench.delivered(events[3])
    assert await bench.jobs() == [f"{event}-{CRM}" for event in events[4:7]]
    assert ("subscriber.recovered", {"subscriber": CRM}) in await bench.told()
    assert (await bench.books()).failing_for == 0.0
    await bench.ledger.sweep.run()
    assert await bench.keys("dcb:breaker*") == []


async def test_a_fault_that_a_person_must_mend_stops_everything_at_once(bench: EventsBench) -> None:
    await bench.subscribers(CRM)
    first, second = await several(bench, 2)
    assert (await bench.claim(first)).ours
    await bench.failed(first, means="fault", spends=False)
    assert (await bench.books()).breaker_open
    assert await bench.why(second) == "parked"


async def test_an_event_that_is_refused_says_nothing_against_its_subscriber(bench: EventsBench) -> None:
    await bench.subscribers(CRM)
    events = await several(bench, 4)
    for event in events:
        assert (await bench.claim(event)).ours
        assert await bench.failed(event, means="event", delay=None) == "dead"
    books = await bench.books()
    assert (books.breaker_open, books.failing_for) == (False, 0.0)


async def test_a_silence_that_was_asked_for_holds_this_subscriber_alone(bench: EventsBench) -> None:
    await bench.subscribers(CRM, LAKE)
    await bench.ledger.pauses.begin(f"subscribers/{CRM}", 200.0)
    event = await bench.put_event(CRM, LAKE)
    assert await bench.jobs() == [f"{event}-{LAKE}"]
    await bench.pass_time(250)
    await bench.events.sweep()
    assert await bench.jobs() == [f"{event}-{LAKE}", f"{event}-{CRM}"]


async def test_after_a_later_one_goes_ahead_and_the_others_follow_what_it_brings(bench: EventsBench) -> None:
    await bench.subscribers(CRM)
    events = await several(bench, 5)
    for event in events[:2]:  # as many as may be under way
        assert (await bench.claim(event)).ours
    await bench.ledger.pauses.begin(f"subscribers/{CRM}", 5.0)
    for event in events[:2]:
        await bench.failed(event, means="later", spends=False, delay=5.0)
    await bench.drop_jobs()
    await bench.pass_time(10)
    await bench.sweep_all()
    [first] = await bench.jobs()
    assert (await bench.ledger.deliveries.claim(first, "w.mine", 60.0)).ours
    await bench.sweep_all()
    assert len(await bench.jobs()) == 1  # nobody else while it is under way
    await bench.ledger.deliveries.delivered(first)
    await bench.drop_jobs()
    await bench.sweep_all()
    assert len(await bench.turn()) == 2  # of the four that are left, two have their places


# ---------------------------------------------------------------- disabled


async def test_days_of_nothing_but_failures_disable_a_subscriber(bench: EventsBench) -> None:
    await bench.subscribers(CRM)
    first, second, third = await several(bench, 3)
    assert (await bench.claim(first)).ours
    await bench.failed(first, disable_after=300.0)
    await bench.pass_time(301)
    assert (await bench.claim(second)).ours
    await bench.failed(second, disable_after=300.0)
    books = await bench.books()
    assert (books.why, books.disabled_for > 0, books.waiting) == ("failing", True, 3)
    assert ("subscriber.disabled", {"subscriber": CRM, "why": "failing"}) in await bench.told()
    await bench.drop_jobs()
    assert await bench.why(third) == "off"
    late = await bench.put_event(CRM)
    await bench.sweep_all()
    assert await bench.jobs() == []
    assert f"{late}-{CRM}" in await bench.turn()


async def test_a_success_in_between_begins_the_count_anew(bench: EventsBench) -> None:
    await bench.subscribers(CRM)
    first, second, third = await several(bench, 3)
    assert (await bench.claim(first)).ours
    await bench.failed(first, disable_after=300.0)
    await bench.pass_time(200)
    assert (await bench.claim(second)).ours
    await bench.delivered(second)
    await bench.pass_time(200)
    assert (await bench.claim(third)).ours
    await bench.failed(third, disable_after=300.0)
    assert (await bench.books()).disabled_for == 0.0


@pytest.mark.parametrize(("after", "off"), [(-1.0, True), (0.0, False)])
async def test_at_once_and_never(bench: EventsBench, after: float, off: bool) -> None:
    await bench.subscribers(CRM)
    [event] = await several(bench, 1)
    assert (await bench.claim(event)).ours
    await bench.failed(event, disable_after=after, delay=0.0, means="later", code="410")
    await bench.pass_time(9_999_999)
    assert ((await bench.books()).disabled_for > 0) == off


async def test_enabling_lets_the_backlog_go_and_says_so(bench: EventsBench) -> None:
    events = await opened(bench)
    assert await bench.ledger.subscribers.disable(CRM, "operator")
    assert not await bench.ledger.subscribers.disable(CRM, "operator")
    await bench.pass_time(60)
    await bench.sweep_all()
    assert await bench.jobs() == []
    assert await bench.ledger.subscribers.enable(CRM)
    assert not await bench.ledger.subscribers.enable(CRM)
    await bench.sweep_all()
    assert await bench.jobs() == [f"{events[3]}-{CRM}"]  # one attempt closes the breaker
    assert (await bench.claim(events[3])).ours
    await bench.delivered(events[3])
    assert f"{events[4]}-{CRM}" in await bench.jobs()
    names = [name for name, _ in await bench.told()]
    assert names == ["subscriber.failing", "subscriber.disabled", "subscriber.enabled", "subscriber.recovered"]


# ---------------------------------------------------------------- replay


async def test_a_replay_goes_to_one_subscriber_behind_what_is_new(bench: EventsBench) -> None:
    await bench.subscribers(CRM, LAKE, in_flight=1)
    done = await bench.put_event(CRM, LAKE)
    for name in (CRM, LAKE):
        assert (await bench.claim(done, name)).ours
        await bench.delivered(done, name)
    waiting = await bench.put_event(CRM)
    await bench.drop_jobs()
    answers = await bench.ledger.deliveries.replay(CRM, {done: "", waiting: "", f"evt_{0:024x}": ""})
    assert answers == ["new", "waiting", "gone"]
    fresh = await bench.put_event(CRM)
    assert await bench.turn() == [f"{fresh}-{CRM}", f"{done}-{CRM}"]
    assert (await bench.books(LAKE)).accepted == 1
    assert (await bench.books(CRM)).difference == 0
    assert await bench.ledger.deliveries.replay(CRM, {done: ""}) == ["waiting"]


async def test_an_event_from_before_a_subscriber_was_there_can_be_replayed_to_it(bench: EventsBench) -> None:
    event = await bench.put_event()
    await bench.subscribers(CRM)
    assert await bench.ledger.deliveries.replay(CRM, {event: ""}) == ["new"]
    claimed = await bench.claim(event)
    assert (claimed.ours, claimed.entry.replayed) == (True, True)


async def test_an_event_that_is_replayed_is_kept_until_it_is_delivered(bench: EventsBench) -> None:
    await bench.subscribers(CRM)
    event = await bench.put_event()
    await bench.pass_time(KEEP - 1)
    assert await bench.ledger.deliveries.replay(CRM, {event: ""}) == ["new"]
    await bench.pass_time(2)
    await bench.events.sweep()
    assert (await bench.claim(event)).ours
    assert await bench.delivered(event) == "delivered"
    await bench.pass_time(KEEP)
    await bench.events.sweep()
    assert await bench.keys("dcb:e*") == []


async def test_a_dead_letter_older_than_its_event_outlives_the_sweep(bench: EventsBench) -> None:
    await bench.subscribers(CRM)
    event = await bench.put_event(CRM)
    content = await bench.events.one(event)
    assert content is not None
    assert (await bench.claim(event)).ours
    await bench.failed(event, delay=None)
    [letter_id] = await bench.ledger.dead_letters.ids()
    await bench.pass_time(KEEP + 1)
    await bench.events.sweep()
    assert await bench.events.one(event) is None
    # bench.pass_time moves the index and not what stands in the event, which is older than KEEP as well
    received, rest = content.split(b" ", 1)
    old = b"%d %s" % (int(received) - int(KEEP * 1000) - 1000, rest)
    assert await bench.ledger.dead_letters.put_delivery(letter_id, event, CRM, "", old) == "new"
    await bench.events.sweep()
    assert (await bench.claim(event)).entry.payload == old
