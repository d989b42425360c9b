"""The page, its event stream and the controls around them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

import sandbox
from sandbox.magic import MAILBOXES, NUMBERS
from tests.sandbox.two_worlds import Worlds, two_worlds

PAGE = Path(sandbox.__file__).parent / "page"


async def events(response: httpx.Response) -> AsyncIterator[tuple[str, Any]]:
    kind = ""
    async for line in response.aiter_lines():
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, orjson.loads(line.removeprefix("data: "))


async def until(stream: AsyncIterator[tuple[str, Any]], kind: str) -> list[tuple[str, Any]]:
    found = []
    async with asyncio.timeout(30):
        async for event in stream:
            found.append(event)
            if event[0] == kind:
                return found
    raise AssertionError(f"the stream ended before {kind}")


async def test_a_new_page_is_told_the_past_and_then_the_present() -> None:
    async with two_worlds() as worlds:
        await worlds.agent_writes(text="Before")
        async with worlds.http.stream("GET", "/sandbox/events") as response:
            stream = events(response)
            past = await until(stream, "ready")
            assert [kind for kind, _ in past] == ["setting", "agent", "wire", "ready"]
            assert past[1][1]["text"] == "Before"
            assert {one["number"] for one in past[0][1]["numbers"]} == {one.number for one in NUMBERS}
            assert {one["local"] for one in past[0][1]["mailboxes"]} == {one.local for one in MAILBOXES}
            await worlds.agent_writes(text="After")
            assert (await until(stream, "agent"))[-1][1]["text"] == "After"
            await worlds.control("/reset", {})
            await until(stream, "reset")
        async with asyncio.timeout(30):
            while worlds.world.watchers:  # noqa: ASYNC110  # the server notices the closed connection in its own time
                await asyncio.sleep(0.01)


async def test_the_stream_ends_when_the_world_closes_it() -> None:
    async with two_worlds() as worlds, worlds.http.stream("GET", "/sandbox/events") as response:
        stream = events(response)
        await until(stream, "ready")
        worlds.world.close_watchers()
        async with asyncio.timeout(30):
            assert [kind async for kind, _ in stream] == []


async def test_the_page_needs_nothing_from_elsewhere() -> None:
    async with two_worlds() as worlds:
        scripts = [f"/{path.name}" for path in PAGE.glob("*.js")]
        assert len(scripts) == 9
        kinds = {"/": "text/html", "/style.css": "text/css"} | dict.fromkeys(scripts, "text/javascript")
        for path, kind in kinds.items():
            answer = await worlds.http.get(path)
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith(kind)
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            elsewhere = re.findall(r"https?://[^\s'\"]+", answer.text)
            assert elsewhere in ([], ["http://www.w3.org/2000/svg"])


def test_the_page_never_writes_data_as_markup() -> None:
    for script in PAGE.glob("*.js"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", script.read_text())


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/agent/sms", {"text": "Hello"}, "to: a non-empty string"),
        ("/agent/sms", {"to": "1", "text": ""}, "text: a non-empty string"),
        ("/agent/email", {"to": [], "text": "Hello"}, "to: a non-empty list"),
        ("/agent/email", {"to": [{"name": "x"}], "text": "Hello"}, "id: a non-empty string"),
        ("/agent/email", {"to": [{"id": "a@b.c"}]}, "text or html"),
        ("/agent/raw", {"body_base64": "?"}, "body_base64: base64"),
        ("/agent/raw", {"body": "x", "webhook": "other"}, "webhook: messages or interactions"),
        ("/interaction", {"event": "PAUSED"}, "event: STARTED or FINISHED"),
        ("/interaction", {"event": "STARTED", "subtype": "Fax"}, "subtype: one of"),
        ("/consumer/sms", {"from": "16504661149", "text": "Hello"}, "from: a number in E.164"),
        ("/consumer/mail", {"from": "ana@mail.com", "text": "Hello"}, "mail-in does not run here"),
        ("/control", {"fax": {}}, "fax: expected an object"),
        ("/control", {"sms": {"p_fax": 1}}, "sms.p_fax: unknown"),
        ("/control", {"digital_channels": {"mode": "off"}}, "digital_channels.mode: 'off' is not allowed"),
        ("/control", {"subscriber": {"mode": "500"}}, "subscriber.mode: '500' is not allowed"),
        ("/control", {"sms": {"delay": -1}}, "sms.delay: -1 is not allowed"),
        ("/control", {"sms": {"delay": True}}, "sms.delay: True is not allowed"),
    ],
)
async def test_a_control_that_makes_no_sense_says_why(path: str, body: dict[str, Any], says: str) -> None:
    async with two_worlds() as worlds:
        answer = await worlds.http.post(f"/sandbox{path}", json=body)
        assert answer.status_code == 400
        assert says in answer.json()["error"]
        assert not worlds.bridge.heard


async def test_a_foreign_page_cannot_press_the_buttons() -> None:
    async with two_worlds() as worlds:
        plain = await worlds.http.post(
            "/sandbox/agent/sms", content=b'{"to":"1","text":"x"}', headers={"content-type": "text/plain"}
        )
        assert plain.status_code == 415
        assert not worlds.bridge.heard


async def test_the_state_holds_everything() -> None:
    async with two_worlds() as worlds:
        await _one_of_each(worlds)
        state = (await worlds.http.get("/sandbox/state")).json()
        for name in ("agent", "consumer", "sms", "interactions", "wire"):
            assert len(state[name]) >= 1, name
        assert state["smtp_port"] == worlds.world.smtp_port
        assert (await worlds.http.get("/sandbox/counts")).json()["sms"] == 1
        some = (await worlds.http.get("/sandbox/state?only=agent&only=counts")).json()
        assert some == {"counts": state["counts"], "agent": state["agent"]}
        [sent] = state["agent"]
        for asked, found in ((sent["message_id"], [sent]), ("another", [])):
            assert (await worlds.http.get(f"/sandbox/state?only=agent&id={asked}")).json() == {"agent": found}


async def _one_of_each(worlds: Worlds) -> None:
    config = worlds.world.config
    await worlds.agent_writes()
    await worlds.control("/consumer/sms", {"from": "+16504661149", "text": "Hello", "wait": True})
    await worlds.control("/interaction", {"event": "STARTED", "wait": True})
    await worlds.http.post(
        f"/2010-04-01/Accounts/{config.twilio_account_sid}/Messages.json",
        data={"To": "+16504661149", "From": "+15557650123", "Body": "Hello"},
        auth=(config.twilio_account_sid, config.twilio_auth_token),
    )
    await worlds.settled()
