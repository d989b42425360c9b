"""Webhooks accepted and durable per second, beside the same app without Redis."""

from __future__ import annotations

import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import httpx
import orjson
import uvloop

from benchmarks.load import Result, drive, http_post
from bridge import signature
from dcbridge.embedded_redis import EmbeddedRedis, free_port
from dcbridge.parts import Ports, environment, prepare, read

CONNECTIONS = 64


def requests(secret: bytes, count: int, label: str) -> list[bytes]:
    """Signed SMS webhooks, one conversation in fifty messages."""
    made = []
    for n in range(count):
        body = orjson.dumps(
            {
                "channel": {
                    "id": "0123456789",
                    "type": "sms",
                    "from": {"id": "0123456789"},
                    "to": {"id": f"1650{n % max(1, count // 50):07d}"},
                    "messageId": f"{label}-{n}",
                },
                "type": "Text",
                "text": "Your parcel is at the depot. You can fetch it until six.",
            }
        )
        made.append(http_post("/webhooks/messages/main", body, {signature.HEADER: signature.sign(secret, body)}))
    return made


def once(kind: str, prepared: list[bytes], told: Mapping[str, str]) -> Result:
    """One server process, all prepared requests through it; the first tenth warms it up and is not counted."""
    port = free_port()
    server = subprocess.Popen([sys.executable, "-m", "benchmarks.door_server", kind, str(port)], env=dict(told))
    try:
        _wait_for(port)
        warm = len(prepared) // 10
        uvloop.run(drive(port, _feed(prepared[:warm]), CONNECTIONS))
        return uvloop.run(drive(port, _feed(prepared[warm:]), CONNECTIONS))
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)


def _feed(prepared: list[bytes]) -> Callable[[], bytes | None]:
    rest = iter(prepared)
    return lambda: next(rest, None)


def _wait_for(port: int) -> None:
    for _ in range(300):
        try:
            httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)
        except httpx.HTTPError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("the server did not come up")


def measure(folder: Path, rounds: int = 3, count: int = 20_000) -> list[str]:
    """Rows of the table: bare and full in turn, each ratio from one pair."""
    ports = Ports()
    prepare(folder, ports)
    secret = read(folder, "app_secret").encode()
    ratios, bare_rates, full_rates, p50, p99 = [], [], [], [], []
    for turn in range(rounds):
        redis = EmbeddedRedis(folder / f"redis-{turn}", free_port())
        redis.start()
        told = environment(folder, ports, redis.url)
        try:
            bare = once("bare", requests(secret, count, f"b{turn}"), told)
            full = once("full", requests(secret, count, f"f{turn}"), told)
        finally:
            redis.stop()
        for result in (bare, full):
            if set(result.statuses) != {200}:
                raise RuntimeError(f"not every answer was 200: {dict(result.statuses)}")
        ratios.append(full.rate / bare.rate)
        bare_rates.append(bare.rate)
        full_rates.append(full.rate)
        p50.append(full.percentile(0.5))
        p99.append(full.percentile(0.99))
    middle = statistics.median
    spread = f"{min(ratios):.2f}–{max(ratios):.2f}"
    return [
        f"webhooks accepted and durable /s (64 connections)   {middle(full_rates):8.0f}",
        f"the same app, signature and JSON only /s            {middle(bare_rates):8.0f}",
        f"ratio                                               {middle(ratios):8.2f}   ({spread})",
        f"answer p50 / p99, ms                                {middle(p50):8.1f} / {middle(p99):.1f}",
    ]
