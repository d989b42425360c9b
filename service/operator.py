"""The operator's port, and what it needs: of a service of one process, or in a process of its own for several."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from functools import partial

import structlog
from starlette.types import ASGIApp

from dcbridge.config.models import Configuration
from dcbridge.runtime.metrics import Metrics
from dcbridge.runtime.redis_report import log_redis_problems
from dcbridge.runtime.reload import Reload
from dcbridge.runtime.scrape import Scrape
from dcbridge.runtime.server import Listener, operator_app
from dcbridge.settings.process import Settings
from dcbridge.store.connection import connect
from service.report import Reports

log = structlog.get_logger()


def operator_listener(
    settings: Settings, app: ASGIApp, metrics: Metrics, bound: socket.socket | None = None
) -> Listener:
    """Raises ConfigurationError when the port is taken."""
    listener = Listener(
        app,
        settings.operator_host,
        settings.operator_port,
        setting="DCBRIDGE_OPERATOR_PORT",
        limits=settings.limits(),
        ended=metrics.ended_by("operator"),
        bound=bound,
    )
    metrics.connections.labels("operator").set_function(partial(len, listener.connections))
    return listener


def stopped_by_signal() -> asyncio.Event:
    """Set by SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def keep_reloading(reload: Reload) -> None:
    """The service asks nothing of subscribers; whoever reads its log or metrics hears of a file that is refused."""

    async def change(_: Configuration) -> None:
        pass

    await reload.keep_looking(change)


async def operate(
    settings: Settings, configuration: Configuration, bound: socket.socket, reports: Reports, supervisor: int
) -> None:
    """The process that answers for all, until SIGTERM or until the supervisor has ended."""
    metrics = Metrics()
    redis = connect(settings)
    reload = Reload(settings.config, os.environ, configuration, metrics, settings.reload_every)
    scrape = Scrape(metrics, redis, settings, configuration, lambda: reload.configuration.subscribers, reports.metrics)
    app = operator_app(reports.ready, scrape, settings.known_hosts, reports.alive)
    listener = operator_listener(settings, app, metrics, bound)
    stop = stopped_by_signal()
    asyncio.get_running_loop().add_reader(supervisor, stop.set)
    server = asyncio.create_task(listener.serve())
    reloading = asyncio.create_task(keep_reloading(reload))
    await log_redis_problems(redis, settings)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([stopping, server], return_when=asyncio.FIRST_COMPLETED)
    listener.stop()
    await server
    stopping.cancel()
    reloading.cancel()
    await redis.aclose()
