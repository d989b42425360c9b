"""Redis streams: what an entry holds, that it is added once, and a Redis that goes away."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.formats.json import JSONFormat
from pydantic import ValidationError
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.errors import AccountFault, Deferred, OutcomeUnknown, SendError, Unreachable
from dcbridge.events.sinks.options import SinkOptions
from dcbridge.events.sinks.redis_stream import RedisStream, RedisStreamSink
from tests.certificates import self_signed
from tests.events.receivers import PUBLIC_URL, Receiver, an_event, receiving, server_tls


@asynccontextmanager
async def sink(url: str, envelope: Any = "standard", **fields: Any) -> AsyncIterator[RedisStreamSink]:
    given = {"kind": "redis-stream", "url": url, "stream": "events", "timeout": 5, **fields}
    found = RedisStreamSink(RedisStream.model_validate(given), SinkOptions("crm", envelope, PUBLIC_URL))
    try:
        yield found
    finally:
        await found.close()


async def entries(redis: Redis) -> list[dict[bytes, bytes]]:
    """What the stream holds, oldest first."""
    found: Any = await redis.xrange("events")
    return [entry for _, entry in found]


async def refused(sink: RedisStreamSink) -> SendError:
    with pytest.raises(SendError) as found:
        await sink.deliver(an_event())
    return found.value


async def test_an_entry_and_the_same_event_once(redis: Redis, redis_server: EmbeddedRedis) -> None:
    async with sink(redis_server.url) as out:
        await out.deliver(an_event())
        await out.deliver(an_event())
        await out.deliver(an_event(id="evt-2", name="FINISHED"))
    one, two = await entries(redis)
    assert (one[b"id"], one[b"type"], two[b"id"]) == (b"evt_0f3a-1", b"interaction.started", b"evt-2")
    assert one[b"content_type"] == b"application/json"
    assert json.loads(one[b"body"])["data"]["entity"] == dict(an_event().fields)
    assert 0 < await redis.pttl("{events}:seen:crm:evt-2") <= 86_400_000


async def test_without_deduplication_nothing_is_remembered(redis: Redis, redis_server: EmbeddedRedis) -> None:
    async with sink(redis_server.url, dedupe=0) as out:
        await out.deliver(an_event())
        await out.deliver(an_event())
    assert await redis.xlen("events") == 2
    assert await redis.keys() == [b"events"]


async def test_a_stream_keeps_about_as_many_as_it_was_told(redis: Redis, redis_server: EmbeddedRedis) -> None:
    async with sink(redis_server.url, most=100) as out:
        for number in range(500):
            await out.deliver(an_event(id=f"evt-{number}"))
    assert 100 <= await redis.xlen("events") < 300  # Redis drops whole nodes, of 100 entries
    assert (await entries(redis))[-1][b"id"] == b"evt-499"


async def test_a_cloudevent_is_read_by_its_own_library(redis: Redis, redis_server: EmbeddedRedis) -> None:
    async with sink(redis_server.url, "cloudevents-structured") as out:
        await out.deliver(an_event())
    [entry] = await entries(redis)
    read = JSONFormat().read(None, entry[b"body"])
    assert (read.get_id(), read.get_type()) == ("evt_0f3a-1", "dcbridge.interaction.started")
    assert entry[b"content_type"].startswith(b"application/cloudevents+json")


async def test_what_a_redis_refuses(redis: Redis, redis_server: EmbeddedRedis) -> None:
    await redis.set("events", "a text")
    async with sink(redis_server.url) as out:
        error = await refused(out)
        assert (type(error), error.code) == (AccountFault, "WRONGTYPE")
        await redis.delete("events")
        await out.deliver(an_event())  # what was refused is not remembered as added
        assert await redis.xlen("events") == 1
    await redis.flushall()
    await redis.acl_setuser("reader", enabled=True, passwords=["+right"], keys=["*"], categories=["+@read"])
    place = redis_server.url.removeprefix("redis://")
    try:
        for login in ("reader:wrong", "nobody:right"):
            async with sink(f"redis://{login}@{place}") as out:
                error = await refused(out)
                assert type(error) is AccountFault
        async with sink(f"redis://reader:right@{place}") as out:
            error = await refused(out)
            assert (type(error), error.code) == (AccountFault, "NoPermissionError")
    finally:
        await redis.acl_deluser("reader")


async def test_a_full_redis_is_asked_again_later(own_redis: EmbeddedRedis) -> None:
    async with Redis.from_url(own_redis.url) as redis, sink(own_redis.url) as out:
        await redis.config_set("maxmemory", "1")
        error = await refused(out)
        assert type(error) is Deferred
        assert error.code in ("OOM", "OutOfMemoryError")  # Redis 6.2 says it from inside the script, 7 before it
        await redis.config_set("maxmemory", "0")
        await out.deliver(an_event())


async def test_a_redis_that_is_killed_in_mid_stream_loses_nothing(own_redis: EmbeddedRedis) -> None:
    wanted = [f"evt-{number}" for number in range(1000)]
    errors: list[SendError] = []
    places = asyncio.Semaphore(20)

    async def until_delivered(out: RedisStreamSink, name: str) -> bool:
        async with places:
            while True:
                try:
                    return await out.deliver(an_event(id=name))
                except (Unreachable, OutcomeUnknown, Deferred) as error:  # Deferred: it is loading its file
                    errors.append(error)
                    await asyncio.sleep(0.1)

    async with sink(own_redis.url) as out:
        tasks = [asyncio.ensure_future(until_delivered(out, name)) for name in wanted]
        await asyncio.gather(*tasks[:200])
        own_redis.kill()
        await asyncio.sleep(0.3)
        await asyncio.to_thread(own_redis.start)
        await asyncio.gather(*tasks)
    async with Redis.from_url(own_redis.url) as redis:
        came = [entry[b"id"].decode() for entry in await entries(redis)]
    assert sorted(came) == sorted(wanted)  # each of them, and once
    assert Unreachable in {type(error) for error in errors}


async def test_nobody_listens_and_nobody_answers() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        async with sink(f"redis://127.0.0.1:{bound.getsockname()[1]}/0") as out:
            error = await refused(out)
            assert (type(error), error.code) == (Unreachable, "connect")
    async with sink("redis://nowhere.invalid/0") as out:
        assert isinstance(await refused(out), Unreachable | OutcomeUnknown)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with sink(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", timeout=1.0) as out:
            error = await refused(out)
            assert (type(error), error.code) == (OutcomeUnknown, "timeout")
    async with sink("redis+sentinel://127.0.0.1:1/main/0", timeout=2) as out:
        error = await refused(out)
        assert (type(error), error.code) == (Unreachable, "no primary")


async def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    async with receiving(receiver := Receiver(), tls=server_tls(certificate, key, receiver)):
        async with sink(f"rediss://127.0.0.1:{receiver.port}/0") as out:
            error = await refused(out)
            assert (type(error), error.code) == (Unreachable, "tls")
        async with sink(f"rediss://127.0.0.1:{receiver.port}/0", ca_file=str(tmp_path / "absent.pem")) as out:
            error = await refused(out)
            assert (type(error), error.code) == (AccountFault, "tls files")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({}, ""),
        ({"url": "http://h"}, "should begin with redis://"),
        ({"url": "redis+sentinel://one"}, "should name sentinels and a service"),
        ({"most": 0}, "greater than or equal to 1"),
        ({"dedupe": -1}, "greater than or equal to 0"),
        ({"stream": ""}, "at least 1 character"),
    ],
)
def test_fields(more: dict[str, Any], says: str) -> None:
    given = {"kind": "redis-stream", "url": "rediss://user:hidden@redis.example.com/0", "stream": "events", **more}
    if not says:
        fields = RedisStream.model_validate(given)
        assert fields.place == "rediss://redis.example.com:6379/0 events"
        assert "hidden" not in repr(fields)
        return
    with pytest.raises(ValidationError, match=says):
        RedisStream.model_validate(given)
