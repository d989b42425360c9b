"""The process of the console, until SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from functools import partial

import structlog
import uvloop
from redis.asyncio import Redis
from redis.exceptions import RedisError

from dcbridge.config.models import Configuration
from dcbridge.console.app import console_app
from dcbridge.console.context import ConsoleContext, Way
from dcbridge.console.ways import OwnComputer, ways_of
from dcbridge.http.connections import public_connections
from dcbridge.ledger import Ledger
from dcbridge.runtime.metrics import Metrics
from dcbridge.runtime.reload import Reload
from dcbridge.runtime.server import Listener
from dcbridge.settings.problems import ConfigurationError, Problem
from dcbridge.settings.process import Settings
from dcbridge.settings.types import is_loopback
from dcbridge.store.connection import connect
from dcbridge.store.durability import Durable

log = structlog.get_logger()


def run(settings: Settings, configuration: Configuration, *, dev: bool = False) -> None:
    """Serve until SIGTERM or SIGINT. `dev`: whoever reaches the port is an admin; on loopback only.

    Raises ConfigurationError where nobody could sign in, or everybody could.
    """
    uvloop.run(serve(settings, configuration, dev=dev))


async def serve(settings: Settings, configuration: Configuration, *, dev: bool) -> None:
    """As `run`, in a loop that is there already."""
    require_sign_in(settings, configuration, dev=dev)
    redis = connect(settings)
    try:
        await _serve(settings, configuration, redis, dev=dev)
    finally:
        await redis.aclose()
    log.info("console_stopped")


async def _serve(settings: Settings, configuration: Configuration, redis: Redis, *, dev: bool) -> None:
    metrics = Metrics()
    reload = Reload(settings.config, os.environ, configuration, metrics, settings.reload_every)
    ledger = Ledger.of(settings, redis, Durable(settings))
    with suppress(RedisError, OSError):  # of another version's Redis, nothing is read; one that is away is waited for
        await ledger.layout.require()
    ways: tuple[Way, ...] = (OwnComputer(),)
    if not dev and configuration.console:
        ways = ways_of(settings, configuration.console, ledger.console)
    context = ConsoleContext(
        settings=settings,
        ledger=ledger,
        metrics=metrics,
        loaded=lambda: reload.configuration,
        ways=ways,
    )
    listener = Listener(
        console_app(context),
        settings.console_host,
        settings.console_port,
        setting="DCBRIDGE_CONSOLE_PORT",
        limits=settings.limits(public_connections(settings.connections)),  # a browser opens six
        ended=metrics.ended_by("console"),
    )
    metrics.connections.labels("console").set_function(partial(len, listener.connections))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    looking = asyncio.create_task(reload.keep_looking(_nothing_to_change))
    serving, stopping = asyncio.create_task(listener.serve()), asyncio.create_task(stop.wait())
    log.info("console_started", port=listener.port, redis=settings.redis_place)
    await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    listener.stop()
    await serving
    stopping.cancel()
    looking.cancel()


async def _nothing_to_change(_: Configuration) -> None:
    """Handlers ask for the configuration each time."""


def require_sign_in(settings: Settings, configuration: Configuration, *, dev: bool) -> None:
    """Raises ConfigurationError where nobody could sign in, or everybody could."""
    if dev:
        if not _is_own(settings.console_host) or settings.console_hosts:
            why = "should be 127.0.0.1, and console_hosts empty: with --dev, everybody who reaches the port is an admin"
            raise ConfigurationError([Problem("DCBRIDGE_CONSOLE_HOST", 0, why)])
        return
    if configuration.console is None or not configuration.console.is_on:
        why = "sets no way to sign in: set oidc, proxy or tokens of it in bridge.yaml"
        raise ConfigurationError([Problem("console", 0, why)])
    if configuration.console.public_url is None and not _is_own(settings.console_host):
        why = "is missing: with it, browsers are told to show their cookie by https alone"
        raise ConfigurationError([Problem("console.public_url", 0, why)])
    if settings.token_key_is_random:
        why = "is not set, and seals the forms of the console; set the same value in every process"
        raise ConfigurationError([Problem("DCBRIDGE_TOKEN_KEY", 0, why)])


def _is_own(host: str) -> bool:
    """Whether only this computer reaches it."""
    return is_loopback(f"http://[{host}]" if ":" in host else f"http://{host}")
