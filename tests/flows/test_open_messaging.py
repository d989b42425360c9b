"""Conversations with an agent of Genesys Cloud, by Open Messaging: both ways, and with what may go wrong."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from dcbridge.genesys import cloud
from tests.stack import Stack, until

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
NOWHERE = "+15005550001"  # a number that does not exist
PICTURE = {"type": "image/png", "data": PIXEL}


@pytest.fixture(scope="module")
def shared_stack() -> Iterator[Stack]:
    with Stack(companies=("open-messaging",)) as running:
        yield running


@pytest.fixture
def stack(shared_stack: Stack) -> Iterator[Stack]:
    shared_stack.sandbox("reset", {})
    yield shared_stack
    assert shared_stack.violations() == []
    assert shared_stack.settled().difference == 0


class Talk:
    """One consumer and one agent of Genesys Cloud."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.channel = stack, stack.kept("cloud_integration")
        self.number = f"+{stack.new_number()}"

    def agent(self, text: str = "", to: str = "", **more: object) -> str:
        """What the agent writes, taken by the bridge; its id."""
        asked = {"to": to or self.number, "text": text, "channel": self.channel, "wait": True, **more}
        made = self.stack.sandbox("agent/sms", asked)
        assert made["state"] == "accepted", made
        return str(made["messageId"])

    def consumer(self, text: str = "", **more: object) -> None:
        asked = {"from": self.number, "text": text, "provider": "cloud-sms", "wait": True, **more}
        assert self.stack.sandbox("consumer/sms", asked)["state"] == "taken"

    def receipt(self, message_id: str) -> dict[str, Any]:
        return self.stack.receipt(message_id, channel=self.channel)

    @property
    def texts(self) -> list[str]:
        """On the phone."""
        return [sms["body"] for sms in self.stack.texts_to(self.number)]

    @property
    def seen(self) -> list[dict[str, Any]]:
        """By the agent."""
        return [one for one in self.stack.state()["seen"] if one["sender"] == self.number]

    def agent_sees_all(self, *texts: str) -> list[dict[str, Any]]:
        """These, and nothing twice but what was possibly taken before: its answer was lost with the worker."""
        until(lambda: {*texts} <= {one["text"] for one in self.seen}, f"the agent sees {texts}")
        self.stack.settled()
        found = self.seen
        assert len(found) <= len(texts) + 1
        return found

    def agent_sees(self, count: int) -> list[dict[str, Any]]:
        return until(lambda: self.seen if len(self.seen) == count else None, f"the agent sees {count}")


@pytest.fixture
def talk(stack: Stack) -> Talk:
    return Talk(stack)


def test_a_conversation_both_ways(talk: Talk) -> None:
    """In its order, with a long message, a picture in each direction, and a number that cannot be reached."""
    talk.consumer("Is anybody there?")
    assert [one["text"] for one in talk.agent_sees(1)] == ["Is anybody there?"]
    asked = [talk.agent("Yes"), talk.agent("x" * 200 + " end"), talk.agent("A picture", file=PICTURE)]
    assert [talk.receipt(one)["status"] for one in asked] == ["Delivered"] * 3
    yes, long, picture = talk.stack.texts_to(talk.number)
    assert (yes["body"], long["body"], long["segments"]) == ("Yes", "x" * 200 + " end", 2)
    assert picture["media"]
    talk.consumer("Mine", file=PICTURE)
    mine = until(lambda: [one for one in talk.agent_sees(2) if one["media"]], "the agent sees the picture")[0]
    assert mine["text"] == "Mine"
    receipt = talk.receipt(talk.agent("Hello", to=NOWHERE))
    assert receipt["status"] == "Failed"
    assert receipt["reasons"][0]["code"] == "InvalidDestination"


def test_after_stop_the_agent_is_told_that_nothing_may_be_sent(talk: Talk) -> None:
    talk.consumer("STOP")
    talk.agent_sees(1)
    receipt = talk.receipt(talk.agent("Still there?"))
    assert (receipt["status"], receipt["reasons"][0]["code"]) == ("Failed", "MessageNotAllowed")
    assert "Still there?" not in talk.texts


def test_a_redelivery_gets_the_same_answer_and_is_sent_once(talk: Talk) -> None:
    """Signed by OpenSSL, which is no code of ours."""
    body = json.dumps(
        {
            "id": "once",
            "channel": {
                "id": talk.channel, "platform": "Open", "type": "Private", "messageId": "once",
                "to": {"id": talk.number, "idType": "Opaque"}, "from": {"id": talk.channel, "idType": "Opaque"},
                "time": "2026-11-26T10:00:00.000Z",
            },
            "type": "Text", "text": "Only once", "direction": "Outbound", "originatingEntity": "Bot",
        }
    ).encode()  # fmt: skip
    url = f"{talk.stack.public}/webhooks/open-messaging/cloud"
    sign = {cloud.HEADER: f"sha256={by_openssl(talk.stack.kept('cloud_webhook_secret'), body)}"}
    answers = [talk.stack.client.post(url, content=body, headers=sign) for _ in range(2)]
    assert [(one.status_code, one.json()) for one in answers] == [(200, {"messageId": "once"})] * 2
    refused = talk.stack.client.post(url, content=body + b" ", headers=sign)
    assert refused.status_code == 401
    until(lambda: talk.texts, "it is sent")
    talk.stack.settled()
    assert talk.texts == ["Only once"]
    with talk.stack.ledger() as connection:  # the sandbox has not sent it, so it refuses the receipt
        letters = [one.decode() for one in connection.zrange("dcb:dead", 0, -1)]
    assert letters == [f"r-{talk.stack.ref('once', talk.channel)}"]
    talk.stack.command("dead", "drop", "--all", "--yes")


def by_openssl(secret: str, body: bytes) -> str:
    made = subprocess.run(
        ["openssl", "dgst", "-sha256", "-hmac", secret, "-binary"], input=body, capture_output=True, check=True
    )
    return base64.b64encode(made.stdout).decode()


@pytest.mark.parametrize("mode", ["500", "429", "401", "lost_answer"])
def test_receipts_and_messages_wait_for_a_genesys_cloud_that_fails(talk: Talk, mode: str) -> None:
    talk.stack.control(cloud={"mode": mode, "count": 1 if mode == "401" else 2})
    sent = talk.agent("Hello")
    assert talk.receipt(sent)["status"] == "Delivered"
    talk.stack.control(cloud={"mode": mode, "count": 1})
    talk.consumer("Hello yourself")
    seen = until(lambda: talk.seen, "the agent sees it")
    talk.stack.settled()
    assert [one["text"] for one in seen][:1] == ["Hello yourself"]
    counts = talk.stack.sandbox("counts")
    # A lost answer is tried once more, with the same id; nothing else comes twice.
    assert counts.get("cloud.repeated", 0) == len(talk.seen) - 1 == (1 if mode == "lost_answer" else 0)


def test_what_genesys_cloud_refuses_is_a_dead_letter_and_can_be_replayed(talk: Talk) -> None:
    talk.stack.control(cloud={"mode": "refuse_text"})
    talk.consumer("Refused at first")
    letter = until(lambda: talk.stack.command("dead", "list").stdout.splitlines()[1:], "a dead letter")
    assert len(letter) == 1
    talk.stack.control(cloud={"mode": "ok"})
    talk.stack.command("dead", "replay", "--all")
    assert [one["text"] for one in talk.agent_sees(1)] == ["Refused at first"]


def test_the_logins_are_checked(talk: Talk) -> None:
    for arguments in (("genesys", "check"), ("check", "--login")):
        said = talk.stack.command(*arguments)
        assert said.returncode == 0, said.stderr
        assert "ok: genesys_cloud.sandbox: the client got a token" in said.stdout
        assert f"ok: channels.{talk.channel}: the integration posts here" in said.stdout
    shown = talk.stack.command("addresses").stdout
    assert f"Genesys Cloud, messages: {talk.stack.public}/webhooks/open-messaging/cloud" in shown


def test_kill_9_loses_nothing_and_repeats_nothing(talk: Talk) -> None:
    """Of the service and of the worker, while messages are under way in both directions."""
    sent = [talk.agent(f"before {n}") for n in range(3)]
    talk.consumer("before")
    talk.stack.kill("worker")
    sent += [talk.agent(f"after {n}") for n in range(3)]
    talk.consumer("after")
    talk.stack.kill("service")
    talk.stack.start("service", "worker")
    assert [talk.receipt(one)["status"] for one in sent] == ["Delivered"] * 6
    assert talk.texts == [*(f"before {n}" for n in range(3)), *(f"after {n}" for n in range(3))]
    assert {one["text"] for one in talk.agent_sees_all("before", "after")} == {"before", "after"}
