"""Sending a message that has ended once more: by the button of its page, by the API, and from a laptop."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import AsyncIterator

import orjson
import pytest
from redis.asyncio import Redis

from dcbridge.console.access import Role
from dcbridge.console.api.operation import ROOT
from dcbridge.console.app import console_app
from dcbridge.console.sign_in.tokens import Bearer
from dcbridge.settings.process import Settings
from tests.cli.session import invoke
from tests.console.running import KEY, Console, context_of, open_console
from tests.console.test_message_page import words
from tests.ledger.ledger_bench import CHANNEL, copies_of
from tests.listening import listening
from tests.stack import sms_body

FIRST, SECOND, TEXT = "16504660001", "16504660002", "the text"
KEEPS = Settings(token_key=KEY, keep_text=2)


@pytest.fixture
async def console(redis: Redis) -> AsyncIterator[Console]:
    async with open_console(redis, Role.OPERATOR, settings=KEEPS) as one:
        yield one


async def ended(console: Console, channel: str = CHANNEL) -> str:
    """The second copy of a message, delivered, and its receipt posted: its text and number are deleted."""
    ledger = console.context.ledger
    body = sms_body("m-1", FIRST, TEXT)
    body["channel"]["to"] = [{"id": FIRST}, {"id": SECOND}]
    copies = copies_of("m-1", FIRST, SECOND, channel_id=channel, payload=orjson.dumps(body))
    await ledger.messages.accept(copies)
    for one in copies:
        await ledger.messages.claim(one.ref, "mine", 60.0)
        await ledger.messages.submitted(one.ref, "mine", 0, 1, "SM" + one.ref, delivered=True, confirm_within=60.0)
    await ledger.receipts.take(channel, 10, 60.0)
    await ledger.receipts.done(channel, [one.ref for one in copies])
    return copies[1].ref


def form_of(page: str) -> dict[str, str]:
    """What the form posts, once it is filled in."""
    key = re.search(r'name="key" value="([0-9a-f]{32})"', page)
    assert key
    return {"key": key[1], "why": "the consumer lost it", "sure": "1"}


async def others(redis: Redis, *refs: str) -> set[str]:
    return {key.decode()[6:] async for key in redis.scan_iter("dcb:m:*")} - set(refs)


async def test_a_form_sends_once_however_often_it_is_posted(console: Console, redis: Redis) -> None:
    ref = await ended(console)
    before = await others(redis)
    form = form_of((await console.get(f"/messages/{ref}")).text)
    answers = await asyncio.gather(*(console.post(f"/messages/{ref}/send-again", form) for _ in range(3)))
    [new] = await others(redis, *before)
    assert {one.headers["location"].partition("?")[0] for one in answers} == {f"/messages/{new}"}
    assert sorted(one.headers["location"].partition("=")[2] for one in answers) == [
        "repeated", "repeated", "sent%20again",
    ]  # fmt: skip
    page = (await console.get(f"/messages/{new}?done=sent%20again")).text
    assert "This is the new message." in words(page)
    assert f'href="/messages/{ref}"' in page  # what it repeats
    assert SECOND in words((await console.post(f"/messages/{new}/reveal")).text)  # and not the first recipient
    assert (await console.record())[1] == f"ada send again {ref} {new}"
    other = form_of((await console.get(f"/messages/{ref}")).text)  # another decision
    await console.post(f"/messages/{ref}/send-again", other)
    assert len(await others(redis, *before)) == 2


@pytest.mark.parametrize("without", ["why", "key", "sure"])
async def test_a_form_without_a_reason_or_a_tick_sends_nothing(console: Console, redis: Redis, without: str) -> None:
    ref = await ended(console)
    before = await others(redis)
    form = form_of((await console.get(f"/messages/{ref}")).text)
    refused = await console.post(f"/messages/{ref}/send-again", form | {without: ""})
    assert refused.status_code == 422
    assert ("Say why" if without == "why" else "Tick that") in refused.text
    assert await others(redis) == before


async def test_it_is_offered_only_where_it_can_work_and_else_a_sentence_says_why_not(
    console: Console, redis: Redis
) -> None:
    ref = await ended(console)
    form = form_of((await console.get(f"/messages/{ref}")).text)
    async with open_console(redis, Role.OPERATOR) as off:
        page = (await off.get(f"/messages/{ref}")).text
        assert "It cannot be sent again: its text is not kept: set DCBRIDGE_KEEP_TEXT" in words(page)
        assert "send-again" not in page
    await redis.delete(f"dcb:kept:{ref}")  # its time is over, between the look and the click
    answer = await console.post(f"/messages/{ref}/send-again", form)
    assert answer.headers["location"] == f"/messages/{ref}?done=over"
    page = (await console.get(answer.headers["location"])).text
    assert "It was not sent again: its text is not kept any more" in words(page)
    assert "It cannot be sent again: its text is not kept any more" in words(page)
    assert 'action="/messages/' + ref + '/send-again"' not in page
    waits = copies_of("m-2", FIRST, channel_id=CHANNEL)
    await console.context.ledger.messages.accept(waits)
    assert "sent again" not in words((await console.get(f"/messages/{waits[0].ref}")).text)


async def test_the_api_and_a_laptop_send_it_once_for_each_key(console: Console, redis: Redis) -> None:
    ref = await ended(console)
    store = console.context.ledger.console
    made = await store.make_token("robot", "operator", 60, "root")
    assert made
    app = console_app(context_of(redis, Bearer(store), settings=KEEPS))
    async with listening(app) as url:
        environ = {"DCBRIDGE_URL": url, "DCBRIDGE_TOKEN": made[1], "DCBRIDGE_CONFIG": "/none"}

        async def types(*more: str) -> tuple[int, str]:
            said = await asyncio.to_thread(invoke, ["send-again", *more], "", environ)
            return said.code, said.out + said.err

        code, said = await types(ref, "--key", "k", "--why", "lost")
        assert (code, said[:14]) == (0, "sent again as ")
        new = said.split()[3].rstrip(".")
        answer = await console.client.post(f"{ROOT}/messages/{ref}/send-again", json={"key": "k"})
        assert answer.json() == {"outcome": "again", "ref": new}
        assert (await types(ref, "--key", "k"))[1].startswith(f"sent again as {new}; this key has sent it before")
        assert await types("m-none") == (1, "error: no message has this reference\n")
        await redis.delete(f"dcb:kept:{ref}")
        code, said = await types(ref)
        assert (code, "not sent again: its text is not kept" in html.unescape(said)) == (1, True)
    for body in ({}, {"key": ""}, {"key": "x" * 201}, {"key": 1}):
        assert (await console.client.post(f"{ROOT}/messages/{ref}/send-again", json=body)).status_code == 422
    refused = await console.client.post(f"{ROOT}/messages/{ref}/send-again", json={"key": "z"})
    assert (refused.status_code, refused.headers["content-type"]) == (409, "application/problem+json")
