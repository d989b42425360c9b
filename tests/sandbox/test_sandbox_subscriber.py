"""The sandbox's subscriber: what it takes and refuses, and how it misbehaves. The library of the standard signs."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest
from standardwebhooks.webhooks import Webhook

from tests.sandbox.test_sandbox_page import events, until
from tests.sandbox.two_worlds import Worlds, two_worlds

SECRET = "whsec_YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY="
BODY = {"type": "interaction.started", "timestamp": "x", "data": {"interactionId": "i-1", "sequence": 1}}


async def post(worlds: Worlds, webhook_id: str = "evt_1", **changes: Any) -> httpx.Response:
    """One event, signed right but for the `changes` of its headers; None leaves one out."""
    body = orjson.dumps(changes.pop("body", BODY))
    at = changes.pop("at", datetime.now(UTC))
    headers = {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(SECRET).sign(webhook_id, at, body.decode()),
    }
    headers |= {name.replace("_", "-"): value for name, value in changes.items()}
    given = {name: value for name, value in headers.items() if value is not None}
    return await worlds.http.post("/subscriber", content=body, headers=given)


async def test_an_event_that_is_signed_is_taken_and_shown() -> None:
    async with two_worlds(subscriber_secret=SECRET) as worlds:
        assert (await post(worlds)).status_code == 204
        [heard] = (await worlds.http.get("/sandbox/heard")).json()
        assert (heard["webhook_id"], heard["type"], heard["interaction"], heard["number"]) == (
            "evt_1", "interaction.started", "i-1", 1,
        )  # fmt: skip
        assert worlds.world.counts["violations"] == 0


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"webhook_signature": "v1,AAAA"}, "webhook-signature is right"),
        ({"webhook_signature": None}, "webhook-signature is right"),
        ({"webhook_id": None}, "webhook-id is there"),
        ({"webhook_timestamp": None}, "webhook-timestamp is the time"),
        ({"at": datetime.now(UTC) - timedelta(seconds=400)}, "webhook-timestamp is the time"),
        ({"body": []}, "the body is JSON with a type"),
    ],
)
async def test_what_breaks_the_standard_is_refused_and_shown(changes: dict[str, Any], rule: str) -> None:
    async with two_worlds(subscriber_secret=SECRET) as worlds:
        assert (await post(worlds, **changes)).status_code == 401
        assert rule in worlds.world.violations[0].rule


async def test_one_of_several_signatures_is_enough() -> None:
    async with two_worlds(subscriber_secret=SECRET) as worlds:
        now = datetime.now(UTC)
        mine = Webhook(SECRET).sign("evt_1", now, orjson.dumps(BODY).decode())
        assert (await post(worlds, at=now, webhook_signature=f"v1,AAAA {mine}")).status_code == 204


@pytest.mark.parametrize(("mode", "status"), [("failing", 500), ("throttling", 429), ("gone", 410), ("slow", 204)])
async def test_it_misbehaves_as_it_is_told(mode: str, status: int) -> None:
    async with two_worlds(subscriber_secret=SECRET) as worlds:
        await worlds.control("/control", {"subscriber": {"mode": mode, "delay": 0.2}})
        began = time.monotonic()
        answer = await post(worlds)
        assert answer.status_code == status
        assert ("retry-after" in answer.headers) == (mode == "throttling")
        assert (time.monotonic() - began >= 0.2) or mode != "slow"


async def test_what_waits_for_a_slow_answer_is_shown_meanwhile() -> None:
    async with two_worlds(subscriber_secret=SECRET) as worlds:
        await worlds.control("/control", {"subscriber": {"mode": "slow", "delay": 0.5}})
        async with worlds.http.stream("GET", "/sandbox/events") as response:
            stream = events(response)
            await until(stream, "ready")
            asked = asyncio.create_task(post(worlds))
            _, first = (await until(stream, "event"))[-1]
            assert (first["open"], first["status"]) == (1, 0)
            _, last = (await until(stream, "event"))[-1]
            assert (last["open"], last["status"]) == (0, 204)
            await asked


async def test_a_dead_one_hangs_up() -> None:
    async with two_worlds(subscriber_secret=SECRET) as worlds:
        await worlds.control("/control", {"subscriber": {"mode": "dead"}})
        with pytest.raises(httpx.HTTPError):
            await post(worlds)


async def test_attempts_of_one_event_are_one_line_and_a_repetition_is_counted() -> None:
    async with two_worlds(subscriber_secret=SECRET) as worlds:
        await worlds.control("/control", {"subscriber": {"mode": "failing"}})
        await post(worlds)
        await worlds.control("/control", {"subscriber": {"mode": "well"}})
        for _ in range(2):
            await post(worlds)
        [heard] = (await worlds.http.get("/sandbox/heard")).json()
        assert (heard["attempts"], heard["status"]) == (3, 204)
        assert worlds.world.counts["events.repeated"] == 1
