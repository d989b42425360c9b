"""The process of `dcbridge mail-in`: the listener for mail, IMAP mailboxes and the operator's port, until SIGTERM."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from functools import partial

import structlog
import uvloop
from redis.exceptions import RedisError

from dcbridge.config.models import Configuration
from dcbridge.ledger import Ledger, probe
from dcbridge.runtime.gc_tuning import tune_gc
from dcbridge.runtime.metrics import VERSION, Metrics
from dcbridge.runtime.redis_report import log_redis_problems
from dcbridge.runtime.reload import Reload
from dcbridge.runtime.scrape import Scrape
from dcbridge.runtime.server import Listener, bind, operator_app
from dcbridge.settings.problems import ConfigurationError, Problem
from dcbridge.settings.process import Settings
from dcbridge.store.connection import connect
from dcbridge.store.durability import Durable
from dcbridge.tracing import switch
from service.imap import pollers
from service.mail.session import Rules, Session
from service.mail.taker import LedgerTaker
from service.mail.wire import CHUNK, Closed, Room, Wire
from service.operator import keep_reloading, stopped_by_signal

log = structlog.get_logger()

DRAIN = 20.0  # seconds after SIGTERM in which mails that are being received are taken


def run(settings: Settings, configuration: Configuration) -> None:
    """Take mail until SIGTERM or SIGINT. Raises ConfigurationError before anything listens."""
    if not any(channel.inbound for channel in configuration.channels.values()):
        what = "no email channel has `inbound` with its mailboxes, so there is no mail to take"
        raise ConfigurationError([Problem("channels", 0, what)])
    if settings.mail_protocol == "none" and not pollers.places(configuration):
        what = "is none, and no channel has `inbound.imap`, so there is no mail to take"
        raise ConfigurationError([Problem("DCBRIDGE_MAIL_PROTOCOL", 0, what)])
    uvloop.run(serve(settings, configuration))


class MailListener:
    """One address. `serve` runs until `stop` has been called and the last connection has ended."""

    def __init__(self, settings: Settings, taker: LedgerTaker, metrics: Metrics, room: Room | None = None) -> None:
        """`room`: for mails of all ways in; of its own where none is given."""
        self._settings, self._taker, self._metrics = settings, taker, metrics
        self._rules = Rules(
            lmtp=settings.mail_protocol == "lmtp",
            name=socket.gethostname() or "dcbridge",
            most=settings.mail_limit,
            timeout=settings.mail_timeout,
            tls=_tls(settings),
            room=room or Room(settings.mail_memory),
        )
        self._socket = bind(settings.mail_host, settings.mail_port, "DCBRIDGE_MAIL_PORT")
        self.port: int = self._socket.getsockname()[1]
        self.connections: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    @property
    def room_left(self) -> int:
        """Bytes that may still be received at this moment."""
        return self._rules.room.left

    async def serve(self) -> None:
        server = await asyncio.start_server(self._connected, sock=self._socket, limit=CHUNK)
        await self._stopping.wait()
        server.close()
        if self.connections:
            await asyncio.wait(self.connections, timeout=DRAIN)
        for task in self.connections:
            task.cancel()

    def stop(self) -> None:
        """Take no more connections; what is being received is taken."""
        self._stopping.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer, self._settings.mail_timeout)
        task = asyncio.current_task()
        assert task is not None
        try:
            if len(self.connections) >= self._settings.mail_connections or self._stopping.is_set():
                self._metrics.ended.labels("mail", "too many").inc()
                await wire.say("421 4.3.2 too many connections")
                return
            self.connections.add(task)
            await Session(wire, self._rules, self._taker, self._stopping.is_set).run()
        except asyncio.CancelledError:
            log.warning("mail_connection_cut")  # by ourselves, at the end of the drain: the mail comes again
        except Closed:
            self._metrics.ended.labels("mail", "closed").inc()
        except Exception:
            log.error("mail_internal_error", exc_info=True)
        finally:
            self.connections.discard(task)
            wire.close()


def _tls(settings: Settings) -> ssl.SSLContext | None:
    """Raises ConfigurationError for a certificate that cannot be used."""
    if not settings.mail_certificate:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.mail_certificate, settings.mail_key)
    except (OSError, ssl.SSLError):
        what = "cannot be used with DCBRIDGE_MAIL_KEY: both in PEM, and of one pair"
        raise ConfigurationError([Problem("DCBRIDGE_MAIL_CERTIFICATE", 0, what)]) from None
    return context


async def serve(settings: Settings, configuration: Configuration) -> None:
    """As `run`, in a loop that is there already."""
    if settings.tracing:
        switch.start("dcbridge-mail-in", VERSION, tell=settings.tracing_propagate)
    metrics = Metrics()
    redis = connect(settings)
    bucket = None
    if settings.blob_bucket:  # else it is never loaded
        from dcbridge.transport.s3 import bucket_of

        bucket = bucket_of(settings)
    ledger = Ledger.of(settings, redis, Durable(settings), store=bucket)

    async def ready() -> bool:
        try:
            async with asyncio.timeout(settings.redis_timeout):
                return await probe.write(redis)
        except (RedisError, OSError, TimeoutError):
            return False

    room, ending = Room(settings.mail_memory), asyncio.Event()
    mail = None
    if settings.mail_protocol != "none":
        mail = MailListener(settings, LedgerTaker(settings, configuration, ledger, metrics), metrics, room)
        metrics.connections.labels("mail").set_function(partial(len, mail.connections))
    reload = Reload(settings.config, os.environ, configuration, metrics, settings.reload_every)
    scrape = Scrape(metrics, redis, settings, configuration, lambda: reload.configuration.subscribers)
    operator = Listener(
        operator_app(ready, scrape, settings.known_hosts),
        settings.operator_host,
        settings.mail_operator_port,
        setting="DCBRIDGE_MAIL_OPERATOR_PORT",
        limits=settings.limits(),
        ended=metrics.ended_by("operator"),
    )
    stop = stopped_by_signal()
    ways = [asyncio.create_task(mail.serve())] if mail else []
    if pollers.places(configuration):
        ways.append(asyncio.create_task(pollers.run(settings, configuration, ledger, metrics, room, ending)))
    pages = asyncio.create_task(operator.serve())
    reloading = asyncio.create_task(keep_reloading(reload))
    log.info(
        "mail_in_started", mail_port=mail.port if mail else None, protocol=settings.mail_protocol,
        mailboxes=len(pollers.places(configuration)), redis=settings.redis_place,
    )  # fmt: skip
    await log_redis_problems(redis, settings)
    tune_gc()
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([stopping, pages, *ways], return_when=asyncio.FIRST_COMPLETED)
    log.info("mail_in_stops")
    ending.set()
    if mail:
        mail.stop()
    await _ended(ways)
    operator.stop()
    await pages
    stopping.cancel()
    reloading.cancel()
    if bucket is not None:
        await bucket.close()
    await redis.aclose()
    await asyncio.to_thread(switch.stop)
    log.info("mail_in_stopped")


async def _ended(ways: list[asyncio.Task[None]]) -> None:
    """What is being received is stored; what takes longer comes again."""
    if not ways:
        return
    _, late = await asyncio.wait(ways, timeout=DRAIN + 1.0)
    for way in late:
        way.cancel()
    for result in await asyncio.gather(*ways, return_exceptions=True):
        if isinstance(result, Exception):
            raise result
