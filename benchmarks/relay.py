"""Messages relayed per second by one worker past a slow provider, receipt posted; CPU and Redis bytes for each."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import orjson
import psutil
from redis.asyncio import Redis

from bridge.ledger import Ledger, NewMessage
from bridge.messages import message_ref
from dcbridge.embedded_redis import EmbeddedRedis, free_port

_YAML = """\
public_url: http://127.0.0.1:1
digital_channels:
  base_url: http://127.0.0.1:{port}/nexus/v3
  contact_center_id: 0ff723ff-6c6f-44e0-9ce3-ce579337eadd
endpoints:
  main:
    secrets: [benchmark-benchmark]
providers:
  twilio:
    kind: twilio
    base_url: http://127.0.0.1:{port}
    account_sid: AC00000000000000000000000000000000
    auth_token: benchmark-benchmark
    status_callbacks: false
channels:
  "0123456789":
    type: sms
    provider: twilio
    number: "+15557650123"
    delivered_when: taken
"""


WORKER = ("-m", "dcbridge", "worker")
STOCK = (  # RQ's own loop, in one process, with the same jobs
    *("-m", "rq.cli", "worker", "--worker-class", "rq.worker.SimpleWorker"),
    *("--serializer", "rq.serializers.JSONSerializer", "--quiet", "receipts", "outbound"),
)


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one run. `rate` between the first tenth and the last tenth of the receipts."""

    rate: float
    cpu_ms: float  # of the worker, for each message
    rss_mb: float  # of the worker, at most
    bytes_waiting: float  # in Redis, for each waiting message
    most_in_flight: int


async def fill(port: int, count: int, label: str, conversations: int) -> float:
    """Put messages into the ledger as the door does; Redis bytes for each."""
    redis = Redis(port=port)
    ledger = Ledger(redis, keep=86400, keep_dead=86400)
    before = (await redis.info("memory"))["used_memory"]
    for start in range(0, count, 64):
        await ledger.accept([_message(n, label, conversations) for n in range(start, min(count, start + 64))])
    after = (await redis.info("memory"))["used_memory"]
    await redis.aclose()
    return float(after - before) / count


def _message(n: int, label: str, conversations: int) -> NewMessage:
    to = f"1650{4000000 + n % conversations}"
    message_id = f"{label}-{n}"
    body = {
        "channel": {
            "id": "0123456789",
            "type": "sms",
            "from": {"id": "0123456789"},
            "to": {"id": to},
            "messageId": message_id,
        },
        "type": "Text",
        "text": "Your parcel is at the depot. You can fetch it until six.",
    }
    ref = message_ref("0123456789", message_id)
    return NewMessage(
        ref, ref, "0123456789", message_id, "0123456789", to, orjson.dumps(body), "5767ea58-1511-4a98-bc56", 14400
    )


def run(
    folder: Path,
    count: int,
    delay_ms: int,
    *,
    conversations: int = 0,
    workers: int = 1,
    command: Sequence[str] = WORKER,
    settings: Mapping[str, str] | None = None,
    timeout: float = 120.0,
) -> Figures:
    """One run with processes of its own. Raises TimeoutError when not every receipt came."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    (folder / "bridge.yaml").write_text(_YAML.format(port=port))
    redis = EmbeddedRedis(folder / "redis", free_port())
    redis.start()
    world = subprocess.Popen([sys.executable, "-m", "benchmarks.worlds", str(port), str(delay_ms)])
    started: list[subprocess.Popen[bytes]] = []
    try:
        used = asyncio.run(fill(redis.port, count, folder.name, conversations or count))
        for n in range(workers):
            told = dict(os.environ) | {
                "DCBRIDGE_CONFIG": str(folder / "bridge.yaml"),
                "DCBRIDGE_REDIS_URL": redis.url,
                "RQ_REDIS_URL": redis.url,
                "DCBRIDGE_WORKER_PORT": str(free_port()),
                "DCBRIDGE_LOG_FORMAT": "json",
                "DCBRIDGE_TOKEN_KEY": "benchmark-benchmark-benchmark-be",
                **(settings or {}),
            }
            log = (folder / f"worker-{n}.log").open("wb")
            started.append(subprocess.Popen([sys.executable, *command], env=told, stdout=log, stderr=log))
        return _watch(port, count, used, started, timeout)
    finally:
        for process in [*started, world]:
            process.send_signal(signal.SIGTERM)
        for process in [*started, world]:
            process.wait(30)
        redis.stop()


def _watch(port: int, count: int, used: float, started: list[subprocess.Popen[bytes]], timeout: float) -> Figures:
    seen = [psutil.Process(process.pid) for process in started]
    rss, cpu_start, counts = 0, 0.0, {}
    deadline = time.monotonic() + timeout
    with httpx.Client(trust_env=False, timeout=5.0) as client:
        while time.monotonic() < deadline:
            time.sleep(0.2)
            try:
                counts = client.get(f"http://127.0.0.1:{port}/counts").json()
            except httpx.HTTPError:
                continue
            rss = max(rss, *(p.memory_info().rss for p in seen))
            if counts["receipts"] == 0:
                cpu_start = sum(_cpu(p) for p in seen)  # what starting up costs is not a message's
            if counts["receipts"] >= count:
                break
        else:
            raise TimeoutError(f"{counts.get('receipts')} of {count} receipts after {timeout} s")
    cpu = sum(_cpu(p) for p in seen) - cpu_start
    return Figures(
        _rate(counts["receipt_times"], count), cpu / count * 1000, rss / 2**20, used, counts["most_in_flight"]
    )


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _rate(times: list[tuple[float, int]], count: int) -> float:
    """Receipts per second between 10 and 90 per cent."""
    done, begin, begin_done = 0, 0.0, 0
    for moment, receipts in times:
        done += receipts
        if not begin and done >= count * 0.1:
            begin, begin_done = moment, done
        if done >= count * 0.9:
            return (done - begin_done) / max(1e-9, moment - begin)
    return 0.0


def measure(folder: Path, rounds: int = 3, count: int = 6000, delay_ms: int = 200) -> list[str]:
    """Rows of the table: our worker beside RQ's own loop on the same jobs, provider and machine."""
    ours, ratios, cpu, rss, used = [], [], [], [], []
    for turn in range(rounds):
        stock = run(folder / f"stock-{turn}", 30, delay_ms, command=STOCK)
        figures = run(folder / f"ours-{turn}", count, delay_ms, settings={"DCBRIDGE_CONCURRENCY": "800"})
        ours.append(figures.rate)
        ratios.append(figures.rate / stock.rate)
        cpu.append(figures.cpu_ms)
        rss.append(figures.rss_mb)
        used.append(figures.bytes_waiting)
    middle = statistics.median
    rates, times = f"{min(ours):.0f}–{max(ours):.0f}", f"{min(ratios):.0f}–{max(ratios):.0f}"
    return [
        f"relayed past a {delay_ms} ms provider, receipt posted /s   {middle(ours):8.0f}   ({rates})",
        f"beside rq's SimpleWorker, same jobs, ratio           {middle(ratios):8.0f}   ({times})",
        f"CPU of the worker for each message, ms               {middle(cpu):8.2f}",
        f"memory of the worker, MB                             {middle(rss):8.0f}",
        f"Redis bytes for each waiting message                 {middle(used):8.0f}",
    ]
