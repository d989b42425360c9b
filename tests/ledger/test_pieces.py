"""Pieces of a consumer's long SMS wait for each other, and are one message."""

from __future__ import annotations

import asyncio
from itertools import permutations

import orjson
import pytest
from redis.asyncio import Redis

from dcbridge.ledger import Ledger, NewPiece, NewTask, tasks
from dcbridge.ledger.fields import TaskEntry
from tests.ledger.ledger_bench import CHANNEL, KEEP, KEEP_DEAD, Bench

HEAD = b'{"from":"1","media":[],"provider":"acme","text":'
WAIT = 60.0


@pytest.fixture
def bench(redis: Redis) -> Bench:
    return Bench(redis)


def piece(number: int, text: str, *, count: int = 3, name: str = "", of: str = "set") -> NewPiece:
    return NewPiece(f"c-{name or number}", of, number, count, CHANNEL, "lane", HEAD, text, "trace")


async def put(bench: Bench, *pieces: NewPiece) -> list[str]:
    return [await bench.ledger.tasks.put_piece(one, WAIT, KEEP) for one in pieces]


async def claim(bench: Bench, task_id: str) -> TaskEntry:
    """What a worker gets of it; the claim has to be granted."""
    claimed = await bench.ledger.tasks.claim(task_id, "mine", 60.0)
    assert claimed.ours, claimed.why
    return claimed.entry


async def text(bench: Bench, task_id: str) -> str:
    return str(orjson.loads((await claim(bench, task_id)).payload)["text"])


@pytest.mark.parametrize("order", list(permutations((1, 2, 3))))
async def test_pieces_in_any_order_are_one_message(bench: Bench, order: tuple[int, ...]) -> None:
    texts = {1: "one ", 2: "two ", 3: "three"}
    assert await put(bench, *(piece(number, texts[number]) for number in order)) == ["new", "joined", "joined"]
    assert await text(bench, f"c-{order[0]}") == "one two three"
    assert await bench.redis.keys("dcb:pieces*") == []
    await bench.ledger.tasks.done(f"c-{order[0]}", "mine", KEEP)
    assert "two" not in repr((await bench.ledger.tasks.entry(f"c-{order[0]}")).hash)


async def test_a_piece_that_an_older_version_has_made_a_message_of_is_none_any_more(bench: Bench) -> None:
    """Its worker died before the callback was done, and one of this version reads that again."""
    older = NewTask("c-2", "consumer", "lane", HEAD + b'"two "}', "trace", CHANNEL)
    assert await bench.ledger.tasks.put([older]) == [True]
    await claim(bench, "c-2")
    await bench.ledger.tasks.done("c-2", "mine", KEEP)
    assert await put(bench, piece(2, "two ", count=2), piece(1, "one ", count=2)) == ["again", "new"]
    assert (await bench.ledger.tasks.entry("c-2")).state == "done"


async def test_a_piece_that_comes_again_changes_nothing(bench: Bench) -> None:
    assert await put(bench, piece(1, "one "), piece(1, "one ")) == ["new", "again"]
    assert await put(bench, piece(2, "two ", count=3), piece(3, "three")) == ["joined", "joined"]
    assert await text(bench, "c-1") == "one two three"
    await bench.ledger.tasks.done("c-1", "mine", KEEP)
    assert await put(bench, piece(1, "one "), piece(2, "two "), piece(3, "three")) == ["again"] * 3


async def test_nothing_is_posted_before_the_last_piece_or_the_end_of_the_wait(bench: Bench) -> None:
    await put(bench, piece(1, "one "), piece(3, "three"))
    assert (await bench.ledger.tasks.claim("c-1", "mine", 60.0)).why == "not yet"
    await bench.pass_time(WAIT - 1)
    await bench.ledger.sweep.run()
    assert (await bench.ledger.tasks.claim("c-1", "mine", 60.0)).why == "not yet"
    await bench.redis.delete("rq:queue:inbound")
    await bench.pass_time(2)
    await bench.ledger.sweep.run()
    assert await bench.queued("inbound") == ["c-1"]
    entry = await claim(bench, "c-1")
    assert orjson.loads(entry.payload)["text"] == "one […]three"
    assert (entry.piece_count, entry.pieces_here) == (3, 2)


async def test_a_piece_that_comes_too_late_is_a_message_of_its_own(bench: Bench) -> None:
    await put(bench, piece(1, "one "), piece(3, "three"))
    await bench.pass_time(WAIT + 1)
    await claim(bench, "c-1")
    assert await put(bench, piece(2, "two ")) == ["new"]
    await bench.ledger.tasks.done("c-1", "mine", KEEP)
    await bench.pass_time(WAIT + 1)
    assert await text(bench, "c-2") == "[…]two […]"


async def test_two_messages_with_one_reference_number_stay_two(bench: Bench) -> None:
    """A phone counts to 255 and begins again."""
    await put(bench, piece(1, "one "), piece(2, "two "))
    assert await put(bench, piece(1, "eins ", name="4")) == ["new"]
    assert await put(bench, piece(2, "zwei ", name="5"), piece(3, "drei", name="6")) == ["joined", "joined"]
    assert await text(bench, "c-1") == "one two […]"
    await bench.ledger.tasks.done("c-1", "mine", KEEP)
    assert await text(bench, "c-4") == "eins zwei drei"
    await bench.ledger.tasks.done("c-4", "mine", KEEP)
    assert await put(bench, piece(1, "uno", count=2, name="7"), piece(2, " due", count=2, name="8")) == [
        "new",
        "joined",
    ]


async def test_what_is_written_next_waits_for_the_pieces(bench: Bench) -> None:
    await put(bench, piece(1, "one ", count=2))
    await bench.ledger.tasks.put([NewTask("c-next", "consumer", "lane", b"{}", "", CHANNEL)])
    assert (await bench.ledger.tasks.claim("c-next", "mine", 60.0)).why == "not its turn"
    await put(bench, piece(2, "two", count=2))
    assert await text(bench, "c-1") == "one two"
    await bench.ledger.tasks.done("c-1", "mine", KEEP)
    assert (await bench.ledger.tasks.claim("c-next", "mine", 60.0)).ours


async def test_pieces_behind_another_message_wait_for_their_turn_and_are_woken(bench: Bench) -> None:
    await bench.ledger.tasks.put([NewTask("c-first", "consumer", "lane", b"{}", "", CHANNEL)])
    await put(bench, piece(1, "one ", count=2))
    await bench.ledger.tasks.claim("c-first", "mine", 60.0)
    await bench.ledger.tasks.done("c-first", "mine", KEEP)
    assert (await bench.ledger.tasks.claim("c-1", "mine", 60.0)).why == "not yet"
    await bench.redis.delete("rq:queue:inbound")
    await put(bench, piece(2, "two", count=2))
    assert await bench.queued("inbound") == ["c-1"]
    assert await text(bench, "c-1") == "one two"


async def test_pieces_at_two_workers_at_once_are_one_message(bench: Bench, redis: Redis) -> None:
    other = Ledger(redis, keep=KEEP, keep_dead=KEEP_DEAD)
    sides = (bench.ledger.tasks, other.tasks)
    said = await asyncio.gather(
        *(sides[n % 2].put_piece(piece(n + 1, f"{n:03}", count=255), WAIT, KEEP) for n in range(255))
    )
    assert sorted(said) == ["joined"] * 254 + ["new"]
    [task_id] = [f"c-{n + 1}" for n, word in enumerate(said) if word == "new"]
    assert await text(bench, task_id) == "".join(f"{n:03}" for n in range(255))


async def test_no_more_messages_wait_than_there_may_be(bench: Bench, redis: Redis) -> None:
    """The one that waited longest is posted as it is."""
    await put(bench, *(piece(1, "one", name=f"{n}", of=f"set-{n}") for n in range(3)))
    await redis.zadd("dcb:pieces", {f"c-x{n}": 9e15 for n in range(tasks.MOST_WAITING - 3)})
    assert (await bench.ledger.tasks.claim("c-0", "mine", 60.0)).why == "not yet"
    await put(bench, piece(1, "one", name="last", of="set-last"))
    assert await text(bench, "c-0") == "one[…][…]"
    assert (await bench.ledger.tasks.claim("c-1", "mine", 60.0)).why == "not its turn"


async def test_a_task_that_fails_at_the_agents_side_keeps_its_whole_text(bench: Bench) -> None:
    await put(bench, piece(1, "one ", count=2), piece(2, "two", count=2))
    await claim(bench, "c-1")
    await bench.ledger.tasks.retry("c-1", "mine", 0.0, "http 503")
    assert await text(bench, "c-1") == "one two"
