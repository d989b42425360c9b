"""What is left of messages that the ledger forgets, and what `dcbridge reconcile` says of them."""

from __future__ import annotations

import time
from typing import Any

import pytest
from redis.asyncio import Redis

from dcbridge.genesys.exports import KeptMessage
from dcbridge.ledger import NewTask
from dcbridge.ledger.digests import ENTRY, PIECE, Digest, begins, day_of, days_between, entry
from dcbridge.ledger.reports.kept import OurMessage, our_messages
from dcbridge.reconcile import DIGEST, TOO_OLD, Comparison
from dcbridge.settings.process import DAY
from tests.ledger.ledger_bench import CHANNEL, Bench, new_message
from workers.digests import AFTER, write_due


@pytest.fixture
def bench(redis: Redis) -> Bench:
    return Bench(redis)


D = begins("2026-11-10")
WHOLE = {"since": D, "until": D + DAY, "remembered": D + 30 * DAY}


def made(*ids: str, state: str = "delivered") -> Digest:
    return Digest(sorted(entry(one, state) for one in ids))


def kept(name: str, at: float = D + 1000, channel: str = "a") -> KeptMessage:
    return KeptMessage("f:1", "i", (name,), channel, at)


def test_a_digest_finds_what_it_has_and_says_what_was_not_asked_for() -> None:
    names = [f"1613474523265-{n}" for n in range(3000)]
    digest = made(*names)
    assert (len(digest), len(digest.data)) == (3000, 3000 * ENTRY)
    assert [digest.find(one) for one in names[1:]] == ["delivered"] * 2999
    assert not any(digest.find(f"{one}x") for one in names)
    [(mark, state)] = digest.unseen()
    assert (mark, state) == (entry(names[0], "")[:-1].hex(), "delivered")
    assert [made("x", state=one).find("x") for one in ("failed", "posted", "retry")] == [
        "failed",
        "posted",
        "not ended",
    ]
    assert (Digest([]).find("x"), [*Digest([]).unseen()]) == ("", [])


@pytest.mark.parametrize(
    ("mine", "theirs", "sets", "why"),
    [
        (["1"], [kept("1")], (1, 0, 0, 0), ""),
        (["1"], [kept("1", channel="")], (1, 0, 0, 0), ""),
        (["1"], [kept("1", at=D + DAY + 30)], (1, 0, 0, 0), ""),  # the clocks may disagree
        (["1"], [kept("1"), kept("2")], (1, 0, 1, 0), ""),
        (["1", "2"], [kept("1")], (1, 1, 0, 0), DIGEST),
        (["1"], [kept("1"), kept("1", channel="b")], (1, 0, 1, 0), ""),
        (["1"], [kept("1"), kept("x", at=D - DAY)], (1, 0, 0, 1), TOO_OLD),  # of that day there is none
    ],
)
def test_forgotten_messages_are_compared(
    mine: list[str], theirs: list[KeptMessage], sets: tuple[int, int, int, int], why: str
) -> None:
    given: dict[str, Any] = WHOLE | ({"since": D - DAY} if why == TOO_OLD else {})
    digests = {day_of(D): {"a": made(*mine)}}
    comparison = Comparison({"a", "b"}, given["since"], given["until"], 10, given["remembered"], digests)
    for one in theirs:
        comparison.theirs(one)
    found = comparison.result()
    counts = (found.both.count, found.only_ours.count, found.only_theirs.count, found.ambiguous.count)
    assert counts == sets
    assert [line.why for line in (*found.only_ours.first, *found.ambiguous.first)] == ([why] if why else [])


def test_of_a_day_that_is_not_whole_in_the_period_nothing_is_missed() -> None:
    comparison = Comparison({"a"}, D + 1, D + DAY, 10, D + 30 * DAY, {day_of(D): {"a": made("1")}})
    assert comparison.result().only_ours.count == 0


def test_what_is_remembered_is_not_taken_from_a_digest() -> None:
    comparison = Comparison({"a"}, D, D + DAY, 10, D + DAY / 2, {day_of(D): {"a": made("1", "2")}})
    comparison.ours(OurMessage("ref-2", "agent", "a", "2", D + DAY / 2 + 1, "delivered"))
    comparison.theirs(kept("1"))
    found = comparison.result()
    assert [line.ref for line in found.only_ours.first] == ["ref-2"]
    assert found.both.count == 1


async def test_each_day_is_written_once_when_it_is_over(redis: Redis, bench: Bench) -> None:
    ledger, now = bench.ledger, time.time()
    await ledger.messages.accept([new_message(f"m-{n}") for n in range(3)])
    await ledger.tasks.put([NewTask("c-1", "consumer", "lane", b"{}", "trace", CHANNEL)])
    await ledger.tasks.claim("c-1", "t", 60.0)
    await ledger.tasks.done("c-1", "t", 3600.0, ids="their-1 their-2")
    midnight = begins(day_of(now)) + DAY
    assert day_of(now) not in await write_due(ledger, midnight + AFTER - 1, 7 * DAY, 40)
    due = await write_due(ledger, midnight + AFTER + 1, 7 * DAY, 40)
    assert due[-1] == day_of(now)
    assert await write_due(ledger, midnight + AFTER + 2, 7 * DAY, 40) == []
    assert (await ledger.digests.counts())[day_of(now)] == 5
    live = [one async for _, page in our_messages(redis) for one in page]
    digests = {day_of(now): await ledger.digests.read(day_of(now))}
    assert all(digests[day_of(one.at)][one.channel].find(one.id) for one in live)
    assert 0 < await redis.pttl(f"dcb:digest:{day_of(now)}") <= 40 * DAY * 1000
    later = begins(day_of(now)) + 42 * DAY
    assert len(await write_due(ledger, later, 7 * DAY, 40)) > 0
    assert day_of(now) not in await ledger.digests.counts()


async def test_a_large_day_comes_in_pieces(bench: Bench) -> None:
    entries = b"".join(entry(f"id-{n}", "delivered") for n in range(PIECE // ENTRY + 10))
    assert (
        await bench.ledger.digests.write("2026-11-10", {"a b": entries + entries[:ENTRY]}, 60.0) == PIECE // ENTRY + 10
    )
    found = (await bench.ledger.digests.read("2026-11-10"))["a b"]
    assert len(found) == PIECE // ENTRY + 10
    assert found.find("id-0") == found.find(f"id-{PIECE // ENTRY + 9}") == "delivered"


def test_days() -> None:
    assert [*days_between("2026-02-27", "2026-03-01")] == ["2026-02-27", "2026-02-28", "2026-03-01"]
    assert day_of(begins("2026-11-10") - 1) == "2026-11-09"
