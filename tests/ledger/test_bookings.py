"""Bookings in the ledger: one request for each task, one call for each consumer, one question at a time."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from dcbridge.ledger import Ledger, NewTask
from dcbridge.ledger.bookings import MOST_A_DAY, Booking, How

KEY, KEEP = "0123456789:token", 60.0


@pytest.fixture
def ledger(redis: Redis) -> Ledger:
    return Ledger(redis, keep=60, keep_dead=60)


async def claimed(ledger: Ledger, task: str = "k-1", token: str = "t") -> str:
    await ledger.tasks.put([NewTask(task, "book", "", b"{}", "trace", "0123456789")])
    assert (await ledger.tasks.claim(task, token, 60.0)).ours
    return task


async def begins(ledger: Ledger, task: str, token: str = "t", time: int = 0) -> str:
    return await ledger.bookings.begin(task, token, KEY, time, KEEP)


async def test_a_task_writes_one_request(ledger: Ledger) -> None:
    task = await claimed(ledger)
    assert await begins(ledger, task, "another") == "stale"
    assert await begins(ledger, task) == "go"
    assert await begins(ledger, task) == "go"  # the same claim: its reply was lost
    assert await ledger.bookings.of(KEY) == Booking("creating")
    await ledger.tasks.retry(task, "t", 0.0, "")
    assert (await ledger.tasks.claim(task, "t2", 60.0)).entry.booking == "creating"
    assert await begins(ledger, task, "t2") == "creating"


@pytest.mark.parametrize(
    ("how", "then", "kept"),
    [
        ("booked", "booked", Booking("booked", "id")),
        ("unknown", "unknown", Booking("unknown", "id")),
        ("free", "go", Booking("")),
    ],
)
async def test_what_a_task_finds_when_it_comes_again(ledger: Ledger, how: How, then: str, kept: Booking) -> None:
    task = await claimed(ledger)
    await begins(ledger, task)
    assert await ledger.bookings.end(task, KEY, how, KEEP, "id") == "ok"
    assert await ledger.bookings.of(KEY) == kept
    assert await begins(ledger, task) == then


async def test_what_is_known_is_better_than_unknown_and_nothing_else_is(ledger: Ledger) -> None:
    task = await claimed(ledger)
    assert await ledger.bookings.end(task, KEY, "booked", KEEP, "id") == "stale"  # nothing was begun
    await begins(ledger, task)
    said = [await ledger.bookings.end(task, KEY, how, KEEP, "id") for how in ("unknown", "unknown", "booked", "free")]
    assert said == ["ok", "stale", "ok", "stale"]
    assert await ledger.bookings.of(KEY) == Booking("booked", "id")


async def test_a_consumer_has_one_call(ledger: Ledger) -> None:
    first, second = await claimed(ledger, "k-1"), await claimed(ledger, "k-2")
    await begins(ledger, first, time=7)
    assert await ledger.bookings.of(KEY) == Booking("creating", "", 7)
    await ledger.bookings.end(first, KEY, "booked", KEEP, "id")
    assert await begins(ledger, second) == "taken"
    assert not await ledger.bookings.over(KEY, "another")
    assert await ledger.bookings.over(KEY, "id")
    assert await begins(ledger, second) == "go"
    assert await ledger.bookings.end(first, KEY, "free", KEEP) == "stale"
    assert await ledger.bookings.of(KEY) == Booking("creating")  # that of the second


async def test_a_consumer_can_cause_so_many_requests_a_day(ledger: Ledger, redis: Redis) -> None:
    for number in range(MOST_A_DAY):
        task = await claimed(ledger, f"k-{number}")
        assert await begins(ledger, task) == "go"
        await ledger.bookings.end(task, KEY, "free", KEEP)
    assert await begins(ledger, await claimed(ledger, "k-last")) == "many"
    assert await redis.ttl(f"dcb:booked:{KEY}") > 86_000


async def test_after_an_unknown_outcome_another_task_may(ledger: Ledger) -> None:
    first, second = await claimed(ledger, "k-1"), await claimed(ledger, "k-2")
    await begins(ledger, first)
    await ledger.bookings.end(first, KEY, "unknown", KEEP)
    assert await begins(ledger, second) == "go"
    assert await ledger.bookings.end(first, KEY, "booked", KEEP, "late") == "ok"
    assert await ledger.bookings.of(KEY) == Booking("creating")


async def test_a_booked_call_is_watched_by_one_task(ledger: Ledger, redis: Redis) -> None:
    task = await claimed(ledger)
    await begins(ledger, task)
    watch = NewTask("w-1", "watch", "", b'{"id":"id"}', "trace", "0123456789")
    await ledger.bookings.end(task, KEY, "unknown", KEEP)
    await ledger.bookings.end(task, KEY, "booked", KEEP, "id", watch)
    entry = await ledger.tasks.entry("w-1")
    assert (entry.job, entry.payload, entry.trace_id, entry.channel_id) == (
        "watch",
        b'{"id":"id"}',
        "trace",
        "0123456789",
    )
    assert await redis.llen("rq:queue:events") == 2


async def test_a_question_stays_that_of_its_task_until_a_call_is_booked(ledger: Ledger, redis: Redis) -> None:
    task = await claimed(ledger)
    assert await ledger.bookings.question(KEY) == b""
    assert await ledger.bookings.ask(task, KEY, b'{"slots": [1]}', 60.0) == b'{"slots": [1]}'
    assert await ledger.bookings.ask(task, KEY, b'{"slots": [2]}', 60.0) == b'{"slots": [1]}'
    assert await ledger.bookings.question(KEY) == b'{"slots": [1]}'
    assert await ledger.bookings.ask("k-2", KEY, b"{}", 60.0) == b"{}"
    assert 59_000 < await redis.pttl(f"dcb:asked:{KEY}") <= 60_000
    await begins(ledger, task)
    assert await ledger.bookings.question(KEY) == b""
    await ledger.bookings.ask(task, KEY, b"{}", 60.0)
    await ledger.bookings.unask(KEY)
    assert await ledger.bookings.question(KEY) == b""


async def test_an_open_breaker_lets_one_try_at_a_time(ledger: Ledger) -> None:
    async def fails(ref: str) -> str:
        return await ledger.pacing.record_failure(
            "genesys/engagement", ref, "http 403", at_once=True, threshold=5, first=0.2, most=0.2
        )

    async def may(ref: str) -> bool:
        return await ledger.pacing.may_speak("genesys/engagement", ref, 60.0)

    assert await may("k-1")
    assert await fails("k-1") == "opened"
    assert not await may("k-2")
    await ledger.sweep.run()  # which knows no message that waits for it
    while not await may("k-2"):
        pass
    assert not await may("k-3")  # k-2 tries
    assert await fails("k-2") == "open"
    while not await may("k-3"):
        pass
    await ledger.pacing.record_success("genesys/engagement", "k-3")
    assert await may("k-4")
