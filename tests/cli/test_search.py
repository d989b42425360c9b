"""`dcbridge trace` by what an operator has in hand: a number, a mailbox, a provider's id, a trace id, a token."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from dcbridge.ledger import Ledger, NewTask
from dcbridge.ledger.reports import index
from dcbridge.operations import find
from dcbridge.providers.callback import consumer_lane, consumer_task_id
from dcbridge.runtime.logs import Tokens
from dcbridge.settings.process import read_settings
from tests.cli.session import PRIVATE, SENDER, TEXT, Said, Session
from tests.ledger.ledger_bench import CHANNEL, new_message

NUMBER, MAILBOX = "16504660000", "Reader@Somewhere.example"
PRIVATELY: dict[str, Any] = {"sender_id": SENDER, "payload": TEXT.encode()}


async def refs(session: Session, *arguments: str) -> list[str]:
    """The messages and tasks that are found, in order; looked at for what is private."""
    told = await session.types("trace", "--json", *arguments)
    shown = await session.types("trace", *arguments)
    found = [life.get("message") or life["task"] for life in told.json["found"]]
    assert told.code == shown.code == (0 if found else 1)
    for said in (told, shown):
        assert not any(word in said.out + said.err for word in (*PRIVATE, NUMBER, MAILBOX, MAILBOX.lower()))
    assert all(ref in shown.out for ref in found)
    return found


async def ended(session: Session, message_id: str, **changes: Any) -> str:
    """Sent, delivered, its receipt posted: its address is forgotten."""
    ref = await session.sending(message_id, **PRIVATELY, **changes)
    await session.taken(ref, delivered=True)
    channel = changes.get("channel_id", CHANNEL)
    await session.ledger.receipts.take(channel, 10, 60.0)
    await session.ledger.receipts.done(channel, [ref])
    assert not (await session.ledger.messages.entry(ref)).to_id
    return ref


# ---------------------------------------------------------------- addresses


@pytest.mark.parametrize("typed", [NUMBER, "+16504660000", "+1 650 466 0000", "1 (650) 466-0000", "1-650-466-0000"])
async def test_a_number_finds_what_waits_for_it_in_any_spelling(session: Session, typed: str) -> None:
    first = await session.put("m-1", to_id=NUMBER, **PRIVATELY)
    second = await session.put("m-2", to_id=NUMBER, **PRIVATELY)
    await session.put("m-3", to_id="16504660001", **PRIVATELY)
    assert await refs(session, "--", typed) == [first, second]


async def test_a_number_that_is_none_is_found_by_its_digits(session: Session) -> None:
    ref = await session.put("m-1", to_id="0000123", **PRIVATELY)
    assert await refs(session, "000-0123") == [ref]


@pytest.mark.parametrize("typed", [MAILBOX, f" {MAILBOX} "])
async def test_a_mailbox_finds_what_waits_for_it(session: Session, typed: str) -> None:
    ref = await session.put("m-1", to_id=MAILBOX, channel_id="company.com", **PRIVATELY)
    assert await refs(session, typed) == [ref]
    assert await refs(session, typed, "--channel", CHANNEL) == []


async def test_a_number_finds_what_a_consumer_wrote_too(session: Session) -> None:
    task = NewTask("c-" + "0" * 24, "consumer", consumer_lane(CHANNEL, NUMBER), b"{}", "", CHANNEL)
    await session.ledger.tasks.put([task])
    assert await refs(session, NUMBER) == [task.id]


async def test_one_find_is_told_in_full_and_several_in_a_list(session: Session) -> None:
    first = await session.put("m-1", to_id=NUMBER, **PRIVATELY)
    assert "trace id" in (await session.types("trace", NUMBER)).out
    await session.put("m-2", to_id=NUMBER, **PRIVATELY)
    said = await session.types("trace", NUMBER)
    assert ("trace id" in said.out, "2 messages" in said.out, first in said.out) == (False, True, True)


async def test_a_search_finds_what_waits_and_what_has_ended(session: Session) -> None:
    old = await ended(session, "m-1", to_id=NUMBER)
    await ended(session, "m-2", to_id="16504660001")
    new = await session.put("m-3", to_id=NUMBER, **PRIVATELY)
    assert await refs(session, NUMBER) == [new]
    assert set(await refs(session, NUMBER, "--search")) == {old, new}


async def test_a_search_by_address_finds_what_has_ended(session: Session) -> None:
    first = await ended(session, "m-1", to_id=NUMBER)
    await session.pass_time(10)
    second = await ended(session, "m-2", to_id=NUMBER)
    await ended(session, "m-3", to_id="16504660001")
    assert await refs(session, NUMBER) == []
    assert sorted(await refs(session, "+1 650 466 0000", "--search")) == sorted([first, second])


async def test_what_has_ended_is_found_by_number_and_by_token_where_it_is_indexed(session: Session) -> None:
    ledger = Ledger.of(read_settings(session.environ)[0], session.redis)
    first, other = new_message("m-1", to_id=NUMBER, **PRIVATELY), new_message("m-2", to_id="16504660001", **PRIVATELY)
    for one in (first, other):
        await ledger.messages.accept([one._replace(reason=500)])
    task = NewTask("c-" + "1" * 24, "consumer", "lane", b"{}", "", CHANNEL, NUMBER)
    await ledger.tasks.put([task])
    assert await refs(session, "+1 650 466 0000") == [first.ref, task.id]
    assert await refs(session, NUMBER, "--channel", "none") == []
    said = await session.types("token", "-", stdin=f"{NUMBER}\n")
    assert await refs(session, said.out.strip()) == [first.ref, task.id]
    changed = session.environ | {"DCBRIDGE_TOKEN_KEY": "another key of tokens"}
    before = changed | {"DCBRIDGE_TOKEN_KEY_BEFORE": session.environ["DCBRIDGE_TOKEN_KEY"]}
    for environ, finds in ((changed, ()), (before, (first.ref,))):
        digest = find.digest_of(read_settings(environ)[0], session.configuration, NUMBER)
        assert (await index.find(session.redis, index.Query(number=digest))).refs == finds


async def test_an_address_that_nobody_knows_is_not_repeated(session: Session) -> None:
    for typed, more in ((NUMBER, []), (MAILBOX, ["--search"])):
        said: Said = await session.types("trace", typed, *more)
        assert (said.code, said.out) == (1, "")
        assert typed not in said.err
        assert "this address" in said.err


async def test_an_address_may_be_given_out_of_sight(session: Session) -> None:
    ref = await session.put("m-1", to_id=NUMBER, **PRIVATELY)
    assert (await session.types("trace", "--json", "-", stdin=f"{NUMBER}\n")).json["found"][0]["message"] == ref
    said = await session.types("token", "-", stdin=f"{NUMBER}\n")
    assert said.out.strip() == Tokens(session.environ["DCBRIDGE_TOKEN_KEY"].encode()).of(NUMBER)


@pytest.mark.parametrize(
    ("given", "address"),
    [
        (NUMBER, True),
        ("+1 (650) 466-0000", True),
        ("a@b.example", True),
        ("1613474523265-0", False),
        ("1613474523265-12", False),
        ("0" * 24, False),
        ("SM" + "0" * 32, False),
        ("123456", False),
        ("<" + "0" * 24 + "@x.example>", False),
        ("m-1", False),
    ],
)
def test_what_looks_like_an_address(given: str, address: bool) -> None:
    assert find.is_address(given) == address


# ---------------------------------------------------------------- ids of others


async def test_an_email_is_found_by_its_message_id(session: Session) -> None:
    ref = await session.put("m-1", to_id=MAILBOX, channel_id="company.com", **PRIVATELY)
    assert await refs(session, f"<{ref}@company.example>") == [ref]
    assert await refs(session, f"{ref}@company.example") == [ref]


async def test_what_a_consumer_wrote_is_found_by_the_providers_id(session: Session) -> None:
    task_id = consumer_task_id("twilio", "SM0123")
    await session.ledger.tasks.put([NewTask(task_id, "consumer", "lane", b"{}", "", CHANNEL)])
    assert await refs(session, "SM0123") == [task_id]


async def test_what_was_sent_is_found_by_the_providers_id_of_any_part_with_a_search(session: Session) -> None:
    ref = await session.sending("m-1", to_id="1", **PRIVATELY)
    await session.ledger.messages.parts(ref, "mine", 2)
    await session.taken(ref, part=0, count=2)
    assert (await session.ledger.messages.claim(ref, "mine", 60.0)).ours
    await session.taken(ref, part=1, count=2)
    await session.sent("m-2", to_id="2")
    assert await refs(session, "SM1") == []
    assert await refs(session, "SM1", "--search") == [ref]
    assert len(await refs(session, "SM0", "--search")) == 2
    assert "--search" in (await session.types("trace", "SM1")).err


async def test_a_trace_id_finds_all_that_has_it(session: Session) -> None:
    ref = await session.put("m-1", trace_id="b3-trace", **PRIVATELY)
    task = NewTask("b-" + "0" * 24, "callback", "", b"", "b3-trace")
    await session.ledger.tasks.put([task])
    await session.put("m-2", to_id="2", **PRIVATELY)
    assert sorted(await refs(session, "b3-trace", "--search")) == sorted([ref, task.id])


def key_for(number: str, kind: str) -> str:
    """A key with which the token of this number has letters, or looks like a number itself."""
    keys = (f"a-token-key-of-the-test-{n}" for n in itertools.count())
    return next(key for key in keys if Tokens(key.encode()).of(number).isdecimal() == (kind == "digits only"))


@pytest.mark.parametrize("kind", ["with letters", "digits only"])
async def test_a_token_finds_what_still_has_its_address(session: Session, kind: str) -> None:
    ref = await session.sent("m-1", to_id=NUMBER, **PRIVATELY)
    await ended(session, "m-2", to_id=NUMBER)
    session.environ["DCBRIDGE_TOKEN_KEY"] = key = key_for(NUMBER, kind)
    token = Tokens(key.encode()).of(NUMBER)
    assert find.is_address(token) == (kind == "digits only")
    assert await refs(session, token, "--search") == [ref]
    said = await session.types("trace", "--search", token, DCBRIDGE_TOKEN_KEY="another-key-of-some-length")
    assert said.code == 1


@pytest.mark.parametrize("given", ["b3-trace", "20261126055400", "1650466"])
async def test_a_trace_id_finds_its_message_though_it_may_look_like_a_number(session: Session, given: str) -> None:
    ref = await session.put("m-1", trace_id=given, **PRIVATELY)
    await session.put("m-2", to_id="2", **PRIVATELY)
    assert await refs(session, given, "--search") == [ref]


@pytest.mark.parametrize("given", ["accepted", CHANNEL, "", "a-sender", "a-text", "m-1 "])
async def test_a_search_compares_ids_and_nothing_else(session: Session, given: str) -> None:
    await session.put("m-1", to_id=NUMBER, sender_id="a-sender", payload=b"a-text")
    said = await session.types("trace", "--search", "--", given)
    assert said.code == 1


async def test_a_search_reads_all_there_is_and_changes_nothing(session: Session) -> None:
    for n in range(1500):
        await session.put(f"m-{n}", to_id=str(n), trace_id=f"trace-{n}")
    before = await session.redis.dbsize()
    for n in (0, 777, 1499):
        assert len((await session.types("trace", "--json", "--search", f"trace-{n}")).json["found"]) == 1
    assert await session.redis.dbsize() == before
