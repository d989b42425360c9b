"""A service of several processes: what each of them has, and what each of them does."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import structlog
import uvloop

from dcbridge.config.models import Configuration
from dcbridge.ledger.layout import WrongLayout
from dcbridge.runtime.server import bind
from dcbridge.settings.process import Settings
from service.journal.folders import folder_of
from service.operator import operate
from service.report import Reports
from service.supervisor import Place, Supervisor, bound_together

log = structlog.get_logger()

Serve = Callable[[Settings, Configuration, Place], Coroutine[Any, Any, None]]


def run(settings: Settings, configuration: Configuration, serve: Serve) -> None:
    """Until SIGTERM or SIGINT. Raises ConfigurationError, before anything is started, when a port is taken; later, when
    Redis, which was away, turns out to hold the layout of a newer version.
    """
    count = settings.service_processes
    operator = bind(settings.operator_host, settings.operator_port, "DCBRIDGE_OPERATOR_PORT")
    public = bound_together(settings.public_host, settings.public_port, "DCBRIDGE_PUBLIC_PORT", count)
    reports = [bind("127.0.0.1", 0, "DCBRIDGE_SERVICE_PROCESSES") for _ in range(count)]
    for one in reports:
        one.listen()  # whoever asks while a process is started waits for it
    ports = [one.getsockname()[1] for one in reports]
    supervisor, mine = os.pipe()
    sockets = [operator, *public, *reports]

    def process(number: int) -> None:
        _close(sockets, public[number], reports[number])
        os.close(mine)
        own = settings
        if settings.journal:
            folder = str(folder_of(Path(settings.journal), number))
            limit = max(1 << 16, settings.journal_limit // count)
            own = settings.model_copy(update={"journal": folder, "journal_limit": limit})
        uvloop.run(serve(own, configuration, Place(number, public[number], reports[number], supervisor)))

    def answer_for_all() -> None:
        _close(sockets, operator)
        os.close(mine)
        uvloop.run(operate(settings, configuration, operator, Reports(ports), supervisor))

    works: list[tuple[str, Callable[[], None]]] = [
        (f"service-{number}", partial(process, number)) for number in range(count)
    ]
    where = {"public_port": public[0].getsockname()[1], "operator_port": operator.getsockname()[1]}
    Supervisor([*works, ("operator", answer_for_all)], sockets, WrongLayout).run(
        lambda: log.info("service_started", **where, redis=settings.redis_place, processes=count)
    )
    for descriptor in (supervisor, mine):
        os.close(descriptor)
    log.info("service_stopped")


def _close(sockets: list[socket.socket], *but: socket.socket) -> None:
    for one in sockets:
        if one not in but:
            one.close()
