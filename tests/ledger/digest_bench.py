"""What a day's digest costs in Redis: python -m tests.ledger.digest_bench [messages]."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis, free_port
from dcbridge.ledger import Ledger
from dcbridge.ledger.digests import entry


async def measure(url: str, count: int) -> str:
    redis = Redis.from_url(url)
    try:
        ledger = Ledger(redis, keep=60.0, keep_dead=60.0)
        before = (await redis.info("memory"))["used_memory"]
        entries = b"".join(entry(f"1613474523265-{n}", "delivered") for n in range(count))
        began = time.monotonic()
        await ledger.digests.write("2026-11-25", {"0123456789": entries}, 86400.0)
        wrote = time.monotonic() - began
        used = (await redis.info("memory"))["used_memory"] - before
        began = time.monotonic()
        digest = (await ledger.digests.read("2026-11-25"))["0123456789"]
        found = sum(bool(digest.find(f"1613474523265-{n}")) for n in range(0, count, 10))
        asked = time.monotonic() - began
        return (
            f"{count} messages: {used / count:.1f} bytes each, written in {wrote:.1f} s;"
            f" read, and {found} of {count // 10} found, in {asked:.1f} s"
        )
    finally:
        await redis.aclose()


def main(count: int = 1_000_000) -> None:
    with tempfile.TemporaryDirectory(prefix="dcbridge-bench-") as folder:
        server = EmbeddedRedis(Path(folder), free_port())
        server.start()
        try:
            sys.stdout.write(asyncio.run(measure(server.url, count)) + "\n")
        finally:
            server.stop()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
