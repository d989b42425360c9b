"""Providers that say nothing by themselves are asked, where they can be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml

from tests.stack import EMAIL, SMS, Stack, until

RESET = "15005550013"  # the connection is reset, though the message is taken and delivered
NO_SUCH_NUMBER = "15005550001"  # undelivered: the number does not exist


@pytest.fixture(scope="module")
def shared_stack() -> Iterator[Stack]:
    with Stack(channels={SMS: {"ask_after": 0.5, "confirm_within": 60}, EMAIL: {"outcome_unknown": "fail"}}) as running:
        yield running


@pytest.fixture
def stack(shared_stack: Stack) -> Stack:
    """No status callback ever comes."""
    shared_stack.sandbox("reset", {})
    shared_stack.control(sms={"callbacks": False})
    return shared_stack


def asked(stack: Stack, message: str, channel: str = SMS) -> list[dict[str, Any]]:
    return [
        line
        for line in stack.lines("worker", "status_lookup_answered")
        if line["message"] == stack.ref(message, channel)
    ]


def test_a_receipt_comes_though_every_status_callback_is_lost(stack: Stack) -> None:
    message = stack.agent_writes(to=stack.new_number())
    assert stack.receipt(message)["status"] == "Delivered"
    assert [line["about"] for line in asked(stack, message)][-1:] == ["delivery"]
    assert not [e for e in stack.recorded("wire") if "/callbacks/" in e["path"]]
    assert stack.violations() == []


def test_a_failure_that_was_never_told_has_its_reason(stack: Stack) -> None:
    message = stack.agent_writes(to=NO_SUCH_NUMBER)
    receipt = stack.receipt(message)
    assert (receipt["status"], receipt["reasons"][0]["code"]) == ("Failed", 530)


def test_a_long_text_is_delivered_when_every_part_is(stack: Stack) -> None:
    to = stack.new_number()
    message = stack.agent_writes(to=to, text="x" * 3200)  # two parts with the same text
    assert stack.receipt(message)["status"] == "Delivered"
    assert len(stack.texts_to(to)) == 2


def test_a_message_whose_answer_was_lost_is_found(stack: Stack) -> None:
    message = stack.agent_writes(to=RESET)
    assert stack.receipt(message)["status"] == "Delivered"
    assert len(stack.texts_to(RESET)) == 1
    assert [line["answer"] for line in asked(stack, message) if line["about"] == "outcome"][-1:] == ["found"]


def test_the_same_words_again_and_again_are_found_each_for_itself(stack: Stack) -> None:
    messages = [stack.agent_writes(to=RESET, text="yes") for _ in range(3)]
    for message in messages:
        assert stack.receipt(message)["status"] == "Delivered"
    sent = [sms["sid"] for sms in stack.texts_to(RESET)]
    assert len(sent) == 3
    assert [stack.entry(message).provider_id(0) for message in messages] == sent


def test_the_same_words_from_elsewhere_cannot_be_told_apart_and_the_policy_decides(stack: Stack) -> None:
    for _ in range(4):  # on a busy machine the provider is asked before the other system has written
        before = stack.books().counts.get("unknown_resend", 0)
        message = _written_elsewhere_as_well(stack)
        assert stack.receipt(message)["status"] == "Delivered"
        if "unclear" in [line["answer"] for line in asked(stack, message)]:
            assert stack.books().counts["unknown_resend"] == before + 1
            return
    raise AssertionError("the provider was never asked after the other system had written")


def _written_elsewhere_as_well(stack: Stack) -> str:
    account = yaml.safe_load((stack.folder / "bridge.yaml").read_text())["providers"]["twilio"]["account_sid"]
    url = f"http://127.0.0.1:{stack.ports.page}/2010-04-01/Accounts/{account}/Messages.json"
    stack.control(sms={"p_reset": 1.0, "seed": 1})
    to = stack.new_number()
    message = stack.agent_writes(to=to, text="yes")
    until(lambda: stack.entry(message).state == "unknown", "nobody answered", pause=0.01)
    stack.control(sms={"p_reset": 0.0})
    for _ in range(2):  # another system of the company, on the same account
        form = {"To": "+" + to, "From": "+15557650123", "Body": "yes"}
        assert httpx.post(url, data=form, auth=(account, stack.kept("twilio_auth_token"))).status_code == 201
    return message


def test_a_mail_server_cannot_be_asked_and_the_policy_decides(stack: Stack) -> None:
    message = stack.agent_mails("drop@mail.com")
    assert stack.receipt(message, channel=EMAIL)["status"] == "Failed"
    assert stack.entry(message, EMAIL).detail == "outcome unknown"
    assert asked(stack, message, EMAIL) == []
    assert stack.settled().difference == 0


def test_questions_are_counted_and_told_without_a_word_of_the_message(stack: Stack) -> None:
    to, text = stack.new_number(), "a text that nobody else has"
    message = stack.agent_writes(to=to, text=text)
    assert stack.receipt(message)["status"] == "Delivered"
    metric = 'dcbridge_status_lookups_total{about="delivery",answer="delivered",provider="twilio"}'
    assert metric in stack.metrics("worker")
    said = stack.said("worker")
    assert to not in said
    assert text not in said
