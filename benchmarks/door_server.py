"""The public app as a process of its own: `python -m benchmarks.door_server bare|full PORT`.

`full` is the service as it is. `bare` is the same app whose ledger forgets: signature, JSON and
answer, no Redis. It is the baseline, the most that the rest could ever reach.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

import uvloop

from bridge import logs
from bridge.configuration_file import load
from bridge.ledger import Ledger, NewMessage
from bridge.listener import Listener
from bridge.logs import Tokens
from bridge.metrics import Metrics
from bridge.redis_connection import connect
from bridge.settings import read_settings
from service import app
from service.door import Door
from service.inbox import Inbox


class _Forgets(Ledger):
    async def accept(self, copies: Sequence[NewMessage]) -> list[bool]:
        return [True] * len(copies)


async def main(kind: str, port: int) -> None:
    """Serve until SIGTERM."""
    settings, _ = read_settings(os.environ)
    logs.configure("json", "info", open(os.devnull, "w"))  # noqa: SIM115, ASYNC230  (for the life of the process)
    redis = connect(settings)
    ledger = (_Forgets if kind == "bare" else Ledger)(redis, keep=86400, keep_dead=86400)
    inbox = Inbox(ledger, settings)
    door = Door(settings, load(settings.config, os.environ), ledger, inbox, {}, Tokens(b"k" * 32), Metrics())
    listener = Listener(app.build(door), "127.0.0.1", port)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, listener.stop)
    await listener.serve()
    await redis.aclose()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
