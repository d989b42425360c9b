"""The search for messages and conversations: what finds what, page by page; and a number is never in an address."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from dcbridge.console.access import Role
from dcbridge.console.context import SEARCHES
from dcbridge.ledger import NewTask
from dcbridge.ledger.controls import Target, What
from dcbridge.settings.process import Settings
from tests.console.running import KEY, Console, open_console
from tests.console.test_message_page import words
from tests.ledger.ledger_bench import CHANNEL, CONSUMER, Bench, new_message
from tests.stack import sms_body

COMMANDS = 120  # to Redis, that a page of a list may cost, however much is remembered


@pytest.fixture
async def console(redis: Redis) -> AsyncIterator[Console]:
    async with open_console(redis, Role.OPERATOR) as one:
        yield one


async def put(console: Console, message_id: str, to: str = CONSUMER) -> str:
    """By a ledger that indexes, as the service's does."""
    message = new_message(message_id, to_id=to, payload=str(sms_body(message_id, to)).encode())
    await console.context.ledger.messages.accept([message])
    return message.ref


def listed(page: str) -> list[str]:
    return re.findall(r'<a class="mono" href="/(?:messages|tasks)/([^"]+)">', page)


async def found(console: Console, given: str) -> str:
    """Where a search leads to."""
    answer = await console.post("/messages/find", {"q": given})
    assert answer.status_code == 303, words(answer.text)
    return str(answer.headers["location"])


async def test_all_are_listed_page_by_page_and_cheaply(console: Console, redis: Redis) -> None:
    refs = [await put(console, f"m-{n}", f"1650466{n:04d}") for n in range(120)][::-1]
    await console.get("/messages")  # scripts are loaded
    address, seen = "/messages", list[str]()
    for _ in range(3):
        before = (await redis.info("stats"))["total_commands_processed"]
        page = (await console.get(address)).text
        assert (await redis.info("stats"))["total_commands_processed"] - before < COMMANDS
        seen += listed(page)
        older = re.search(r'href="([^"]+)" rel="next"', page)
        address = html.unescape(older[1]) if older else ""
    assert (seen, address) == (refs, "")


async def test_a_number_finds_its_messages_and_is_in_no_address(console: Console) -> None:
    ref, other = await put(console, "m-1"), await put(console, "m-2", "16505550123")
    for spelling in ("+1 650 466 1149", "1650-466-1149", CONSUMER):
        address = await found(console, spelling)
        assert re.fullmatch(r"/messages\?who=[0-9a-f.]+", address)
        page = (await console.get(address)).text
        assert listed(page) == [ref]
        assert "4661149" not in page
    assert listed((await console.get("/messages")).text) == [other, ref]


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
@pytest.mark.parametrize("path", ["/messages/find", "/conversations/find", "/api/v1/messages/search"])
async def test_who_may_not_see_numbers_cannot_try_them_all(redis: Redis, role: Role, path: str) -> None:
    async with open_console(redis, role) as console:
        codes = []
        for n in range(SEARCHES + 2):
            number = f"1650466{n:04d}"
            if "api" in path:
                codes.append((await console.client.post(path, json={"id": number})).status_code)
            else:
                codes.append((await console.post(path, {"q": number, "number": number})).status_code)
        good, limited = (200 if "api" in path else 303), 2 if role == Role.VIEWER else 0
        assert (codes.count(good), codes.count(429)) == (SEARCHES + 2 - limited, limited)
        assert (await console.get("/messages?id=x")).status_code == (429 if role == Role.VIEWER else 200)
        answer = await console.get("/messages?id=%2B16504660001")
        assert (answer.status_code, "4660001" in answer.text) == (400, False)


@pytest.mark.parametrize("query", ["state=failed", "reason=500", "state=failed&reason=500&channel=0123456789"])
async def test_the_failed_are_found_by_state_and_reason(console: Console, query: str) -> None:
    refs = [await put(console, f"m-{n}", f"1650466{n:04d}") for n in range(4)]
    ledger = console.context.ledger
    await ledger.controls.cancel(refs[1:2])
    await ledger.messages.claim(refs[2], "mine", 60.0)
    await ledger.messages.fail(refs[2], "mine", 530, "30005")
    wanted = refs[1:2] if "reason" in query else refs[1:3]
    assert sorted(listed((await console.get(f"/messages?{query}")).text)) == sorted(wanted)


async def test_ids_lead_to_the_message_itself(console: Console) -> None:
    ref = await put(console, "1613474523265-0")
    await console.context.ledger.messages.claim(ref, "mine", 60.0)
    for given in ("1613474523265-0", ref, f"<{ref}@bridge.example>", "trace"):
        assert await found(console, given) == f"/messages/{ref}"


@pytest.mark.parametrize("given", ["<script>alert(1)</script>", "SM123", "\0", "x" * 5000])
async def test_what_is_not_found_is_not_repeated(console: Console, given: str) -> None:
    answer = await console.post("/messages/find", {"q": given})
    assert answer.status_code == 404
    assert "Nothing goes by that" in words(answer.text)
    assert given not in answer.text
    assert html.escape(given) not in answer.text


@pytest.mark.parametrize(
    "query", ["state=no", "cursor=x.1", "cursor=a.1.2.3&state=failed", "who=zz", "after=zz", "reason=zz"]
)
async def test_a_wrong_search_says_so_at_its_field(console: Console, query: str) -> None:
    answer = await console.get(f"/messages?{query}")
    assert answer.status_code == 422
    assert 'aria-invalid="true"' in answer.text or 'class="notice warn"' in answer.text


async def test_a_conversation_has_both_directions_in_order_and_is_paused_from_there(console: Console) -> None:
    ledger = console.context.ledger
    first = await put(console, "m-1")
    task = "c-" + "0" * 24
    await ledger.tasks.put([NewTask(task, "consumer", "", b"{}", "trace", CHANNEL, consumer=CONSUMER)])
    last = await put(console, "m-2")
    answer = await console.post("/conversations/find", {"number": "+1 650 466 1149"})
    address = answer.headers["location"]
    assert re.fullmatch(r"/conversations/[0-9a-f.]+", address)
    page = (await console.get(address)).text
    assert listed(page) == [first, task, last]
    assert (await console.get(f"/tasks/{task}")).status_code == 200
    await console.post(f"{address}/pause", {"ref": last, "why": "asked to"})
    assert [one.target.what for one in await ledger.controls.all()] == [What.CONVERSATION]
    assert "its conversation is paused by ada" in words((await console.get(address)).text)
    await console.post(f"{address}/resume", {"ref": last})
    assert await ledger.controls.all() == []


async def test_conversations_that_wait_are_listed_with_what_they_wait_for(console: Console) -> None:
    ref = await put(console, "m-1")
    await console.context.ledger.controls.begin(Target(What.CONVERSATION, "0" * 18), by="anna")
    page = (await console.get("/conversations")).text
    assert listed(page) == [ref]
    assert "1 conversation, the oldest first" in words(page)
    refused = await console.post("/conversations/find", {"number": "Mrs X"})
    assert (refused.status_code, "Mrs X" in refused.text) == (422, False)


async def test_without_an_index_the_list_says_what_to_do(console: Console, redis: Redis) -> None:
    await Bench(redis).put()  # by a ledger that does not index
    assert "Nothing is indexed yet." in words((await console.get("/messages")).text)
    assert len(listed((await console.get("/messages?state=accepted")).text)) == 1
    await redis.zadd("dcb:ix", {"20000": 20000})  # of a time when it was on
    async with open_console(redis, settings=Settings(token_key=KEY, search_index=False)) as off:
        assert "DCBRIDGE_SEARCH_INDEX is off" in words((await off.get("/messages")).text)
