"""`dcbridge dead list | show | drop`: letters are found, shown without what is private, and forgotten in time."""

from __future__ import annotations

import asyncio
import re
import time

import orjson
import pytest

from dcbridge.ledger import Ledger
from dcbridge.ledger.fields import Kind
from tests.cli.letters import (
    CONSUMER_TASK,
    KINDS,
    Made,
    all_kinds,
    dead_task,
    unreadable_webhook,
    update_of_nobody,
    webhook,
)
from tests.cli.session import CONSUMER, DAY, SENDER, TEXT, Session
from tests.ledger.ledger_bench import CHANNEL, KEEP_DEAD

# ---------------------------------------------------------------- list and show


@pytest.mark.parametrize(("what", "make"), KINDS)
async def test_a_letter_of_each_kind_is_listed_and_shown_without_what_is_private(
    session: Session, what: str, make: Made
) -> None:
    letter_id = await make(session)
    listed = await session.types("dead", "list")
    [told] = (await session.types("dead", "list", "--json")).lines
    shown = await session.types("dead", "show", letter_id)
    facts = (await session.types("dead", "show", "--json", letter_id)).json
    assert told.items() <= facts.items()
    assert (told["id"], told["what"]) == (letter_id, what)
    for said in (listed, shown):
        assert said.code == 0
        assert letter_id in said.out
        assert what in said.out
        assert not any(word in said.out for word in (TEXT, SENDER, CONSUMER))
    assert re.search(r"kept until +20", shown.out)


async def test_raw_bytes_are_written_as_they_came_with_a_warning_beside_them(session: Session) -> None:
    body = b"\x00\xff\n{" + TEXT.encode()
    letter_id = await unreadable_webhook(session, body)
    said = await session.types("dead", "show", "--raw", letter_id)
    assert (said.code, said.raw) == (0, body)
    assert "private" in said.err


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ([], ["w-1", "t-1", "i-1"]),
        (["--what", "agent-message"], ["w-1"]),
        (["--what", "interaction-batch"], ["i-1"]),
        (["--what", "receipt"], []),
        (["--channel", CHANNEL], ["t-1"]),
        (["--channel", "0"], []),
        (["--reason", "NOT json"], ["w-1", "i-1"]),
        (["--reason", "http 4"], ["t-1"]),
        (["--reason", "*"], []),
        (["--since", "90m"], ["t-1", "i-1"]),
        (["--since", "30m"], ["i-1"]),
        (["--since", "1800s"], ["i-1"]),
        (["--since", "3d"], ["w-1", "t-1", "i-1"]),
        (["--since", "2001-01-01"], ["w-1", "t-1", "i-1"]),
        (["--since", "2999-01-01T00:00:00+02:00"], []),
        (["--since", "30m", "--what", "consumer"], []),
        (["--reason", "not JSON", "--what", "agent-message"], ["w-1"]),
    ],
)
async def test_filters_say_which_letters_for_every_verb(session: Session, filters: list[str], found: list[str]) -> None:
    await session.ledger.dead_letters.add("w-1", Kind.AGENT_MESSAGE, "", "520 the body is not JSON", b"{")
    await session.ledger.dead_letters.add("t-1", Kind.CONSUMER, CHANNEL, "http 400", CONSUMER_TASK)
    await session.ledger.dead_letters.add("i-1", Kind.INTERACTION_BATCH, "", "520 the body is not JSON", b"{")
    hour = 3600_000
    for letter_id, ms in (("w-1", 2 * hour), ("t-1", hour), ("i-1", 0)):
        at = int(time.time() * 1000) - ms
        await session.redis.hset(f"dcb:dead:{letter_id}", "at", at)
        await session.redis.zadd("dcb:dead", {letter_id: at})
    said = await session.types("dead", "list", "--json", *filters)
    assert [letter["id"] for letter in said.lines] == found[::-1]  # the newest first
    assert said.code == 0
    if not filters:
        return
    tried = await session.types("dead", "replay", "--dry-run", *filters)
    assert [line.partition(":")[0] for line in tried.out.splitlines()[:-1]] == found  # the oldest first
    dropped = await session.types("dead", "drop", *filters)
    assert dropped.code == 0
    assert sorted(await session.keys("dcb:dead:*")) == sorted(f"dcb:dead:{i}" for i in {"w-1", "t-1", "i-1"} - {*found})


async def test_the_newest_are_listed_up_to_the_limit(session: Session) -> None:
    for n in range(5):
        await session.ledger.dead_letters.add(f"w-{n}", Kind.AGENT_MESSAGE, "", "why", b"")
        await asyncio.sleep(0.002)
    said = await session.types("dead", "list", "--limit", "2")
    assert re.findall(r"w-\d", said.out) == ["w-4", "w-3"]
    assert "These are the newest 2 of 5" in said.out
    assert len((await session.types("dead", "list", "--json", "--limit", "2")).lines) == 2


async def test_there_may_be_none(session: Session) -> None:
    for words in (
        ["list"],
        ["show", "w-1"],
        ["replay", "w-1"],
        ["replay", "--all"],
        ["drop", "w-1"],
        ["drop", "--all"],
    ):
        said = await session.types("dead", *words)
        assert said.code == (1 if "w-1" in words else 0), words
        assert "ead letter" in said.out + said.err
    assert await session.keys("*") == []


@pytest.mark.parametrize(
    "words",
    [
        ["replay"],
        ["drop"],
        ["drop", "--dry-run"],
        ["replay", "w-1", "--all"],
        ["replay", "w-1", "--what", "receipt"],
        ["drop", "--all", "--reason", "x"],
        ["list", "--what", "nonsense"],
        ["list", "--since", "yesterday"],
        ["list", "--since", "2 h"],
        ["list", "--limit", "0"],
        ["replay", "--all", "--rate", "0"],
        ["replay", "--all", "--rate", "-1"],
        ["replay", "--all", "--rate", "5/m"],
        ["show"],
    ],
)
async def test_wrong_usage_changes_nothing(session: Session, words: list[str]) -> None:
    await dead_task(session)
    before = await session.everything()
    said = await session.types("dead", *words)
    assert said.code == 2
    assert said.err
    assert await session.everything() == before


# ---------------------------------------------------------------- drop, and what is forgotten


async def test_what_is_dropped_is_gone_raw_bytes_and_all(session: Session) -> None:
    letter_id, other = await unreadable_webhook(session), await update_of_nobody(session)
    said = await session.types("dead", "drop", letter_id, "w-none")
    assert (said.code, said.out) == (1, "1 dropped.\n")
    assert "no dead letter w-none" in said.err
    assert await session.keys("dcb:dead:*") == [f"dcb:dead:{other}"]
    assert await session.redis.zrange("dcb:dead", 0, -1) == [other.encode()]
    assert (await session.types("dead", "drop", letter_id)).code == 1


async def test_letters_and_their_raw_bytes_live_as_long_as_the_settings_say(session: Session) -> None:
    ids = await all_kinds(session)
    for letter_id in ids:
        assert KEEP_DEAD - 60 < await session.redis.pttl(f"dcb:dead:{letter_id}") / 1000 <= KEEP_DEAD
    for letter_id in ids:
        await session.redis.pexpire(f"dcb:dead:{letter_id}", 1)
    await asyncio.sleep(0.05)
    assert (await session.types("dead", "list")).out.startswith(("No dead letter", "There are no"))
    assert (await session.types("dead", "replay", "--all")).out == "No dead letter matches.\n"


async def test_a_shorter_setting_is_obeyed_for_letters_that_are_here_already(session: Session) -> None:
    ids = await all_kinds(session)
    await asyncio.sleep(0.02)
    await session.sweep()
    assert len(await session.keys("dcb:dead:*")) == len(ids)
    await Ledger(session.redis, keep=1000.0, keep_dead=0.01).sweep.run()
    assert await session.keys("dcb:dead*") == []


async def test_what_a_replay_puts_back_ends_by_the_settings_of_the_command(session: Session) -> None:
    letter_id = await unreadable_webhook(session, orjson.dumps({**orjson.loads(webhook("m-1")), "text": 7}))
    said = await session.types(
        "dead", "replay", letter_id, DCBRIDGE_DEAD_LETTER_DAYS="0.5", DCBRIDGE_RETENTION_DAYS="0.25"
    )
    assert said.code == 0
    [key] = await session.keys("dcb:dead:*")
    assert 0.4 * DAY < await session.redis.pttl(key) / 1000 <= 0.5 * DAY
