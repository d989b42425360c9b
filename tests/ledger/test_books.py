"""The books: figures that are counted apart, and a difference that shows when they disagree."""

from __future__ import annotations

from typing import cast

import pytest
from redis.asyncio import Redis

from dcbridge.ledger import NewTask
from dcbridge.ledger.fields import Kind
from dcbridge.ledger.reports.books import ChannelBooks, read, together
from tests.ledger.ledger_bench import CHANNEL, Bench, new_message


@pytest.fixture
def bench(redis: Redis) -> Bench:
    return Bench(redis)


async def test_an_empty_redis_has_empty_books(bench: Bench) -> None:
    books = await read(bench.redis)
    assert (books.channels, books.difference, books.in_flight, books.dead_letters) == ((), 0, 0, 0)
    assert books.queued == {"receipts": 0, "inbound": 0, "outbound": 0, "events": 0}
    assert books.tasks == {"callback": 0, "consumer": 0}


async def test_every_figure(bench: Bench) -> None:
    delivered = await bench.sending("m-1", to_id="1")
    await bench.taken(delivered, delivered=True)
    failed = await bench.sending("m-2", to_id="2")
    await bench.ledger.messages.fail(failed, "mine", 530, "")
    removed = await bench.sent("m-3", to_id="3")
    await bench.update(removed, "removed")
    unconfirmed = await bench.sent("m-4", to_id="4")
    await bench.pass_time(101)
    await bench.ledger.messages.confirm_over(unconfirmed, "", "")
    await bench.put("m-5", to_id="5")
    await bench.put("m-6", channel_id="another")
    await bench.ledger.messages.accept([])
    assert await bench.ledger.messages.accept([new_message("m-5", to_id="5")]) == [False]
    await bench.ledger.tasks.put([NewTask("b-1", "callback", "", b"")])
    await bench.ledger.events.put_batch("x", "main", "", b"{}")
    await bench.ledger.dead_letters.add("d", cast(Kind, "what"), "", "why", b"")
    await bench.pass_time(50)
    books = await read(bench.redis)
    mine, another = books.channels
    assert (mine.channel_id, another.channel_id) == (CHANNEL, "another")
    assert (mine.accepted, mine.delivered, mine.failed, mine.removed, mine.unconfirmed) == (5, 1, 1, 1, 1)
    assert (mine.in_flight, mine.redelivered, mine.receipts_waiting, mine.difference) == (1, 1, 3, 0)
    assert 45 < mine.oldest_age < 500
    assert 45 < mine.oldest_receipt_age < 500
    assert (another.accepted, another.in_flight, another.oldest_receipt_age) == (1, 1, 0)
    assert (books.queued["outbound"], books.tasks["callback"], books.dead_letters) == (6, 1, 1)
    assert (books.interaction_batches, books.in_flight, books.difference) == (2, 2, 0)  # one tells of the dead letter
    assert books.counts["callback_accepted"] == 1


@pytest.mark.parametrize(("figure", "by"), [("accepted", 1), ("delivered", 1), ("failed", -1)])
async def test_a_figure_that_is_off_by_one_shows(bench: Bench, figure: str, by: int) -> None:
    await bench.sending()
    assert await bench.difference() == 0
    await bench.redis.hincrby(f"dcb:books:{CHANNEL}", figure, by)
    assert await bench.difference() == 1


async def test_a_message_that_vanished_shows(bench: Bench) -> None:
    ref = await bench.put()
    await bench.redis.zrem(f"dcb:open:{CHANNEL}", ref)
    assert await bench.difference() == 1


def test_two_channels_that_are_off_in_opposite_ways_do_not_make_it_right() -> None:
    more = ChannelBooks("a", 2, 1, 0, 0, 0, 0, 3, 10.0, 1, 5.0)
    less = ChannelBooks("b", 0, 1, 0, 0, 0, 0, 4, 20.0, 2, 1.0)
    assert (more.difference, less.difference) == (1, -1)
    both = together("(unknown)", [more, less])
    assert (both.accepted, both.redelivered, both.oldest_age, both.oldest_receipt_age) == (2, 7, 20.0, 5.0)
    assert both.difference == 0  # why Books.difference adds amounts and not signs
