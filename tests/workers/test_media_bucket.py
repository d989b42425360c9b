"""Files in a bucket that is away: the text arrives, with a sentence for what does not, and nothing is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.ledger import NewTask
from tests.ledger.ledger_bench import Bench
from tests.transport.bucket import KEY_ID, REGION, SECRET, FakeBucket, fake_bucket, fault
from tests.workers.far_side import CONSUMER, SMS
from tests.workers.media_side import MEDIA_ID, PIXEL, MediaSide, media_side
from workers import consumer_messages

DENIED = fault(403, "AccessDenied")


@pytest.fixture
async def bucket() -> AsyncIterator[tuple[FakeBucket, str]]:
    async with fake_bucket() as found:
        yield found


@pytest.fixture
async def media(redis: Redis, redis_server: EmbeddedRedis, bucket: tuple[FakeBucket, str]) -> AsyncIterator[MediaSide]:
    told: dict[str, Any] = {
        "blob_memory": 0,
        "blob_bucket": bucket[1],
        "blob_bucket_region": REGION,
        "blob_bucket_key_id": KEY_ID,
        "blob_bucket_secret": SecretStr(SECRET),
    }
    async with media_side(redis, redis_server.url, **told) as opened:
        opened.store.files[MEDIA_ID] = ("cat.png", "image/png", PIXEL)
        yield opened


async def mailed(media: MediaSide) -> str:
    """A consumer's message whose file is in the bucket."""
    await media.side.context.ledger.blobs.put(PIXEL, keep=86400.0, blob_id="m-1")
    payload = {
        "from": CONSUMER,
        "text": "Look",
        "media": ["blob:m-1"],
        "names": {"blob:m-1": "cat.png"},
        "provider": "x",
    }
    task = NewTask("c-1", "consumer", "lane", orjson.dumps(payload), "trace", SMS)
    await media.side.context.ledger.tasks.put([task])
    return task.id


async def test_a_file_waits_in_the_bucket_and_reaches_the_agent(
    media: MediaSide, bucket: tuple[FakeBucket, str]
) -> None:
    task_id = await mailed(media)
    there, _ = bucket
    assert there.objects == {"/bucket/m-1": PIXEL}
    there.faults = [DENIED]
    await consumer_messages.post_consumer_message(media.side.context, task_id)
    assert media.messages == []  # and it is tried again
    await Bench(media.side.redis).pass_time(60)
    await consumer_messages.post_consumer_message(media.side.context, task_id)
    [message] = media.messages
    assert message["text"].startswith("Look\nhttp")
    assert [data for name, _, data in media.store.files.values() if name == "cat.png"] == [PIXEL, PIXEL]
    assert there.wrong == []


async def test_the_text_arrives_with_a_sentence_while_the_bucket_stays_away(
    media: MediaSide, bucket: tuple[FakeBucket, str]
) -> None:
    task_id = await mailed(media)
    await Bench(media.side.redis).pass_time(310)
    bucket[0].faults = [DENIED]
    await consumer_messages.post_consumer_message(media.side.context, task_id)
    [message] = media.messages
    assert message["text"] == "Look\n[A file was withheld: it could not be fetched.]"


@pytest.mark.parametrize("away", ["read", "write", "both"])
async def test_a_file_of_an_agents_is_read_from_digital_channels_instead(
    media: MediaSide, bucket: tuple[FakeBucket, str], away: str
) -> None:
    there, files = bucket[0], media.side.context.files
    if away == "read":
        assert await files.of_agent(SMS, MEDIA_ID) == PIXEL
        assert len(there.objects) == 1
    there.faults = [DENIED] * 2 if away == "both" else [DENIED]
    if away == "write":
        there.faults = [fault(404, "NoSuchKey"), DENIED]
    assert await files.of_agent(SMS, MEDIA_ID) == PIXEL
    assert there.faults == []
    there.faults = []
    before = len(media.store.read)
    assert await files.of_agent(SMS, MEDIA_ID) == PIXEL
    assert len(media.store.read) == before + (away != "read")
