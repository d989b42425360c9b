"""The public listener as a process of its own: `python -m benchmarks.door_server full|forgets|signature PORT`.

`full` is the service as it is. Two baselines say what the rest could ever reach: `forgets` is the same
app whose ledger keeps nothing; `signature` is the same server and framework with a handler that reads
the body, verifies it, reads its JSON and answers.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

import orjson
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from dcbridge.config.loader import load
from dcbridge.config.models import Configuration
from dcbridge.genesys.signature import HEADER, verify
from dcbridge.ledger import Ledger, NewMessage
from dcbridge.ledger.index import Index
from dcbridge.ledger.kept_text import KeptText
from dcbridge.ledger.messages import Messages
from dcbridge.ledger.script import Retention
from dcbridge.runtime import logs
from dcbridge.runtime.gc_tuning import tune_gc
from dcbridge.runtime.logs import Tokens
from dcbridge.runtime.metrics import Metrics
from dcbridge.runtime.server import Listener
from dcbridge.settings.process import Settings, read_settings
from dcbridge.store.connection import connect
from dcbridge.store.durability import Durable
from service import app
from service.endpoint import ServiceContext
from service.journal.inbox import Inbox


class _Forgets(Messages):
    async def accept(self, copies: Sequence[NewMessage]) -> list[bool]:
        return [True] * len(copies)


def signature_only(configuration: Configuration) -> Starlette:
    """What cannot be left out."""

    async def messages(request: Request) -> Response:
        endpoint, body = request.path_params["endpoint"], await request.body()
        given = request.headers.getlist(HEADER)
        if not verify([value.encode() for value in given], body, configuration.secrets_for(endpoint)).ok:
            return Response(status_code=401)
        message_id = orjson.loads(body)["channel"]["messageId"]
        return Response(orjson.dumps({"messageId": message_id}), media_type="application/json")

    return Starlette(routes=[Route("/webhooks/messages/{endpoint}", messages, methods=["POST"])])


def whole_service(kind: str, settings: Settings, configuration: Configuration) -> ASGIApp:
    """The service's own app, with or without a memory."""
    logs.configure("json", "info", open(os.devnull, "w"), once=True)  # noqa: SIM115  (for the life of the process)
    ledger = Ledger.of(settings, connect(settings), Durable(settings))
    if kind == "forgets":
        ledger.messages = _Forgets(ledger.script, Retention(0, 0, 0, 0, Index(), KeptText()))
    tokens = Tokens(settings.token_key.get_secret_value().encode())
    inbox, providers = Inbox(ledger, settings), configuration.build_providers()
    return app.build(ServiceContext(settings, configuration, ledger, inbox, providers, tokens, Metrics()))


async def main(kind: str, port: int) -> None:
    """Serve until SIGTERM."""
    settings, _ = read_settings(os.environ)
    configuration = load(settings.config, os.environ)
    built: ASGIApp = (
        signature_only(configuration) if kind == "signature" else whole_service(kind, settings, configuration)
    )
    listener = Listener(built, "127.0.0.1", port)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, listener.stop)
    tune_gc()  # as the service does once it has started
    await listener.serve()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
