"""A message that has ended is sent once more as a new one, where its text was kept; else it is said what to set."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from dcbridge.ledger import Ledger
from dcbridge.ledger.index import Index
from dcbridge.ledger.kept_text import LARGEST, KeptText
from dcbridge.ledger.reports.books import read
from dcbridge.messages import own_books
from dcbridge.operations.controls import Who
from dcbridge.operations.send_again import send_again
from dcbridge.settings.problems import ConfigurationError
from dcbridge.settings.process import read_settings
from tests.cli.session import PRIVATE, SENDER, TEXT, Session
from tests.ledger.ledger_bench import CHANNEL, copies_of, new_message, new_own

NUMBER = "16504660000"
KEY, OTHER_KEY = b"0123456789abcdef", b"another key of tokens"
PAYLOAD = TEXT.encode()


def keeping(session: Session, *keys: bytes, hours: float = 2.0) -> Ledger:
    text = KeptText(hours * 3600, keys or (KEY,)) if hours else KeptText()
    return Ledger(session.redis, keep=1000.0, keep_dead=1000.0, text=text)


async def delivered(ledger: Ledger, ref: str, channel: str = CHANNEL) -> None:
    assert (await ledger.messages.claim(ref, "mine", 60.0)).ours
    await ledger.messages.submitted(ref, "mine", 0, 1, f"SM{ref}", delivered=True, confirm_within=60.0)
    await ledger.receipts.take(channel, 10, 60.0)
    await ledger.receipts.done(channel, [ref])
    assert not (await ledger.messages.entry(ref)).to_id


async def ended(session: Session, ledger: Ledger, message_id: str = "m-1", **changes: Any) -> str:
    """Delivered, and its receipt posted: neither text nor number is there any more."""
    message = new_message(message_id, **{"to_id": NUMBER, "sender_id": SENDER, "payload": PAYLOAD} | changes)
    await ledger.messages.accept([message])
    await delivered(ledger, message.ref, message.channel_id)
    return message.ref


async def again(session: Session, ledger: Ledger, ref: str, key: str = "click-1") -> Any:
    return await send_again(ledger, session.configuration, ref, Who("ada", "lost"), key)


async def test_it_is_a_new_message_in_its_conversation_and_both_traces_name_the_other(session: Session) -> None:
    ledger = keeping(session)
    first = await ended(session, ledger)
    before = await ledger.messages.entry(first)
    waits = await session.put("m-2", to_id=NUMBER)
    answer = await again(session, ledger, first)
    assert answer.outcome == "new"
    new = await ledger.messages.entry(answer.ref)
    assert (new.lane, new.is_own, new.state, new.to_id) == (before.lane, True, "accepted", NUMBER)
    assert (await ledger.messages.claim(answer.ref, "one", 60.0)).why == "not its turn"  # m-2 was first
    await delivered(ledger, waits)
    claimed = await ledger.messages.claim(answer.ref, "one", 60.0)
    assert claimed.ours
    assert claimed.entry.payload == PAYLOAD
    [life] = await session.trace(answer.ref)
    assert life["caused_by"] == f"again {first}"
    assert f"sent again by an operator as {answer.ref}" in await session.hops(first)


async def test_the_books_add_up_and_no_receipt_is_owed_a_second_time(session: Session) -> None:
    ledger = keeping(session)
    first = await ended(session, ledger)
    posted = (await ledger.messages.entry(first)).receipt_posted_at
    answer = await again(session, ledger, first)
    await delivered(ledger, answer.ref)
    books = {one.channel_id: one for one in (await read(session.redis)).channels}
    assert (books[CHANNEL].accepted, books[CHANNEL].delivered) == (1, 1)
    own = books[own_books(CHANNEL)]
    assert (own.accepted, own.delivered, own.in_flight) == (1, 1, 0)
    assert await ledger.receipts.take(CHANNEL, 10, 60.0) == []
    assert await ledger.receipts.take(own_books(CHANNEL), 10, 60.0) == []
    assert (await ledger.messages.entry(first)).receipt_posted_at == posted


async def test_one_click_sends_once_and_each_is_on_record(session: Session) -> None:
    ledger = keeping(session)
    first = await ended(session, ledger)
    answers = await asyncio.gather(*(again(session, ledger, first) for _ in range(5)))
    assert sorted(one.outcome for one in answers) == ["again"] * 4 + ["new"]
    assert len({one.ref for one in answers}) == 1
    assert (await again(session, ledger, first, "click-2")).outcome == "new"
    lines = await ledger.controls.audit(10)
    assert {(one.by, one.action, one.what, one.why) for one in lines} == {("ada", "send again", first, "lost")}
    assert len(lines) == 6


async def test_the_second_recipient_of_a_message_gets_it_again_and_not_the_first(session: Session) -> None:
    ledger = keeping(session)
    copies = copies_of("m-1", "16504660001", NUMBER, sender_id=SENDER, payload=PAYLOAD)
    await ledger.messages.accept(copies)
    for copy in copies:
        await delivered(ledger, copy.ref)
    answer = await again(session, ledger, copies[1].ref)
    assert answer.ref.endswith("-1")  # the place of the recipient in the payload
    assert (await ledger.messages.entry(answer.ref)).to_id == NUMBER


async def test_what_is_kept_cannot_be_read_without_the_key_and_ends_with_its_time(session: Session) -> None:
    ledger = keeping(session)
    first = await ended(session, ledger)
    sealed = await session.redis.get(f"dcb:kept:{first}")
    assert sealed
    assert not any(word.encode() in sealed for word in (*PRIVATE, NUMBER))
    assert 7_190_000 < await session.redis.pttl(f"dcb:kept:{first}") <= 7_200_000
    assert (await again(session, keeping(session, OTHER_KEY), first)).why == "over"
    assert (await again(session, keeping(session, OTHER_KEY, KEY), first)).outcome == "new"  # token_key_before
    await session.redis.set(f"dcb:kept:{'0' * 24}", sealed)
    assert await ledger.own.kept("0" * 24) is None  # what is kept for one is not sent as another


@pytest.mark.parametrize(
    ("refused", "why"),
    [
        ("off", "not kept"),
        ("waits", "not ended"),
        ("own", "own"),
        ("no channel", "not configured"),
        ("large", "over"),
    ],
)
async def test_what_cannot_be_sent_again_is_refused_and_changes_nothing(
    session: Session, refused: str, why: str
) -> None:
    ledger = keeping(session, hours=0.0 if refused == "off" else 2.0)
    if refused == "waits":
        [message] = [new_message("m-1", to_id=NUMBER)]
        await ledger.messages.accept([message])
        ref = message.ref
    elif refused == "own":
        await ledger.own.put(new_own())
        ref = new_own().ref
    else:
        changes: dict[str, Any] = {"channel_id": "none"} if refused == "no channel" else {}
        changes |= {"payload": b"x" * (LARGEST + 1)} if refused == "large" else {}
        ref = await ended(session, ledger, **changes)
    keys = set(await session.keys("dcb:m:*"))
    answer = await again(session, ledger, ref)
    assert (answer.outcome, answer.why) == ("refused", why)
    assert answer.words
    assert set(await session.keys("dcb:m:*")) == keys
    assert ("DCBRIDGE_KEEP_TEXT" in answer.words) == (why in ("not kept", "over"))


async def test_the_command_sends_it_and_says_as_what(session: Session) -> None:
    settings = read_settings(session.environ | {"DCBRIDGE_KEEP_TEXT": "1"})[0]
    ledger = Ledger.of(settings, session.redis)
    first = await ended(session, ledger)
    said = await session.types("send-again", first, "--key", "k", "--why", "lost", DCBRIDGE_KEEP_TEXT="1")
    assert said.code == 0
    refs = {key.removeprefix("dcb:m:") for key in await session.keys("dcb:m:*")} - {first}
    assert refs.pop() in said.out
    assert "before" in (await session.types("send-again", first, "--key", "k", DCBRIDGE_KEEP_TEXT="1")).out
    assert len(await session.keys("dcb:m:*")) == 2
    await session.redis.delete(f"dcb:kept:{first}")
    refused = await session.types("send-again", first)
    assert (refused.code, refused.out) == (1, "")
    assert "DCBRIDGE_KEEP_TEXT" in refused.err
    assert (await session.types("send-again", "m-none")).code == 1


async def test_nothing_is_kept_unless_it_is_asked_for(session: Session) -> None:
    ledger = Ledger.of(read_settings(session.environ)[0], session.redis)
    await ended(session, ledger)
    assert await session.keys("dcb:kept:*") == []
    assert Index.of(read_settings(session.environ)[0]).keep > 0


def test_a_text_is_kept_only_under_a_key_that_stays() -> None:
    with pytest.raises(ConfigurationError, match="token_key"):
        read_settings({"DCBRIDGE_KEEP_TEXT": "1"})
