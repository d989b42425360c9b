"""Events in the ledger: put once, numbered, gaps noticed, forgotten; the stream of batches and who splits it."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from dcbridge.ledger.events import NewEvent
from dcbridge.ledger.reports.books import read
from tests.ledger.events_bench import BACKLOG, CONTENT, CRM, LAKE, EventsBench
from tests.ledger.ledger_bench import KEEP, PARTNER


@pytest.fixture
def bench(redis: Redis) -> EventsBench:
    return EventsBench(redis)


async def stored(bench: EventsBench, event: str) -> bytes:
    found = await bench.events.one(event)
    assert found is not None
    return found


# ---------------------------------------------------------------- once


async def test_an_event_is_put_once_with_a_delivery_for_each_subscriber(bench: EventsBench) -> None:
    await bench.subscribers(CRM, LAKE)
    event = await bench.put_event(CRM, LAKE)
    await bench.put_event(CRM, LAKE, event=event)
    assert sorted(await bench.jobs()) == [f"{event}-{CRM}", f"{event}-{LAKE}"]
    assert [(b.name, b.accepted, b.waiting) for b in (await read(bench.redis)).subscribers] == [
        (CRM, 1, 1),
        (LAKE, 1, 1),
    ]
    assert (await bench.counted("events_accepted"), await bench.counted("events_again")) == (1, 1)
    assert await bench.events.ids() == [event]


async def test_an_event_that_was_delivered_is_recognised_for_as_long_as_it_is_kept(bench: EventsBench) -> None:
    await bench.subscribers(CRM)
    event = await bench.put_event(CRM)
    assert (await bench.claim(event)).ours
    assert await bench.delivered(event) == "delivered"
    await bench.drop_jobs()
    await bench.put_event(CRM, event=event)
    assert await bench.jobs() == []
    await bench.pass_time(KEEP + 1)
    await bench.events.sweep()
    assert await bench.keys("dcb:e*") == []
    await bench.put_event(CRM, event=event)
    assert await bench.jobs() == [f"{event}-{CRM}"]


async def test_the_payload_is_there_once_and_comes_with_the_claim(bench: EventsBench) -> None:
    await bench.subscribers(CRM, LAKE)
    event = await bench.put_event(CRM, LAKE)
    assert (await bench.whole_database()).count(CONTENT) == 1
    for name in (CRM, LAKE):
        received, number, content = (await bench.claim(event, name)).entry.payload.split(b" ", 2)
        assert (number, content) == (b"0", CONTENT)
        assert abs(int(received) - await bench.now()) < 60_000


async def test_an_event_nobody_wants_is_kept_for_a_replay(bench: EventsBench) -> None:
    event = await bench.put_event()
    assert await bench.events.ids() == [event]
    assert await bench.jobs() == []


async def test_an_event_is_not_forgotten_while_somebody_waits_for_it(bench: EventsBench) -> None:
    await bench.subscribers(CRM, keep=KEEP * 3)
    waits = await bench.put_event(CRM)
    await bench.pass_time(KEEP + 1)
    await bench.events.sweep()
    assert await bench.events.ids() == [waits]
    assert (await bench.claim(waits)).ours
    await bench.delivered(waits)
    await bench.events.sweep()
    assert await bench.events.ids() == []


# ---------------------------------------------------------------- what an interaction's events say of each other


async def numbers(bench: EventsBench, *parts: str) -> list[int]:
    """Put these parts of one interaction in turn; the number each was given."""
    events = [await bench.put_event(interaction="i-1", part=part) for part in parts]
    return [int((await stored(bench, event)).split(b" ")[1]) for event in events]


async def gaps(bench: EventsBench) -> list[str]:
    return [facts["kind"] for name, facts in await bench.told() if name == "interaction.gap"]


async def test_events_of_an_interaction_are_numbered_as_they_come(bench: EventsBench) -> None:
    assert await numbers(bench, "s", "", "f") == [1, 2, 3]
    other = await bench.put_event(interaction="i-2", part="s")
    alone = await bench.put_event()
    assert [(await stored(bench, one)).split(b" ")[1] for one in (other, alone)] == [b"1", b"0"]


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        (("s", "f"), []),
        (("f", "s"), ["finished_first"]),
        (("s", "s"), ["repeated"]),
        (("s", "f", "f"), ["repeated"]),
        (("s", "f", "s", "f"), ["repeated", "repeated"]),
        (("", ""), []),
    ],
)
async def test_gaps_that_show_at_once(bench: EventsBench, parts: tuple[str, ...], found: list[str]) -> None:
    await numbers(bench, *parts)
    assert await gaps(bench) == found
    for kind in set(found):
        assert await bench.counted(f"gap_{kind}") == found.count(kind)


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        (("s",), ["never_finished"]),
        (("f",), ["finished_first", "never_started"]),
        (("s", "f"), []),
        (("f", "s"), ["finished_first"]),
        (("",), []),
    ],
)
async def test_a_partner_that_never_came_is_noticed_once(
    bench: EventsBench, parts: tuple[str, ...], found: list[str]
) -> None:
    await numbers(bench, *parts)
    await bench.pass_time(PARTNER - 10)
    await bench.events.sweep()
    assert await gaps(bench) == [kind for kind in found if not kind.startswith("never")]
    await bench.pass_time(20)
    await bench.events.sweep()
    await bench.events.sweep()
    assert await gaps(bench) == found


async def test_the_same_event_again_is_no_repeated_pair(bench: EventsBench) -> None:
    event = await bench.put_event(interaction="i-1", part="s")
    await bench.put_event(event=event, interaction="i-1", part="s")
    assert await gaps(bench) == []


async def test_a_gap_names_the_event_that_showed_it(bench: EventsBench) -> None:
    event = await bench.put_event(interaction="i-1", part="f")
    [(name, facts)] = await bench.told()
    assert (name, facts) == ("interaction.gap", {"kind": "finished_first", "of": event})


# ---------------------------------------------------------------- the stream of batches


async def batches(bench: EventsBench, count: int) -> None:
    for n in range(count):
        assert await bench.ledger.events.put_batch(f"b-{n}", "main", "trace", b"{}")


async def test_a_batch_wakes_one_splitter_however_many_come(bench: EventsBench) -> None:
    await batches(bench, 3)
    assert await bench.queued("inbound") == ["interactions"]


async def test_what_a_splitter_took_is_nobody_elses_until_it_is_done_or_silent(bench: EventsBench) -> None:
    await batches(bench, 3)
    mine = await bench.events.take("one", 10.0, 2)
    assert [entry.fields[b"id"] for entry in mine] == [b"b-0", b"b-1"]
    assert await bench.events.take("two", 10.0, 2) == []
    assert [e.id for e in await bench.events.take("one", 10.0, 2)] == [e.id for e in mine]
    await bench.pass_time(11)
    assert [e.id for e in await bench.events.take("two", 10.0, 2)] == [e.id for e in mine]


async def test_a_batch_leaves_in_the_call_that_puts_its_events(bench: EventsBench) -> None:
    await batches(bench, 2)
    first, second = await bench.events.take("one", 10.0, 10)
    assert await bench.events.put([NewEvent(f"evt_{1:024x}", 1, "", "", CONTENT, {})], [first.id]) == 1
    assert [e.id for e in await bench.events.take("one", 10.0, 10)] == [second.id]
    await bench.events.put([], [second.id])
    assert (await read(bench.redis)).interaction_batches == 0


async def test_a_batch_that_comes_while_a_splitter_is_at_work_is_seen_by_it(bench: EventsBench) -> None:
    await batches(bench, 1)
    [entry] = await bench.events.take("one", 10.0, 10)
    await bench.drop_jobs()
    assert await bench.ledger.events.put_batch("b-9", "main", "trace", b"{}")
    assert await bench.queued("inbound") == []
    await bench.events.put([], [entry.id])
    assert [e.fields[b"id"] for e in await bench.events.take("one", 10.0, 10)] == [b"b-9"]


async def test_after_the_last_batch_the_next_one_wakes_a_splitter_again(bench: EventsBench) -> None:
    await batches(bench, 1)
    [entry] = await bench.events.take("one", 10.0, 10)
    await bench.events.put([], [entry.id])
    assert await bench.events.take("one", 10.0, 10) == []
    await bench.drop_jobs()
    assert await bench.ledger.events.put_batch("b-9", "main", "trace", b"{}")
    assert await bench.queued("inbound") == ["interactions"]


async def test_a_splitter_that_died_is_replaced(bench: EventsBench) -> None:
    await batches(bench, 1)
    await bench.events.take("one", 10.0, 10)
    await bench.drop_jobs()
    await bench.events.sweep()
    assert await bench.queued("inbound") == []
    await bench.pass_time(16)
    await bench.events.sweep()
    await bench.events.sweep()
    assert await bench.queued("inbound") == ["interactions"]


async def test_a_batch_that_cannot_be_split_is_a_letter_that_can_be_put_back(bench: EventsBench) -> None:
    await batches(bench, 1)
    [entry] = await bench.events.take("one", 10.0, 10)
    await bench.ledger.events.dead_letter(entry.id, "i-1", "internal error", b"{}")
    await bench.ledger.events.dead_letter(entry.id, "i-1", "internal error", b"{}")
    assert [one.own for one in await bench.events.take("one", 10.0, 10)] == ["dead_letter.written"]
    assert (await read(bench.redis)).dead_letters == 1
    assert await bench.ledger.events.put_batch("b-0", "main", "trace", b"{}")


async def test_many_events_at_once_are_one_answer(bench: EventsBench) -> None:
    await bench.subscribers(CRM, LAKE, in_flight=50)
    at = await bench.now()
    some = [NewEvent(f"evt_{n:024x}", at, "", "", CONTENT, {CRM: "", LAKE: ""}) for n in range(300)]
    assert await asyncio.gather(*(bench.events.put(some) for _ in range(3))) == [300, 0, 0]
    assert ((await bench.books(CRM)).waiting, (await bench.books(LAKE)).waiting) == (300, 300)
    assert len(await bench.jobs()) == 100


async def test_a_backlog_is_kept_as_long_as_the_settings_say(bench: EventsBench) -> None:
    await bench.subscribers(CRM, LAKE)
    event = await bench.put_event(CRM, LAKE)
    await bench.subscribers(LAKE, keep=BACKLOG * 2)
    await bench.pass_time(BACKLOG + 1)
    await bench.events.sweep()
    assert [(b.name, b.dropped, b.waiting, b.difference) for b in (await read(bench.redis)).subscribers] == [
        (CRM, 1, 0, 0),
        (LAKE, 0, 1, 0),
    ]
    assert (await bench.events.ended(event))[CRM].how == "dropped"
    assert await bench.why(event) == "gone"
