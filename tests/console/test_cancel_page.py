"""Cancelling many: a count, a reason, and a page that says how far it is, whoever looks."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from dcbridge.console.access import Role
from dcbridge.ledger.controls import Target, What
from dcbridge.ledger.fields import State
from dcbridge.ledger.runs import SILENT, Run
from tests.console.running import Console, open_console
from tests.console.test_message_page import words
from tests.ledger.ledger_bench import CHANNEL, Bench


@pytest.fixture
async def console(redis: Redis) -> AsyncIterator[Console]:
    async with open_console(redis, Role.OPERATOR) as one:
        yield one


async def ended(console: Console, address: str) -> str:
    """The page of a run, once it has ended."""
    for _ in range(200):
        page = words((await console.get(address)).text)
        if "Done " in page or "It ended after" in page:
            return page
        await asyncio.sleep(0.05)
    raise AssertionError(page)


async def test_a_count_changes_nothing_and_its_form_cancels_exactly_that(console: Console, redis: Redis) -> None:
    bench = Bench(redis)
    refs = [await bench.put(f"m-{n}", to_id=f"165046600{n:02d}") for n in range(5)]
    await bench.ledger.messages.claim(refs[0], "mine", 60.0)  # its request is under way
    page = (await console.get(f"/messages/cancel?channel={CHANNEL}&states=not+sent&after=1h")).text
    assert "5 messages match" in words(page)
    assert f"{CHANNEL} accepted 4 {CHANNEL} sending 1" in words(page)
    form = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page))
    late = await bench.put("late", to_id="16504660099")
    without = await console.post("/messages/cancel", form)
    assert (without.status_code, "Give a reason" in without.text) == (422, True)
    assert [await bench.state(ref) for ref in refs[1:]] == [State.ACCEPTED] * 4
    answer = await console.post("/messages/cancel", form | {"why": "wrong texts"})
    assert re.fullmatch(r"/runs/[0-9a-f]{16}", answer.headers["location"])
    page = await ended(console, answer.headers["location"])
    assert "4 cancelled: agents see Failed, reason 500" in page
    assert "1 are under way or of unknown outcome" in page
    assert [await bench.state(ref) for ref in refs[1:]] == [State.FAILED] * 4
    assert await bench.state(late) == State.ACCEPTED  # came after the count
    assert await bench.difference() == 0
    written = await console.record()
    assert written[0].startswith(f"ada cancel channel {CHANNEL}, accepted after ")
    assert written[0].endswith("4 cancelled, 1 under way")
    assert written[1].endswith("began, of 5")


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({}, 400),
        ({"states": "waiting", "why": "x"}, 400),  # no time: nothing was counted
        ({"states": "everything", "before": "1h", "why": "x"}, 400),
        ({"states": "waiting", "before": "1h", "channel": "nobody", "why": "x"}, 303),
    ],
)
async def test_a_form_that_no_page_of_ours_made(console: Console, form: dict[str, str], status: int) -> None:
    answer = await console.post("/messages/cancel", form)
    assert answer.status_code == status
    if status == 303:
        assert "It ended after 0 of 0 with an error (UnknownName)" in await ended(console, answer.headers["location"])


async def test_a_run_whose_console_was_killed_says_so(console: Console, redis: Redis) -> None:
    ledger = console.context.ledger
    run = await ledger.runs.begin("cancel", "channel 1", "anna", "<b>why</b>", "/messages/cancel?channel=1")
    page = (await console.get(f"/runs/{run.id}")).text
    assert "Looking for the messages" in words(page)
    assert "<b>why" not in page
    assert run.is_interrupted(run.heard + SILENT + 1)
    assert not Run("i", "cancel", "", "", "", 0.0, heard=0.0, ended=1.0).is_interrupted(1e9)


@pytest.mark.parametrize("name", ["0123456789abcdef", "x" * 16, "x" * 2000])
async def test_an_unknown_run_is_not_found(console: Console, name: str) -> None:
    assert (await console.get(f"/runs/{name}")).status_code == 404


async def test_a_run_that_something_else_wrote_is_not_found(console: Console, redis: Redis) -> None:
    for raw in (b"\xff", b"[]", b'{"counts":{"a":"x"}}', b'{"counts":{},"id":1}'):
        await redis.set("dcb:run:0123456789abcdef", raw)
        assert (await console.get("/runs/0123456789abcdef")).status_code == 404


async def test_a_channel_that_is_paused_is_cancelled_with_what_waits(console: Console, redis: Redis) -> None:
    bench = Bench(redis)
    await bench.put()
    await bench.ledger.controls.begin(Target(What.CHANNEL, CHANNEL), by="anna")
    assert "1 message matches" in words((await console.get("/messages/cancel?all=1")).text)
