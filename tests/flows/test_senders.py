"""A pool of numbers, rules for countries and registered texts, through all of dcbridge and a strict company."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from dcbridge.cli.dev.companies import COMPANIES
from tests.stack import Stack, until

PLIVO = COMPANIES["plivo"].channel
POOL = ["+15557650301", "+15557650302", "+15557650303"]
GERMAN = "+4915112345678"
ORDER = "Dear {#var#}, your order {#var#} is ready."


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(companies=("plivo",), parts=()) as running:
        path = running.folder / "bridge.yaml"
        told = yaml.safe_load(path.read_text())
        channel: dict[str, Any] = told["channels"][PLIVO]
        del channel["number"]
        channel["senders"] = [*({"number": one} for one in POOL), {"number": GERMAN, "countries": ["DE"]}]
        channel["by_country"] = {
            "FR": {"sender": "ACME"},
            "CN": {"refuse": True},
            "IN": {"sender": "ACMEIN", "entity_id": "1601", "templates": [{"id": "1707", "text": ORDER}]},
        }
        told["consent"] = {"answers": {"stop": "ACME: no more messages."}}
        path.write_text(yaml.safe_dump(told))
        running.start("sandbox", "service", "worker")
        yield running
        assert running.violations() == []


def send(stack: Stack, to: str, text: str = "Hello") -> dict[str, Any]:
    message_id = stack.new_id()
    told = {"channel": PLIVO, "to": to, "text": text, "messageId": message_id, "wait": True}
    assert stack.sandbox("agent/sms", told)["state"] == "accepted"
    return {**stack.receipt(message_id, channel=PLIVO), "id": message_id}


def senders(stack: Stack, to: str) -> list[str]:
    return [one["from"] for one in stack.texts_to(to)]


def writes(stack: Stack, sender: str, to: str, text: str = "Hi") -> None:
    said = {"provider": "plivo", "from": f"+{sender}", "to": to, "text": text, "wait": True}
    before = len(stack.recorded("seen"))
    assert stack.sandbox("consumer/sms", said)["state"] == "taken"
    until(lambda: len(stack.recorded("seen")) > before, "the agent sees it")
    assert stack.recorded("seen")[-1]["channel_id"] == PLIVO


def test_a_consumer_keeps_seeing_one_number_until_he_writes_to_another(stack: Stack) -> None:
    ana = stack.new_number()
    for _ in range(3):
        assert send(stack, ana)["status"] == "Delivered"
    [first] = set(senders(stack, ana))
    other = next(one for one in POOL if one != first)
    assert first in POOL
    writes(stack, ana, other)
    sent = [send(stack, ana) for _ in range(2)]
    assert senders(stack, ana)[-2:] == [other, other]
    writes(stack, ana, GERMAN)
    send(stack, ana)
    assert senders(stack, ana)[-1] == GERMAN
    assert f"{other}: the consumer wrote to it" in stack.command("trace", sent[0]["id"]).stdout
    with stack.ledger() as connection:
        kept = [connection.get(key) for key in connection.scan_iter("dcb:sender:*")]
        names = b" ".join(connection.scan_iter("dcb:sender:*"))
    assert all(value is not None and len(value) == 9 for value in kept)
    assert ana.encode() not in names


@pytest.mark.parametrize(
    ("to", "text", "sender", "status"),
    [
        ("4915198765432", "Hello", GERMAN, "Delivered"),
        ("33612345678", "Hello", "ACME", "Delivered"),
        ("919812345678", "Dear Ravi, your order 17 is ready.", "ACMEIN", "Delivered"),
        ("919812345679", "Hello", "", "Failed"),
        ("8613812345678", "Hello", "", "Failed"),
    ],
)
def test_a_country_has_a_sender_and_texts_of_its_own_or_is_refused(
    stack: Stack, to: str, text: str, sender: str, status: str
) -> None:
    receipt = send(stack, to, text)
    assert receipt["status"] == status
    assert senders(stack, to) == ([sender] if sender else [])
    if status == "Failed":
        [reason] = receipt["reasons"]
        assert reason["code"] == 350
        why = "text fits no template of country IN" if to.startswith("91") else "country CN is refused"
        assert why in stack.command("trace", receipt["id"]).stdout


def test_a_stop_is_answered_from_the_number_that_it_came_to_and_counts_for_the_pool(stack: Stack) -> None:
    ana = stack.new_number()
    writes(stack, ana, POOL[2], "STOP")
    until(lambda: stack.texts_to(ana), "it is answered")
    assert senders(stack, ana) == [POOL[2]]
    writes(stack, ana, POOL[0])
    receipt = send(stack, ana)
    assert (receipt["status"], receipt["reasons"][0]["code"]) == ("Failed", 350)
    assert senders(stack, ana) == [POOL[2]]
