"""Connections of a sink that speaks HTTP: its own, so that one that hangs holds no place in another's pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcbridge.events.sinks.fields import TlsFields
from dcbridge.events.sinks.options import SinkOptions
from dcbridge.transport.ssrf import Guard

if TYPE_CHECKING:
    from dcbridge.transport.sender import Sender

ANSWER_LIMIT = 64 * 1024  # bytes that are read, so that the connection can be used again


def open_sender(fields: TlsFields, options: SinkOptions, guard: Guard | None = None) -> Sender:
    """For the running event loop. An attempt takes `timeout` of the fields in all. Raises AccountFault for certificates
    that cannot be read.
    """
    from dcbridge.transport.sender import Sender  # aiohttp costs a process that only reads the fields

    whole = fields.timeout
    return Sender(
        connect_timeout=min(5.0, whole / 3),
        pool_timeout=min(5.0, whole / 3),
        write_timeout=whole,
        read_timeout=whole,
        whole_timeout=whole,
        connections=options.in_flight,
        answer_limit=ANSWER_LIMIT,
        tls=fields.tls(),
        guard=guard,
    ).open()
