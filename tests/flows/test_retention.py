"""What is stored lives as long as the settings say, and not longer; what people wrote goes when it has arrived."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from dcbridge.settings.process import DAY
from tests.stack import EMAIL, ROOT, SMS, Stack, sms_body, until

TEXT, SUBJECT, ANSWER = "Quarzolith the agent says: pin 66120", "Your Braumeister results", "Vexillum answers: 55731"
MAILBOX, BOUNCES = "wilma.retained@mail.example", "later-bounce@mail.example"
NUMBER, REFUSED, WRITER = "16502558812", "15005550004", "16502558823"
PRIVATE = (TEXT, SUBJECT, ANSWER, MAILBOX, BOUNCES, NUMBER, REFUSED, WRITER)
DAYS = {"DCBRIDGE_RETENTION_DAYS": 2.0, "DCBRIDGE_DEAD_LETTER_DAYS": 5.0, "DCBRIDGE_CALLBACK_DEDUPE_DAYS": 3.0}
SHORT = 4 / DAY  # four seconds
CONFIRM = 5 * 3600  # seconds; four hours at least, for the ids of a provider


def carry(stack: Stack) -> None:
    """Messages of every kind, both ways, to their end."""
    stack.receipt(stack.agent_writes(to=NUMBER, text=TEXT))
    stack.receipt(stack.agent_writes(to=NUMBER, text=f"{TEXT} " * 60))
    assert stack.receipt(stack.agent_writes(to=REFUSED, text=TEXT))["status"] == "Failed"
    mail = stack.agent_mails(MAILBOX, BOUNCES, subject=SUBJECT, text=TEXT)
    for mailbox in (MAILBOX, BOUNCES):
        stack.receipt(mail, mailbox, channel=EMAIL)
    stack.sandbox("consumer/sms", {"from": "+" + WRITER, "text": ANSWER, "wait": True})
    until(lambda: stack.sandbox("counts").get("seen"), "the agent sees it")
    stack.settled()


def ever_buried(stack: Stack) -> int:
    """Dead letters so far, those that have ended since included."""
    with stack.ledger() as connection:
        count: Any = connection.hget("dcb:counts", "dead")
    return int(count or 0)


def bury(stack: Stack) -> None:
    """Dead letters of several kinds, and their bytes."""
    before = ever_buried(stack)
    cut = json.dumps(sms_body(stack.new_id(), NUMBER, TEXT)).encode()[:-2]  # the same bytes again are no second letter
    assert stack.webhook(cut).status_code == 200
    assert stack.webhook(sms_body(stack.new_id(), NUMBER) | {"text": {"not": TEXT}}).status_code == 200
    asked = {"from": "+" + WRITER, "to": "+15550001111", "text": ANSWER, "wait": True}
    stack.sandbox("consumer/sms", asked)
    until(lambda: ever_buried(stack) == before + 3, "they are buried")


def database(connection: redis.Redis) -> dict[str, bytes]:
    """Every key and what it holds."""
    found: dict[str, bytes] = {}
    reads: dict[bytes, Any] = {
        b"hash": lambda key: [part for pair in connection.hgetall(key).items() for part in pair],
        b"zset": lambda key: connection.zrange(key, 0, -1),
        b"set": connection.smembers,
        b"list": lambda key: connection.lrange(key, 0, -1),
        b"string": lambda key: [connection.get(key) or b""],
        b"stream": lambda key: [repr(connection.xrange(key)).encode()],
        b"none": lambda key: [],
    }
    for key in connection.scan_iter():
        kind: Any = connection.type(key)
        found[key.decode()] = b"\0".join(reads[kind](key))
    return found


def leaks(stored: dict[str, bytes]) -> list[str]:
    return [f"{key}: {word}" for key, value in stored.items() for word in PRIVATE if word.encode() in value]


def journalled(stack: Stack) -> int:
    """Bytes in the service's journal."""
    return sum(path.stat().st_size for path in (stack.folder / "journal").glob("*.journal"))


def for_ever() -> list[re.Pattern[str]]:
    """What docs/architecture.md says is never deleted, as patterns of names."""
    rows = re.findall(r"^\| (`dcb:.+?) \|.*\| ([^|]+) \|$", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE)
    names = [
        name
        for cell, keep in rows
        if re.match(r"for ever|for good|until a worker announces", keep)
        for name in cell.split("`")[1::2]
    ]
    return [re.compile(re.sub(r"<[^>]+>", ".+", name)) for name in names]


@pytest.fixture(scope="module")
def kept() -> Iterator[Stack]:
    with Stack(settings={name: str(days) for name, days in DAYS.items()}) as stack:
        carry(stack)
        yield stack


def test_what_people_wrote_and_who_they_are_is_gone_as_soon_as_all_have_ended(kept: Stack) -> None:
    with kept.ledger() as connection:
        stored = database(connection)
        assert len([key for key in stored if key.startswith(("dcb:m:", "dcb:t:"))]) > 10
        assert leaks(stored) == []
        bury(kept)
        assert len(leaks(database(connection))) >= 3  # the search finds what is there: a dead letter is raw


def test_each_kind_lives_as_long_as_its_own_setting(kept: Stack) -> None:
    bury(kept)
    kept.settled()
    days = {
        "dcb:m:": DAYS["DCBRIDGE_RETENTION_DAYS"],
        "dcb:t:": DAYS["DCBRIDGE_CALLBACK_DEDUPE_DAYS"],
        "dcb:dead:": DAYS["DCBRIDGE_DEAD_LETTER_DAYS"],
    }
    seen = dict.fromkeys(days, 0)
    with kept.ledger() as connection:
        for key in connection.scan_iter():
            kind = next((kind for kind in days if key.decode().startswith(kind)), None)
            if kind is not None:
                left: Any = connection.pttl(key)
                assert days[kind] * 0.9 < left / 1000 / DAY <= days[kind], key
                seen[kind] += 1
    assert min(seen.values()) >= 3, seen


def test_after_that_nothing_is_left_of_anybody() -> None:
    """Also of what waited in the journal while Redis was away."""
    short = {
        "DCBRIDGE_RETENTION_DAYS": SHORT,
        "DCBRIDGE_DEAD_LETTER_DAYS": SHORT,
        "DCBRIDGE_EVENT_DAYS": SHORT,
        "DCBRIDGE_CALLBACK_DEDUPE_DAYS": SHORT,
    }
    waits = {channel: {"confirm_within": CONFIRM} for channel in (SMS, EMAIL)}
    with Stack(settings={name: str(days) for name, days in short.items()}, channels=waits) as stack:
        carry(stack)
        bury(stack)
        stack.settled()
        with stack.ledger() as connection:  # a job that the kill cuts off stays for an hour
            until(lambda: not list(connection.scan_iter("rq:job:*")), "no job is under way")
        stack.redis.kill()
        stack.sandbox("consumer/sms", {"from": "+" + WRITER, "text": ANSWER, "wait": True})
        assert journalled(stack) > 0
        stack.redis.start()
        until(lambda: stack.sandbox("counts")["seen"] == 2, "the agent sees what waited in the journal")
        until(lambda: not journalled(stack), "the journal is emptied")
        # These are of processes that live; the stream of events is empty in the end, and stays; a day of the index is
        # kept for two days more than its messages.
        living = "dcb:alive:.+|dcb:probe|dcb:services|dcb:signatures.*|dcb:interactions|dcb:ix|dcb:ix:.+"
        known = [*for_ever(), re.compile(living)]
        assert len(known) >= 7
        hours = re.compile("dcb:id:.+")  # a provider's id and our reference: as long as an update may come

        def left_over() -> list[str]:
            names = [key for key in database(connection) if key.startswith(("dcb:", "rq:job:"))]
            return [name for name in names if not any(pattern.fullmatch(name) for pattern in (*known, hours))]

        with stack.ledger() as connection:
            try:
                until(lambda: not left_over(), "all that ends has ended")
            except AssertionError as late:
                raise AssertionError(f"{late}: {left_over()}") from None
            assert connection.xlen("dcb:interactions") == 0
            assert leaks(database(connection)) == []
            ids = list(connection.scan_iter("dcb:id:*"))
            assert ids
            assert all(0 < connection.pttl(key) <= CONFIRM * 1000 for key in ids)
            lists = list(connection.scan_iter("dcb:ix:*"))
            assert lists
            assert all(0 < connection.pttl(key) <= (2 + SHORT) * DAY * 1000 for key in lists)
            assert stack.books().dead_letters == 0
