"""Calls by text, as a conversation: what the consumer writes, is told and gets, and what happens if something fails."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.config.booking import Book, OnFailed, Texts
from dcbridge.config.genesys import EngagementApi
from dcbridge.ledger import NewTask, OwedReceipt
from dcbridge.ledger.bookings import MOST_A_DAY, MOST_WISHES
from dcbridge.ledger.consent import OptOut
from dcbridge.ledger.controls import REJECTED
from dcbridge.replay import Replay
from tests.ledger.ledger_bench import Bench
from tests.workers.booking_side import BookingSide, booking_side
from tests.workers.far_side import CONSUMER, SMS, saying
from tests.workers.test_reconciler_and_inbound import inbound_callback, letters, read_one
from workers import bookings, engagement, outbound, receipts

TEXTS = Texts()
NOW = "We call you in about 4 min. Reply CANCEL CALL to cancel."


@pytest.fixture
async def side(redis: Redis, redis_server: EmbeddedRedis) -> AsyncIterator[BookingSide]:
    async with booking_side(redis, redis_server) as opened:
        yield opened


def later(side: BookingSide) -> None:
    side.switch.immediate = False


async def test_a_call_at_once_that_is_cancelled(side: BookingSide) -> None:
    assert await side.writes("Call me!") == [NOW]
    [call] = side.calls
    assert (call.number, call.service, call.time) == (f"+{CONSUMER}", "Sales", 0)
    assert call.data["dcbRef"].startswith("book-c-")
    assert await side.writes("call me") == [TEXTS.already]
    assert await side.writes("Cancel call") == [TEXTS.cancelled]
    assert side.calls[0].state == "cancelled"
    assert await side.writes("cancel call") == []  # there is none: the agent gets it
    assert await side.for_the_agent() == 1
    assert (side.counted("booked_now"), side.counted("already"), side.counted("cancelled")) == (1, 1, 1)


async def test_a_numbered_question_and_its_answer(side: BookingSide) -> None:
    later(side)
    [asked] = await side.writes("CALL ME")
    slots = re.findall(r"(\d)\) ((?:\d{4}-\d\d-\d\d )?\d\d:\d\d)", asked)
    assert [number for number, _ in slots] == ["1", "2", "3"]
    assert asked.startswith("When may we call you? 1) ")
    assert side.calls == []
    assert await side.writes("4") == []
    assert await side.writes("2.") == [f"We call you at {slots[1][1]}. Reply CANCEL CALL to cancel."]
    [call] = side.calls
    assert slots[1][1].endswith(datetime.fromtimestamp(call.time, UTC).strftime("%H:%M"))
    assert await side.writes("2") == []  # the question is answered: this one is for the agent
    assert await side.for_the_agent() == 2
    assert (side.counted("asked"), side.counted("booked_later")) == (1, 1)


async def test_a_slot_that_is_taken_meanwhile_leads_to_the_next_question(side: BookingSide) -> None:
    later(side)
    await side.writes("call me")
    question = await side.context.ledger.bookings.question(bookings.key_of(side.context, SMS, CONSUMER))
    second = int(re.findall(rb"\d{13}", question)[1]) / 1000
    side.world.full.add(second)
    [again] = await side.writes("2")
    assert again.startswith("That time is taken meanwhile. 1) ")
    assert side.calls == []
    [booked] = await side.writes("1")
    assert booked.startswith("We call you at ")
    assert side.calls[0].time != second
    assert (side.counted("full"), side.counted("booked_later")) == (1, 1)


async def test_a_bare_number_is_an_answer_for_as_long_as_the_question_is_open(side: BookingSide, redis: Redis) -> None:
    assert await side.writes("2") == []
    later(side)
    await side.writes("call me")
    key = bookings.key_of(side.context, SMS, CONSUMER)
    assert 890 < await redis.ttl(f"dcb:asked:{key}") <= bookings.OPEN
    await redis.delete(f"dcb:asked:{key}")  # its time is over
    assert await side.writes("2") == []
    assert await side.for_the_agent() == 2
    assert side.calls == []


async def test_a_slot_of_the_past_is_asked_anew(side: BookingSide) -> None:
    later(side)
    [asked] = await side.writes("call me")
    await side.hears("1")
    [task] = await side.waiting("book")
    entry = await side.context.ledger.tasks.entry(task)
    past = re.sub(rb'"at":\d+', b'"at":1700000000000', entry.payload)
    await side.side.redis.hset(f"dcb:t:{task}", "p", past)  # it has waited for long
    await side.works()
    assert await side.told() == [asked]
    assert side.calls == []


@pytest.mark.parametrize(
    ("wait", "says"),
    [
        (-1, TEXTS.soon),
        (59, "We call you in about 1 min. Reply CANCEL CALL to cancel."),
        (240, NOW),
        (90_000, TEXTS.soon),
    ],
)
async def test_a_wait_is_spoken_only_where_it_is_known(side: BookingSide, wait: float, says: str) -> None:
    side.switch.wait = wait
    assert await side.writes("call me") == [says]


async def test_a_closed_office_offers_times_and_a_closed_queue_none(side: BookingSide) -> None:
    side.switch.office = False
    assert (await side.writes("call me"))[0].startswith("When may we call you?")
    side.switch.immediate = side.switch.scheduled = False
    assert await side.writes("call me") == [TEXTS.closed]
    side.switch.scheduled, side.switch.capacity = True, 0
    assert await side.writes("call me") == [TEXTS.closed]
    assert side.calls == []


@pytest.mark.parametrize("mode", ["lost_answer", "500", "silent"])
async def test_an_unknown_outcome_is_repeated_by_the_consumer_alone(side: BookingSide, mode: str) -> None:
    side.switch.mode, side.switch.only = mode, "create"
    assert await side.writes("call me") == [TEXTS.unknown]
    made = len(side.calls)
    assert made == (mode == "lost_answer")
    assert side.world.counts["callbacks.create"] == 1
    assert side.counted("unknown") == 1
    assert await side.writes("cancel call") == []  # nobody knows what there is to cancel
    side.switch.mode = "ok"
    assert await side.writes("Again") == [NOW]
    assert len(side.calls) == made + 1
    assert await side.writes("again") == []


async def test_a_worker_that_dies_within_its_request_leaves_an_unknown_outcome(
    side: BookingSide,
) -> None:
    await side.hears("call me")
    [task] = await side.waiting("book")
    ledger, key = side.context.ledger, bookings.key_of(side.context, SMS, CONSUMER)
    assert (await ledger.tasks.claim(task, "killed", 60.0)).ours
    assert await ledger.bookings.begin(task, "killed", key, 0, 60.0) == "go"
    await ledger.tasks.retry(task, "killed", 0.0, "lease ended")
    await bookings.book(side.context, task)
    assert await side.told() == [TEXTS.unknown]
    assert side.calls == []
    assert await side.writes("again") == [NOW]


async def test_a_worker_that_dies_after_the_record_says_what_it_did(side: BookingSide) -> None:
    await side.hears("call me")
    [task] = await side.waiting("book")
    ledger, key = side.context.ledger, bookings.key_of(side.context, SMS, CONSUMER)
    await ledger.tasks.claim(task, "killed", 60.0)
    await ledger.bookings.begin(task, "killed", key, 0, 60.0)
    await ledger.bookings.end(task, key, "booked", 60.0, "an-id")
    await ledger.tasks.retry(task, "killed", 0.0, "lease ended")
    await bookings.book(side.context, task)
    assert await side.told() == [TEXTS.soon]  # the wait of then is not known any more
    assert side.world.counts["callbacks.create"] == 0


@pytest.mark.parametrize(
    ("mode", "only", "asked"),
    [("500", "queue-status", 3), ("400", "queue-status", 1), ("400", "create", 1), ("403", "", 1)],
)
async def test_a_consumer_does_not_wait_for_a_sick_genesys(side: BookingSide, mode: str, only: str, asked: int) -> None:
    side.switch.mode, side.switch.only = mode, only
    assert await side.writes("call me") == [TEXTS.failed]
    assert side.world.counts[f"callbacks.{only or 'queue-status'}"] == asked
    assert await side.waiting("book") == []
    assert await letters(side.side) == ([("book", "http 400")] if mode == "400" else [])
    assert side.calls == []
    if mode == "403":  # nobody is asked again until the breaker lets one try
        side.switch.mode = "ok"
        assert await side.writes("call me") == [TEXTS.failed]
        assert side.world.counts["callbacks.queue-status"] == 1
        assert side.side.counted("dcbridge_errors_total", kind="breaker_opened", name="genesys/engagement") == 1


async def test_nothing_but_the_words_of_a_limit_is_a_full_slot(side: BookingSide) -> None:
    side.switch.mode, side.switch.only = "no_id", "create"
    assert await side.writes("call me") == [NOW]  # taken, and not to be asked about
    assert await side.waiting("watch") == []
    side.switch.mode = "ok"
    assert await side.writes("cancel call") == [TEXTS.too_late]


async def test_cancelling_what_is_gone_and_what_is_too_late(side: BookingSide) -> None:
    side.switch.step = 0  # an agent is about to call
    await side.writes("call me")
    assert await side.writes("cancel call") == [TEXTS.too_late]
    side.world.calls.clear()
    assert await side.writes("cancel call") == [TEXTS.cancelled]
    assert await side.writes("call me") == [NOW]


async def test_cancel_alone_is_an_opt_out_as_well(side: BookingSide) -> None:
    await side.writes("call me")
    assert await side.writes("CANCEL") == []  # nothing is said to one who opted out
    assert side.calls[0].state == "cancelled"
    found = [one async for one in side.context.ledger.consent.all()]
    assert [isinstance(one, OptOut) for one in found] == [True]
    assert await side.for_the_agent() == 0


async def test_who_books_and_cancels_all_day_is_not_booked_any_more(side: BookingSide) -> None:
    for _ in range(MOST_A_DAY):
        await side.hears("call me")
        await side.works()
        side.calls[-1].state = "cancelled"
    await side.told()
    assert await side.writes("call me") == [TEXTS.closed]
    assert len(side.calls) == MOST_A_DAY


async def test_a_question_can_be_cancelled(side: BookingSide) -> None:
    later(side)
    await side.writes("call me")
    assert await side.writes("cancel call") == [TEXTS.cancelled]
    assert await side.writes("2") == []


async def test_a_callback_that_is_read_again_changes_nothing(side: BookingSide) -> None:
    later(side)
    await side.writes("call me", "SM-a")
    await side.writes("1", "SM-b")
    assert await side.writes("call me", "SM-a") == []
    assert await side.writes("1", "SM-b") == []
    assert len(side.calls) == 1
    assert await side.for_the_agent() == 0


async def test_a_call_is_watched_until_it_was_made(side: BookingSide, redis: Redis) -> None:
    await side.writes("call me")
    [watch] = await side.waiting("watch")
    waits = []
    for _ in range(7):
        await side.watches()
        seconds, micros = await redis.time()
        waits.append(round((await redis.zscore("dcb:due", f"t:{watch}") or 0) / 1000 - seconds - micros / 1e6))
    assert waits == [30, 60, 120, 240, 480, 900, 900]
    assert b'"from"' not in (await side.context.ledger.tasks.entry(watch)).payload  # no number is kept for nothing
    side.calls[0].state, side.calls[0].reason = "completed", "ANSWERED"
    await side.watches()
    assert await side.waiting("watch") == []
    assert side.counted("completed") == 1
    assert await side.writes("call me") == [NOW]


async def test_a_call_that_was_made_is_not_in_the_way_of_the_next(side: BookingSide) -> None:
    await side.writes("call me")
    side.calls[0].state = "completed"
    assert await side.writes("call me") == [NOW]
    assert len(side.alive) == 1


async def test_notices_are_a_wish_and_said_once(redis: Redis, redis_server: EmbeddedRedis) -> None:
    async with booking_side(redis, redis_server, {"notices": True}) as side:
        side.switch.step = 1000.0
        await side.writes("call me")
        await side.watches()
        assert await side.told() == []  # two are before
        side.calls[0].at -= 600
        for _ in range(2):
            await side.watches()
        assert await side.told() == [TEXTS.next]


async def test_a_text_to_a_landline_becomes_a_call_once(side: BookingSide) -> None:
    side.side.provider.usual = saying(400, {"code": 21614})  # not a mobile number
    ref = await side.side.accept()
    await outbound.send(side.context, ref)
    assert (await side.side.entry(ref)).reason == "530"
    side.side.agents.usual = saying(503)
    for _ in range(2):
        await receipts.post(side.context, SMS)
        await redis_due(side, ref)
    assert await side.waiting("book") == [f"book-{ref}"]
    await side.works()
    side.side.agents.usual = saying(200, {"status": {"code": 0}})
    await receipts.post(side.context, SMS)
    await side.works()
    assert [(one.number, one.data) for one in side.calls] == [(f"+{CONSUMER}", {"dcbRef": f"book-{ref}"})]
    assert await side.told() == []  # a landline cannot read it


async def redis_due(side: BookingSide, ref: str) -> None:
    await side.side.redis.zadd(f"dcb:receipts:{SMS}", {ref: 0})


async def test_another_reason_books_no_call(side: BookingSide) -> None:
    side.side.provider.usual = saying(400, {"code": 21610})  # opted out
    ref = await side.side.accept()
    await outbound.send(side.context, ref)
    await receipts.post(side.context, SMS)
    assert await side.waiting("book") == []


async def test_a_failed_text_waits_for_genesys_and_takes_the_first_free_slot(side: BookingSide) -> None:
    side.side.provider.usual = saying(400, {"code": 21614})
    await outbound.send(side.context, await side.side.accept())
    later(side)
    side.switch.mode, side.switch.only = "500", "availability"
    await receipts.post(side.context, SMS)
    await side.works()
    assert (len(await side.waiting("book")), side.calls) == (1, [])
    side.switch.mode = "ok"
    first = (int(time.time() / 1800) + 2) * 1800
    side.world.full.add(first)
    await side.side.redis.hdel(f"dcb:t:{(await side.waiting('book'))[0]}", "nb")
    await side.works()
    assert [one.time for one in side.calls] == [first + 1800]


async def test_a_failed_text_that_waits_holds_up_nothing_that_the_consumer_asks_for(side: BookingSide) -> None:
    side.side.provider.usual = saying(400, {"code": 21614})
    ref = await side.side.accept()
    await outbound.send(side.context, ref)
    side.switch.mode = "500"
    await receipts.post(side.context, SMS)
    await side.works()
    assert (await side.waiting("book"), side.calls) == ([f"book-{ref}"], [])
    side.switch.mode = "ok"
    await side.side.redis.delete("dcb:breaker:genesys/engagement")
    assert await side.writes("call me") == [NOW]
    await side.side.redis.hdel(f"dcb:t:book-{ref}", "nb")
    await side.works()
    assert (len(side.calls), await side.waiting("book")) == (1, []), "one call for both"


async def test_two_tasks_of_one_consumer_do_not_write_at_once(side: BookingSide) -> None:
    key = bookings.key_of(side.context, SMS, CONSUMER)
    ledger = side.context.ledger
    await ledger.tasks.put([NewTask("book-other", "book", "book-failed", b"{}", "trace", SMS)])
    await ledger.tasks.claim("book-other", "mine", 60.0)
    assert await ledger.bookings.begin("book-other", "mine", key, 0, 60.0) == "go"
    await side.hears("call me")
    [task] = [one for one in await side.waiting("book") if one != "book-other"]
    await bookings.book(side.context, task)
    assert (await side.told(), side.calls) == ([], [])
    await ledger.bookings.end("book-other", key, "free", 60.0)
    await side.side.redis.hdel(f"dcb:t:{task}", "nb")
    await bookings.book(side.context, task)
    assert (await side.told(), len(side.calls)) == ([NOW], 1)


async def test_calls_of_all_consumers_are_bounded_and_paced(side: BookingSide) -> None:
    known = side.context.configuration
    assert known.genesys is not None
    limited = EngagementApi.model_validate({"bookings_an_hour": 1, "pace": {"per_second": 1000, "burst": 1}})
    genesys = known.genesys.model_copy(update={"engagement": limited})
    side.side.context = replace(side.context, configuration=known.model_copy(update={"genesys": genesys}))
    assert await side.writes("call me") == [NOW]
    assert await Bench(side.side.redis).keys("dcb:tat:g-genesys/engagement*") != []
    assert await side.writes("cancel call") == [TEXTS.cancelled]
    assert await side.writes("call me") == [TEXTS.closed]
    assert (len(side.calls), side.counted("too_many")) == (1, 1)
    slow = EngagementApi.model_validate({"pace": {"per_second": 0.001}})
    genesys = genesys.model_copy(update={"engagement": slow})
    side.side.context = replace(side.context, configuration=known.model_copy(update={"genesys": genesys}))
    await side.side.redis.delete("dcb:tat:g-genesys/engagement")
    assert await side.writes("call me") == [TEXTS.failed], "a consumer does not wait for a turn that is far away"


async def test_what_an_operator_cancelled_becomes_no_call(side: BookingSide) -> None:
    known = side.context.configuration
    failed = OnFailed.model_validate({"reasons": [500], "book": {"service": "Sales"}})
    channels = {**known.channels, SMS: known.channels[SMS].model_copy(update={"on_failed": failed})}
    side.side.context = replace(side.context, configuration=known.model_copy(update={"channels": channels}))
    ledger = side.context.ledger
    wrong, rejected, right = [await side.side.accept(f"m-{n}") for n in range(3)]
    assert await ledger.controls.cancel([wrong]) == ["cancelled"]
    assert await ledger.controls.cancel([rejected], REJECTED) == ["cancelled"]
    assert (await ledger.messages.claim(right, "mine", 60.0)).ours
    assert await ledger.messages.fail(right, "mine", 500, "x") == "failed"
    await receipts.post(side.context, SMS)
    assert await side.waiting("book") == [f"book-{right}"]


async def test_texts_fit_into_what_may_be_sent(redis: Redis, redis_server: EmbeddedRedis) -> None:
    texts = {"ask": "ж" * 100 + " {slots}"}
    async with booking_side(redis, redis_server, {"slots": 9, "horizon_days": 9, "texts": texts}) as side:
        later(side)
        side.world.full.update(time.time() // 1800 * 1800 + 1800 * n for n in range(60))  # dates make it longer
        [asked] = await side.writes("call me")
        shown = len(re.findall(r"\d\) ", asked))
        assert 1 < shown < 9
        assert await side.writes(str(shown + 1)) == []
        assert (await side.writes(str(shown)))[0].startswith("We call you at ")


def test_a_local_time_has_a_date_where_it_is_not_today() -> None:
    book = Book(service="Sales")
    now = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    assert bookings._local(book, now, 0) == "12:00"
    assert bookings._local(book, now, None) == "12:00 UTC"
    assert bookings._local(book, now + timedelta(days=1), 0).endswith(" 12:00")
    assert len(bookings._local(book, now + timedelta(days=1), 0)) == 16
    kolkata = Book(service="Sales", timezone="Asia/Kolkata")
    assert bookings._local(kolkata, now, None).endswith("17:30")


def test_a_job_is_over_before_its_lease() -> None:
    assert 2 * engagement.SHARE < 1


async def test_a_call_that_genesys_refused_is_booked_by_a_replay(side: BookingSide) -> None:
    side.switch.mode, side.switch.only = "400", "create"
    await side.writes("call me")
    side.switch.mode = "ok"
    ledger = side.context.ledger
    letter = await anext(ledger.dead_letters.read(await ledger.dead_letters.ids()))
    assert letter is not None
    said = await Replay(ledger, side.context.configuration).one(letter)
    assert (said.done, said.says) == (True, "the call will be booked again")
    await side.works()
    assert await side.told() == [NOW]
    assert len(side.calls) == 1


@pytest.mark.parametrize("sender", ["+881612345678", "+19005551234"])
async def test_an_expensive_number_is_not_called(side: BookingSide, sender: str) -> None:
    """Neither by a text, whose sender can be forged, nor after an agent's text that failed."""
    await read_one(side.side, inbound_callback(text="call+me", sender=sender))
    for number in (sender.lstrip("+"), CONSUMER):
        owed = OwedReceipt(f"ref-{number}", "m", SMS, number, "Failed", "530", "", 0, 0, "trace")
        await bookings.after_failures(side.context, SMS, [owed])
    assert await side.waiting("book") == [f"book-ref-{CONSUMER}"]
    assert await side.for_the_agent() == 1


async def test_a_consumer_who_writes_on_and_on_is_asked_about_no_more(side: BookingSide) -> None:
    later(side)
    wishes = [await side.writes("call me") for _ in range(3)]
    assert wishes[0][0].startswith("When may we call you?")
    asked = side.world.counts["callbacks.availability"]
    assert asked == 3
    key = f"dcb:wished:{bookings.key_of(side.context, SMS, CONSUMER)}"
    assert await side.side.redis.get(key) == b"3"
    await side.side.redis.set(key, MOST_WISHES)
    assert await side.writes("call me") == []
    assert (side.world.counts["callbacks.availability"], side.counted("too_many")) == (asked, 1)
