"""Receipts about messages that the sandbox has not sent itself: taken as Digital Channels would, and shown as such."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from sandbox.records import AgentMessage
from tests.sandbox.test_sandbox_digital_channels import CHANNEL, FAILED, TEXT, batch, changed, known_message
from tests.sandbox.two_worlds import Worlds, two_worlds

DELIVERED = {"channel": CHANNEL, "type": "Receipt", "status": "Delivered"}
REMOVED = {"channel": CHANNEL, "type": "Receipt", "status": "Removed"}


def unseen(worlds: Worlds) -> list[AgentMessage]:
    return [one for one in worlds.world.agent.values() if one.state == "unseen"]


@pytest.mark.parametrize("receipt", [DELIVERED, REMOVED, FAILED], ids=["Delivered", "Removed", "Failed"])
@pytest.mark.parametrize("message_id", ["try-1", "dcbridge-0123456789abcdef", "1", "\u00e9 /?#", "x" * 4000])
async def test_a_receipt_about_a_message_from_elsewhere_is_taken(receipt: dict[str, Any], message_id: str) -> None:
    async with two_worlds() as worlds:
        answer = await worlds.nexus(batch(changed(receipt, "channel.messageId", message_id)))
        assert (answer.status_code, answer.json()) == (200, {"status": {"code": 0}})
        assert not worlds.world.violations
        [one] = unseen(worlds)
        assert (one.message_id, one.recipients, one.text) == (message_id, ("16504661149",), "")
        assert one.receipts["16504661149"].status == receipt["status"]
        assert (worlds.world.counts["unseen"], worlds.world.counts["copies"]) == (1, 1), "as in dcbridge's books"
        assert worlds.world.counts["agent"] == 0, "it was not sent from here"


async def test_such_a_message_gets_each_recipients_receipt() -> None:
    async with two_worlds() as worlds:
        to = ["recipient-1@mail.com", "recipient-2@mail.com", "recipient-3@mail.com"]
        channel = {"from": {"id": "no-reply@company.com"}, "messageId": "m-7"}
        receipts = [{"channel": {**channel, "to": {"id": one}}, "type": "Receipt", "status": "Delivered"} for one in to]
        assert (await worlds.nexus(batch(*receipts[:2]), "company.com")).status_code == 200
        assert (await worlds.nexus(batch(receipts[2]), "company.com")).status_code == 200
        [one] = unseen(worlds)
        assert (list(one.recipients), list(one.receipts)) == (to, to)
        assert worlds.world.counts["copies"] == 3
        assert not worlds.world.violations


async def test_channels_do_not_share_ids() -> None:
    async with two_worlds() as worlds:
        await known_message(worlds)
        assert (await worlds.nexus(batch(DELIVERED), "company.com")).status_code == 200
        assert [one.channel_id for one in unseen(worlds)] == ["company.com"]
        assert not worlds.world.agent["0123456789", "m-0"].receipts


@pytest.mark.parametrize(
    ("second", "rules"),
    [
        (FAILED, []),
        (DELIVERED, ["a terminal receipt never changes"]),
        (changed(FAILED, "reasons.0.code", 350), ["a terminal receipt never changes"]),
    ],
)
async def test_its_receipts_are_monotonic_too(second: dict[str, Any], rules: list[str]) -> None:
    async with two_worlds() as worlds:
        for receipt in (FAILED, second):
            assert (await worlds.nexus(batch(receipt))).status_code == 200
        assert [violation.rule for violation in worlds.world.violations] == rules
        assert unseen(worlds)[0].receipts["16504661149"].status == "Failed"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("channel.messageId", ""),
        ("channel.messageId", 7),
        ("channel.messageId", None),
        ("channel.from", None),
        ("channel.from.id", ""),
        ("channel.to", None),
        ("channel.to", [{"id": "16504661149"}]),
        ("status", "delivered"),
        ("status", "Delivered"),
        ("status", None),
        ("reasons", []),
        ("reasons.0.code", 404),
        ("reasons.0.code", "530"),
        ("type", "receipt"),
    ],
)
async def test_what_is_malformed_is_refused_all_the_same(path: str, value: object) -> None:
    async with two_worlds() as worlds:
        assert (await worlds.nexus(batch(DELIVERED, changed(FAILED, path, value)))).status_code == 400
        assert len(worlds.world.violations) == 1
        assert unseen(worlds) == [], "nothing of the batch is applied"


async def test_two_receipts_of_one_such_message_name_one_sender() -> None:
    async with two_worlds() as worlds:
        assert (await worlds.nexus(batch(DELIVERED))).status_code == 200
        other = changed(changed(DELIVERED, "channel.from.id", "16504661149"), "channel.to.id", "16504661140")
        assert (await worlds.nexus(batch(other))).status_code == 400


async def test_what_was_in_flight_at_a_reset_is_taken_after_it() -> None:
    async with two_worlds() as worlds:
        await known_message(worlds)
        await worlds.control("/reset", {})
        assert (await worlds.nexus(batch(DELIVERED, TEXT))).status_code == 200
        assert not worlds.world.violations
        assert [one.message_id for one in unseen(worlds)] == ["m-0"]


async def test_the_page_is_told_of_it() -> None:
    async with two_worlds() as worlds:
        assert (await worlds.nexus(batch(DELIVERED))).status_code == 200
        state = orjson.loads(orjson.dumps((await worlds.http.get("/sandbox/state")).json()))
        [shown] = state["agent"]
        assert (shown["state"], shown["message_id"], list(shown["receipts"])) == ("unseen", "m-0", ["16504661149"])
        page = (await worlds.http.get("/page.js")).text
        assert "not sent from this page" in page
