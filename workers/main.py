"""The worker process."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from contextlib import suppress

import structlog
import uvloop
from redis import Redis
from redis.exceptions import RedisError
from rq.serializers import JSONSerializer

from dcbridge.config.models import Configuration
from dcbridge.runtime.metrics import Metrics
from dcbridge.runtime.redis_report import log_redis_problems
from dcbridge.runtime.server import Listener, operator_app
from dcbridge.settings.process import Settings
from dcbridge.store.connection import connect, connect_sync
from workers.worker import RelayWorker

log = structlog.get_logger()


def run(settings: Settings, configuration: Configuration, queues: Sequence[str], *, burst: bool = False) -> int:
    """Work until SIGTERM; the exit code. Raises ConfigurationError where Redis holds the layout of a newer version."""
    connection = connect_sync(settings, patience=10.0)
    if not _answers(connection) and not uvloop.run(_wait_for(connection, settings, listen=not burst)):
        return 0
    uvloop.run(_report_on_redis(settings))  # before RQ asks a Redis Cluster something that it refuses
    worker = RelayWorker(
        list(queues),
        connection=connection,
        serializer=JSONSerializer,
        settings=settings,
        configuration=configuration,
        listen=not burst,
    )
    worker.work(burst=burst)
    return 0


async def _report_on_redis(settings: Settings) -> None:
    redis = connect(settings)
    await log_redis_problems(redis, settings)
    await redis.aclose()


def _answers(connection: Redis) -> bool:
    try:
        return bool(connection.ping())
    except (RedisError, OSError) as error:
        log.warning("worker_waits_for_redis", error=type(error).__name__)
        return False


async def _wait_for(connection: Redis, settings: Settings, *, listen: bool) -> bool:
    """RQ asks Redis questions when a worker is made: wait until it answers. False when asked to stop meanwhile.

    The operator's page is there: a process that waits for Redis is alive, and killing it would not help.
    """
    stop, metrics = asyncio.Event(), Metrics()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    async def ready() -> bool:
        return False

    async def scrape() -> bytes:
        return metrics.render(None)

    app = operator_app(ready, scrape, settings.known_hosts)
    host, port, limits = settings.worker_host, settings.worker_port, settings.limits()
    page = Listener(app, host, port, setting="DCBRIDGE_WORKER_PORT", limits=limits) if listen else None
    serving = asyncio.create_task(page.serve()) if page else None
    answers = False
    while not answers and not stop.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await stop.wait()
        with suppress(RedisError, OSError):
            answers = bool(await asyncio.to_thread(connection.ping))
    if page and serving:
        page.stop()
        await serving
    return answers and not stop.is_set()
