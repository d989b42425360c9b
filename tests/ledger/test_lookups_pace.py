"""Questions obey the pace, the pause and the breaker of their provider."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import pytest
from redis.asyncio import Redis

from tests.ledger.lookup_bench import QuestionBench


@pytest.fixture
async def bench(redis: Redis) -> QuestionBench:
    made = QuestionBench(redis)
    await made.limit()
    return made


async def _questions(bench: QuestionBench, count: int, first: int = 0) -> Sequence[str]:
    """Messages of unknown outcome whose jobs are queued; no pace held them back."""
    await bench.limit()
    refs = [await bench.unknown(f"m-{n}", to_id=str(n)) for n in range(first, first + count)]
    await bench.pass_time(101)
    for ref in refs:
        assert await bench.ledger.lookups.ask(ref, 900.0) == "asking"
    return refs


async def test_nobody_is_asked_while_the_breaker_is_open(bench: QuestionBench) -> None:
    [ref] = await _questions(bench, 1)
    parked = await bench.put("m-9", to_id="9")
    assert await bench.record_failure(ref, at_once=True) == "opened"
    assert await bench.claim(parked) == "parked"
    assert await bench.question(ref) == "parked"
    await bench.pass_time(7)
    assert await bench.ledger.lookups.ask(ref, 900.0) == "asking"
    assert await bench.question(ref) == "parked"
    await bench.ledger.pacing.record_success("acme", ref)
    await bench.pass_time(9)
    assert await bench.ledger.lookups.ask(ref, 900.0) == "asking"
    assert await bench.question(ref) == "go"


async def test_where_no_message_can_try_whether_the_provider_is_back_a_question_does(bench: QuestionBench) -> None:
    first, second = await _questions(bench, 2)
    parked = await bench.put("m-9", to_id="9")
    assert await bench.record_failure(first, at_once=True) == "opened"
    assert await bench.claim(parked) == "parked"
    await bench.pass_time(7)
    assert await bench.ledger.lookups.ask(first, 900.0) == "stale"  # its job still waits
    assert await bench.question(first) == "parked"  # the message will try
    await bench.redis.delete("dcb:parked:acme")
    await bench.pass_time(7)
    assert await bench.ledger.lookups.ask(first, 900.0) == "asking"
    claimed = await bench.ledger.lookups.claim(first, "q", 15.0)
    assert (claimed.why, claimed.entry.lookup_is_probe) == ("go", True)
    assert await bench.question(second) == "parked"
    assert await bench.record_failure(first) == "open"  # it failed: the next try is later
    assert await bench.ledger.lookups.again(first, "q", 0.0, 1) == "again"
    assert await bench.ledger.lookups.ask(first, 900.0) == "asking"
    assert await bench.question(first, "again") == "parked"
    await bench.pass_time(11)
    assert await bench.ledger.lookups.ask(first, 900.0) == "asking"
    assert (await bench.ledger.lookups.claim(first, "again", 15.0)).entry.lookup_is_probe
    await bench.ledger.pacing.record_success("acme", first)
    assert await bench.question(second) == "not asked"
    await bench.pass_time(2)
    assert await bench.ledger.lookups.ask(second, 900.0) == "asking"
    claimed = await bench.ledger.lookups.claim(second, "q", 15.0)
    assert (claimed.why, claimed.entry.lookup_is_probe) == ("go", False)


async def test_nobody_is_asked_while_the_provider_wants_silence(bench: QuestionBench) -> None:
    [ref] = await _questions(bench, 1)
    await bench.ledger.pauses.begin("acme", 60.0)
    assert await bench.question(ref) == "paused"
    assert await bench.sweep() == []
    await bench.pass_time(61)
    assert [d.id for d in await bench.sweep()] == [ref]
    assert await bench.ledger.lookups.ask(ref, 900.0) == "asking"
    assert await bench.question(ref) == "go"


async def test_questions_have_the_rate_of_messages_and_take_none_of_it(bench: QuestionBench) -> None:
    refs = await _questions(bench, 3)
    await bench.limit(provider="0.02 2 0")
    assert [await bench.question(ref) for ref in refs] == ["go", "go", "paced"]
    sending = [await bench.put(f"n-{n}", to_id=f"n{n}") for n in range(3)]
    assert [await bench.claim(ref) for ref in sending] == ["go", "go", "paced"]
    await bench.pass_time(51)
    assert await bench.ledger.lookups.ask(refs[2], 900.0) == "asking"
    assert await bench.question(refs[2]) == "go"


async def test_a_place_in_flight_is_given_back_by_every_answer(bench: QuestionBench) -> None:
    refs = await _questions(bench, 7)
    await bench.limit(provider="0 1 1")
    ends: list[Callable[[str], Awaitable[str]]] = [
        lambda ref: bench.found(ref, "SM9"),
        lambda ref: bench.ledger.lookups.not_there(ref, "q", 900.0),
        lambda ref: bench.ledger.lookups.again(ref, "q", 60.0),
        lambda ref: bench.ledger.messages.settle(ref, "resend", token="q"),
        lambda ref: bench.ledger.messages.settle(ref, "fail", token="q"),
    ]
    for ref, end in zip(refs, ends, strict=False):
        assert await bench.question(ref) == "go"
        assert await bench.question(refs[-1], "another") == "held"
        await bench.pass_time(2)
        assert await bench.ledger.lookups.ask(refs[-1], 900.0) == "asking"
        assert await end(ref) != "stale"
    assert await bench.question(refs[-1], "another") == "go"
    assert await bench.question(refs[-2]) == "held"
    await bench.pass_time(16)  # the asker died
    assert await bench.ledger.lookups.ask(refs[-2], 900.0) == "asking"
    assert await bench.question(refs[-2]) == "go"
