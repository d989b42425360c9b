"""Every verb in every state: what it answers and where the message is afterwards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis

from dcbridge.ledger import lane_of
from dcbridge.ledger.reports.books import TERMINAL
from tests.ledger.ledger_bench import CHANNEL, CONSUMER, Bench, new_message

REF = new_message().ref


@pytest.fixture
def bench(redis: Redis) -> Bench:
    return Bench(redis)


async def _nothing(b: Bench) -> None:
    """No such message."""


async def _accepted(b: Bench) -> None:
    await b.put()


async def _behind(b: Bench) -> None:
    await b.put("m-0")
    await b.put()


async def _too_old(b: Bench) -> None:
    await b.put(time_to_live=10.0)
    await b.pass_time(11)


async def _sending(b: Bench) -> None:
    await b.sending()


async def _another_has_it(b: Bench) -> None:
    await b.sending(token="another's")


async def _lease_over(b: Bench) -> None:
    await b.sending(lease=60.0)
    await b.pass_time(61)


async def _told_sent(b: Bench) -> None:
    await b.sending()
    assert await b.update(REF, "sent") == "parked"


async def _told_delivered(b: Bench) -> None:
    await b.sending()
    assert await b.update(REF, "delivered") == "parked"


async def _retry_later(b: Bench) -> None:
    await b.sending()
    assert await b.retry(REF, delay=5.0) == "retry"


async def _retry_due(b: Bench) -> None:
    await _retry_later(b)
    await b.pass_time(6)


async def _unknown(b: Bench) -> None:
    await b.sending()
    assert await b.ledger.messages.unknown(REF, "mine", 30.0, "timeout") == "unknown"


async def _grace_over(b: Bench) -> None:
    await _unknown(b)
    await b.pass_time(31)


async def _sent(b: Bench) -> None:
    await b.sent()


async def _told_sent_after(b: Bench) -> None:
    await b.sent()
    assert await b.update(REF, "sent") == "noted"


async def _confirm_over(b: Bench) -> None:
    await b.sent()
    await b.pass_time(101)


async def _delivered(b: Bench) -> None:
    await b.sending()
    assert await b.taken(REF, delivered=True) == "delivered"


async def _failed(b: Bench) -> None:
    await b.sending()
    assert await b.ledger.messages.fail(REF, "mine", 530, "21211") == "failed"


async def _removed(b: Bench) -> None:
    await b.sent()
    assert await b.update(REF, "removed") == "removed"


async def _unconfirmed(b: Bench) -> None:
    await _confirm_over(b)
    assert await b.ledger.messages.confirm_over(REF, "", "") == "unconfirmed"


STATES: dict[str, Callable[[Bench], Awaitable[None]]] = {
    "nothing": _nothing,
    "accepted": _accepted,
    "behind": _behind,
    "too_old": _too_old,
    "sending": _sending,
    "another_has_it": _another_has_it,
    "lease_over": _lease_over,
    "told_sent": _told_sent,
    "told_delivered": _told_delivered,
    "retry_later": _retry_later,
    "retry_due": _retry_due,
    "unknown": _unknown,
    "grace_over": _grace_over,
    "sent": _sent,
    "told_sent_after": _told_sent_after,
    "confirm_over": _confirm_over,
    "delivered": _delivered,
    "failed": _failed,
    "removed": _removed,
    "unconfirmed": _unconfirmed,
}

VERBS: dict[str, Callable[[Bench], Awaitable[str]]] = {
    "claim": lambda b: _claim(b, "mine"),
    "taken": lambda b: b.taken(REF),
    "instant": lambda b: b.taken(REF, delivered=True),
    "again": lambda b: b.retry(REF),
    "fail": lambda b: b.ledger.messages.fail(REF, "mine", 530, "21211"),
    "unknown": lambda b: b.ledger.messages.unknown(REF, "mine", 30.0, "timeout"),
    "swept": lambda b: b.ledger.messages.unknown(REF, "", 30.0, "lease ended"),
    "resend": lambda b: b.ledger.messages.settle(REF, "resend"),
    "give_up": lambda b: b.ledger.messages.settle(REF, "fail"),
    "no_word": lambda b: b.ledger.messages.confirm_over(REF, "", ""),
    "+sent": lambda b: b.update(REF, "sent"),
    "+deliv": lambda b: b.update(REF, "delivered"),
    "+failed": lambda b: b.update(REF, "failed", reason="530", detail="30005"),
    "+remov": lambda b: b.update(REF, "removed"),
}


async def _claim(b: Bench, token: str) -> str:
    return (await b.ledger.messages.claim(REF, token, 60.0)).why


# Two lines a state: what the verb answers, and the state afterwards ("." where it stays as it was).
GRID = """
                claim    taken    instant  again    fail     unknown  swept    resend   give_up  no_word     +sent    +deliv   +failed  +remov
nothing         gone     stale    stale    stale    stale    stale    stale    stale    stale    stale       gone     gone     gone     gone
                .        .        .        .        .        .        .        .        .        .           .        .        .        .
accepted        go       stale    stale    stale    stale    stale    stale    stale    stale    stale       sent     delivered failed  removed
                sending  .        .        .        .        .        .        .        .        .           sent     delivered failed  removed
behind          not_its_turn stale stale   stale    stale    stale    stale    stale    stale    stale       sent     delivered failed  removed
                .        .        .        .        .        .        .        .        .        .           sent     delivered failed  removed
too_old         expired  stale    stale    stale    stale    stale    stale    stale    stale    stale       sent     delivered failed  removed
                failed   .        .        .        .        .        .        .        .        .           sent     delivered failed  removed
sending         go       sent     delivered retry   failed   unknown  stale    stale    stale    stale       parked   parked   failed   removed
                .        sent     delivered retry   failed   unknown  .        .        .        .           .        .        failed   removed
another_has_it  busy     parked   parked    stale    stale    stale    stale    stale    stale    stale       parked   parked   failed   removed
                .        .        .         .        .        .        .        .        .        .           .        .        failed   removed
lease_over      go       sent     delivered retry   failed   unknown  unknown  stale    stale    stale       parked   parked   failed   removed
                .        sent     delivered retry   failed   unknown  unknown  .        .        .           .        .        failed   removed
told_sent       go       sent     delivered sent    sent     sent     stale    stale    stale    stale       repeated parked   failed   removed
                .        sent     delivered sent    sent     sent     .        .        .        .           .        .        failed   removed
told_delivered  go       delivered delivered delivered delivered delivered stale stale  stale    stale       repeated repeated repeated repeated
                .        delivered delivered delivered delivered delivered .   .        .        .           .        .        .        .
retry_later     not_yet  sent     delivered stale    stale    stale    stale    stale    stale    stale       sent     delivered failed   removed
                .        sent     delivered .        .        .        .        .        .        .           sent     delivered failed   removed
retry_due       go       sent     delivered stale    stale    stale    stale    stale    stale    stale       sent     delivered failed   removed
                sending  sent     delivered .        .        .        .        .        .        .           sent     delivered failed   removed
unknown         unknown  sent     delivered stale    stale    stale    stale    stale    stale    stale       sent     delivered failed   removed
                .        sent     delivered .        .        .        .        .        .        .           sent     delivered failed   removed
grace_over      unknown  sent     delivered stale    stale    stale    stale    retry    failed   stale       sent     delivered failed   removed
                .        sent     delivered .        .        .        .        retry    failed   .           sent     delivered failed   removed
sent            sent     stale    stale    stale    stale    stale    stale    stale    stale    stale       noted    delivered failed  removed
                .        .        .        .        .        .        .        .        .        .           .        delivered failed  removed
told_sent_after sent     stale    stale    stale    stale    stale    stale    stale    stale    stale       repeated delivered failed  removed
                .        .        .        .        .        .        .        .        .        .           .        delivered failed  removed
confirm_over    sent     stale    stale    stale    stale    stale    stale    stale    stale    unconfirmed noted    delivered failed  removed
                .        .        .        .        .        .        .        .        .        unconfirmed .        delivered failed  removed
delivered       delivered stale   stale    stale    stale    stale    stale    stale    stale    stale       late     late     late     late
                .        .        .        .        .        .        .        .        .        .           .        .        .        .
failed          failed   stale    stale    stale    stale    stale    stale    stale    stale    stale       late     late     late     late
                .        .        .        .        .        .        .        .        .        .           .        .        .        .
removed         removed  stale    stale    stale    stale    stale    stale    stale    stale    stale       late     late     late     late
                .        .        .        .        .        .        .        .        .        .           .        .        .        .
unconfirmed     unconfirmed stale stale    stale    stale    stale    stale    stale    stale    stale       late     late     late     late
                .        .        .        .        .        .        .        .        .        .           .        .        .        .
"""  # noqa: E501 (a grid)


def rows() -> list[tuple[str, str, str, str]]:
    verbs, *lines = [line.split() for line in GRID.strip("\n").splitlines()]
    found = []
    for (state, *answers), after in zip(lines[::2], lines[1::2], strict=True):
        found += [(state, *row) for row in zip(verbs, answers, after, strict=True)]
    return found


def test_the_grid_is_whole() -> None:
    assert {state for state, _, _, _ in rows()} == set(STATES)
    assert len(rows()) == len(STATES) * len(VERBS)


@pytest.mark.parametrize("state", STATES)
async def test_every_verb_in_this_state(bench: Bench, state: str) -> None:
    for name, verb, answer, after in rows():
        if name != state:
            continue
        await bench.redis.flushall()
        await STATES[state](bench)
        before = await bench.state(REF)
        assert (await VERBS[verb](bench)).replace(" ", "_") == answer, verb
        now = await bench.state(REF)
        assert now == (before if after == "." else after), verb
        assert await bench.difference() == 0, verb
        await _is_consistent(bench, now, verb)


async def _is_consistent(bench: Bench, state: str, verb: str) -> None:
    """What every state brings along: place in the lane, due time, open list, receipt."""
    lanes = await bench.lanes()
    mine = f"m:{REF}"
    in_lane = mine in lanes.get(f"dcb:lane:{lane_of(CHANNEL, CONSUMER)}", [])
    assert in_lane == (state in ("accepted", "sending", "retry", "unknown")), verb
    is_open = await bench.redis.zscore(f"dcb:open:{CHANNEL}", REF) is not None
    assert is_open == (state not in (*TERMINAL, "gone")), verb
    is_due = await bench.redis.zscore("dcb:due", mine) is not None
    assert is_due == (state == "sent" or in_lane), verb  # one behind another: when its time to live ends
    receipts = {(mid, status) for mid, status, _ in await bench.owed() if mid == "m-1"}
    status = {"delivered": "Delivered", "failed": "Failed", "removed": "Removed"}.get(state)
    assert receipts == ({("m-1", status)} if status else set()), verb
    if state in (*TERMINAL, "sent"):
        assert not await bench.redis.hexists(f"dcb:m:{REF}", "p"), verb


async def test_the_same_claim_again_counts_one_attempt_and_has_its_whole_lease(bench: Bench) -> None:
    ref = await bench.put()
    first = await bench.ledger.messages.claim(ref, "mine", 60.0)
    due = await bench.redis.zscore("dcb:due", f"m:{ref}")
    again = await bench.ledger.messages.claim(ref, "mine", 60.0)
    assert {**again.entry.hash, b"le": b""} == {**first.entry.hash, b"le": b""}
    assert again.entry.attempts == 1
    assert (again.entry.lease_ends or 0) >= (first.entry.lease_ends or 0) > 0
    assert (await bench.redis.zscore("dcb:due", f"m:{ref}") or 0) >= (due or 0) > 0


async def test_who_lost_the_claim_changes_nothing_even_after_the_message_moved_on(bench: Bench) -> None:
    ref = await bench.sending(token="first", lease=60.0)
    await bench.pass_time(61)
    assert await bench.ledger.messages.unknown(ref, "", 0.0, "lease ended") == "unknown"
    assert await bench.ledger.messages.settle(ref, "resend") == "retry"
    assert (await bench.ledger.messages.claim(ref, "second", 60.0)).ours
    entry = await bench.ledger.messages.entry(ref)
    assert await bench.retry(ref, "first") == "stale"
    assert await bench.ledger.messages.fail(ref, "first", 500, "x") == "stale"
    assert await bench.ledger.messages.unknown(ref, "first", 0.0, "x") == "stale"
    await bench.ledger.messages.parts(ref, "first", 7)
    assert await bench.ledger.messages.entry(ref) == entry
    assert await bench.taken(ref, "second") == "sent"
    assert await bench.taken(ref, "first") == "stale"


@pytest.mark.parametrize("again", [False, True])
async def test_a_worker_given_up_for_dead_that_answers_after_all_is_believed(bench: Bench, again: bool) -> None:
    """The provider has the message: it is not sent again, or not a third time."""
    ref = await bench.sending(token="first", lease=60.0)
    await bench.pass_time(61)
    assert await bench.ledger.messages.unknown(ref, "", 5.0, "lease ended") == "unknown"
    if again:
        await bench.pass_time(6)
        assert await bench.ledger.messages.settle(ref, "resend") == "retry"
        assert (await bench.ledger.messages.claim(ref, "second", 60.0)).ours
        assert await bench.taken(ref, "first") == "parked"
        assert await bench.ledger.messages.unknown(ref, "second", 5.0, "timeout") == "sent"
    else:
        assert await bench.taken(ref, "first") == "sent"
    assert (await bench.ledger.messages.claim(ref, "third", 60.0)).why == "sent"


@pytest.mark.parametrize("verb", ["claim", "taken", "instant", "again", "fail", "unknown"])
async def test_a_verb_whose_answer_was_lost_may_be_said_again(bench: Bench, verb: str) -> None:
    ref = await (bench.put() if verb == "claim" else bench.sending())
    await VERBS[verb](bench)
    entry, books = await bench.ledger.messages.entry(ref), await bench.whole_database()
    assert await VERBS[verb](bench) in ("go", "stale")
    assert {**(await bench.ledger.messages.entry(ref)).hash, b"le": b""} == {
        **entry.hash,
        b"le": b"",
    }  # a claim begins its lease anew
    assert (await bench.whole_database()).count(b"rq:job:") == books.count(b"rq:job:")


@pytest.mark.parametrize(
    ("delay", "time_to_live", "lane_limit", "state", "reason"),
    [
        (9.0, 10.0, 0.0, "retry", None),
        (10.1, 10.0, 0.0, "failed", "305"),  # the configuration's words: "after that it fails with 305"
        (9.0, 100.0, 10.0, "retry", None),
        (10.1, 100.0, 10.0, "failed", "310"),  # the lane's limit: why it was held up
        (99.0, 100.0, 0.0, "retry", None),  # 0: no limit but the time to live
    ],
)
async def test_a_retry_within_its_limits(
    bench: Bench, delay: float, time_to_live: float, lane_limit: float, state: str, reason: str | None
) -> None:
    ref = await bench.sending(time_to_live=time_to_live)
    assert await bench.retry(ref, delay=delay, lane_limit=lane_limit) == state
    assert (await bench.ledger.messages.entry(ref)).reason == (reason or "")


async def test_what_a_provider_said_of_an_earlier_try_outweighs_how_the_later_one_ended(bench: Bench) -> None:
    """Sent twice for want of an answer; the first is confirmed while the second is refused."""
    ref = await bench.sending()
    await bench.ledger.messages.unknown(ref, "mine", 0.0, "timeout")
    assert await bench.ledger.messages.settle(ref, "resend") == "retry"
    assert (await bench.ledger.messages.claim(ref, "second", 60.0)).ours
    assert await bench.update(ref, "delivered") == "parked"
    assert await bench.ledger.messages.fail(ref, "second", 530, "21211") == "delivered"
    assert await bench.owed() == [("m-1", "Delivered", "")]
