"""An agent writes an SMS: what the consumer gets, and what the agent is told."""

from __future__ import annotations

import json

import pytest

from dcbridge.genesys import signature
from sandbox.magic import NUMBERS, MagicNumber
from tests.stack import SMS, Stack, sms_body, until

SILENT = "+15005550009"  # taken, and never heard of again
LOST = "+15005550014"  # never taken and never refused
TOLD = [number for number in NUMBERS if number.number not in (SILENT, LOST)]


def test_an_agents_sms_is_delivered_and_the_agent_is_told_in_the_documented_words(stack: Stack) -> None:
    message = stack.agent_writes(to="16504661149", text="Agent message text")
    assert stack.receipt(message)["status"] == "Delivered"
    [sms] = stack.texts_to("16504661149")
    assert (sms["body"], sms["from"]) == ("Agent message text", "+15557650123")
    [posted] = [e for e in stack.recorded("wire") if "Receipt" in e["sent"] and e["inward"]]
    assert (posted["method"], posted["path"]) == ("POST", f"/nexus/v3/channels/{SMS}/messages")
    assert json.loads(posted["sent"]) == {
        "messages": [
            {
                "channel": {"from": {"id": SMS}, "to": {"id": "16504661149"}, "messageId": message},
                "type": "Receipt",
                "status": "Delivered",
            }
        ]
    }
    assert stack.violations() == []


@pytest.mark.parametrize("magic", TOLD, ids=lambda magic: magic.says)
def test_each_magic_number_ends_as_its_table_says(stack: Stack, magic: MagicNumber) -> None:
    message = stack.agent_writes(to=magic.number.lstrip("+"))
    receipt = stack.receipt(message)
    if magic.reason is None:
        assert (receipt["status"], receipt["reasons"]) == ("Delivered", [])
        assert len(stack.texts_to(magic.number)) == 1
    else:
        assert receipt["status"] == "Failed"
        assert [reason["code"] for reason in receipt["reasons"]] == [magic.reason]
    assert stack.violations() == []


def test_a_message_that_is_never_heard_of_again_is_in_flight_and_then_unconfirmed(stack: Stack) -> None:
    before = stack.books().channels
    message = stack.agent_writes(to=SILENT.lstrip("+"))
    until(lambda: stack.entry(message).state == "sent", "the provider has it")
    assert stack.books().in_flight == 1
    assert stack.books().difference == 0
    after = stack.settled()
    assert after.difference == 0
    assert sum(c.unconfirmed for c in after.channels) == sum(c.unconfirmed for c in before) + 1
    assert stack.message(message)["receipts"] == {}


@pytest.mark.parametrize(
    "statuses", [["sent", "delivered", "delivered"], ["delivered", "sent", "queued"], ["delivered", "failed"]]
)
def test_statuses_that_come_twice_in_reverse_or_too_late_make_one_receipt(stack: Stack, statuses: list[str]) -> None:
    stack.control(sms={"statuses": statuses})
    message = stack.agent_writes(to=stack.new_number())
    assert stack.receipt(message)["status"] == "Delivered"
    until(lambda: not stack.recorded("under_way") and not any(stack.books().tasks.values()), "all statuses are read")
    assert stack.message(message)["receipts"][next(iter(stack.message(message)["receipts"]))]["repeated"] == 0
    assert sum("Receipt" in e["sent"] for e in stack.recorded("wire")) == 1


def test_a_status_that_overtakes_the_answer_is_not_lost(stack: Stack) -> None:
    stack.control(sms={"p_early": 1.0})
    to = stack.new_number()
    message = stack.agent_writes(to=to)
    assert stack.receipt(message)["status"] == "Delivered"
    assert len(stack.texts_to(to)) == 1


def test_a_long_text_is_sent_in_parts_one_after_the_other_and_delivered_once(stack: Stack) -> None:
    stack.control(sms={"delay": 0.1})
    to = stack.new_number()
    text = " ".join(f"word{n:04d}" for n in range(500))  # 4,499 characters
    message = stack.agent_writes(to=to, text=text)
    assert stack.receipt(message)["status"] == "Delivered"
    parts = stack.texts_to(to)
    assert len(parts) == 3
    assert all(len(part["body"]) <= 1600 for part in parts)
    assert "".join(part["body"] for part in parts) == text
    assert all(part["status"] == "delivered" for part in parts)
    stack.settled()
    assert [r["repeated"] for r in stack.message(message)["receipts"].values()] == [0]


def test_a_part_that_fails_fails_the_message_and_later_parts_stay_unsent(stack: Stack) -> None:
    message = stack.agent_writes(to="15005550004", text="x" * 3000)
    receipt = stack.receipt(message)
    assert (receipt["status"], receipt["reasons"][0]["code"]) == ("Failed", 350)
    assert stack.texts_to("15005550004") == []


def test_the_same_message_sent_again_gets_the_same_answer_and_is_sent_once(stack: Stack) -> None:
    body = sms_body(stack.new_id(), stack.new_number())
    stack.expects(body)
    first, again = stack.webhook(body), stack.webhook(body)
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json() == {"messageId": body["channel"]["messageId"]}
    stack.receipt(body["channel"]["messageId"])
    assert stack.webhook(body).json() == first.json()
    stack.settled()
    assert len(stack.texts_to(body["channel"]["to"]["id"])) == 1


def test_the_same_words_in_two_messages_are_two_messages(stack: Stack) -> None:
    to = stack.new_number()
    for message in [stack.agent_writes(to=to, text="yes") for _ in range(2)]:
        assert stack.receipt(message)["status"] == "Delivered"
    assert [sms["body"] for sms in stack.texts_to(to)] == ["yes", "yes"]


def test_a_wrong_signature_is_refused_and_its_right_twin_is_taken(stack: Stack) -> None:
    body = sms_body(stack.new_id(), stack.new_number())
    stack.expects(body)
    raw = json.dumps(body).encode()
    right = signature.sign(stack.secret, raw)
    wrong = right[:-1] + ("0" if right[-1] != "0" else "1")
    assert stack.webhook(raw, {signature.HEADER: wrong}).status_code == 401
    assert stack.webhook(raw, {signature.HEADER: right}).status_code == 200
    assert stack.receipt(body["channel"]["messageId"])["status"] == "Delivered"


def test_a_batch_of_receipts_that_is_refused_is_posted_one_by_one(stack: Stack) -> None:
    stack.control(digital_channels={"mode": "refuse_batch"}, sms={"status_delay": 0.0})
    bodies = [sms_body(stack.new_id(), stack.new_number()) for _ in range(12)]
    for body in bodies:
        stack.expects(body)
    assert stack.webhook(json.dumps(bodies).encode()).status_code == 200
    for body in bodies:
        assert stack.receipt(body["channel"]["messageId"])["status"] == "Delivered"
    told = [e for e in stack.recorded("wire") if "Receipt" in e["sent"]]
    assert [e for e in told if e["status"] == 400], "no batch was ever refused"
    assert stack.settled().difference == 0


def test_receipts_wait_for_a_digital_channels_that_fails(stack: Stack) -> None:
    stack.control(digital_channels={"mode": "500", "count": 3})
    message = stack.agent_writes(to=stack.new_number())
    assert stack.receipt(message)["status"] == "Delivered"
    assert sum(e["status"] == 500 for e in stack.recorded("wire")) == 3


def test_a_receipt_whose_answer_is_lost_is_said_again_in_the_same_words(stack: Stack) -> None:
    stack.control(digital_channels={"mode": "lost_answer", "count": 1})
    message = stack.agent_writes(to=stack.new_number())
    until(lambda: [r["repeated"] for r in stack.message(message)["receipts"].values()] == [1], "it is said again")
    assert stack.violations() == []
