"""An agent's file goes as the provider carries it, else as a link, else the message fails: as the channel says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl

import orjson
import pytest
from redis.asyncio import Redis
from starlette.responses import Response

from dcbridge import intake
from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.media.links import PATH
from dcbridge.settings.process import DAY
from tests.ledger.ledger_bench import Bench
from tests.workers.far_side import CONSUMER, SMS
from tests.workers.media_side import MEDIA_ID, PIXEL, MediaSide, media_side
from workers import outbound

CHANNELS = """
  refuses: {type: sms, provider: twilio, number: "+15557650140", media: {instead: refuse}}
"""
MOST = 1 << 20


@pytest.fixture
async def media(redis: Redis, redis_server: EmbeddedRedis) -> AsyncIterator[MediaSide]:
    async with media_side(redis, redis_server.url, f"{CHANNELS.rstrip()}\nmedia: {{most: {MOST}}}") as opened:
        opened.store.files[MEDIA_ID] = ("cat.png", "image/png", PIXEL)
        yield opened


async def accepted(media: MediaSide, channel: str = SMS, **fields: Any) -> str:
    """A message with a file, taken in as the service does; its ref."""
    address = {"id": channel, "type": "sms", "from": {"id": channel}, "to": {"id": CONSUMER}, "messageId": "m-1"}
    said = {"channel": address, "type": "RichMedia", "content": [{"media": f"genesys://nexus/{MEDIA_ID}"}]}
    found = intake.read(media.side.context.configuration, "main", orjson.dumps(said | fields), "trace")
    assert found.problems == ()
    await media.side.context.ledger.messages.accept(found.copies)
    return found.copies[0].ref


def sent(media: MediaSide) -> list[dict[str, list[str]]]:
    """The forms that the provider got."""
    forms = []
    for body in media.side.provider.heard:
        form: dict[str, list[str]] = {}
        for name, value in parse_qsl(body.decode(), keep_blank_values=True):
            form.setdefault(name, []).append(value)
        forms.append(form)
    return forms


async def test_a_file_goes_as_an_mms(media: MediaSide) -> None:
    ref = await accepted(media, text="Our offer")
    await outbound.send(media.side.context, ref)
    [form] = sent(media)
    assert form["Body"] == ["Our offer"]
    [url] = form["MediaUrl"]
    assert url.startswith(f"http://127.0.0.1:8080{PATH}")
    linked = media.side.context.files.links.open(url.rpartition("/")[2], 0)
    assert (linked.channel_id, linked.media_id) == (SMS, MEDIA_ID)
    entry = await media.side.entry(ref)
    assert entry.state == "sent"
    accepted_at = (entry.accepted_at or 0) // 1000
    assert linked.until - accepted_at == pytest.approx(4 * 3600 + DAY, abs=2)
    assert media.counted("carried", "out") == 1


async def test_a_file_alone_is_a_message(media: MediaSide) -> None:
    await outbound.send(media.side.context, await accepted(media))
    [form] = sent(media)
    assert "Body" not in form
    assert len(form["MediaUrl"]) == 1


async def test_every_attempt_sends_the_same_bytes_and_the_file_is_read_once(
    redis: Redis, redis_server: EmbeddedRedis
) -> None:
    async with media_side(redis, redis_server.url, swap=("first: 2", "first: 0.001")) as media:
        media.store.files[MEDIA_ID] = ("cat.png", "image/png", PIXEL)
        media.side.provider.replies = [lambda _: _status(429), lambda _: _status(429)]
        ref = await accepted(media, text="Our offer")
        for _ in range(3):
            await outbound.send(media.side.context, ref)
            await asyncio.sleep(0.05)
        assert (await media.side.entry(ref)).state == "sent"
        assert len(media.side.provider.heard) == 3
        assert len(set(media.side.provider.heard)) == 1
        assert media.store.read == [MEDIA_ID]


async def _status(status: int) -> Response:
    return Response(status_code=status)


@pytest.mark.parametrize("data", [PIXEL + bytes(MOST), b"MZ\x90 a program"], ids=["too large", "of no such type"])
@pytest.mark.parametrize(("channel", "state"), [(SMS, "sent"), ("refuses", "failed")])
async def test_what_is_not_carried_is_a_link_or_fails(media: MediaSide, data: bytes, channel: str, state: str) -> None:
    media.store.files[MEDIA_ID] = ("cat.png", "image/png", data)
    ref = await accepted(media, channel, text="Our offer")
    await outbound.send(media.side.context, ref)
    entry = await media.side.entry(ref)
    assert entry.state == state
    if state == "failed":
        assert (entry.reason, sent(media)) == ("510", [])
        assert media.counted("refused", "out") == 1
        return
    [form] = sent(media)
    text, link = form["Body"][0].split("\n")
    assert (text, "MediaUrl" in form) == ("Our offer", False)
    assert media.side.context.files.links.open(link.rpartition("/")[2], 0).media_id == MEDIA_ID
    assert media.counted("link", "out") == 1


async def test_a_file_that_is_not_there_fails_and_one_that_cannot_be_read_now_waits(media: MediaSide) -> None:
    del media.store.files[MEDIA_ID]
    ref = await accepted(media, text="Our offer")
    await outbound.send(media.side.context, ref)
    entry = await media.side.entry(ref)
    assert (entry.state, entry.reason, sent(media)) == ("failed", "510", [])


async def test_digital_channels_away_is_no_fault_of_the_provider(media: MediaSide) -> None:
    ref = await accepted(media, text="Our offer")
    media.side.agents.replies = [lambda request: _status(503)]
    await outbound.send(media.side.context, ref)
    entry = await media.side.entry(ref)
    assert (entry.state, sent(media)) == ("retry", [])
    assert await media.side.redis.zcard("dcb:failing:twilio") == 0
    await Bench(media.side.redis).pass_time(60)
    await outbound.send(media.side.context, ref)
    assert (await media.side.entry(ref)).state == "sent"


async def test_a_file_that_cannot_be_kept_for_the_next_attempt_is_sent_all_the_same(media: MediaSide) -> None:
    await media.side.redis.set("dcb:blob-sizes", "of another type")
    ref = await accepted(media, text="Our offer")
    await outbound.send(media.side.context, ref)
    assert (await media.side.entry(ref)).state == "sent"
    assert len(sent(media)[0]["MediaUrl"]) == 1


@pytest.mark.parametrize("status", [503, 404])
async def test_a_file_that_cannot_be_read_says_nothing_of_the_provider(media: MediaSide, status: int) -> None:
    """A probe of an open breaker that never spoke to the provider would let all that wait for it go."""
    redis = media.side.redis
    ref = await accepted(media, text="Our offer")
    await redis.hset("dcb:breaker:twilio", mapping={"since": 1, "wait": 1000, "probe": 1, "ref": ref})
    media.side.agents.replies = [lambda request: _status(status)]
    await outbound.send(media.side.context, ref)
    assert (await media.side.entry(ref)).state == {503: "retry", 404: "failed"}[status]
    assert sent(media) == []
    assert await redis.exists("dcb:breaker:twilio") == 1
    assert await redis.exists("dcb:took:twilio") == 0


@pytest.mark.parametrize(
    ("fields", "reason", "body"),
    [
        ({"text": "see genesys://nexus/abc for it", "content": []}, None, "see genesys://nexus/abc for it"),
        ({"text": "Look", "content": [], "attachments": ["genesys://nexus/../../messages"]}, None, "Look"),
        ({"text": "Look", "content": [], "attachments": ["https://nexus/abc"]}, None, "Look"),
        ({"text": "", "content": ["genesys://nexus/../../messages"]}, "520", ""),
        ({"text": f"genesys://nexus/{MEDIA_ID}", "content": []}, None, ""),
        ({"text": "Look", "content": [{"u": f"genesys://nexus/{n}"} for n in range(11)]}, "510", ""),
    ],
)
async def test_what_names_a_file(media: MediaSide, fields: dict[str, Any], reason: str | None, body: str) -> None:
    channel = {"id": SMS, "type": "sms", "from": {"id": SMS}, "to": {"id": CONSUMER}, "messageId": "m-1"}
    said = {"channel": channel, "type": "RichMedia"} | fields
    found = intake.read(media.side.context.configuration, "main", orjson.dumps(said), "trace")
    await media.side.context.ledger.messages.accept(found.copies)
    await outbound.send(media.side.context, found.copies[0].ref)
    entry = await media.side.entry(found.copies[0].ref)
    assert (entry.reason or None) == reason
    if reason is None:
        [form] = sent(media)
        assert form.get("Body", [""]) == [body]
