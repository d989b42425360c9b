"""Providers' callbacks: verified by the provider's own scheme, stored whole, answered as it expects."""

from __future__ import annotations

import hashlib
import uuid
from typing import Literal, cast

import structlog
from starlette.requests import Request
from starlette.responses import Response

from bridge.callbacks import callback_lane, pack
from bridge.errors import BadCallback
from bridge.ledger import NewTask
from bridge.providers.base import Callback
from service.door import Door, Outcome, Refusal, read_body

log = structlog.get_logger()

_KINDS = ("status", "inbound")
_NOT_STORED = ("authorization", "cookie", "proxy-authorization")  # checked at the door, and no use behind it


async def callback(door: Door, request: Request, trace: str) -> Outcome:
    """GET or POST /callbacks/{provider}/{status|inbound}."""
    provider = door.providers.get(request.path_params["provider"])
    kind = request.path_params["kind"]
    if provider is None or kind not in _KINDS:
        raise Refusal(404, "unknown provider", "no such provider or callback")
    body = await read_body(request, door.settings.body_limit)
    received = _callback(door, request, cast(Literal["status", "inbound"], kind), body)
    try:
        provider.verify(received)
    except BadCallback as error:
        door.metrics.signatures.labels("callback", provider.name, error.kind).inc()
        log.warning("signature_refused", provider=provider.name, why=error.kind, bytes=len(body))
        raise Refusal(401, "signature refused", "the signature is missing or wrong") from None
    door.metrics.signatures.labels("callback", provider.name, "valid").inc()
    # A provider without an id of its own gets no deduplication: the same words twice are two messages.
    event = provider.event_id(received) or uuid.uuid4().hex
    digest = hashlib.blake2b(f"{provider.name}\0{kind}\0{event}".encode(), digest_size=12).hexdigest()
    stored = Callback(
        kind=received.kind,
        method=received.method,
        url=received.url,
        query=received.query,
        headers={name: values for name, values in received.headers.items() if name not in _NOT_STORED},
        body=received.body,
    )
    task = NewTask(f"b-{digest}", "callback", callback_lane(provider.name, kind), pack(provider.name, stored), trace)
    word = await door.inbox.put(task)
    answer = provider.answer(received)
    response = Response(answer.body, answer.status, dict(answer.headers), media_type=answer.content_type or None)
    return Outcome(response, {"new": "accepted"}.get(word, word), {"kind": kind, "bytes": len(body)})


def _callback(door: Door, request: Request, kind: Literal["status", "inbound"], body: bytes) -> Callback:
    """The URL is the configured public one: what the app sees behind an ingress is not what was signed."""
    scope = request.scope
    path = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    url = door.configuration.public_url + path.decode("latin-1") + (f"?{query.decode('latin-1')}" if query else "")
    gathered: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        gathered.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    headers = {name: tuple(values) for name, values in gathered.items()}
    return Callback(kind=kind, method=request.method, url=url, query=query, headers=headers, body=body)
