"""Questions in the ledger: every verb in every state, two who ask at once, and whose a provider's id is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from dcbridge.ledger.lookups import KNOWN
from dcbridge.ledger.reports.books import read
from dcbridge.messages import UpdateStatus, message_ref
from tests.ledger.ledger_bench import CHANNEL
from tests.ledger.lookup_bench import QuestionBench

REF = message_ref(CHANNEL, "m-1")
SENT, DELIVERED, FAILED = UpdateStatus.SENT, UpdateStatus.DELIVERED, UpdateStatus.FAILED


@pytest.fixture
async def bench(redis: Redis) -> QuestionBench:
    made = QuestionBench(redis)
    await made.limit()
    return made


# ---------------------------------------------------------------- every verb in every state


async def _asked(b: QuestionBench) -> None:
    await b.asked(await b.unknown())


async def _asking(b: QuestionBench) -> None:
    await b.asking(await b.unknown())


async def _sent_asking(b: QuestionBench) -> None:
    await b.asking(await b.sent())


async def _given_back(b: QuestionBench) -> None:
    await _asking(b)
    assert await b.ledger.lookups.again(REF, "q", 5.0) == "again"


async def _lease_over(b: QuestionBench) -> None:
    await _asking(b)
    await b.pass_time(16)


async def _resent(b: QuestionBench) -> None:
    await _asking(b)
    assert await b.ledger.lookups.not_there(REF, "q", 900.0) == "retry"


async def _resent_and_unknown(b: QuestionBench) -> None:
    await _resent(b)
    assert (await b.ledger.messages.claim(REF, "mine", 60.0)).ours
    assert await b.ledger.messages.unknown(REF, "mine", 30.0, "timeout") == "unknown"


async def _delivered(b: QuestionBench) -> None:
    await b.sent()
    assert await b.update(REF, "delivered") == "delivered"


async def _nothing(b: QuestionBench) -> None:
    return


async def _after(b: QuestionBench, state: Awaitable[str], seconds: float) -> None:
    await state
    await b.pass_time(seconds)


STATES: dict[str, Callable[[QuestionBench], Awaitable[Any]]] = {
    "nothing": _nothing,
    "accepted": lambda b: b.put(),
    "sending": lambda b: b.sending(),
    "unknown": lambda b: b.unknown(),
    "grace_over": lambda b: _after(b, b.unknown(), 31),
    "asked": _asked,
    "asking": _asking,
    "given_back": _given_back,
    "lease_over": _lease_over,
    "resent": _resent,
    "unknown_again": _resent_and_unknown,
    "sent": lambda b: b.sent(),
    "sent_long": lambda b: _after(b, b.sent(), 101),
    "sent_asking": _sent_asking,
    "delivered": _delivered,
}


VERBS: dict[str, Callable[[QuestionBench], Awaitable[str]]] = {
    "ask": lambda b: b.ledger.lookups.ask(REF, 900.0),
    "question": lambda b: b.question(REF),
    "another": lambda b: b.question(REF, "another"),
    "found": lambda b: b.found(REF),
    "deliv": lambda b: b.found(REF, status=DELIVERED),
    "failed": lambda b: b.found(REF, status=FAILED),
    "absent": lambda b: b.ledger.lookups.not_there(REF, "q", 900.0),
    "resend": lambda b: b.ledger.messages.settle(REF, "resend", token="q"),
    "give_up": lambda b: b.ledger.messages.settle(REF, "fail", token="q"),
    "no_word": lambda b: b.ledger.messages.confirm_over(REF, "", "", token="q"),
    "again": lambda b: b.ledger.lookups.again(REF, "q", 5.0),
    "+sent": lambda b: b.update(REF, "sent"),
}

WHAT_FOLLOWS = """
              ask    question  another   found deliv     failed absent resend give_up no_word     again +sent
nothing       stale  gone      gone      stale stale     stale  stale  stale  stale   stale       stale gone
accepted      stale  accepted  accepted  stale stale     stale  stale  stale  stale   stale       stale sent
sending       stale  sending   sending   stale stale     stale  stale  stale  stale   stale       stale parked
unknown       stale  not-asked not-asked stale stale     stale  stale  stale  stale   stale       stale sent
grace_over    asking not-asked not-asked stale stale     stale  stale  stale  stale   stale       stale sent
asked         stale  go        go        stale stale     stale  stale  stale  stale   stale       stale sent
asking        stale  go        busy      sent  delivered failed retry  retry  failed  stale       again sent
given_back    stale  not-asked not-asked stale stale     stale  stale  stale  stale   stale       stale sent
lease_over    asking go        not-asked sent  delivered failed retry  retry  failed  stale       again sent
resent        stale  retry     retry     stale stale     stale  stale  stale  stale   stale       stale sent
unknown_again stale  not-asked not-asked stale stale     stale  stale  stale  stale   stale       stale sent
sent          stale  not-asked not-asked stale stale     stale  stale  stale  stale   stale       stale noted
sent_long     asking not-asked not-asked stale stale     stale  stale  stale  stale   stale       stale noted
sent_asking   stale  go        busy      stale stale     stale  stale  stale  stale   unconfirmed again noted
delivered     stale  delivered delivered stale stale     stale  stale  stale  stale   stale       stale late
"""

HEAD, *LINES = [line.split() for line in WHAT_FOLLOWS.strip().splitlines()]
CASES = [(line[0], verb, word) for line in LINES for verb, word in zip(HEAD, line[1:], strict=True)]


def test_the_table_is_whole() -> None:
    assert list(VERBS) == HEAD
    assert [line[0] for line in LINES] == list(STATES)


@pytest.mark.parametrize(("state", "verb", "word"), CASES, ids=[f"{s}-{v}" for s, v, _ in CASES])
async def test_what_follows(bench: QuestionBench, state: str, verb: str, word: str) -> None:
    await STATES[state](bench)
    before = await bench.state(REF)
    found = await VERBS[verb](bench)
    assert found.replace(" ", "-") == word
    after = await bench.state(REF)
    if word in ("sent", "delivered", "failed", "retry", "unconfirmed") and verb not in ("question", "another"):
        assert after == word
    else:
        assert after == before
    assert (await read(bench.redis)).difference == 0


@pytest.mark.parametrize("verb", ["found", "deliv", "failed", "absent", "resend", "give_up", "again"])
async def test_a_reply_that_was_lost_is_asked_for_again_and_nothing_happens_twice(
    bench: QuestionBench, verb: str
) -> None:
    await _asking(bench)
    first = await VERBS[verb](bench)
    counts = await bench.counts()
    assert first != "stale"
    assert await VERBS[verb](bench) == "stale"
    assert await bench.counts() == counts


# ---------------------------------------------------------------- jobs


async def test_a_question_is_queued_with_the_callbacks_and_a_lost_job_again(bench: QuestionBench) -> None:
    ref = await bench.asked(await bench.unknown())
    assert await bench.queued("inbound") == [ref]
    await bench.pass_time(16)
    assert await bench.ledger.lookups.ask(ref, 900.0) == "waiting"  # it is still in the queue
    await bench.drop_jobs()
    await bench.pass_time(32)
    assert [d.id for d in await bench.sweep()] == [ref]
    assert await bench.ledger.lookups.ask(ref, 900.0) == "asking"
    assert await bench.queued("inbound") == [ref]


async def test_a_job_that_was_thought_lost_finds_its_question_taken(bench: QuestionBench) -> None:
    ref = await bench.asking(await bench.unknown())
    assert await bench.ledger.lookups.again(ref, "q", 5.0) == "again"
    assert await bench.question(ref, "late") == "not asked"


@pytest.mark.parametrize(("make", "field"), [("unknown", "unknown_at"), ("sent", "sent_at")])
async def test_who_was_waited_for_too_long_is_not_asked(bench: QuestionBench, make: str, field: str) -> None:
    ref = await getattr(bench, make)()
    await bench.pass_time(200)
    assert getattr(await bench.ledger.messages.entry(ref), field)
    assert await bench.ledger.lookups.ask(ref, 199.0) == "over"
    assert await bench.queued("inbound") == []
    assert await bench.ledger.lookups.ask(ref, 210.0) == "asking"


async def test_two_who_ask_at_once_are_one(bench: QuestionBench) -> None:
    ref = await bench.asked(await bench.unknown())
    found = await asyncio.gather(*(bench.question(ref, f"q{n}") for n in range(10)))
    assert sorted(found) == ["busy"] * 9 + ["go"]
    again = await asyncio.gather(*(bench.ledger.lookups.not_there(ref, f"q{n}", 900.0) for n in range(10)))
    assert sorted(again) == ["retry", *["stale"] * 9]
    assert (await bench.counts())["unknown_not_there"] == 1
    assert (await bench.queued()).count(ref) == 2  # accepted once, sent again once


async def test_an_old_answer_says_nothing_about_a_later_request(bench: QuestionBench) -> None:
    """The first asker is stopped; another finds it absent, it is sent again, and nobody answers that either."""
    ref = await bench.asking(await bench.unknown(), "slow")
    await bench.pass_time(16)
    assert await bench.ledger.lookups.ask(ref, 900.0) == "asking"
    assert await bench.question(ref, "quick") == "go"
    assert await bench.ledger.lookups.not_there(ref, "quick", 900.0) == "retry"
    assert (await bench.ledger.messages.claim(ref, "mine", 60.0)).ours
    assert await bench.ledger.messages.unknown(ref, "mine", 30.0, "timeout") == "unknown"
    assert await bench.ledger.lookups.not_there(ref, "slow", 900.0) == "stale"
    assert await bench.state(ref) == "unknown"


async def test_what_a_question_needs_comes_with_it(bench: QuestionBench) -> None:
    ref = await bench.unknown()
    claimed = await bench.ledger.lookups.claim(await bench.asked(ref), "q", 15.0)
    assert claimed.entry.payload == b'{"text":"Agent message text"}'
    assert claimed.entry.unknown_requests == 1
    assert claimed.entry.now - (claimed.entry.unknown_since or claimed.entry.now) >= 101_000
    assert await bench.ledger.lookups.again(ref, "q", 0.0, 2) == "again"
    assert await bench.ledger.lookups.ask(ref, 900.0) == "asking"
    claimed = await bench.ledger.lookups.claim(ref, "q", 15.0)
    assert claimed.entry.lookup_failures == 2


# ---------------------------------------------------------------- what an answer changes


async def test_the_requests_that_are_open_are_counted_from_the_first_of_them(bench: QuestionBench) -> None:
    ref = await bench.unknown()
    began = (await bench.ledger.messages.entry(ref)).unknown_since
    await bench.pass_time(31)
    assert await bench.ledger.messages.settle(ref, "resend") == "retry"
    assert (await bench.ledger.messages.claim(ref, "mine", 60.0)).ours
    assert await bench.ledger.messages.unknown(ref, "mine", 30.0, "timeout") == "unknown"
    entry = await bench.ledger.messages.entry(ref)
    assert (entry.unknown_requests, entry.unknown_since) == (2, (began or 0) - 31_000)
    await bench.asking(ref)
    assert await bench.ledger.lookups.not_there(ref, "q", 900.0) == "retry"
    assert not {b"us", b"un", b"ut"} & (await bench.ledger.messages.entry(ref)).hash.keys()


async def test_an_answer_that_it_is_absent_spends_no_resend(bench: QuestionBench) -> None:
    ref = await bench.unknown()
    for _ in range(4):
        await bench.asking(ref)
        assert await bench.ledger.lookups.not_there(ref, "q", 9000.0) == "retry"
        assert (await bench.ledger.messages.claim(ref, "mine", 60.0)).ours
        assert await bench.ledger.messages.unknown(ref, "mine", 30.0, "timeout") == "unknown"
    for then in ("retry", "failed"):
        await bench.pass_time(31)
        assert await bench.ledger.messages.settle(ref, "resend", 1) == then
        if then == "retry":
            assert (await bench.ledger.messages.claim(ref, "mine", 60.0)).ours
            assert await bench.ledger.messages.unknown(ref, "mine", 30.0, "timeout") == "unknown"
    counts = await bench.counts()
    assert (counts["unknown_not_there"], counts["unknown_resend"], counts["unknown_fail"]) == (4, 1, 1)


async def test_a_message_that_is_absent_again_and_again_does_not_hold_its_conversation_for_ever(
    bench: QuestionBench,
) -> None:
    ref = await bench.asking(await bench.unknown())
    assert await bench.ledger.lookups.not_there(ref, "q", 100.0) == "failed"
    assert await bench.owed() == [("m-1", "Failed", "500")]


@pytest.mark.parametrize(
    ("status", "delivered", "state", "receipts"),
    [
        (SENT, False, "sent", []),
        (SENT, True, "delivered", [("m-1", "Delivered", "")]),
        (DELIVERED, False, "delivered", [("m-1", "Delivered", "")]),
        (FAILED, False, "failed", [("m-1", "Failed", "530")]),
        (UpdateStatus.REMOVED, False, "removed", [("m-1", "Removed", "")]),
    ],
)
async def test_a_message_that_is_found(
    bench: QuestionBench, status: UpdateStatus, delivered: bool, state: str, receipts: list[tuple[str, str, str]]
) -> None:
    ref = await bench.asking(await bench.unknown())
    behind = await bench.put("m-2")
    assert await bench.found(ref, "SM7", status=status, delivered=delivered) == state
    entry = await bench.ledger.messages.entry(ref)
    assert entry.provider_id(0) == "SM7"
    assert await bench.owed() == receipts
    assert await bench.queued() == [ref, behind]  # the conversation goes on
    assert not {b"us", b"un", b"ut", b"qk", b"qe", b"qj", b"qf"} & entry.hash.keys()
    assert (await bench.counts())["unknown_found"] == 1


async def test_one_part_of_several_is_found_and_the_next_goes_out(bench: QuestionBench) -> None:
    ref = await bench.sending()
    await bench.ledger.messages.parts(ref, "mine", 2)
    assert await bench.ledger.messages.unknown(ref, "mine", 30.0, "timeout") == "unknown"
    await bench.asking(ref)
    assert await bench.found(ref, "SM0", status=DELIVERED, count=2) == "next"
    assert (await bench.ledger.messages.claim(ref, "mine", 60.0)).ours
    assert await bench.taken(ref, part=1, count=2) == "sent"
    assert await bench.update(ref, "delivered", part=1) == "delivered"


# ---------------------------------------------------------------- whose an id is


async def test_an_id_that_is_anothers_is_never_ours(bench: QuestionBench) -> None:
    other = await bench.sent("m-2")
    assert await bench.whose("SM0") == [f"{other} 0"]
    ref = await bench.asking(await bench.unknown())
    assert await bench.found(ref, "SM0") == "taken"
    assert await bench.found(ref, "SM8", "SM0") == "taken"
    assert await bench.state(ref) == "unknown"
    assert await bench.found(ref, "SM8") == "sent"


async def test_of_two_who_find_the_same_one_gets_it(bench: QuestionBench) -> None:
    refs = [await bench.unknown(f"m-{n}", to_id=str(n)) for n in range(2)]
    await bench.pass_time(101)
    for ref in refs:
        assert await bench.ledger.lookups.ask(ref, 900.0) == "asking"
        assert await bench.question(ref) == "go"
    found = await asyncio.gather(*(bench.found(ref, "SM5") for ref in refs))
    assert sorted(found) == ["sent", "taken"]


async def _by_the_answer(b: QuestionBench) -> str:
    return await b.sent()


async def _by_an_early_update(b: QuestionBench) -> str:
    ref = await b.sending()
    assert await b.update(ref, "failed", reason="530") == "failed"
    return ref


async def _by_a_late_update(b: QuestionBench) -> str:
    ref = await b.unknown()
    await b.pass_time(31)
    assert await b.ledger.messages.settle(ref, "fail") == "failed"
    assert await b.update(ref, "delivered") == "late"
    return ref


async def _by_asking(b: QuestionBench) -> str:
    ref = await b.asking(await b.unknown())
    assert await b.found(ref, "SM1", "SM0") == "sent"
    assert await b.whose("SM1") == [f"{ref} 0"]
    return ref


@pytest.mark.parametrize("told", [_by_the_answer, _by_an_early_update, _by_a_late_update, _by_asking])
async def test_whatever_tells_us_an_id_makes_it_known(
    bench: QuestionBench, told: Callable[[QuestionBench], Awaitable[str]]
) -> None:
    ref = await told(bench)
    assert await bench.whose("SM0", "SM9") == [f"{ref} 0", ""]
    left = await bench.redis.pttl("dcb:id:acme:SM0")
    assert (KNOWN - 60) * 1000 < left <= KNOWN * 1000


async def test_an_id_whose_answer_could_not_be_read_is_learnt_from_an_update(bench: QuestionBench) -> None:
    ref = await bench.sending()
    assert await bench.ledger.messages.submitted(ref, "mine", 0, 1, "", delivered=False, confirm_within=100.0) == "sent"
    assert await bench.update(ref, "sent") == "noted"
    assert (await bench.ledger.messages.entry(ref)).provider_id(0) == "SM0"


async def test_two_messages_with_one_id_are_counted(bench: QuestionBench) -> None:
    """A search found another channel's message while its own answer was on the way."""
    ref, other = await bench.asking(await bench.unknown()), await bench.sending("m-2", to_id="2")
    assert await bench.found(ref, "SM0") == "sent"
    assert await bench.taken(other) == "sent"
    assert (await bench.counts())["found_twice"] == 1


async def test_ids_of_a_provider_that_cannot_be_asked_are_not_kept(bench: QuestionBench) -> None:
    await bench.ledger.pacing.announce({CHANNEL: "acme 0 1 0 0 1 0"})
    await bench.sent()
    assert await bench.keys("dcb:id:*") == []
