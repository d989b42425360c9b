"""Webhooks that nobody documented: signed right, so answered 200, and never without a trace."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.stack import SMS, Stack, sms_body, until


def dead_letters(stack: Stack) -> int:
    return stack.books().dead_letters


def test_an_unknown_channel_fails_with_530_and_is_kept(stack: Stack) -> None:
    body = sms_body(stack.new_id(), stack.new_number())
    body["channel"]["id"] = "999-nobody"
    answer = stack.sends_raw(body)
    assert answer["status"] == 200
    assert json.loads(answer["body"]) == {"messageId": body["channel"]["messageId"]}
    with stack.ledger() as redis:
        until(lambda: b"999-nobody" in redis.smembers("dcb:channels"), "it is in the books")

    def posted() -> list[dict[str, Any]]:
        return [e for e in stack.recorded("wire") if e["path"] == "/nexus/v3/channels/999-nobody/messages"]

    [receipt] = json.loads(until(posted, "the receipt is posted")[0]["sent"])["messages"]
    assert receipt["status"] == "Failed"
    assert [reason["code"] for reason in receipt["reasons"]] == [530]
    entry = stack.entry(body["channel"]["messageId"], "999-nobody")
    assert (entry.state, entry.reason) == ("failed", "530")
    with stack.ledger() as redis:
        kept: Any = [redis.hgetall(f"dcb:dead:{name.decode()}") for name in redis.zrange("dcb:dead", 0, -1)]
    assert any(letter[b"channel"] == b"999-nobody" and b"not configured" in letter[b"reason"] for letter in kept)


def test_what_is_not_json_is_answered_with_an_id_and_kept(stack: Stack) -> None:
    before = dead_letters(stack)
    first, again = stack.webhook(b'{"channel": '), stack.webhook(b'{"channel": ')
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json()
    assert first.json()["messageId"]
    assert dead_letters(stack) == before + 1


def test_a_type_that_nobody_knows_is_carried_by_its_text(stack: Stack) -> None:
    body = sms_body(stack.new_id(), stack.new_number(), "see our cards") | {"type": "RichMedia", "cards": [1, 2]}
    assert stack.sends_raw(body)["status"] == 200
    assert stack.receipt(body["channel"]["messageId"])["status"] == "Delivered"
    assert [sms["body"] for sms in stack.texts_to(body["channel"]["to"]["id"])] == ["see our cards"]


def test_a_type_that_nobody_knows_without_a_text_fails_with_510(stack: Stack) -> None:
    body = sms_body(stack.new_id(), stack.new_number()) | {"type": "RichMedia"}
    del body["text"]
    assert stack.sends_raw(body)["status"] == 200
    receipt = stack.receipt(body["channel"]["messageId"])
    assert (receipt["status"], receipt["reasons"][0]["code"]) == ("Failed", 510)
    assert stack.texts_to(body["channel"]["to"]["id"]) == []


@pytest.mark.parametrize("text", ["", 7, None, ["a"]])
def test_a_text_message_without_a_text_fails_with_520(stack: Stack, text: object) -> None:
    body = sms_body(stack.new_id(), stack.new_number()) | {"text": text}
    assert stack.sends_raw(body)["status"] == 200
    entry = until(lambda: stack.entry(body["channel"]["messageId"]), "it is in the ledger")
    assert (entry.state, entry.reason) == ("failed", "520")


def test_a_message_without_an_id_gets_the_same_one_each_time(stack: Stack) -> None:
    body = sms_body("", stack.new_number())
    del body["channel"]["messageId"]
    first, again = stack.webhook(body).json(), stack.webhook(body).json()
    assert first == again
    assert first["messageId"].startswith("dcbridge-")
    until(lambda: stack.entry(first["messageId"]).state == "delivered", "it is delivered")
    assert len(stack.texts_to(body["channel"]["to"]["id"])) == 1
    body["text"] = "other words"
    assert stack.webhook(body).json() != first


@pytest.mark.parametrize("wrapped", [False, True], ids=["a list", "an object with messages"])
def test_several_messages_in_one_webhook_are_all_carried(stack: Stack, wrapped: bool) -> None:
    bodies = [sms_body(stack.new_id(), stack.new_number()) for _ in range(3)]
    for body in bodies:
        stack.expects(body)
    answer = stack.webhook(json.dumps({"messages": bodies} if wrapped else bodies).encode())
    ids = [body["channel"]["messageId"] for body in bodies]
    assert answer.status_code == 200
    assert answer.json() == {"messageId": ids[0], "messages": [{"messageId": one} for one in ids]}
    for one in ids:
        assert stack.receipt(one)["status"] == "Delivered"


def test_the_same_id_on_another_channel_is_another_message(stack: Stack) -> None:
    message = stack.new_id()
    stack.agent_writes(to=stack.new_number(), message_id=message)
    assert stack.receipt(message, channel=SMS)["status"] == "Delivered"
    other = sms_body(message, stack.new_number())
    other["channel"]["id"] = "999-other"
    assert stack.webhook(other).status_code == 200
    assert stack.entry(message, "999-other").state == "failed"


def test_an_unknown_endpoint_is_404_before_anything_is_read(stack: Stack) -> None:
    assert stack.webhook(sms_body(stack.new_id(), "16504661149"), endpoint="nobody").status_code == 404


def test_a_body_over_the_limit_is_413_and_one_just_under_is_taken(stack: Stack) -> None:
    body = sms_body(stack.new_id(), stack.new_number())
    limit = 1 << 20
    room = limit - len(json.dumps(body | {"filler": ""}))
    assert stack.webhook(body | {"filler": "x" * (room + 1)}).status_code == 413
    assert stack.webhook(body | {"filler": "x" * room}).status_code == 200
