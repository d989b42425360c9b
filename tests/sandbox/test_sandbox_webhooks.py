"""What Digital Channels sends to the bridge, and what it makes of the answers."""

from __future__ import annotations

import uuid
from typing import Any

import orjson
import pytest

from dcbridge.genesys import signature
from tests.sandbox.two_worlds import SECRET, SHORT, Reply, mute, replying, two_worlds


async def test_an_sms_is_the_documented_body_signed() -> None:
    async with two_worlds() as worlds:
        message_id = await worlds.agent_writes("16504661149", "Agent message text")
        (heard,) = worlds.bridge.heard
        assert heard.path == "/webhooks/messages/main"
        assert orjson.loads(heard.body) == {
            "channel": {
                "id": "0123456789",
                "type": "sms",
                "from": {"id": "0123456789"},
                "to": {"id": "16504661149"},
                "messageId": message_id,
            },
            "type": "Text",
            "text": "Agent message text",
        }
        milliseconds, _, sequence = message_id.partition("-")
        assert len(milliseconds) == 13
        assert sequence.isdigit()
        given = [heard.headers["x-hub-signature"].encode()]
        assert signature.verify(given, heard.body, [SECRET.encode()]).ok
        assert str(uuid.UUID(heard.headers["x-b3-traceid"])) == heard.headers["x-b3-traceid"]


async def test_an_email_is_the_documented_body() -> None:
    async with two_worlds() as worlds:
        to = [
            {"id": "recipient-1@mail.com", "name": "First Recipient"},
            {"id": "recipient-2@mail.com", "name": "Second Recipient"},
        ]
        reply_to = {"id": "reply-to@company.com", "name": "Responder display name"}
        asked = {"to": to, "subject": "Subject", "text": "Plain", "html": "Html", "replyTo": reply_to, "wait": True}
        made = await worlds.control("/agent/email", asked)
        assert orjson.loads(worlds.bridge.heard[0].body) == {
            "channel": {
                "id": "company.com",
                "type": "email",
                "from": {"id": "no-reply@company.com", "name": "Contact centre"},
                "to": to,
                "messageId": str(uuid.UUID(made["messageId"])),
                "context": {"replyTo": reply_to},
            },
            "type": "Email",
            "subject": "Subject",
            "content": [{"type": "text", "text": "Plain"}, {"type": "html", "text": "Html"}],
        }


@pytest.mark.parametrize(
    ("replies", "attempts", "state", "rules"),
    [
        ([], 1, "accepted", []),
        ([replying(503), replying(500)], 3, "accepted", []),
        ([replying(503)] * 4, 4, "given up", []),
        ([replying(400)], 1, "refused", ["a webhook with a valid signature is answered 2XX or 5XX"]),
        ([replying(302)], 1, "refused", ["a webhook with a valid signature is answered 2XX or 5XX"]),
        ([replying(200)], 1, "accepted", ["the answer names the messageId"]),
        ([replying(200, {"messageId": "other"})], 1, "accepted", ["the answer names the messageId that was sent"]),
        (
            [replying(204)],
            1,
            "accepted",
            ["a taken webhook is answered 200", "the answer names the messageId"],
        ),
        ([mute], 2, "accepted", ["a webhook is answered within 2 s"]),
    ],
)
async def test_what_follows_from_the_answer(replies: list[Reply], attempts: int, state: str, rules: list[str]) -> None:
    async with two_worlds(answer_limit=SHORT) as worlds:
        worlds.bridge.replies = list(replies)
        made = await worlds.control("/agent/sms", {"to": "16504661149", "text": "Hello", "wait": True})
        assert (made["attempts"], made["state"]) == (attempts, state)
        assert [violation.rule for violation in worlds.world.violations] == rules
        bodies = {heard.body for heard in worlds.bridge.heard}
        signatures = {heard.headers["x-hub-signature"] for heard in worlds.bridge.heard}
        traces = {heard.headers["x-b3-traceid"] for heard in worlds.bridge.heard}
        assert (len(worlds.bridge.heard), len(bodies), len(signatures), len(traces)) == (attempts, 1, 1, attempts)


async def test_a_bridge_that_is_down_breaks_no_rule_and_is_tried_again() -> None:
    async with two_worlds(bridge_url="http://127.0.0.1:9") as worlds:
        made = await worlds.control("/agent/sms", {"to": "16504661149", "text": "Hello", "wait": True})
        assert (made["attempts"], made["state"]) == (4, "given up")
        assert not worlds.world.violations
        assert worlds.world.counts["redeliveries"] == 3


@pytest.mark.parametrize(
    ("replies", "attempts", "state", "broken"),
    [
        ([], 1, "taken", 0),
        ([replying(404), replying(204)], 3, "taken", 2),
        ([replying(503)] * 4, 4, "given up", 0),
    ],
)
async def test_an_interaction_is_sent_until_the_answer_is_200(
    replies: list[Reply], attempts: int, state: str, broken: int
) -> None:
    async with two_worlds() as worlds:
        worlds.bridge.replies = list(replies)
        made = await worlds.control("/interaction", {"event": "STARTED", "subtype": "SMS", "wait": True})
        assert (made["attempts"], made["state"]) == (attempts, state)
        assert len(worlds.world.violations) == broken
        body = orjson.loads(worlds.bridge.heard[0].body)
        (entity,) = body["data"]["entities"]
        assert body["operationId"] == made["operationId"]
        assert entity["event"] == "STARTED"
        assert entity["entity"]["id"] == made["ids"][0]
        assert entity["entity"]["interactionSubtype"] == "SMS"


async def test_a_batch_of_interaction_events_is_one_webhook() -> None:
    async with two_worlds() as worlds:
        events = [{"event": "STARTED", "id": "a"}, {"event": "FINISHED", "id": "a", "mediaType": "email"}]
        await worlds.control("/interaction", {"events": events, "wait": True})
        entities = orjson.loads(worlds.bridge.heard[0].body)["data"]["entities"]
        assert [(one["event"], one["entity"]["id"]) for one in entities] == [("STARTED", "a"), ("FINISHED", "a")]


async def test_raw_bytes_go_out_as_they_are() -> None:
    async with two_worlds() as worlds:
        body = ' {"channel" : {"messageId":"m-1"}}\n'
        made = await worlds.control("/agent/raw", {"endpoint": "other", "body": body})
        assert made["status"] == 200
        (heard,) = worlds.bridge.heard
        assert (heard.path, heard.body) == ("/webhooks/messages/other", body.encode())
        assert signature.verify([heard.headers["x-hub-signature"].encode()], heard.body, [SECRET.encode()]).ok
        headers = {"x-hub-signature": None, "X-Extra": "1"}
        worlds.bridge.replies = [replying(401)]
        raw: dict[str, Any] = {"webhook": "interactions", "body_base64": "/w==", "headers": headers}
        assert (await worlds.control("/agent/raw", raw))["status"] == 401
        heard = worlds.bridge.heard[-1]
        assert (heard.path, heard.body, heard.headers["x-extra"]) == ("/webhooks/interactions/main", b"\xff", "1")
        assert "x-hub-signature" not in heard.headers
