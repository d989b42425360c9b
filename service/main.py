"""The service process: the public listener and the operator's, in one event loop, until SIGTERM."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import structlog
import uvloop
from redis.exceptions import RedisError

from dcbridge.config.models import Configuration
from dcbridge.config.signing import signing_secrets
from dcbridge.http.connections import Limits, public_connections
from dcbridge.ledger import Ledger, probe
from dcbridge.ledger.layout import Layout, WrongLayout, require_sync
from dcbridge.providers.base import Provider
from dcbridge.runtime.gc_tuning import collect_on_growth, tune_gc
from dcbridge.runtime.logs import Tokens
from dcbridge.runtime.metrics import VERSION, Metrics
from dcbridge.runtime.redis_report import log_redis_problems
from dcbridge.runtime.reload import Reload
from dcbridge.runtime.scrape import Scrape
from dcbridge.runtime.server import Listener, operator_app
from dcbridge.settings.process import Settings
from dcbridge.store.connection import connect, connect_sync
from dcbridge.store.durability import Durable
from dcbridge.tracing import switch
from service import app, several
from service.endpoint import ServiceContext
from service.journal.folders import prepare
from service.journal.inbox import Inbox
from service.journal.journal import open_journal
from service.operator import keep_reloading, operator_listener, stopped_by_signal
from service.presence import keep_telling, say_goodbye
from service.report import Report
from service.supervisor import Place

log = structlog.get_logger()


def _limits(settings: Settings, providers: Mapping[str, Provider]) -> Limits:
    """Where companies post mail, there is room for it while it is received."""
    usual = settings.limits(public_connections(settings.connections))
    mail = any(one.can.mail for one in providers.values())
    return replace(usual, bodies=usual.bodies + settings.mail_memory) if mail else usual


def run(settings: Settings, configuration: Configuration) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are answered first.

    Raises ConfigurationError, before anything listens, when the journal cannot be used or Redis holds the layout of a
    newer version; later, where Redis was away at first.
    """
    if settings.journal:
        prepare(Path(settings.journal), settings.service_processes)
    if settings.service_processes == 1:
        uvloop.run(serve(settings, configuration))
    else:
        with connect_sync(settings) as redis, suppress(RedisError, OSError):
            require_sync(redis)
        several.run(settings, configuration, serve)


async def serve(settings: Settings, configuration: Configuration, place: Place | None = None) -> None:
    """As `run`, in a loop that is there already; with a `place` as one process of several."""
    if settings.tracing:
        switch.start("dcbridge-service", VERSION, tell=settings.tracing_propagate)
    metrics = Metrics()
    journal = open_journal(settings, metrics)
    redis = connect(settings)
    bucket = None
    if settings.blob_bucket:  # else it is never loaded
        from dcbridge.transport.s3 import bucket_of

        bucket = bucket_of(settings)
    ledger = Ledger.of(settings, redis, Durable(settings), store=bucket)
    layout = ledger.layout
    reached = await _reaches(layout)
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

    if journal is not None:
        ctx.presence.look_at_journal = journal.seen
    ctx.presence.knows((one.at, one.value) for one in signing_secrets(configuration))

    async def ready() -> bool:
        """Redis answers; or it did before and the journal takes callbacks, which must not be turned away unread."""
        nonlocal reached
        try:
            async with asyncio.timeout(settings.redis_timeout):
                reached = await probe.write(redis)
        except (RedisError, OSError, TimeoutError):
            return journal is not None and journal.takes_more and (reached or journal.waiting > 0)
        return reached

    public = Listener(
        app.build(ctx),
        settings.public_host,
        settings.public_port,
        setting="DCBRIDGE_PUBLIC_PORT",
        limits=_limits(settings, ctx.providers),
        ended=metrics.ended_by("public"),
        bound=place.public if place else None,
    )
    metrics.connections.labels("public").set_function(partial(len, public.connections))
    operator: Listener | Report
    if place:
        operator = Report(place.report, ready, metrics)
    else:
        reload = Reload(settings.config, os.environ, configuration, metrics, settings.reload_every)
        scrape = Scrape(metrics, redis, settings, configuration, lambda: reload.configuration.subscribers)
        operator = operator_listener(settings, operator_app(ready, scrape, settings.known_hosts), metrics)
    stop = stopped_by_signal()
    if place:
        asyncio.get_running_loop().add_reader(place.supervisor, stop.set)
    looking = asyncio.create_task(_look_at(layout, reached, stop))
    servers = [asyncio.create_task(public.serve()), asyncio.create_task(operator.serve())]
    beside = [asyncio.create_task(inbox.drain()), asyncio.create_task(keep_telling(ctx.presence, ledger))]
    if place:
        log.info("process_started", process=f"service-{place.number}")
    else:
        beside.append(asyncio.create_task(keep_reloading(reload)))
        log.info("service_started", public_port=public.port, operator_port=operator.port, redis=settings.redis_place)
        await log_redis_problems(redis, settings)
    tune_gc()
    beside.append(asyncio.create_task(collect_on_growth()))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([stopping, *servers], return_when=asyncio.FIRST_COMPLETED)
    log.info("process_stops" if place else "service_stops")
    public.stop()
    await servers[0]
    if journal is not None:
        await journal.emptied(settings.drain_seconds)
    operator.stop()
    await servers[1]
    stopping.cancel()
    looking.cancel()
    for task in beside:
        task.cancel()
    if journal is not None:
        await journal.close()
    await ctx.keys.close()
    await ctx.mail_buckets.close()
    if bucket is not None:
        await bucket.close()
    await say_goodbye(ctx.presence, ledger)
    await redis.aclose()
    await asyncio.to_thread(switch.stop)
    log.info("process_stopped" if place else "service_stopped")
    if looking.done() and not looking.cancelled() and (refused := looking.exception()):
        raise refused


async def _reaches(layout: Layout) -> bool:
    """Whether Redis answers. Raises WrongLayout where it is another version's."""
    try:
        await layout.require()
    except (RedisError, OSError):
        return False
    return True


async def _look_at(layout: Layout, known: bool, stop: asyncio.Event) -> None:
    """Write this version's layout. A Redis that was away at the start is asked for it first, once it is back."""
    try:
        while not known:
            await asyncio.sleep(0.2)
            known = await _reaches(layout)
    except WrongLayout as error:
        log.error("layout_is_newer", what=str(error))
        stop.set()
        raise
    while True:
        with suppress(RedisError, OSError):
            return await layout.raise_it()
        await asyncio.sleep(1.0)
