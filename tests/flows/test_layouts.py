"""What an older version left in Redis is carried on to its end by the processes of this one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from dcbridge.ledger.layout import LAYOUT, LAYOUTS
from tests.ledger.layouts.load import HERE, load
from tests.stack import EMAIL, SMS, Stack, until

SENT = {"accepted", "job lost", "behind", "other head", "retry", "paced", "held", "held too", "parked"}
RESENT = {"sending", "unknown", "asked about"}  # the provider is asked, and has not got it
TOLD = {"sent", "answered meanwhile", "in parts"}  # and then nobody ever says anything more
MAILS = {"copy 1", "copy 2", "copy 3"}
ENDED = {
    "delivered",
    "confirmed late",
    "receipt owed",
    "receipt taken",
    "receipt refused",
    "mailed",
    "bad number",
    "stray",
}


@pytest.fixture(scope="module")
def carried() -> Iterator[tuple[Stack, dict[str, str]]]:
    """A stack that was started on what 0.1.0 has left, once nothing is in flight any more."""
    channel = {"ask_after": 1, "confirm_within": 2}
    with Stack(parts=(), channels={SMS: channel, EMAIL: {"confirm_within": 2}}) as stack:
        add_subscriber(stack)
        with stack.ledger() as redis:
            named = load(redis, 1)["named"]
            before = {key for key in redis.keys("dcb:m:*") if redis.hget(key, "s") in (b"delivered", b"failed")}
            assert before
        stack.start("sandbox", "service", "worker")
        stack.settled()
        yield stack, named


def add_subscriber(stack: Stack) -> None:
    """The one that the recording names `crm`, beside the sandbox."""
    path = stack.folder / "bridge.yaml"
    told = yaml.safe_load(path.read_text())
    told["subscribers"]["crm"] = told["subscribers"]["sandbox"] | {"events": ["*"]}
    path.write_text(yaml.safe_dump(told))


def state(stack: Stack, ref: str) -> str:
    with stack.ledger() as redis:
        found: Any = redis.hget(f"dcb:m:{ref}", "s")
    return found.decode() if found else "gone"


def test_every_layout_before_this_one_has_a_recording() -> None:
    assert sorted(LAYOUTS) == list(range(1, LAYOUT + 1))
    assert {int(path.stem.split("-")[1]) for path in HERE.glob("layout-*.jsonl")} == set(LAYOUTS) - {LAYOUT}


def test_each_message_ends_once_and_the_books_balance(carried: tuple[Stack, dict[str, str]]) -> None:
    stack, named = carried
    assert set(named) == SENT | RESENT | TOLD | MAILS | ENDED | {"delivery dead", "delivery running"}
    ends = {name: state(stack, named[name]) for name in sorted(named) if not name.startswith("delivery")}
    assert {name: ends[name] for name in SENT | RESENT} == dict.fromkeys(SENT | RESENT, "delivered")
    assert {name: ends[name] for name in TOLD} == dict.fromkeys(TOLD, "unconfirmed")
    assert {name for name in MAILS if ends[name] not in ("delivered", "unconfirmed")} == set()
    assert {name: ends[name] for name in ENDED} == {
        "delivered": "delivered", "mailed": "delivered", "confirmed late": "delivered", "receipt owed": "failed",
        "receipt taken": "failed", "receipt refused": "failed", "bad number": "failed", "stray": "failed",
    }  # fmt: skip
    books = stack.books()
    assert books.difference == 0
    assert sum(channel.in_flight + channel.receipts_waiting for channel in books.channels) == 0
    assert books.set_aside == 0


def test_nobody_gets_a_message_twice_that_was_not_in_doubt(carried: tuple[Stack, dict[str, str]]) -> None:
    stack, _ = carried
    texts = [sms["to"] for sms in stack.sandbox("sms")]
    assert {to for to in texts if texts.count(to) > 1} == {"+16502530117"}  # it was sent two: "other head" and "behind"
    assert len(texts) == len(SENT | RESENT) + 1  # and the second part of one whose first had gone


def test_callbacks_and_events_go_on(carried: tuple[Stack, dict[str, str]]) -> None:
    stack, named = carried
    books = stack.books()
    assert sum(books.tasks.values()) == 0

    def over() -> bool:
        return all(one.waiting == 0 for one in stack.books().subscribers)

    until(over, "no delivery waits")
    with stack.ledger() as redis:
        for key in ("dcb:interactions", "dcb:turn:crm", "dcb:backlog:crm", "dcb:hold:p-twilio", "dcb:parked:twilio"):
            assert redis.exists(key) == 0 or (key == "dcb:interactions" and redis.xlen(key) == 0), key
        assert redis.hget(f"dcb:ed:{named['delivery running'][:28]}", "crm").startswith(b"delivered")
        assert redis.hget(f"dcb:ed:{named['delivery dead'][:28]}", "crm").startswith(b"dead")
    heard = {one["interaction"] for one in stack.sandbox("heard") if one["status"] == 204}
    assert {"unsplit-interaction", "failing-interaction-0", "failing-interaction-1", "failing-interaction-2"} <= heard


def test_each_dead_letter_is_put_back_or_says_why_not(carried: tuple[Stack, dict[str, str]]) -> None:
    stack, named = carried
    ran = stack.command("dead", "replay", "--all")
    assert "Traceback" not in ran.stderr
    told = dict(line.split(": ", 1) for line in ran.stdout.splitlines() if ": " in line)
    stays = {letter for letter, says in told.items() if says.startswith("stays")}
    assert {"e-1", f"m-{named['stray']}"} <= stays, ran.stdout
    for letter in ("t-b-dead", "t-c-dead", "u-1", f"r-{named['receipt refused']}", f"t-{named['delivery dead']}"):
        assert told[letter].startswith("replayed"), ran.stdout
    assert stack.settled().difference == 0


def test_the_number_is_raised(carried: tuple[Stack, dict[str, str]]) -> None:
    with carried[0].ledger() as redis:
        assert redis.get("dcb:layout") == str(LAYOUT).encode()
