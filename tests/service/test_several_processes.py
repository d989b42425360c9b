"""A service of several processes, as it is started: one public port, one operator port, and no process missed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil
import pytest

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis, free_port
from dcbridge.genesys.signature import sign
from dcbridge.ledger import NewTask
from dcbridge.runtime.summed import counters, summed
from service.journal.folders import folder_of, prepare
from service.journal.segments import JournalFiles
from tests.service.client import CONFIGURATION, SECRET, sms
from tests.warm import ROOT, Warm

PATIENCE = 60.0
COUNT = 3


class Service:
    """The command, its ports and what it writes."""

    def __init__(self, folder: Path, redis_url: str, **more: str) -> None:
        self.public, self.operator = free_port(), free_port()
        (folder / "bridge.yaml").write_text(CONFIGURATION)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DCBRIDGE_")}
        given = {
            "CONFIG": str(folder / "bridge.yaml"),
            "REDIS_URL": redis_url,
            "PUBLIC_HOST": "127.0.0.1",
            "PUBLIC_PORT": str(self.public),
            "OPERATOR_PORT": str(self.operator),
            "LOG_FORMAT": "json",
            "TOKEN_KEY": "0123456789abcdef",
            "SERVICE_PROCESSES": str(COUNT),
            "REDIS_TIMEOUT": "3",
        }
        self._log = folder / "service.log"
        environ = kept | {f"DCBRIDGE_{name}": value for name, value in (given | more).items()}
        self.process = Warm([sys.executable, "-m", "dcbridge", "serve"], environ, self._log, self._log, ROOT)

    def lines(self, event: str) -> list[dict[str, Any]]:
        found = [orjson.loads(line) for line in self._log.read_bytes().splitlines() if line.startswith(b"{")]
        return [line for line in found if line["event"] == event]

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    async def webhook(self, http: httpx.AsyncClient, message_id: str) -> int:
        raw = orjson.dumps(sms(message_id))
        headers = {"X-Hub-Signature": sign(SECRET.encode(), raw)}
        url = f"http://127.0.0.1:{self.public}/webhooks/messages/main"
        return (await http.post(url, content=raw, headers=headers)).status_code

    async def operators(self, http: httpx.AsyncClient, page: str) -> httpx.Response:
        return await http.get(f"http://127.0.0.1:{self.operator}/{page}")

    async def until_ready(self, http: httpx.AsyncClient) -> None:
        async with asyncio.timeout(PATIENCE):
            while True:
                assert self.process.poll() is None, self._log.read_text()
                try:
                    if (await self.operators(http, "readyz")).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.05)


@contextmanager
def service(folder: Path, redis_url: str, **more: str) -> Iterator[Service]:
    one = Service(folder, redis_url, **more)
    try:
        yield one
    finally:
        one.process.terminate()
        try:
            one.process.wait(PATIENCE)
        finally:
            one.process.kill()


@asynccontextmanager
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A new connection for each request: the kernel deals them out."""
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(trust_env=False, timeout=20.0, limits=limits) as http:
        yield http


def figure(metrics: str, series: str) -> float:
    return next(float(line.rpartition(" ")[2]) for line in metrics.splitlines() if line.startswith(series))


ACCEPTED = 'dcbridge_http_requests_total{name="main",outcome="accepted",route="messages_webhook"}'


async def test_all_take_webhooks_and_one_port_answers_for_them(own_redis: EmbeddedRedis, tmp_path: Path) -> None:
    with service(tmp_path, own_redis.url) as one:
        async with client() as http:
            await one.until_ready(http)
            assert len(one.children()) == COUNT + 1
            codes = await asyncio.gather(*(one.webhook(http, f"m-{number}") for number in range(60)))
            assert set(codes) == {200}
            metrics = (await one.operators(http, "metrics")).text
            assert figure(metrics, ACCEPTED) == 60
            assert figure(metrics, 'dcbridge_books_total{channel="0123456789",state="accepted"}') == 60
            assert figure(metrics, "dcbridge_redis_up") == 1
            assert 0 < figure(metrics, "dcbridge_headroom_seconds") <= 10
            assert (await one.operators(http, "healthz")).json() == {"status": "alive"}
        taken = {line["trace"] for line in one.lines("messages_webhook")}
        assert len(taken) == 60  # a trace id that two processes make alike would stand twice
        assert len(one.lines("process_started")) == COUNT
        [started] = one.lines("service_started")
        assert (started["processes"], started["public_port"]) == (COUNT, one.public)
        children = one.children()
        one.process.terminate()
        assert one.process.wait(PATIENCE) == 0
        assert not any(child.is_running() for child in children)
        assert (len(one.lines("process_stopped")), len(one.lines("service_stopped"))) == (COUNT, 1)


async def test_a_process_that_dies_is_started_again_and_its_figures_stay(
    own_redis: EmbeddedRedis, tmp_path: Path
) -> None:
    with service(tmp_path, own_redis.url) as one:
        async with client() as http:
            await one.until_ready(http)
            for number in range(30):
                assert await one.webhook(http, f"m-{number}") == 200
            assert figure((await one.operators(http, "metrics")).text, ACCEPTED) == 30
            before = {child.pid for child in one.children()}
            victim = min(before)  # forked first, so it serves
            os.kill(victim, signal.SIGKILL)
            # What the kernel deals to the dead one waits until it has been started again: nobody is refused.
            codes = await asyncio.gather(*(one.webhook(http, f"n-{number}") for number in range(30)))
            assert set(codes) <= {200}
            await one.until_ready(http)
            after = {child.pid for child in one.children()}
            assert len(after) == COUNT + 1
            assert len(after - before) == 1
            [died] = one.lines("process_died")
            assert died["status"] == -signal.SIGKILL
            assert figure((await one.operators(http, "metrics")).text, ACCEPTED) == 60


async def test_one_that_does_not_answer_is_seen(own_redis: EmbeddedRedis, tmp_path: Path) -> None:
    with service(tmp_path, own_redis.url) as one:
        async with client() as http:
            await one.until_ready(http)
            stopped = psutil.Process(min(child.pid for child in one.children()))
            stopped.suspend()
            try:
                assert (await one.operators(http, "readyz")).status_code == 503
                health = await one.operators(http, "healthz")
                assert (health.status_code, health.json()["status"]) == (503, "not alive")
            finally:
                stopped.resume()
            await one.until_ready(http)


async def test_processes_end_with_the_supervisor(own_redis: EmbeddedRedis, tmp_path: Path) -> None:
    with service(tmp_path, own_redis.url) as one:
        async with client() as http:
            await one.until_ready(http)
        children = one.children()
        one.process.kill()
        one.process.wait(PATIENCE)
        _, alive = psutil.wait_procs(children, timeout=PATIENCE)
        assert not alive


def test_a_port_that_another_service_of_several_has_is_refused(own_redis: EmbeddedRedis, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()

    async def both() -> None:
        with service(tmp_path, own_redis.url) as one:
            async with client() as http:
                await one.until_ready(http)
            with service(tmp_path / "other", own_redis.url, PUBLIC_PORT=str(one.public)) as two:
                assert two.process.wait(PATIENCE) != 0
                said = (tmp_path / "other" / "service.log").read_text()
                assert "DCBRIDGE_PUBLIC_PORT" in said
                assert "Address already in use" in said

    asyncio.run(both())


# ---------------------------------------------------------------- the journal's folders


def records(folder: Path) -> list[str]:
    files = JournalFiles(folder, 1 << 20)
    files.open()
    try:
        found = []
        while files.segments:
            found += [task.id for task in files.oldest()]
            files.remove_oldest()
        return found
    finally:
        files.close()


def write(folder: Path, *ids: str) -> None:
    files = JournalFiles(folder, 1 << 20)
    files.open()
    for one in ids:
        files.append([NewTask(one, "callback", "lane", b"{}")])
    files.close()


@pytest.mark.parametrize("processes", [1, 2])
def test_what_processes_have_left_is_the_first_ones(tmp_path: Path, processes: int) -> None:
    write(tmp_path, "b-0")
    write(folder_of(tmp_path, 1), "b-1")
    write(folder_of(tmp_path, 2), "b-2a", "b-2b")
    prepare(tmp_path, processes)
    if processes == 1:
        assert records(tmp_path) == ["b-0", "b-1", "b-2a", "b-2b"]
    else:
        assert (records(tmp_path), records(folder_of(tmp_path, 1))) == (["b-0", "b-2a", "b-2b"], ["b-1"])
    assert not folder_of(tmp_path, 2).exists()


# ---------------------------------------------------------------- sums


A = b"""# HELP dcbridge_x_total X.
# TYPE dcbridge_x_total counter
dcbridge_x_total{name="a b"} 2.0
# HELP dcbridge_headroom_seconds H.
# TYPE dcbridge_headroom_seconds gauge
dcbridge_headroom_seconds 9.5
# HELP dcbridge_redis_up R.
# TYPE dcbridge_redis_up gauge
dcbridge_redis_up 1.0
"""
B = A.replace(b" 2.0", b" 3.0").replace(b" 9.5", b" 4.5").replace(b"up 1.0", b"up 0.0")


def test_counters_are_added_and_the_worst_headroom_counts() -> None:
    text = summed([A, B, counters(B), b""]).decode()
    assert figure(text, 'dcbridge_x_total{name="a b"}') == 8
    assert figure(text, "dcbridge_headroom_seconds") == 4.5
    assert figure(text, "dcbridge_redis_up") == 1
    assert "headroom" not in counters(A).decode()
