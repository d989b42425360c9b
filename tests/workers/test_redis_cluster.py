"""A worker in front of a Redis that cannot carry it says why, before the first command that is refused."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis as Blocking
from redis.exceptions import RedisError

from dcbridge.cli.dev.embedded_redis import find_server, free_port
from tests.stack import until
from tests.workers.test_worker import Work, said_so, work

__all__ = ["work"]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """The address of one node of a Redis Cluster that serves no slot."""
    port = next(port for port in iter(free_port, 0) if port < 55000)  # its bus has the port 10000 above
    arguments = ["--port", str(port), "--bind", "127.0.0.1", "--cluster-enabled", "yes", "--appendonly", "yes"]
    process = subprocess.Popen([find_server(), *arguments, "--dir", str(tmp_path)], stdout=subprocess.DEVNULL)

    def answers() -> bool:
        try:
            with Blocking(port=port) as client:
                return bool(client.ping())
        except RedisError:
            return False

    try:
        until(answers, "the node answers", 30)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.kill()
        process.wait()


async def test_a_worker_names_redis_cluster(work: Work, cluster: str) -> None:
    work.environment = {**work.environment, "DCBRIDGE_REDIS_URL": cluster}
    process = work.run("-m", "dcbridge", "worker", "--burst")
    try:
        await said_so(process, "this is a Redis Cluster, which dcbridge does not support")
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)
