"""The first page: the books as a bar, what needs attention, and who is well."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from dcbridge.console.access import Role
from dcbridge.ledger.controls import Target, What
from tests.console.running import Console, open_console
from tests.console.test_message_page import words
from tests.ledger.ledger_bench import CHANNEL, Bench


@pytest.fixture
async def console(redis: Redis) -> AsyncIterator[Console]:
    async with open_console(redis, Role.VIEWER) as one:
        yield one


async def test_an_empty_installation_says_what_to_do(console: Console) -> None:
    page = words((await console.get("/")).text)
    assert "No channel has had a message yet." in page
    assert "No service is running" in page
    assert "No worker is running" in page
    assert "difference 0" in page


async def test_the_books_add_up_and_are_loud_when_they_do_not(console: Console, redis: Redis) -> None:
    bench = Bench(redis)
    await bench.put("m-1")
    ref = await bench.sent("m-2", to_id="16504660002")
    await bench.update(ref, "delivered")
    page = (await console.get("/")).text
    assert '<rect class="delivered" x="0.0" y="0" width="500.0"' in page
    assert '<rect class="in_flight" x="500.0" y="0" width="500.0"' in page
    assert "2 accepted = 1 delivered 50.0 % 0 removed" in words(page)
    assert 'role="alert"' not in page
    await redis.hincrby(f"dcb:books:{CHANNEL}", "accepted", 3)
    page = (await console.get("/")).text
    assert 'role="alert"' in page
    assert "The books do not balance: 3 unaccounted for." in words(page)
    assert "books differ" in words(page)


async def test_what_is_paused_needs_attention_with_its_command(console: Console, redis: Redis) -> None:
    bench = Bench(redis)
    await bench.put()
    for target in (Target(What.CHANNEL, CHANNEL), Target(What.PROVIDER, "twilio")):
        await bench.ledger.controls.begin(target, by="anna", why="<b>why</b>")
    page = (await console.get("/")).text
    assert "<b>why" not in page
    assert "Channel 0123456789 is paused by anna" in words(page)
    assert "<code data-copy>dcbridge resume channel 0123456789</code>" in page
    assert words(page).count("By anna for ") == 2  # the channel and the provider
