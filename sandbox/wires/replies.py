"""A request of the bridge to a company, written down with its answer."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from sandbox.wires.base import RefusedError, Reply, Wire
from sandbox.wires.mail_base import MailWire
from sandbox.world import World

WRONG_LOGIN = 20003  # of a company that answers it with HTTP 200


def note(
    world: World,
    wire: Wire | MailWire,
    request: Request,
    started: float,
    body: bytes,
    reply: Reply | None,
    refused: RefusedError | None = None,
) -> Response:
    """Write one request of the bridge down, with its answer. `reply` None: there is none."""
    if refused is not None:
        world.counts[f"sms.refused.{refused.code}"] += 1
    check = "" if refused is not None and (refused.http == 401 or refused.code == WRONG_LOGIN) else wire.login
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    status, answer = (reply.status, reply.body) if reply else (0, b"")
    world.exchange(wire.who, True, request.method, path, started, status, body, answer, check)
    if reply is None:
        return Response(status_code=500)
    return Response(answer, status, dict(reply.headers), media_type=reply.content_type)
