"""The worker process."""

from __future__ import annotations

import time
from collections.abc import Sequence

import structlog
from redis import Redis
from redis.exceptions import RedisError
from rq.serializers import JSONSerializer

from bridge.configuration import Configuration
from bridge.jobs import QUEUES
from bridge.redis_connection import connect_sync
from bridge.settings import Settings
from workers.worker import RelayWorker

log = structlog.get_logger()


def run(settings: Settings, configuration: Configuration, queues: Sequence[str], *, burst: bool = False) -> int:
    """Work until SIGTERM; 2 when a queue has no such name."""
    strange = [name for name in queues if name not in QUEUES]
    if strange:
        log.error("no_such_queue", queues=strange, known=list(QUEUES))
        return 2
    connection = connect_sync(settings, patience=10.0)
    _wait_for(connection)
    worker = RelayWorker(
        list(queues or QUEUES),
        connection=connection,
        serializer=JSONSerializer,
        settings=settings,
        configuration=configuration,
        listen=not burst,
    )
    worker.work(burst=burst)
    return 0


def _wait_for(connection: Redis) -> None:
    """RQ asks Redis questions when a worker is made: wait until it answers."""
    said = False
    while True:
        try:
            connection.ping()
        except (RedisError, OSError) as error:
            if not said:
                log.warning("worker_waits_for_redis", error=type(error).__name__)
                said = True
            time.sleep(0.5)
        else:
            return
