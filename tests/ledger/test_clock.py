"""Redis' clock steps back an hour: what is due becomes due as if it had not.

Most rows move every moment that is stored an hour ahead, which is what a step back looks like to the data. One runs a
real Redis whose clock is really set back.
"""

from __future__ import annotations

import asyncio
import shutil
import struct
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from dcbridge.cli.dev.embedded_redis import find_server, free_port
from dcbridge.ledger import Ledger, NewTask, moment
from dcbridge.ledger.reports.books import read
from tests.ledger.ledger_bench import CHANNEL, Bench

HOUR = 3600
SHORT = 0.3  # seconds that something waits in these tests


@pytest.fixture
def bench(redis: Redis) -> Bench:
    return Bench(redis)


async def step_back(redis: Redis, seconds: int = HOUR) -> None:
    """As if Redis' clock had been set back: every moment that is stored, and every key's end, is further away."""
    now, ms = (await redis.time())[0] * 1000, seconds * 1000

    def moved(value: bytes | float) -> str | None:
        text = value.decode(errors="replace") if isinstance(value, bytes) else f"{value:.0f}"
        near = text.split(".")[0].isdigit() and abs(float(text) - now) < 2 * HOUR * 1000
        return f"{float(text) + ms:.0f}" if near else None

    async for key in redis.scan_iter("*"):
        left = await redis.pttl(key)
        kind: str = cast(bytes, await redis.type(key)).decode()
        found: Any
        if kind == "string":
            found = await redis.get(key)
            if (new := moved(found)) is not None:
                await redis.set(key, new, keepttl=True)
        elif kind == "hash":
            found = await redis.hgetall(key)
            for name, value in found.items():
                if (new := moved(value)) is not None:
                    await redis.hset(key, name, new)
        elif kind == "zset":
            found = await redis.zrange(key, 0, -1, withscores=True)
            for member, score in found:
                if (new := moved(score)) is not None:
                    await redis.zadd(key, {member: float(new)})
        if left > 0:
            await redis.pexpire(key, left + ms)


# ---------------------------------------------------------------- what waits, and how it is seen that it goes on


async def a_receipt_whose_job_was_lost(b: Bench) -> Callable[[], Awaitable[bool]]:
    await b.ledger.messages.fail(await b.sending(), "mine", 500, "")
    await b.drop_jobs()

    async def goes_on() -> bool:
        await b.pass_time(15.1)  # the job counts as lost after that
        await b.ledger.sweep.run()
        return await b.queued("receipts") == [CHANNEL]

    return goes_on


async def a_receipt_that_was_refused_for_now(b: Bench) -> Callable[[], Awaitable[bool]]:
    ref = await b.sending()
    await b.ledger.messages.fail(ref, "mine", 500, "")
    assert len(await b.ledger.receipts.take(CHANNEL, 10, 60.0)) == 1
    await b.ledger.receipts.again(CHANNEL, {ref: SHORT})
    await b.drop_jobs()

    async def goes_on() -> bool:
        await b.ledger.sweep.run()
        return len(await b.ledger.receipts.take(CHANNEL, 10, 60.0)) == 1

    return goes_on


async def a_retry(b: Bench) -> Callable[[], Awaitable[bool]]:
    ref = await b.sending()
    await b.drop_jobs()
    assert await b.retry(ref, delay=SHORT) == "retry"

    async def goes_on() -> bool:
        await b.ledger.sweep.run()
        return await b.queued() == [ref] and (await b.ledger.messages.claim(ref, "next", 60.0)).ours

    return goes_on


async def a_message_in_a_pace(b: Bench) -> Callable[[], Awaitable[bool]]:
    await b.ledger.pacing.announce({CHANNEL: f"acme {1 / SHORT} 1 0 0 1 0"})
    await b.sending("first", to_id="1")
    second = await b.put("second", to_id="2")
    assert not (await b.ledger.messages.claim(second, "t", 60.0)).ours
    await b.drop_jobs()

    async def goes_on() -> bool:
        await b.ledger.sweep.run()
        return (await b.ledger.messages.claim(second, "t", 60.0)).ours

    return goes_on


async def a_provider_that_asked_for_silence(b: Bench) -> Callable[[], Awaitable[bool]]:
    await b.ledger.pacing.announce({CHANNEL: "acme 0 1 0 0 1 0"})
    await b.ledger.pauses.begin("acme", SHORT)
    ref = await b.put()
    assert (await b.ledger.messages.claim(ref, "t", 60.0)).why == "paused"

    async def goes_on() -> bool:
        await b.ledger.sweep.run()
        return (await b.ledger.messages.claim(ref, "t", 60.0)).ours

    return goes_on


async def a_grace(b: Bench) -> Callable[[], Awaitable[bool]]:
    ref = await b.sending()
    await b.ledger.messages.unknown(ref, "mine", SHORT, "timeout")

    async def goes_on() -> bool:
        return [d.state for d in await b.ledger.sweep.run()] == ["unknown"]

    return goes_on


async def a_wait_for_confirmation(b: Bench) -> Callable[[], Awaitable[bool]]:
    ref = await b.sending()
    await b.ledger.messages.submitted(ref, "mine", 0, 1, "SM", delivered=False, confirm_within=SHORT)

    async def goes_on() -> bool:
        return [d.state for d in await b.ledger.sweep.run()] == ["sent"]

    return goes_on


async def a_lease_of_a_worker_that_was_killed(b: Bench) -> Callable[[], Awaitable[bool]]:
    await b.sending(lease=SHORT)

    async def goes_on() -> bool:
        return [d.state for d in await b.ledger.sweep.run()] == ["sending"]

    return goes_on


async def a_claim_of_a_worker_that_fell_silent(b: Bench) -> Callable[[], Awaitable[bool]]:
    killed = Ledger(b.redis, keep=1000.0, keep_dead=1000.0, worker="killed", silence=SHORT)
    other = Ledger(b.redis, keep=1000.0, keep_dead=1000.0, worker="other", silence=SHORT)
    await killed.leases.heartbeat()
    await other.leases.heartbeat()
    ref = await b.put()
    assert (await killed.messages.claim(ref, killed.leases.token(), 2.0)).ours

    async def goes_on() -> bool:
        return [d.state for d in await other.sweep.run()] == ["sending"]

    return goes_on


async def a_task_to_be_tried_again(b: Bench) -> Callable[[], Awaitable[bool]]:
    await b.ledger.tasks.put([NewTask("a", "callback", "", b"x")])
    assert (await b.ledger.tasks.claim("a", "t", 60.0)).ours
    await b.ledger.tasks.retry("a", "t", SHORT, "503")

    async def goes_on() -> bool:
        await b.ledger.sweep.run()
        return (await b.ledger.tasks.claim("a", "t", 60.0)).ours

    return goes_on


async def batches_whose_splitter_was_killed(b: Bench) -> Callable[[], Awaitable[bool]]:
    events = b.ledger.events
    await b.ledger.events.put_batch("one", "main", "trace", b"{}")
    assert len(await events.take("killed", SHORT, 10)) == 1
    await b.drop_jobs()

    async def goes_on() -> bool:
        await b.ledger.sweep.run()
        await events.sweep()
        return len(await events.take("other", 60.0, 10)) == 1

    return goes_on


async def batches_whose_job_was_lost(b: Bench) -> Callable[[], Awaitable[bool]]:
    events = b.ledger.events
    await b.ledger.events.put_batch("one", "main", "trace", b"{}")
    await b.drop_jobs()
    woken = int(await b.redis.get("dcb:split-woken") or b"0")
    await b.redis.set("dcb:split-woken", woken - 15_000, px=200_000)

    async def goes_on() -> bool:
        await b.ledger.sweep.run()
        await events.sweep()
        return len(await b.queued("inbound")) == 1

    return goes_on


WAITING = (
    a_receipt_whose_job_was_lost,
    a_receipt_that_was_refused_for_now,
    a_retry,
    a_message_in_a_pace,
    a_provider_that_asked_for_silence,
    a_grace,
    a_wait_for_confirmation,
    a_lease_of_a_worker_that_was_killed,
    a_claim_of_a_worker_that_fell_silent,
    a_task_to_be_tried_again,
    batches_whose_splitter_was_killed,
    batches_whose_job_was_lost,
)


@pytest.mark.parametrize("stepped", [False, True], ids=["as ever", "an hour back"])
@pytest.mark.parametrize("waits", WAITING, ids=lambda waits: waits.__name__)
async def test_what_waits_goes_on(
    bench: Bench, waits: Callable[[Bench], Awaitable[Callable[[], Awaitable[bool]]]], stepped: bool
) -> None:
    goes_on = await waits(bench)
    await bench.ledger.sweep.run()
    if stepped:
        await step_back(bench.redis)
    for _ in range(100):
        if await goes_on():
            break
        await asyncio.sleep(0.05)
    else:
        pytest.fail("it stands still")


# ---------------------------------------------------------------- the time itself


async def now_of(bench: Bench) -> float:
    return (await moment.read(bench.redis)).at


async def test_the_time_goes_on_from_where_it_was_and_is_seen_to_be_ahead(bench: Bench) -> None:
    await bench.ledger.sweep.run()
    await step_back(bench.redis)
    before = await now_of(bench)
    swept = await bench.ledger.sweep.report()
    assert HOUR - 5 < swept.ahead < HOUR + 5
    ref = await bench.put()
    assert (await bench.ledger.messages.entry(ref)).accepted_at / 1000 >= before
    assert await now_of(bench) >= before
    assert (await read(bench.redis)).counts["clock_stepped_back"] == 1
    assert (await read(bench.redis)).channels[0].oldest_age < 60


async def test_it_loses_its_lead_slowly_and_never_runs_backwards(bench: Bench) -> None:
    await bench.ledger.sweep.run()
    await step_back(bench.redis, 10)
    ahead = []
    for _ in range(20):
        await bench.redis.hincrby("dcb:watched", "time", -3000)  # three seconds pass
        await bench.redis.hincrby("dcb:watched", "at", -3000)
        found = await bench.ledger.sweep.report()
        assert await now_of(bench) >= found.latest
        ahead.append(found.ahead)
    assert ahead == sorted(ahead, reverse=True)
    assert ahead[-1] < ahead[0] - 1


async def test_a_clock_that_is_set_right_again_is_followed_at_once(bench: Bench) -> None:
    await bench.ledger.sweep.run()
    await step_back(bench.redis)
    await bench.ledger.sweep.run()
    await bench.redis.hincrby("dcb:watched", "time", -HOUR * 1000)
    await bench.redis.hincrby("dcb:watched", "at", -HOUR * 1000)  # as a step forward looks to what is stored
    await bench.ledger.sweep.run()
    assert (await bench.ledger.sweep.report()).ahead < 5
    assert abs(await now_of(bench) - time.time()) < 60


@pytest.mark.parametrize("field", ["time", "offset", "at", "clock", "walk"])
async def test_a_clock_that_cannot_be_read_is_begun_anew(bench: Bench, field: str) -> None:
    await bench.ledger.sweep.run()
    await bench.redis.hset("dcb:watched", field, "1e999" if field == "walk" else "soon")
    if field in ("clock", "walk"):
        await bench.redis.delete("dcb:watched")
        await bench.redis.set("dcb:watched", field)
    ref = await bench.put()
    await bench.ledger.sweep.run()
    assert (await bench.ledger.messages.claim(ref, "t", 60.0)).ours
    assert abs(await now_of(bench) - time.time()) < 60


async def test_an_older_version_beside_writes_its_own_time_and_nothing_runs_backwards(bench: Bench) -> None:
    await bench.ledger.sweep.run()
    await step_back(bench.redis)
    before = await now_of(bench)
    await bench.ledger.sweep.run()
    seconds, _ = await bench.redis.time()
    await bench.redis.hset("dcb:watched", "at", str(seconds * 1000))  # as one that knows Redis' clock alone
    assert await now_of(bench) >= before
    await bench.ledger.sweep.run()
    assert await now_of(bench) >= before


# ---------------------------------------------------------------- a clock that is really set back


class Stepping:
    """A Redis whose clock can be set: a small library, built here, stands before the system's."""

    def __init__(self, folder: Path, compiler: str) -> None:
        library, self._file = folder / "stepping_clock.so", folder / "clock"
        source = Path(__file__).with_name("stepping_clock.c")
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)
        self.set(0)
        self.port = free_port()
        self.process = subprocess.Popen(
            [find_server(), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)],
            stdout=subprocess.DEVNULL,
            env={"LD_PRELOAD": str(library), "STEPPING_CLOCK": str(self._file)},
        )

    def set(self, seconds: int) -> None:
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("=q", seconds))


@pytest.fixture
async def stepping(tmp_path: Path) -> AsyncIterator[Stepping]:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    server = Stepping(tmp_path, compiler)
    try:
        async with Redis(port=server.port, retry=Retry(NoBackoff(), 0)) as client:
            for _ in range(200):
                try:
                    now = (await client.time())[0]
                    break
                except RedisError:
                    await asyncio.sleep(0.05)
            server.set(-HOUR)
            await asyncio.sleep(0.2)
            if now - (await client.time())[0] < HOUR / 2:
                pytest.skip("this Redis asks the system for the time in another way")
            server.set(0)
        yield server
    finally:
        server.process.kill()
        server.process.wait()


@pytest.mark.parametrize("step", [-HOUR, HOUR], ids=["back", "forward, and back again"])
async def test_a_real_clock_that_steps(stepping: Stepping, step: int) -> None:
    async with Redis(port=stepping.port) as redis:
        bench = Bench(redis)
        for waits in (a_retry, a_grace, a_receipt_that_was_refused_for_now, batches_whose_splitter_was_killed):
            await redis.flushall()
            stepping.set(0)
            await bench.ledger.sweep.run()
            if step > 0:
                stepping.set(step)
                await asyncio.sleep(0.05)
                await bench.ledger.sweep.run()
            goes_on = await waits(bench)
            await bench.ledger.sweep.run()
            stepping.set(min(0, step))
            for _ in range(100):
                if await goes_on():
                    break
                await asyncio.sleep(0.05)
            else:
                pytest.fail(f"{waits.__name__} stands still")
