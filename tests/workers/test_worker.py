"""The worker as a process: RQ's books, a burst, a suspension, and the end by SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import Response
from typer.testing import CliRunner

from dcbridge.cli.app import app
from dcbridge.cli.dev.embedded_redis import EmbeddedRedis, free_port
from dcbridge.ledger import NewTask
from dcbridge.ledger.lua import take_script
from tests.ledger.ledger_bench import Bench
from tests.stack import ROOT, quiet_port
from tests.warm import Warm
from tests.workers.far_side import CONFIGURATION, SMS, TAKEN, TOKEN, FarSide, settings, worlds
from tests.workers.far_side import configuration as configured
from workers.context import open_context

PATIENCE = 90.0  # seconds after which a test that waits has failed


class Work(FarSide):
    """Both worlds, a ledger, and the environment of a worker process."""

    environment: dict[str, str]
    folder: Path
    _started = 0

    def run(self, *arguments: str) -> Warm:
        """`python …`"""
        self._started += 1
        log = self.folder / f"process-{self._started}.log"
        return Warm([sys.executable, *arguments], self.environment, log, log, ROOT)

    async def done(self, process: Warm) -> tuple[int, str]:
        code = await asyncio.to_thread(process.wait, PATIENCE)
        return code, process.said()

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not await holds():  # noqa: ASYNC110 (what is waited for happens in another process)
                await asyncio.sleep(0.02)

    async def workers(self) -> set[bytes]:
        return await cast(Awaitable[set[bytes]], self.redis.smembers("rq:workers"))


@pytest.fixture
async def work(redis: Redis, redis_server: EmbeddedRedis, tmp_path: Path) -> AsyncIterator[Work]:
    async with (
        worlds() as (provider, agents, url),
        open_context(settings(redis_server.url), configured(url)) as context,
    ):
        opened = Work(provider, agents, context, redis)
        yaml = tmp_path / "bridge.yaml"
        yaml.write_text(CONFIGURATION.format(url=url, nowhere="http://127.0.0.1:1", token=TOKEN))
        opened.folder = tmp_path
        opened.environment = {k: v for k, v in os.environ.items() if not k.startswith("DCBRIDGE_")} | {
            "DCBRIDGE_CONFIG": str(yaml),
            "DCBRIDGE_REDIS_URL": redis_server.url,
            "DCBRIDGE_TOKEN_KEY": "0123456789abcdef",
            "DCBRIDGE_WORKER_PORT": str(quiet_port()),
            "DCBRIDGE_RECONCILE_EVERY": "0.1",
        }
        yield opened


@asynccontextmanager
async def working(work: Work, *arguments: str) -> AsyncIterator[Warm]:
    """A worker that is known to RQ; whatever is left of it at the end is killed."""
    process = work.run("-m", "dcbridge", "worker", *arguments)

    async def born() -> bool:
        return bool(await work.workers()) or process.poll() is not None

    try:
        await work.until(born)
        yield process
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)


async def said_so(process: Warm, word: str) -> None:
    """Wait until its log holds this word."""
    async with asyncio.timeout(PATIENCE):
        while word not in process.said():
            assert process.poll() is None or word in process.said(), "the worker ended without a word of it"
            await asyncio.sleep(0.02)


async def in_state(work: Work, refs: list[str], state: str) -> bool:
    return [(await work.entry(ref)).state for ref in refs] == [state] * len(refs)


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "dcbridge", "worker", "--burst"],
        ["-m", "rq.cli", "worker", "-b", "-w", "workers.worker.RelayWorker", "-S", "json", "-u", "URL",
         "receipts", "inbound", "outbound"],
    ],
    ids=["dcbridge worker", "rq worker -w"],
)  # fmt: skip
async def test_a_burst_does_all_there_is_and_leaves_nothing_behind(
    work: Work, redis_server: EmbeddedRedis, command: list[str]
) -> None:
    nonsense = [b"no json", b"[]", b'["no.such.module.f",null,["x"],{}]']
    for number, data in enumerate(nonsense):
        await work.redis.hset(f"rq:job:odd-{number}", mapping={"data": data})
        await work.redis.rpush("rq:queue:outbound", f"odd-{number}")
    await work.redis.rpush("rq:queue:outbound", "a job whose hash is gone")
    refs = [await work.accept(f"m-{n}", to=f"1650466{n:04}") for n in range(20)]
    refs += [await work.accept("taken", channel="taken")]
    payload = b'{"from":"16504661149","text":"Hello","media":[],"provider":"twilio"}'
    await work.context.ledger.tasks.put([NewTask("c-1", "consumer", "lane", payload, "", SMS)])
    process = work.run(*[redis_server.url if word == "URL" else word for word in command])
    code, said = await work.done(process)
    assert code == 0, said
    assert said.count("job_refused") == len(nonsense)
    assert len(work.provider.heard) == 21
    assert await in_state(work, refs[:20], "sent")
    assert await in_state(work, refs[20:], "delivered")
    kinds = sorted(message["type"] for batch in work.agents.messages for message in batch)
    assert kinds == ["Receipt", "Text"]
    bench = Bench(work.redis)
    assert await bench.keys("rq:job:*") == []
    assert await bench.keys("rq:wip:*") == []
    assert await work.workers() == set()
    assert await work.difference() == 0


async def test_rqs_own_tools_see_the_worker_and_steer_it(work: Work, redis_server: EmbeddedRedis) -> None:
    await work.redis.set("rq:suspended", 1)  # what `rq suspend` writes
    refs = [await work.accept(f"m-{number}", to=str(16504660000 + number)) for number in range(3)]

    async def looks() -> int:
        stats: Any = await work.redis.info("commandstats")
        return int(stats["cmdstat_evalsha"]["calls"])

    async def looked_often() -> bool:
        return await looks() > before + 15

    async def sent() -> bool:
        return await in_state(work, refs, "sent")

    async with working(work) as process:
        before = await looks()
        await work.until(looked_often)
        assert await in_state(work, refs, "accepted")
        [key] = await work.workers()
        fields = await cast(Awaitable[dict[bytes, bytes]], work.redis.hgetall(key.decode()))
        assert {b"birth", b"last_heartbeat", b"pid"} <= fields.keys()
        assert 0 < await work.redis.ttl(key.decode()) <= 90  # a killed worker is soon shown no more
        code, said = await work.done(work.run("-m", "rq.cli", "info", "-r", "-u", redis_server.url))
        assert code == 0, said
        lines = said.splitlines()
        assert [line.split()[1:3] for line in lines if line.startswith("queue")] == [["outbound", "3,"]]
        [worker] = [line for line in lines if line.startswith("worker")]
        assert "receipts, inbound, outbound" in worker
        await work.redis.delete("rq:suspended")
        await work.until(sent)
        process.send_signal(signal.SIGTERM)
        assert (await work.done(process))[0] == 0
    assert await work.workers() == set()


async def test_sigterm_lets_what_is_in_flight_finish_and_takes_nothing_new(work: Work) -> None:
    arrived, release = asyncio.Event(), asyncio.Event()

    async def slow(request: Request) -> Response:
        arrived.set()
        await release.wait()
        return await TAKEN(request)

    work.provider.usual = slow
    first = await work.accept("m-1")
    async with working(work) as process:
        async with asyncio.timeout(PATIENCE):
            await arrived.wait()
        process.send_signal(signal.SIGTERM)
        gone = f"http://127.0.0.1:{work.environment['DCBRIDGE_WORKER_PORT']}/healthz"
        async with httpx.AsyncClient() as http:
            assert (await http.get(gone)).status_code == 200  # it drains, and says that it lives
        await said_so(process, "worker_drains")
        later = await work.accept("m-2", to="16504660000")
        assert process.poll() is None
        release.set()
        code, said = await work.done(process)
    assert code == 0, said
    assert await in_state(work, [first], "sent")
    assert await in_state(work, [later], "accepted")
    assert len(work.provider.heard) == 1
    assert await Bench(work.redis).queued() == [later]


async def test_a_worker_finds_lost_jobs_itself_and_sigterm_under_load_loses_and_repeats_nothing(work: Work) -> None:
    refs = [await work.accept(f"m-{n}", to=str(16504660000 + n)) for n in range(60)]
    bench = Bench(work.redis)
    await bench.drop_jobs()
    await bench.pass_time(16)
    await work.redis.zadd("dcb:uploads", {f"{SMS} file": 1.0})  # a consumer's file whose time is over

    async def some() -> bool:
        return len(work.provider.heard) >= 5 and not await work.redis.exists("dcb:uploads")

    async with working(work) as process:
        await work.until(some)
        process.send_signal(signal.SIGTERM)
        assert (await work.done(process))[0] == 0
    process = work.run("-m", "dcbridge", "worker", "--burst")
    assert (await work.done(process))[0] == 0
    assert await in_state(work, refs, "sent")
    assert len(work.provider.heard) == 60
    assert len({form["To"] for form in work.provider.forms}) == 60


async def take_as_one_that_is_killed(work: Work, member: str, queue: str = "outbound") -> float:
    """Seconds until the member is looked at, after a worker took its job and did nothing with it."""
    seconds, _ = await work.redis.time()
    await work.redis.zadd("dcb:due", {member: (seconds + 600) * 1000})
    take = work.redis.register_script(take_script())
    assert len(await take(args=[64, "killed", "2026-11-22T10:00:00Z", seconds + 180, "", 9999, queue, 64])) == 1
    due = await work.redis.zscore("dcb:due", member)
    assert due is not None
    return due / 1000 - seconds


@pytest.mark.parametrize("kind", ["message", "question", "task"])
async def test_a_job_that_was_taken_and_has_claimed_nothing_is_missed_soon(work: Work, kind: str) -> None:
    """Its worker was killed between the two. It had waited long, and was not to be looked at for as long again."""
    ledger, bench = work.context.ledger, Bench(work.redis)
    queue = "outbound" if kind == "message" else "inbound"
    if kind == "message":
        member = f"m:{await work.accept()}"
    elif kind == "question":
        ref = await bench.sending()
        await bench.drop_jobs()
        await ledger.messages.unknown(ref, "mine", 0.0, "timeout")
        assert await ledger.lookups.ask(ref, 900.0) == "asking"
        member = f"m:{ref}"
    else:
        await ledger.tasks.put([NewTask("b-1", "callback", "", b"{}")])
        member = "t:b-1"
    assert await take_as_one_that_is_killed(work, member, queue) < 10
    await work.redis.zadd("dcb:due", {member: 1})
    if kind == "question":
        assert await ledger.lookups.ask(member[2:], 900.0) == "asking"
    else:
        await ledger.sweep.run()
    assert await bench.queued(queue) == [member[2:]]


@pytest.mark.parametrize("state", ["sending", "sent", "unknown", "retry"])
async def test_a_second_job_hastens_nothing(work: Work, state: str) -> None:
    """A lease, a confirmation, a grace or a wait end when they end, whoever looked in meanwhile."""
    ledger, ref = work.context.ledger, await work.accept()
    assert (await ledger.messages.claim(ref, "mine", 60.0)).ours  # and its job is still in the queue
    if state == "sent":
        await ledger.messages.submitted(ref, "mine", 0, 1, "SM1", delivered=False, confirm_within=600.0)
    if state == "unknown":
        await ledger.messages.unknown(ref, "mine", 600.0, "timeout")
    if state == "retry":
        await ledger.messages.retry(ref, "mine", 600.0, lane_limit=900.0, reason=310, code="20429")
    assert (await work.entry(ref)).state == state
    assert await take_as_one_that_is_killed(work, f"m:{ref}") > 500


@pytest.mark.parametrize("queues", [["outbond"], ["outbound", "failed"], ["Outbound"], [""], ["outbound,events"]])
def test_a_queue_that_does_not_exist_is_a_mistake(queues: list[str]) -> None:
    said = CliRunner().invoke(app, ["worker", *queues])
    assert (said.exit_code, said.stdout) == (2, "")
    assert "receipts, inbound, outbound, events" in " ".join(said.stderr.replace("│", " ").split())
    assert "Usage: dcbridge worker" in said.stderr
    assert "{" not in said.stderr, "it is told as every mistake in a command is"


async def test_a_worker_that_waits_for_redis_is_alive_and_not_ready_and_ends_when_it_is_asked_to(work: Work) -> None:
    nobody = free_port()
    work.environment["DCBRIDGE_REDIS_URL"] = f"redis://127.0.0.1:{nobody}/0"
    process = work.run("-m", "dcbridge", "worker")
    page = f"http://127.0.0.1:{work.environment['DCBRIDGE_WORKER_PORT']}"
    async with httpx.AsyncClient(base_url=page) as client:

        async def listens() -> bool:
            try:
                return (await client.get("/healthz")).status_code == 200
            except httpx.ConnectError:
                return False

        await work.until(listens)
        assert (await client.get("/readyz")).status_code == 503
        assert (await client.get("/metrics")).status_code == 200
        server = EmbeddedRedis(Path(work.environment["DCBRIDGE_CONFIG"]).parent / "late", nobody)
        server.start()

        async def is_ready() -> bool:
            try:
                return (await client.get("/readyz")).status_code == 200
            except httpx.HTTPError:
                return False

        await work.until(is_ready)
    process.terminate()
    assert (await work.done(process))[0] == 0
    server.stop()
    process = work.run("-m", "dcbridge", "worker")
    async with httpx.AsyncClient(base_url=page) as client:
        await work.until(listens)
    process.terminate()
    assert (await work.done(process))[0] == 0
