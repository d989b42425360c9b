"""Digital Channels' checks: each refusal beside an accepted twin one step away."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import orjson
import pytest

from dcbridge.genesys import signature
from sandbox.media import MOST
from tests.sandbox.two_worlds import CCID, SECRET, Worlds, two_worlds

CHANNEL = {"from": {"id": "0123456789"}, "to": {"id": "16504661149"}, "messageId": "m-0"}
TEXT = {"channel": {"from": {"id": "16504661149"}, "to": {"id": "0123456789"}}, "type": "Text", "text": "Hello"}
FAILED = {"channel": CHANNEL, "type": "Receipt", "status": "Failed", "reasons": [{"code": 530, "message": "No."}]}


def changed(message: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """A copy with the dotted path set, or removed where the value is None."""
    copy: dict[str, Any] = orjson.loads(orjson.dumps(message))
    *parents, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    at: Any = copy
    for step in parents:
        at = at[step]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return copy


def batch(*messages: dict[str, Any]) -> bytes:
    return orjson.dumps({"messages": list(messages)})


async def known_message(worlds: Worlds) -> None:
    await worlds.control(
        "/agent/sms", {"to": "16504661149", "text": "Agent message text", "messageId": "m-0", "wait": True}
    )


@pytest.mark.parametrize(
    ("message", "path", "value", "rule"),
    [
        (TEXT, "channel", None, "messages[0].channel is an object"),
        (TEXT, "channel.from", None, "channel.from is an object"),
        (TEXT, "channel.from", [{"id": "16504661149"}], "channel.from is an object"),
        (TEXT, "channel.from.id", 16504661149, "channel.from.id is a non-empty string"),
        (TEXT, "channel.to.id", "", "channel.to.id is a non-empty string"),
        (TEXT, "type", "text", "type is Text, Email or Receipt"),
        (TEXT, "type", "Email", "type Email is not taken from this channel"),
        (TEXT, "text", None, "text is a non-empty string"),
        (TEXT, "text", 7, "text is a non-empty string"),
        (FAILED, "channel.to", [{"id": "16504661149"}], "channel.to is an object"),
        (FAILED, "channel.to.id", "16504661140", "one of the recipients"),
        (FAILED, "channel.from.id", "16504661149", "not its recipient"),
        (FAILED, "channel.messageId", "", "channel.messageId is a non-empty string"),
        (FAILED, "channel.messageId", None, "channel.messageId is a non-empty string"),
        (FAILED, "status", "failed", "status is one of"),
        (FAILED, "status", "Delivered", "reasons goes with Failed only"),
        (FAILED, "reasons", [], "reasons is a non-empty list"),
        (FAILED, "reasons.0.code", 531, "code is one of"),
        (FAILED, "reasons.0.code", "530", "code is one of"),
        (FAILED, "reasons.0.message", 5, "message is a string"),
    ],
)
async def test_a_wrong_message_is_refused_and_its_twin_is_taken(
    message: dict[str, Any], path: str, value: object, rule: str
) -> None:
    async with two_worlds() as worlds:
        await known_message(worlds)
        refused = await worlds.nexus(batch(changed(message, path, value)))
        assert refused.status_code == 400
        assert rule in refused.json()["status"]["message"]
        assert [violation.rule for violation in worlds.world.violations] == [refused.json()["status"]["message"]]
        assert not worlds.world.seen
        assert not worlds.world.agent["0123456789", "m-0"].receipts
        taken = await worlds.nexus(batch(message))
        assert taken.status_code == 200
        assert len(worlds.world.violations) == 1


@pytest.mark.parametrize(
    ("body", "headers", "channel", "status"),
    [
        (batch(TEXT), {"X-Hub-Signature": ""}, "0123456789", 401),
        (batch(TEXT), {"X-Hub-Signature": signature.sign(b"other", batch(TEXT))}, "0123456789", 401),
        (batch(TEXT), {"X-Hub-Signature": signature.sign(SECRET.encode(), batch(TEXT) + b" ")}, "0123456789", 401),
        (batch(TEXT), {"x-ccid": ""}, "0123456789", 403),
        (batch(TEXT), {"x-ccid": CCID[:-1] + "0"}, "0123456789", 403),
        (batch(TEXT), {}, "0123456780", 404),
        (b"{", {}, "0123456789", 400),
        (b"[]", {}, "0123456789", 400),
        (b'{"messages":[]}', {}, "0123456789", 400),
        (b'{"messages":{}}', {}, "0123456789", 400),
        (batch(TEXT), {}, "0123456789", 200),
    ],
)
async def test_the_request_itself(body: bytes, headers: dict[str, str], channel: str, status: int) -> None:
    async with two_worlds() as worlds:
        answer = await worlds.nexus(body, channel, headers)
        assert answer.status_code == status
        assert (answer.json()["status"]["code"] == 0) == (status == 200)


async def test_one_wrong_message_in_a_batch_leaves_the_others_unapplied() -> None:
    async with two_worlds() as worlds:
        assert (await worlds.nexus(batch(TEXT, changed(TEXT, "text", None)))).status_code == 400
        assert not worlds.world.seen
        assert (await worlds.nexus(batch(TEXT, TEXT))).status_code == 200
        assert len(worlds.world.seen) == 2


async def test_the_answer_has_both_documented_shapes() -> None:
    async with two_worlds() as worlds:
        await known_message(worlds)
        answers = [(await worlds.nexus(batch(TEXT))).json() for _ in range(2)]
        assert [type(answer["data"]["ids"][0]) for answer in answers] == [str, dict]
        assert answers[0]["data"]["ids"][0].rpartition("-")[0].isdigit()
        assert (await worlds.nexus(batch(FAILED))).json() == {"status": {"code": 0}}
        await worlds.control("/control", {"digital_channels": {"ids": "objects"}})
        assert type((await worlds.nexus(batch(TEXT))).json()["data"]["ids"][0]) is dict


async def test_receipts_are_monotonic() -> None:
    async with two_worlds() as worlds:
        await known_message(worlds)
        for _ in range(3):
            assert (await worlds.nexus(batch(FAILED))).status_code == 200
        receipt = worlds.world.agent["0123456789", "m-0"].receipts["16504661149"]
        assert (receipt.status, receipt.repeated) == ("Failed", 2)
        assert not worlds.world.violations
        assert (
            await worlds.nexus(batch({"channel": CHANNEL, "type": "Receipt", "status": "Delivered"}))
        ).status_code == 200
        assert receipt.status == "Failed"
        assert [violation.rule for violation in worlds.world.violations] == ["a terminal receipt never changes"]


async def test_each_recipient_of_an_email_has_a_receipt_of_their_own() -> None:
    async with two_worlds() as worlds:
        to = [{"id": "recipient-1@mail.com", "name": "First Recipient"}, {"id": "recipient-2@mail.com"}]
        made = await worlds.control("/agent/email", {"to": to, "subject": "Subject", "text": "Plain", "wait": True})
        channel = {"from": {"id": "no-reply@company.com"}, "messageId": made["messageId"]}
        receipts = [
            {"channel": {**channel, "to": {"id": one["id"]}}, "type": "Receipt", "status": "Delivered"} for one in to
        ]
        assert (await worlds.nexus(batch(*receipts), "company.com")).status_code == 200
        stranger = {
            "channel": {**channel, "to": {"id": "recipient-3@mail.com"}},
            "type": "Receipt",
            "status": "Removed",
        }
        assert (await worlds.nexus(batch(stranger), "company.com")).status_code == 400
        assert set(worlds.world.agent["company.com", made["messageId"]].receipts) == {one["id"] for one in to}


async def test_fields_nobody_documented_are_taken_and_noted() -> None:
    async with two_worlds() as worlds:
        assert (await worlds.nexus(batch({**TEXT, "time": 1}))).status_code == 200
        assert [violation.detail for violation in worlds.world.violations] == ["messages[0].time"]


async def test_it_misbehaves_as_told_and_no_longer_than_told() -> None:
    async with two_worlds() as worlds:
        await worlds.control("/control", {"digital_channels": {"mode": "500", "count": 2}})
        assert [(await worlds.nexus(batch(TEXT))).status_code for _ in range(3)] == [500, 500, 200]
        await worlds.control("/control", {"digital_channels": {"mode": "refuse_batch"}})
        assert [(await worlds.nexus(batch(*[TEXT] * size))).status_code for size in (1, 2)] == [200, 400]
        await worlds.control("/control", {"digital_channels": {"mode": "slow", "count": 1, "delay": 0.1}})
        assert (await worlds.nexus(batch(TEXT))).elapsed.total_seconds() >= 0.1
        before = len(worlds.world.seen)
        await worlds.control("/control", {"digital_channels": {"mode": "silent", "count": 1}})
        with pytest.raises(httpx.ReadTimeout):
            await worlds.http.post("/nexus/v3/channels/0123456789/messages", content=b"{}", timeout=0.5)
        assert len(worlds.world.seen) == before
        await worlds.control("/control", {"digital_channels": {"mode": "late", "count": 1, "delay": 0.5}})
        asked = asyncio.create_task(worlds.nexus(batch(TEXT)))
        while len(worlds.world.seen) == before:  # noqa: ASYNC110  # applied first, answered in its own time
            await asyncio.sleep(0.01)
        assert not asked.done()
        assert (await asked).status_code == 200
        before += 1
        await worlds.control("/control", {"digital_channels": {"mode": "lost_answer", "count": 1}})
        with pytest.raises(httpx.ReadError):
            await worlds.nexus(batch(TEXT))
        assert len(worlds.world.seen) == before + 1
        assert (await worlds.nexus(batch(TEXT))).status_code == 200


async def test_media_comes_back_as_it_was_sent() -> None:
    async with two_worlds() as worlds:
        content = bytes(range(256)) + b"\r\n--not-the-end\r\n"

        async def upload(
            mimetype: str, spoil: bytes = b"", part: str = "file", content: bytes = content
        ) -> httpx.Response:
            request = httpx.Request("POST", worlds.url, files={part: ("picture.jpg", content, mimetype)})
            body = request.read()
            signed = signature.sign(SECRET.encode(), body + spoil)
            headers = {"Content-Type": request.headers["content-type"], "x-ccid": CCID, "X-Hub-Signature": signed}
            return await worlds.http.post("/nexus/v3/channels/0123456789/media", content=body, headers=headers)

        assert (await upload("image/jpeg", spoil=b" ")).status_code == 401
        assert (await upload("application/x-msdownload")).status_code == 415
        assert (await upload("image/jpeg", part="other")).status_code == 400
        assert (await upload("image/jpeg", content=b"")).status_code == 400
        assert (await upload("image/jpeg", content=bytes(MOST + 1))).status_code == 413
        assert (await upload("image/jpeg", content=bytes(MOST))).status_code == 200
        data = (await upload("image/jpeg")).json()["data"]
        assert data == {
            "mediaId": data["mediaId"],
            "url": f"genesys://nexus/{data['mediaId']}",
            "filename": "picture.jpg",
            "mimetype": "image/jpeg",
            "length": len(content),
        }
        path = f"/nexus/v3/channels/0123456789/media/{data['mediaId']}"
        headers = {"x-ccid": CCID, "X-Hub-Signature": signature.sign(SECRET.encode(), b"")}
        assert (await worlds.http.get(path, headers={"x-ccid": CCID})).status_code == 401
        fetched = await worlds.http.get(path, headers=headers)
        assert (fetched.content, fetched.headers["content-type"]) == (content, "image/jpeg")
        assert (await worlds.http.delete(path, headers=headers)).json()["data"] == data
        assert (await worlds.http.get(path, headers=headers)).status_code == 404


async def test_many_receipts_at_once() -> None:
    async with two_worlds() as worlds:
        ids = [await worlds.agent_writes(text=str(number)) for number in range(20)]
        receipts = [{"channel": {**CHANNEL, "messageId": one}, "type": "Receipt", "status": "Delivered"} for one in ids]
        await asyncio.gather(*(worlds.nexus(batch(*receipts)) for _ in range(5)))
        assert worlds.world.counts["receipts.Delivered"] == 20
        assert worlds.world.counts["receipts.repeated"] == 80


@pytest.mark.parametrize(("channel", "status"), [("9876543210", 200), ("9876543211", 404)])
async def test_a_channel_of_the_configuration_is_one_of_digital_channels(channel: str, status: int) -> None:
    async with two_worlds(channels={"9876543210": "sms"}) as worlds:
        text = {"channel": {"from": {"id": "16504661149"}, "to": {"id": channel}}, "type": "Text", "text": "Hello"}
        answer = await worlds.nexus(orjson.dumps({"messages": [text]}), channel)
        assert answer.status_code == status
        assert [seen.channel_id for seen in worlds.world.seen] == ([channel] if status == 200 else [])
        assert bool(worlds.world.violations) == (status != 200)
