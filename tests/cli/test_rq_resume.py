"""What the run book says about suspended queues, as it is written there, with Redis and with rq's own command line."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis

DOCS = Path(__file__).parents[2] / "docs"


async def test_the_command_of_the_run_book_resumes_and_shows_no_address(
    redis: Redis, redis_server: EmbeddedRedis
) -> None:
    [command] = re.findall(r"sh -c '([^']*rq resume[^']*)'", (DOCS / "runbooks/suspended.md").read_text())
    await redis.set("rq:suspended", 1)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": path, "DCBRIDGE_REDIS_URL": redis_server.url}
    # -x prints each command with its arguments as a process is given them.
    run = partial(subprocess.run, env=environment, capture_output=True, text=True, timeout=60, check=True)
    done = await asyncio.to_thread(run, ["sh", "-xc", command])
    assert await redis.exists("rq:suspended") == 0
    [given] = [line for line in done.stderr.splitlines() if "rq resume" in line]
    assert given.split("rq resume", 1)[1] == ""


def test_no_page_puts_the_address_of_redis_among_arguments() -> None:
    for page in DOCS.rglob("*.md"):
        assert not re.search(r"--(url|redis-url)[ =]+[\"']?\$", page.read_text()), page.name
