"""`dcbridge books`: it says whether the books balance, and which messages are to blame when they do not."""

from __future__ import annotations

import pytest

from tests.cli.session import Session
from tests.ledger.ledger_bench import CHANNEL


async def some(session: Session) -> tuple[str, str]:
    """One message that has ended and one that is in flight."""
    ended = await session.sending("m-1", to_id="1")
    await session.ledger.messages.fail(ended, "mine", 530, "")
    return ended, await session.put("m-2", to_id="2")


async def test_books_that_balance(session: Session) -> None:
    await some(session)
    said = await session.types("books")
    assert (said.code, "The books balance." in said.out, CHANNEL in said.out) == (0, True, True)
    told = await session.types("books", "--json")
    assert told.code == 0
    assert (told.json["balanced"], told.json["difference"], told.json["out_of_place"]) == (True, 0, [])
    [channel] = told.json["channels"]
    assert (channel["accepted"], channel["failed"], channel["in_flight"], channel["difference"]) == (2, 1, 1, 0)
    assert told.json["queued_jobs"]["outbound"] == 2


@pytest.mark.parametrize(
    ("fault", "state", "what"),
    [
        ("entry lost", "gone", "has no entry"),
        ("still open", "failed", "still in the index of open messages"),
        ("not open", "accepted", "not in the index of open messages"),
    ],
)
async def test_a_message_out_of_place_is_named(session: Session, fault: str, state: str, what: str) -> None:
    ended, flying = await some(session)
    match fault:
        case "entry lost":
            await session.redis.delete(f"dcb:m:{flying}")
            await session.redis.hincrby(f"dcb:books:{CHANNEL}", "accepted", -1)
        case "still open":
            await session.redis.zadd(f"dcb:open:{CHANNEL}", {ended: 1})
        case "not open":
            await session.redis.zrem(f"dcb:open:{CHANNEL}", flying)
    told = await session.types("books", "--json")
    assert told.code == 1
    [found] = told.json["out_of_place"]
    assert (found["ref"], found["channel"], found["state"]) == (ended if state == "failed" else flying, CHANNEL, state)
    assert what in found["what"]
    said = await session.types("books")
    assert said.code == 1
    assert found["ref"] in said.out
    assert "1 unaccounted for" in said.out


async def test_a_wrong_counter_blames_no_message(session: Session) -> None:
    await some(session)
    await session.redis.hincrby(f"dcb:books:{CHANNEL}", "accepted", 1)
    said = await session.types("books")
    assert (said.code, "No single message is wrong" in said.out) == (1, True)


async def test_the_list_is_bounded(session: Session) -> None:
    for n in range(30):
        ref = await session.put(f"m-{n}", to_id=str(n))
        if n % 2:
            await session.redis.zrem(f"dcb:open:{CHANNEL}", ref)
        else:
            await session.redis.delete(f"dcb:m:{ref}")
    whole = await session.types("books", "--json")
    assert (len(whole.json["out_of_place"]), whole.json["more_out_of_place"]) == (30, False)
    for limit in (1, 20):
        told = await session.types("books", "--json", "--limit", str(limit))
        assert (len(told.json["out_of_place"]), told.json["more_out_of_place"]) == (limit, True)
        assert f"These are the first {limit};" in (await session.types("books", "--limit", str(limit))).out


async def test_without_redis_it_says_so(session: Session) -> None:
    said = await session.types("books", DCBRIDGE_REDIS_URL="redis://127.0.0.1:1/0")
    assert (said.code, "redis://127.0.0.1:1/0" in said.err) == (3, True)
