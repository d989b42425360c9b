"""A consumer writes an SMS: the agent gets it once, whatever Digital Channels does meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stack import SMS, Stack, until


def writes(stack: Stack, text: str, sender: str, **more: object) -> dict[str, Any]:
    made: dict[str, Any] = stack.sandbox("consumer/sms", {"from": f"+{sender}", "text": text, "wait": True, **more})
    return made


def seen(stack: Stack, sender: str) -> list[str]:
    return [message["text"] for message in stack.recorded("seen") if message["sender"] == sender]


def test_a_consumers_sms_reaches_the_agent_under_the_channels_id(stack: Stack) -> None:
    sender = stack.new_number()
    assert writes(stack, "Consumer message text", sender)["state"] == "taken"
    until(lambda: seen(stack, sender), "the agent sees it")
    [message] = stack.recorded("seen")
    assert (message["channel_id"], message["sender"], message["to"]) == (SMS, sender, SMS)
    assert message["text"] == "Consumer message text"
    assert stack.violations() == []


@pytest.mark.parametrize("shape", ["strings", "objects"])
def test_both_documented_shapes_of_the_answers_ids_are_read(stack: Stack, shape: str) -> None:
    stack.control(digital_channels={"ids": shape})
    sender = stack.new_number()
    writes(stack, "hello", sender)
    until(lambda: seen(stack, sender) == ["hello"], "the agent sees it")
    until(lambda: not any(stack.books().tasks.values()), "it is known to be posted")


def test_it_waits_while_digital_channels_fails_and_is_seen_once(stack: Stack) -> None:
    stack.control(digital_channels={"mode": "500", "count": 2})
    sender = stack.new_number()
    writes(stack, "anybody there?", sender)
    until(lambda: seen(stack, sender), "the agent sees it")
    until(lambda: not any(stack.books().tasks.values()), "nothing waits")
    assert seen(stack, sender) == ["anybody there?"]


def test_what_one_consumer_writes_arrives_in_order_across_failures(stack: Stack) -> None:
    stack.control(digital_channels={"mode": "500", "count": 3})
    sender = stack.new_number()
    for n in range(8):
        writes(stack, f"line {n}", sender)
    until(lambda: len(seen(stack, sender)) == 8, "the agent sees all of it")
    assert seen(stack, sender) == [f"line {n}" for n in range(8)]


def test_a_callback_that_comes_twice_reaches_the_agent_once(stack: Stack) -> None:
    sender, sid = stack.new_number(), "SM" + "5" * 32
    for _ in range(2):
        assert writes(stack, "once", sender, sid=sid)["state"] == "taken"
    writes(stack, "twice", sender)
    until(lambda: "twice" in seen(stack, sender), "the agent sees what came later")
    assert seen(stack, sender) == ["once", "twice"]
