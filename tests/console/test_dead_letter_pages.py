"""Dead letters in the console: reveal, mend, replay of one and of many, and drop; each written down."""

from __future__ import annotations

import asyncio
import time

from redis.asyncio import Redis

from dcbridge.console.context import Role
from dcbridge.console.pages.dead_letters import RUNS
from dcbridge.ledger.fields import Kind
from dcbridge.messages import message_ref
from dcbridge.operations.dead_letter_runs import Run
from tests.console.filled import SECRET_TEXT, SMS, UNREADABLE, mended, unreadable, unreadable_batch
from tests.console.running import Console, open_console

WHY = {"why": "the gateway was wrong"}
UPDATE = b'{"provider":"twilio"}'


async def left(console: Console) -> set[str]:
    return set(await console.context.ledger.dead_letters.ids())


async def test_bytes_are_shown_to_an_operator_alone_and_it_is_written_down_first(redis: Redis) -> None:
    async with open_console(redis, Role.OPERATOR) as console:
        letter = await unreadable(console.context)
        assert SECRET_TEXT not in (await console.get(f"/dead-letters/{letter}")).text
        assert await console.record() == []
        shown = await console.post(f"/dead-letters/{letter}/reveal")
        assert (shown.status_code, shown.headers["cache-control"]) == (200, "no-store")
        assert SECRET_TEXT in shown.text
        assert await console.record() == [f"ada dead.reveal {letter} agent-message, {len(UNREADABLE)} bytes"]
        assert "mend" not in shown.text
    async with open_console(redis, Role.VIEWER) as console:
        assert (await console.post(f"/dead-letters/{letter}/reveal")).status_code == 403


async def test_bytes_that_are_no_text_are_shown_as_hex_digits_and_bounded(redis: Redis) -> None:
    async with open_console(redis) as console:
        letters = console.context.ledger.dead_letters
        await letters.add("l-1", Kind.CALLBACK, "", "520", b"\xff\x00<b>")
        await letters.add("l-2", Kind.CALLBACK, "", "520", "ü".encode() * 40_000 + b"THE END")
        assert "ff 00 3c 62 3e" in (await console.post("/dead-letters/l-1/reveal")).text
        shown = (await console.post("/dead-letters/l-2/reveal")).text
        assert "ü" * 30_000 in shown
        assert "THE END" not in shown
        assert "the first 64 KiB" in shown


async def test_a_mended_copy_is_checked_and_then_sent_as_if_genesys_had(redis: Redis) -> None:
    async with open_console(redis) as console:
        letter = await unreadable(console.context)
        path = f"/dead-letters/{letter}/mend"
        for fields, words in (
            ({"bytes": mended(), "step": "replay"}, "should say why"),
            ({"bytes": "{", "step": "replay", **WHY}, "still cannot be read: the body is not JSON"),
            ({"bytes": " ", "step": "replay", **WHY}, "should be a text of at most"),
            ({"bytes": '{"channel": {"id": "none"}}', "step": "replay", **WHY}, "still cannot be carried"),
        ):
            answer = await console.post(path, fields)
            assert (answer.status_code, words in answer.text) == (422, True), words
        tried = await console.post(path, {"bytes": mended(), "step": "try", **WHY})
        assert (tried.status_code, "It would be done: accepted, and will be sent" in tried.text) == (200, True)
        assert await left(console) == {letter}
        assert not await console.context.ledger.messages.entry(message_ref(SMS, "m-1"))
        done = await console.post(path, {"bytes": mended(), "step": "replay", **WHY})
        assert (done.status_code, done.headers["location"]) == (303, "/dead-letters?done=mended")
        assert await left(console) == set()
        entry = await console.context.ledger.messages.entry(message_ref(SMS, "m-1"))
        assert (entry.state, entry.channel_id) == ("accepted", SMS)
        assert (await console.record())[0] == f"ada dead.mend {letter} mended: accepted, and will be sent"
        assert (await console.post(path, {"bytes": mended(), "step": "replay", **WHY})).status_code == 404


async def test_a_mended_batch_is_split_again(redis: Redis) -> None:
    async with open_console(redis) as console:
        letter = await unreadable_batch(console.context)
        body = '{"operationId": "o-1", "entities": []}'
        done = await console.post(f"/dead-letters/{letter}/mend", {"bytes": body, "step": "replay", **WHY})
        assert done.status_code == 303
        assert await left(console) == set()
        [batch] = [one for one in await console.context.ledger.events.take("mine", 10.0, 10) if not one.own]
        assert (batch.body, batch.endpoint) == (body.encode(), "events")


async def test_what_a_consumer_or_a_provider_said_is_not_mended(redis: Redis) -> None:
    async with open_console(redis) as console:
        for place, kind in enumerate(Kind):
            if kind in (Kind.AGENT_MESSAGE, Kind.INTERACTION_BATCH):
                continue
            await console.context.ledger.dead_letters.add(f"t-{place}", kind, "", "x", UPDATE)
            answer = await console.post(f"/dead-letters/t-{place}/mend", {"bytes": "{}", "step": "replay", **WHY})
            assert (answer.status_code, f"t-{place}" in await left(console)) == (422, True)
            assert "/mend" not in (await console.post(f"/dead-letters/t-{place}/reveal")).text
        await console.context.ledger.dead_letters.add("m-1", Kind.AGENT_MESSAGE, "", "530 x", UPDATE)
        assert (await console.post("/dead-letters/m-1/mend", {"bytes": mended(), **WHY})).status_code == 422
    async with open_console(redis, Role.OPERATOR) as console:
        letter = await unreadable(console.context)
        answer = await console.post(f"/dead-letters/{letter}/mend", {"bytes": mended(), "step": "replay", **WHY})
        assert (answer.status_code, letter in await left(console)) == (403, True)


async def ended(run_id: str) -> Run:
    while not (run := RUNS.get(run_id)) or not run.ended:  # noqa: ASYNC110  # a condition, and nothing that tells it
        await asyncio.sleep(0.01)
    return run


async def replayable(console: Console, count: int) -> None:
    """Receipts of forgotten messages stay; webhooks of another time leave."""
    for number in range(count):
        body = mended(channel={"id": SMS, "type": "sms", "from": {"id": SMS}, "to": {"id": "16504661149"},
                               "messageId": f"r-{number}"}).encode()  # fmt: skip
        letter = f"w-{number}"
        await console.context.ledger.dead_letters.add(letter, Kind.AGENT_MESSAGE, SMS, "530 not configured", body)


async def test_many_are_replayed_in_the_background_after_a_dry_run(redis: Redis) -> None:
    async with open_console(redis, Role.OPERATOR) as console:
        await replayable(console, 5)
        await console.context.ledger.dead_letters.add("r-1", Kind.RECEIPT, "", "404", b"{}")
        first = await console.post("/dead-letters/replay", {"which": "all", "what": "agent-message"})
        assert (first.status_code, "accepted, and will be sent" in first.text) == (200, True)
        assert len(await left(console)) == 6
        refused = await console.post("/dead-letters/replay", {"which": "all", "step": "do"})
        assert (refused.status_code, "should say why" in refused.text) == (422, True)
        fields = {"which": "all", "what": "agent-message", "step": "do", "rate": "0", **WHY}
        begun = await console.post("/dead-letters/replay", fields)
        assert begun.status_code == 303
        run = await ended(begun.headers["location"].rpartition("/")[2])
        assert (run.ended, run.replayed, run.stayed, run.total) == ("done", 5, 0, 6)
        assert await left(console) == {"r-1"}
        assert "5</dd>" in (await console.get(begun.headers["location"])).text
        assert (await console.record())[:2] == [
            "ada dead.replay agent-message done: 5 replayed, 0 not",
            "ada dead.replay agent-message began, of 6",
        ]


async def test_those_that_are_ticked_are_replayed_and_a_run_can_be_stopped(redis: Redis) -> None:
    async with open_console(redis, Role.OPERATOR) as console:
        await replayable(console, 60)
        none = await console.post("/dead-letters/replay", {"which": "ticked"})
        assert (none.status_code, "Tick dead letters" in none.text) == (400, True)
        one = await console.post("/dead-letters/replay", {"id": "w-2", "step": "do", **WHY})
        await ended(one.headers["location"].rpartition("/")[2])
        assert len(await left(console)) == 59
        assert "w-2" not in await left(console)
        slow = await console.post("/dead-letters/replay", {"which": "all", "step": "do", "rate": "1", **WHY})
        path = slow.headers["location"]
        assert "Stop it" in (await console.get(path)).text
        assert (await console.post(f"{path}/stop")).status_code == 303
        run = await ended(path.rpartition("/")[2])
        assert run.ended == "stopped"
        assert len(await left(console)) >= 2
        assert "stopped: " in (await console.record())[1]
        assert (await console.post("/dead-letters/w-59/replay")).status_code == 303
        assert "w-59" not in await left(console)


async def test_one_that_cannot_be_replayed_says_why(redis: Redis) -> None:
    async with open_console(redis, Role.OPERATOR) as console:
        letter = await unreadable(console.context)
        answer = await console.post(f"/dead-letters/{letter}/replay")
        assert (answer.status_code, "still cannot be read" in answer.text) == (409, True)
        assert (await console.record())[0].startswith(f"ada dead.replay {letter} not replayed: still cannot")


async def test_drop_asks_first_and_is_for_admins(redis: Redis) -> None:
    async with open_console(redis) as console:
        await replayable(console, 3)
        asked = await console.post("/dead-letters/drop", {"which": "all", "channel": SMS})
        assert (asked.status_code, ">3</span>" in asked.text) == (200, True)
        refused = await console.post("/dead-letters/drop", {"id": "w-1", "step": "do"})
        assert (refused.status_code, "should say why" in refused.text) == (422, True)
        assert len(await left(console)) == 3
        assert (await console.post("/dead-letters/drop", {"id": "w-1", "step": "do", **WHY})).status_code == 303
        assert await left(console) == {"w-0", "w-2"}
        assert (await console.record())[:2] == ["ada dead.drop w-1 1 dropped", "ada dead.drop w-1 began, of 1"]
    async with open_console(redis, Role.OPERATOR) as console:
        assert (await console.post("/dead-letters/drop", {"id": "w-0", "step": "do", **WHY})).status_code == 403
        assert await left(console) == {"w-0", "w-2"}


async def test_pages_have_each_letter_once_also_of_one_moment(redis: Redis) -> None:
    async with open_console(redis, Role.VIEWER) as console:
        await replayable(console, 120)
        at = round(time.time() * 1000)
        await redis.zadd("dcb:dead", {f"w-{number}": at - number // 70 for number in range(120)})
        seen: list[str] = []
        path = "/dead-letters?reason=configured"
        pages = 0
        while path:
            shown = (await console.get(path)).text
            seen += [part.partition('"')[0] for part in shown.split('href="/dead-letters/')[1:]]
            older = shown.partition('rel="next"')[0].rpartition('href="')[2].partition('"')[0]
            path = older.replace("&amp;", "&") if 'rel="next"' in shown else ""
            pages += 1
            if pages == 1:  # what comes meanwhile moves nothing
                await console.context.ledger.dead_letters.add("new", Kind.RECEIPT, "", "configured", b"{}")
        assert (pages, len(seen), len(set(seen))) == (3, 120, 120)
        assert "None of the newest" not in shown
        assert (await console.get("/dead-letters?cursor=nonsense&age=3600")).text.count('href="/dead-letters/w-') == 49
