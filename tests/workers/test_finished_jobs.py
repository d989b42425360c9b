"""RQ hears of every job that is done, also of those that ended when Redis was away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from tests.cli.session import Session
from workers import worker


async def test_what_redis_did_not_hear_it_hears_the_next_time(own_redis: EmbeddedRedis, tmp_path: Path) -> None:
    async with Redis.from_url(own_redis.url) as client:
        session = Session(client, own_redis.url, tmp_path)
        relay = await session.hires("outbound", "receipts")

        async def left() -> tuple[list[str], int, int]:
            counted: Any = await client.hmget(relay.key, "successful_job_count", "failed_job_count")
            waiting = await client.zcard("rq:wip:outbound") + await client.zcard("rq:wip:receipts")
            return sorted(await session.keys("rq:job:*")), waiting, int(counted[0] or 0) + int(counted[1] or 0)

        for name, queue in (("a", "outbound"), ("b", "outbound"), ("c", "receipts")):
            await client.hset(f"rq:job:{name}", "data", "")
            await client.zadd(f"rq:wip:{queue}", {f"{name}:{relay.name}": 1})
            relay._done.append((name.encode(), queue))
        relay._failed = 1
        own_redis.kill()
        for _ in range(2):
            with pytest.raises((RedisError, OSError)):
                await relay._flush(client)
        own_redis.start()
        relay._done.append((b"d", "outbound"))
        await relay._flush(client)
        assert await left() == ([], 0, 4)
        counts: Any = await client.hmget(relay.key, "successful_job_count", "failed_job_count")
        assert counts == [b"3", b"1"]
        await relay._flush(client)
        assert (await left())[2] == 4


async def test_of_very_many_the_newest_are_remembered(own_redis: EmbeddedRedis, tmp_path: Path) -> None:
    async with Redis.from_url(own_redis.url) as client:
        relay = await Session(client, own_redis.url, tmp_path).hires("outbound")
        own_redis.kill()
        for turn in range(3):
            relay._done += [(b"%d-%d" % (turn, number), "outbound") for number in range(worker.REMEMBERED_DONE // 2)]
            with pytest.raises((RedisError, OSError)):
                await relay._flush(client)
        assert len(relay._done) == worker.REMEMBERED_DONE
        assert {name.partition(b"-")[0] for name, _ in relay._done} == {b"1", b"2"}
