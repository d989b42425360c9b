"""The first page: the books as a bar, what needs attention, and who is well."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from dcbridge.console.access import Role
from dcbridge.ledger import moment
from dcbridge.ledger.controls import Target, What
from dcbridge.ledger.reports.hours import HOUR, read
from dcbridge.settings.process import DAY
from tests.console.running import Console, open_console
from tests.console.test_message_page import words
from tests.ledger.ledger_bench import CHANNEL, Bench, new_message


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
    assert f'<a href="/channels/{CHANNEL}">' in page
    assert '<a href="/providers/twilio">' in page


async def test_hours_are_counted_in_the_index_and_shown_as_plots(console: Console, redis: Redis) -> None:
    ledger = console.context.ledger
    assert "Accepted each hour" not in (await console.get("/")).text  # nothing is indexed
    refs = [new_message(f"m-{n}", to_id=f"1650466{n:04d}") for n in range(100)]
    await ledger.messages.accept(refs)
    now = (await moment.read(redis)).at
    for number, one in enumerate(refs):  # 40 three hours ago, 60 an hour ago, of which each fourth failed
        at = int((now - (3 if number < 40 else 1) * HOUR) * 1000)
        ended = {"s": "failed" if number % 4 == 0 else "delivered", "at": at, "end": at + 1000 + number}
        await redis.hset(f"dcb:m:{one.ref}", mapping={name: str(value) for name, value in ended.items()})
    await redis.delete(f"dcb:ix:{int(now // DAY)}")
    for number, one in enumerate(refs):
        await redis.rpush(f"dcb:ix:{int((now - (3 if number < 40 else 1) * HOUR) // DAY)}", one.ref)
    by_age = {round((now // HOUR * HOUR - hour.since) / HOUR): hour for hour in await read(redis, now)}
    assert list(by_age) == list(range(23, -1, -1))
    assert {age: hour.accepted for age, hour in by_age.items() if hour.accepted} == {3: 40, 1: 60}
    assert dict(by_age[3].ended) == {"delivered": 30, "failed": 10, "removed": 0, "unconfirmed": 0, "in_flight": 0}
    assert by_age[3].exact
    assert by_age[3].median == pytest.approx(1.02, abs=0.01)
    page = words((await console.get("/")).text)
    assert "The last 24 hours as a table" in page


@pytest.mark.parametrize("path", ["/", "/conversations"])
async def test_its_cost_does_not_grow_with_what_has_ended(console: Console, redis: Redis, path: str) -> None:
    """What is in flight is looked at, up to a bound; what has ended is not."""
    ledger = console.context.ledger

    async def commands() -> int:
        before = (await redis.info("stats"))["total_commands_processed"]
        assert (await console.get(path)).status_code == 200
        return int((await redis.info("stats"))["total_commands_processed"] - before)

    async def ended(first: int, count: int) -> None:
        some = [new_message(f"m-{n}", to_id=f"1650{n:07d}") for n in range(first, first + count)]
        await ledger.messages.accept(some)
        await ledger.controls.cancel([one.ref for one in some])
        await redis.delete(f"dcb:receipts:{CHANNEL}")

    await ended(0, 100)
    await commands()  # scripts are loaded
    few = await commands()
    await ended(100, 900)
    assert await commands() <= few + MORE


MORE = 120  # commands: samples of the hour, and keys that are looked at to count the conversations
