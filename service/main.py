"""The service process: the public listener and the operator's, in one event loop, until SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
from functools import partial

import structlog
import uvloop
from redis.asyncio import Redis
from redis.exceptions import RedisError

from dcbridge.config.models import Configuration
from dcbridge.http.connections import public_connections
from dcbridge.ledger import Ledger
from dcbridge.runtime.gc_tuning import collect_on_growth, tune_gc
from dcbridge.runtime.logs import Tokens
from dcbridge.runtime.metrics import Metrics
from dcbridge.runtime.reload import Reload
from dcbridge.runtime.scrape import Scrape
from dcbridge.runtime.server import Listener, operator_app
from dcbridge.settings.process import Settings
from dcbridge.store.connection import connect, redis_problems, redis_warnings
from dcbridge.store.durability import Durable
from service import app
from service.endpoint import ServiceContext
from service.journal.inbox import Inbox
from service.journal.journal import open_journal

log = structlog.get_logger()


def run(settings: Settings, configuration: Configuration) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are answered first.

    Raises ConfigurationError, before anything listens, when the journal cannot be used.
    """
    uvloop.run(serve(settings, configuration))


async def serve(settings: Settings, configuration: Configuration) -> None:
    """As `run`, in a loop that is there already."""
    metrics = Metrics()
    journal = open_journal(settings, metrics)
    redis = connect(settings)
    ledger = Ledger.of(settings, redis, Durable(settings))
    inbox = Inbox(ledger, settings, journal)
    ctx = ServiceContext(
        settings=settings,
        configuration=configuration,
        ledger=ledger,
        inbox=inbox,
        providers=configuration.build_providers(),
        tokens=Tokens(settings.token_key.get_secret_value().encode()),
        metrics=metrics,
    )

    reload = Reload(settings.config, os.environ, configuration, metrics, settings.reload_every)
    reached = False

    async def change(_: Configuration) -> None:
        """The door asks nothing of subscribers; whoever reads its log or metrics hears of a file that is refused."""

    async def ready() -> bool:
        """Redis answers; or it did before and the journal takes callbacks, which must not be turned away unread."""
        nonlocal reached
        try:
            async with asyncio.timeout(settings.redis_timeout):
                reached = bool(await redis.set("dcb:probe", 1, ex=60))
        except (RedisError, OSError, TimeoutError):
            return journal is not None and journal.takes_more and (reached or journal.waiting > 0)
        return reached

    scrape = Scrape(metrics, redis, settings, configuration, lambda: reload.configuration.subscribers)
    public = Listener(
        app.build(ctx),
        settings.public_host,
        settings.public_port,
        setting="DCBRIDGE_PUBLIC_PORT",
        limits=settings.limits(public_connections(settings.connections)),
        ended=metrics.ended_by("public"),
    )
    operator = Listener(
        operator_app(ready, scrape, settings.known_hosts),
        settings.operator_host,
        settings.operator_port,
        setting="DCBRIDGE_OPERATOR_PORT",
        limits=settings.limits(),
        ended=metrics.ended_by("operator"),
    )
    for name, listener in (("public", public), ("operator", operator)):
        metrics.connections.labels(name).set_function(partial(len, listener.connections))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    servers = [asyncio.create_task(public.serve()), asyncio.create_task(operator.serve())]
    draining = asyncio.create_task(inbox.drain())
    reloading = asyncio.create_task(reload.keep_looking(change))
    log.info("service_started", public_port=public.port, operator_port=operator.port, redis=settings.redis_place)
    await _say_what_is_unsafe(redis, settings)
    tune_gc()
    collecting = asyncio.create_task(collect_on_growth())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([stopping, *servers], return_when=asyncio.FIRST_COMPLETED)
    log.info("service_stops")
    public.stop()
    await servers[0]
    if journal is not None:
        await journal.emptied(settings.drain_seconds)
    operator.stop()
    await servers[1]
    stopping.cancel()
    draining.cancel()
    reloading.cancel()
    collecting.cancel()
    if journal is not None:
        await journal.close()
    await redis.aclose()
    log.info("service_stopped")


async def _say_what_is_unsafe(redis: Redis, settings: Settings) -> None:
    try:
        for what in [*redis_warnings(settings), *await redis_problems(redis, settings)]:
            log.warning("redis_is_not_safe", what=what)
    except (RedisError, OSError) as error:
        log.warning("redis_does_not_answer", error=type(error).__name__)
