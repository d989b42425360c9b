"""The page of one message: what it says, what it hides, what it offers, and what it costs."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator

import orjson
import pytest
from redis.asyncio import Redis

from dcbridge.console.access import Role
from dcbridge.ledger.controls import Target, What
from dcbridge.ledger.fields import State
from tests.console.running import Console, open_console
from tests.ledger.ledger_bench import CHANNEL, CONSUMER, Bench
from tests.stack import sms_body

CANARY = "<script>alert(1)</script>"
COMMANDS = 80  # to Redis, that the page of one message may cost, however much is remembered


@pytest.fixture
async def console(redis: Redis) -> AsyncIterator[Console]:
    async with open_console(redis, Role.OPERATOR) as one:
        yield one


@pytest.fixture
def bench(redis: Redis) -> Bench:
    return Bench(redis)


def words(page: str) -> str:
    """The page without its tags, as somebody reads it."""
    main = page[page.index("<main") : page.index("</main>")]
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", main)))


async def test_it_says_why_it_waits_and_resuming_that_is_one_button(console: Console, bench: Bench) -> None:
    first, ref = await bench.put("m-1"), await bench.put("m-2")
    await bench.ledger.controls.begin(Target(What.PROVIDER, "twilio"), by="anna", why=f"outage {CANARY}")
    page = (await console.get(f"/messages/{ref}")).text
    assert "Waits: provider twilio is paused by anna since " in words(page)
    assert f"without an end: outage {CANARY}. 1 message of its conversation is before it." in words(page)
    assert "<script>alert" not in page
    assert f'href="/messages/{first}"' in page  # its neighbour
    answer = await console.post(f"/messages/{ref}/resume", {"control": "p/twilio"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/messages/{ref}?done=resumed")
    assert await bench.ledger.controls.all() == []
    assert (await console.record())[0].startswith("ada resume")
    assert "What stopped it is resumed." in words((await console.get(answer.headers["location"])).text)


async def test_only_what_stops_this_message_is_resumed_from_it(console: Console, bench: Bench) -> None:
    ref = await bench.put()
    for target in (Target(What.PROVIDER, "mail"), Target(What.CHANNEL, "company.com")):
        await bench.ledger.controls.begin(target, by="anna")
        answer = await console.post(f"/messages/{ref}/resume", {"control": target.key})
        assert answer.headers["location"].endswith("?done=not%20stopped")
    assert len(await bench.ledger.controls.all()) == 2


async def test_a_message_is_cancelled_with_a_reason_and_not_without(console: Console, bench: Bench) -> None:
    ref = await bench.put()
    refused = await console.post(f"/messages/{ref}/cancel", {"why": "  "})
    assert (refused.status_code, "Give a reason: the audit records it." in refused.text) == (422, True)
    assert await bench.state(ref) == State.ACCEPTED
    done = await console.post(f"/messages/{ref}/cancel", {"why": "wrong text"})
    assert done.headers["location"] == f"/messages/{ref}?done=cancelled"
    assert await bench.state(ref) == State.FAILED
    assert (await console.record())[0] == f"ada cancel {ref} 1 cancelled"
    page = words((await console.get(f"/messages/{ref}")).text)
    assert "reason 500, general error (cancelled by the operator)" in page
    assert "Nothing can be done to it in this state." in page


async def test_what_is_held_for_review_is_released_or_rejected(console: Console, bench: Bench) -> None:
    await bench.ledger.controls.begin(Target(What.HOLD, CHANNEL), by="anna")
    refs = [await bench.put(f"m-{n}", to_id=f"1650466000{n}") for n in range(2)]
    for ref, action in zip(refs, ("release", "reject"), strict=True):
        await bench.ledger.messages.claim(ref, "mine", 60.0)
        page = words((await console.get(f"/messages/{ref}")).text)
        assert f"Waits: channel {CHANNEL} is held for review by anna" in page
        answer = await console.post(f"/messages/{ref}/{action}", {"why": "looked at it"})
        assert answer.headers["location"].endswith(f"?done={action}{'d' if action[-1] == 'e' else 'ed'}")
    assert [await bench.state(ref) for ref in refs] == [State.ACCEPTED, State.FAILED]


async def test_its_number_and_text_are_hidden_until_an_operator_reveals_them(console: Console, bench: Bench) -> None:
    payload = orjson.dumps(sms_body("m-1", CONSUMER, CANARY))
    ref = await bench.put(payload=payload)
    shown = await console.get(f"/messages/{ref}")
    assert CONSUMER not in shown.text
    assert "alert(1)" not in shown.text
    revealed = await console.post(f"/messages/{ref}/reveal")
    assert CONSUMER in revealed.text
    assert html.escape(CANARY) in revealed.text
    assert CANARY not in revealed.text
    assert revealed.headers["cache-control"] == "no-store"
    assert (await console.record())[0] == f"ada reveal message {ref}: number and text done"


async def test_a_viewer_is_offered_nothing(redis: Redis, bench: Bench) -> None:
    ref = await bench.put()
    await bench.ledger.controls.begin(Target(What.PROVIDER, "twilio"), by="anna")
    async with open_console(redis, Role.VIEWER) as console:
        page = (await console.get(f"/messages/{ref}")).text
        assert "Resume provider" not in page
        assert "an operator may" in words(page)
        for what in ("cancel", "resume", "reveal", "retry", "release", "reject", "pause-conversation", "send-again"):
            assert (await console.post(f"/messages/{ref}/{what}", {"why": "x"})).status_code == 403


async def test_its_conversation_is_paused_from_it(console: Console, bench: Bench) -> None:
    ref = await bench.put()
    await console.post(f"/messages/{ref}/pause-conversation", {"why": "the consumer asked"})
    assert "Waits: its conversation is paused by ada since " in words((await console.get(f"/messages/{ref}")).text)


async def test_its_trace_is_json(console: Console, bench: Bench) -> None:
    ref = await bench.sent()
    trace = (await console.get(f"/messages/{ref}/trace.json")).json()
    assert (trace["message"], trace["state"]) == (ref, State.SENT)
    assert trace["hops"][0]["what"] == "accepted"


@pytest.mark.parametrize(
    "path", ["/messages/0123456789abcdef01234567", "/messages/..%2f..%2fetc", f"/messages/{'a' * 3000}"]
)
async def test_an_unknown_message_is_not_found(console: Console, path: str) -> None:
    assert (await console.get(path)).status_code == 404


async def test_a_message_deep_in_a_long_conversation_costs_a_bounded_number_of_commands(
    console: Console, bench: Bench, redis: Redis
) -> None:
    refs = [await bench.put(f"m-{n}") for n in range(200)]
    await bench.ledger.controls.begin(Target(What.PROVIDER, "twilio"), by="anna")
    await console.get(f"/messages/{refs[0]}")  # scripts are loaded
    before = await _commands(redis)
    page = words((await console.get(f"/messages/{refs[150]}")).text)
    assert "150 before, 49 behind" in page
    assert await _commands(redis) - before < COMMANDS


async def _commands(redis: Redis) -> int:
    return int((await redis.info("stats"))["total_commands_processed"])
