"""Entries and dead letters that something else wrote into: what can be shown is shown, and never a traceback."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from dcbridge.ledger.fields import Each, Entry, MessageEntry, TaskEntry
from tests.cli.letters import dead_task, refused_receipt, told_failed, unreadable_webhook
from tests.cli.session import CONSUMER, Session
from tests.ledger.ledger_bench import CHANNEL

# Instead of a number: no number, none that is one for Redis, one beyond every date, bytes that are no text, nothing.
VALUES = [b"x", b"nan", b"inf", b"9" * 400, b"\xff\xfe", "²".encode(), b"-9999999999999999", b""]
LINES = [b"x", b"9" * 400 + b" try 1 1 taken", "² try ² ² taken ²".encode(), b"1 try", b"5 update \xff", b"5 asked"]


def wires(kind: type[Entry]) -> list[str]:
    return [one.wire + "0" * isinstance(one, Each) for one in kind.fields()]


async def types(session: Session, *words: str) -> str:
    """What is said; `types` raises what the command did not catch."""
    said = await session.types(*words)
    assert said.code in (0, 1), (words, said.err)
    assert "Traceback" not in said.out + said.err
    return said.out


async def damage(session: Session, key: str, changes: dict[str, bytes]) -> None:
    await session.redis.hset(key, mapping=changes)  # type: ignore[arg-type]


async def test_each_field_of_a_message(session: Session) -> None:
    ref = await session.sending("m-1", to_id=CONSUMER)
    await session.retry(ref)
    whole = await session.redis.hgetall(f"dcb:m:{ref}")
    for number, wire in enumerate(wires(MessageEntry)):
        await damage(session, f"dcb:m:{ref}", {wire: VALUES[number % len(VALUES)]})
        assert ref in await types(session, "trace", ref), wire
        await session.redis.delete(f"dcb:m:{ref}")
        await session.redis.hset(f"dcb:m:{ref}", mapping=whole)  # type: ignore[arg-type]
    assert "damaged" not in await types(session, "trace", ref)


@pytest.mark.parametrize("value", VALUES, ids=repr)
async def test_every_field_of_a_message(session: Session, value: bytes) -> None:
    ref = await session.put("m-1", to_id=CONSUMER)
    await damage(session, f"dcb:m:{ref}", dict.fromkeys(wires(MessageEntry), value))
    out = await types(session, "trace", ref)
    assert ("damaged" in out) == bool(value)
    [life] = (await session.types("trace", ref, "--json")).json["found"]
    assert ("expires_at" in life.get("damaged", [])) == bool(value)
    await types(session, "trace", "--search", "nothing-like-it")
    await types(session, "trace", CONSUMER)
    await types(session, "status")


@pytest.mark.parametrize("value", VALUES, ids=repr)
async def test_every_field_of_a_task(session: Session, value: bytes) -> None:
    task = "c-" + "0" * 24
    await damage(session, f"dcb:t:{task}", dict.fromkeys(wires(TaskEntry), value))
    assert task in await types(session, "trace", task)
    await types(session, "trace", task, "--json")


async def test_an_entry_with_nothing_in_it_but_a_name(session: Session) -> None:
    await damage(session, "dcb:m:" + "0" * 24, {"zz": b"1"})
    assert "0" * 24 in await types(session, "trace", "0" * 24)
    await types(session, "trace", "--search", "nothing-like-it")


@pytest.mark.parametrize("line", LINES, ids=lambda line: repr(line[:12]))
async def test_a_line_of_its_history(session: Session, line: bytes) -> None:
    ref = await session.sending("m-1", to_id=CONSUMER)
    await damage(session, f"dcb:m:{ref}", {"h0": line, "hn": b"1"})
    assert "accepted" in await types(session, "trace", ref)


async def test_a_message_with_more_parts_than_any_text_has(session: Session) -> None:
    ref = await session.sending("m-1", to_id=CONSUMER)
    await damage(session, f"dcb:m:{ref}", {"n": b"999999999999"})
    [life] = (await session.types("trace", ref, "--json")).json["found"]
    assert (life["damaged"], life["parts"]) == (["parts"], [])


async def test_times_that_are_no_times(session: Session) -> None:
    ref = await session.sending("m-1", to_id=CONSUMER)
    await session.redis.zadd("dcb:due", {f"m:{ref}": float("inf")})
    await session.redis.zadd(f"dcb:receipts:{CHANNEL}", {ref: float("-inf")})
    assert ref in await types(session, "trace", ref)


async def webhook(session: Session) -> str:
    return await unreadable_webhook(session)


LETTERS: list[Callable[[Session], Awaitable[str]]] = [webhook, told_failed, refused_receipt, dead_task]


@pytest.mark.parametrize("make", LETTERS)
async def test_each_field_of_a_dead_letter(session: Session, make: Callable[[Session], Awaitable[str]]) -> None:
    letter = await make(session)
    key = f"dcb:dead:{letter}"
    names = [str(name, "ascii") for name in await cast(Any, session.redis.hkeys(key))]
    for value in VALUES:
        await damage(session, key, dict.fromkeys(names, value))
        await session.redis.zadd("dcb:dead", {letter: 1.0})
        shown = await types(session, "dead", "show", letter)
        assert (letter in shown) == bool(value), value  # without a time it is none
        await types(session, "dead", "show", letter, "--json")
        await types(session, "dead", "list")
        await types(session, "dead", "replay", letter, "--dry-run")
    for name in names:
        await session.redis.hdel(key, name)
        await types(session, "dead", "show", letter)


@pytest.mark.parametrize("score", [float("inf"), float("-inf"), 1e300, -1.0])
async def test_a_dead_letter_of_no_time(session: Session, score: float) -> None:
    letter = await unreadable_webhook(session)
    await session.redis.zadd("dcb:dead", {letter: score})
    assert letter in await types(session, "dead", "show", letter)
    await types(session, "dead", "list")
    await types(session, "status")
