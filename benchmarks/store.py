"""What the store costs: `python -m benchmarks.store channels|bulk [--runs N]`, one line of JSON for each figure.

`channels`: 10,000 channels at rest. Redis' time for one sweep, and the time of the operator's commands and of a scrape.
`bulk`: how long an interactive webhook waits while connections beside it post webhooks of 500 messages.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import orjson
import uvloop
from redis.asyncio import Redis

from benchmarks.load import Connections, at_rate, drive, percentile
from benchmarks.messages import ENDPOINT, http_post, signed, webhook
from benchmarks.stage import SECRET, Stage, leave_nothing_running
from dcbridge.config.models import Configuration
from dcbridge.genesys import signature
from dcbridge.ledger import Ledger
from dcbridge.ledger.reports import books, overview
from dcbridge.operations.session import Session
from dcbridge.operations.status import Wanted, look
from dcbridge.runtime.metrics import Metrics
from dcbridge.runtime.scrape import Scrape

CHANNELS = 10_000
SWEEPS = 40
BULK_CONNECTIONS, BULK_MESSAGES = 8, 500
INTERACTIVE = 20.0  # webhooks a second
SECONDS = 15.0


def say(what: str, value: float, unit: str) -> None:
    print(json.dumps({"what": what, "value": round(value, 3), "unit": unit}), flush=True)


# ---------------------------------------------------------------- channels at rest


async def _seed(redis: Redis, count: int) -> None:
    async with redis.pipeline(transaction=False) as pipe:
        for n in range(count):
            pipe.sadd("dcb:channels", f"channel-{n}")
            pipe.hset(f"dcb:books:channel-{n}", mapping={"accepted": 3, "delivered": 2, "failed": 1})
            if n % 500 == 499:
                await pipe.execute()
        await pipe.execute()


async def _took(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return (time.perf_counter() - began) * 1000


async def _redis_ms(redis: Redis, work: Callable[[], Awaitable[object]]) -> float:
    """Redis' own time for the scripts that `work` runs."""
    await redis.config_resetstat()
    await work()
    stats: dict[str, dict[str, Any]] = await redis.info("commandstats")
    return sum(float(stats.get(f"cmdstat_{name}", {}).get("usec", 0)) for name in ("eval", "evalsha")) / 1000


async def channels(stage: Stage, count: int = CHANNELS) -> None:
    """Print the figures for `count` channels that nobody writes to."""
    async with Redis(port=stage.redis.port) as redis:
        await redis.config_set("appendfsync", "everysec")  # for filling alone
        await _seed(redis, count)
        await redis.config_set("appendfsync", "always")
        ledger = Ledger.of(stage.settings, redis, worker="bench")
        lines = {f"channel-{n}": f"twilio 0 1 0 {'5 1 0' if n % 10 == 0 else '0 1 0'}" for n in range(count)}
        await ledger.sweep.run()
        say("limits written", await _took(lambda: ledger.pacing.announce(lines)), "ms")
        say("limits written, the longest script", await _slowest(redis), "ms")
        sweeps = [await _redis_ms(redis, ledger.sweep.run) for _ in range(SWEEPS)]
        say("sweep, Redis' time, median", median(sweeps), "ms")
        say("sweep, Redis' time, most", max(sweeps), "ms")
        session = Session(stage.settings, stage.configuration, ledger)
        scrape = Scrape(Metrics(), redis, stage.settings, _configured(stage), lambda: ())
        for what, work in (
            ("books read", lambda: books.read(redis)),
            ("overview read", lambda: overview.read(redis)),
            ("scrape", scrape),
            ("status", lambda: look(session, Wanted())),
        ):
            say(what, median([await _took(work) for _ in range(3)]), "ms")


def _configured(stage: Stage) -> Configuration:
    return stage.configuration


async def _slowest(redis: Redis) -> float:
    stats: dict[str, dict[str, Any]] = await redis.info("commandstats")
    found = [stats[f"cmdstat_{name}"] for name in ("eval", "evalsha") if f"cmdstat_{name}" in stats]
    return max((float(one["usec_per_call"]) for one in found), default=0.0) / 1000


# ---------------------------------------------------------------- interactive beside bulk


def _bulk(label: str) -> Iterator[bytes]:
    n = 0
    while True:
        items = [orjson.loads(webhook(f"{label}-{n}-{k}", n * BULK_MESSAGES + k)) for k in range(BULK_MESSAGES)]
        body = orjson.dumps(items)
        head = {signature.HEADER: signature.sign(SECRET.encode(), body), "Content-Type": "application/json"}
        yield http_post(f"/webhooks/messages/{ENDPOINT}", body, head)
        n += 1


async def _beside(port: int, connections: int, seconds: float) -> tuple[list[float], int]:
    """Latencies in ms of the interactive webhooks, and how many webhooks of 500 were answered 200 meanwhile."""
    small = signed(SECRET.encode(), "small", 1000)
    posted = _bulk("bulk")
    ready = [next(posted) for _ in range(connections * 40)] if connections else []
    bulk = asyncio.create_task(drive(port, iter(ready), connections)) if connections else None
    await asyncio.sleep(0.5)
    pool = Connections(port, 16)
    await pool.open()
    result = await at_rate(pool, lambda _: next(small)[1], INTERACTIVE, int(INTERACTIVE * seconds))
    await pool.close()
    answered = 0
    if bulk is not None:
        if bulk.done():
            answered = bulk.result().statuses[200]
            say("the bulk was over before the measurement", bulk.result().seconds, "s")
        bulk.cancel()
        with suppress(asyncio.CancelledError):
            await bulk
    if set(result.statuses) != {200}:
        say("interactive webhooks that were not answered 200", sum(result.statuses.values()) - result.statuses[200], "")
    return [one * 1000 for one in result.latencies], answered


def bulk(stage: Stage, connections: int = BULK_CONNECTIONS, seconds: float = SECONDS) -> None:
    """Two service processes on one Redis, as two pods: one takes the bulk, or both do."""
    stage.start("door", "-m", "benchmarks.door_server", "full", str(stage.public))
    stage.wait_for("door", f"http://127.0.0.1:{stage.public}/webhooks/messages/{ENDPOINT}", status=401, method="POST")
    with stage.look() as redis:
        for count in (0, connections):
            redis.config_resetstat()
            before = uvloop.run(stage.books()).accepted if count else 0
            began = time.perf_counter()
            found, _ = uvloop.run(_beside(stage.public, count, seconds))
            if count:
                taken = uvloop.run(stage.books()).accepted - before
                say("messages accepted, /s", taken / (time.perf_counter() - began), "/s")
            beside = f"beside {count} connections with webhooks of {BULK_MESSAGES}" if count else "alone"
            for name, share in (("p50", 0.5), ("p99", 0.99), ("most", 1.0)):
                say(f"interactive webhook {beside}, {name}", percentile(found, share), "ms")
            redis.config_set("slowlog-log-slower-than", 5000)
            slow = [one["duration"] / 1000 for one in redis.slowlog_get(128)]
            redis.slowlog_reset()
            say(f"longest script {beside}", max(slow, default=0.0), "ms")


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.store", description=__doc__)
    options.add_argument("what", choices=["channels", "bulk"])
    options.add_argument("--channels", type=int, default=CHANNELS)
    options.add_argument("--seconds", type=float, default=SECONDS)
    asked = options.parse_args()
    leave_nothing_running()
    with tempfile.TemporaryDirectory(prefix="dcbridge-bench-") as name, Stage(Path(name)) as stage:
        with stage.look() as redis:
            redis.config_set("slowlog-max-len", 128)
        if asked.what == "channels":
            uvloop.run(channels(stage, asked.channels))
        else:
            bulk(stage, seconds=asked.seconds)


if __name__ == "__main__":
    main()
