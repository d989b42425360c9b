"""Providers' callbacks: verified by the provider's own scheme, stored whole, answered as it expects."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import replace
from typing import cast

import structlog

from dcbridge.errors import BadCallback
from dcbridge.ledger import NewTask
from dcbridge.ledger.signatures import CALLBACK
from dcbridge.providers.base import Callback, CallbackKind, Provider
from dcbridge.providers.callback import lane_for, pack
from service.answer import RETRY_AFTER, Answer, Refusal
from service.encoding import unpacked
from service.endpoint import Outcome, ServiceContext
from service.keys import NoKey
from service.request import Request

log = structlog.get_logger()

# Checked before a callback is stored, and no use after it; the body is stored without its encoding.
_NOT_STORED = ("authorization", "cookie", "proxy-authorization", "content-encoding")


async def callback(ctx: ServiceContext, request: Request) -> Outcome:
    """GET or POST /callbacks/{provider}/{status|inbound|events}, and the same with a secret behind it; OPTIONS where
    that is how a provider asks whether it may call.
    """
    provider = ctx.providers.get(request.names["provider"])
    kind, secret = cast(CallbackKind, request.names["kind"]), request.names.get("secret", "")
    if provider is None or kind not in provider.can.callbacks or (secret and not provider.can.secret_in_path):
        raise Refusal(404, "unknown provider", "no such provider or callback")
    if request.scope["method"] == "OPTIONS" and not provider.can.handshake:
        raise Refusal(405, "method not allowed", "method not allowed", {"Allow": "GET, HEAD, POST"})
    limit = min(ctx.settings.body_limit, provider.can.callbacks[kind] or ctx.settings.body_limit)
    raw = await request.body(limit)
    called = await with_key(ctx, provider, callback_of(ctx, request, kind, raw, secret))
    received, proof = _verified(ctx, request, provider, called, limit)
    return await stored(ctx, request, provider, received, proof, secret, len(raw))


async def stored(
    ctx: ServiceContext, request: Request, provider: Provider, received: Callback, proof: str, secret: str, size: int
) -> Outcome:
    """Keep a verified callback, and answer it. `size`: bytes as they came."""
    kind = received.kind
    answer = provider.callback_response(received)
    sent = Answer(answer.status, answer.body, dict(answer.headers), answer.content_type)
    if received.method == "OPTIONS":  # it says nothing that has to be kept
        return Outcome(sent, "handshake", {"kind": kind})
    # A provider that has neither a proof nor an id of its own gets no deduplication: the same words are two messages.
    event = proof or provider.event_id(received) or uuid.uuid4().hex
    digest = hashlib.blake2b(f"{provider.name}\0{kind}\0{event}".encode(), digest_size=12).hexdigest()
    kept = Callback(
        kind=received.kind,
        method=received.method,
        url=received.url,
        query=received.query,
        headers={name: values for name, values in received.headers.items() if _is_stored(name, values, secret)},
        body=received.body,
    )
    task = NewTask(f"b-{digest}", "callback", lane_for(provider, received), pack(provider.name, kept), request.carried)
    word = await ctx.inbox.put(task)
    return Outcome(sent, {"new": "accepted"}.get(word, word), {"kind": kind, "bytes": size})


async def with_key(ctx: ServiceContext, provider: Provider, called: Callback) -> Callback:
    """Raises Refusal 401, or 503 where the key cannot be had: the provider calls again."""
    try:
        wanted = provider.key_wanted(called)
        return called if wanted is None else replace(called, key=await ctx.keys.get(wanted))
    except BadCallback as error:
        raise refused(ctx, provider, error) from None
    except NoKey:
        ctx.metrics.signatures.labels("callback", provider.name, "no key").inc()
        raise Refusal(503, "no key", "the key cannot be fetched; send it again", RETRY_AFTER) from None


def _is_stored(name: str, values: tuple[str, ...], secret: str) -> bool:
    """Not a header that is a secret, nor one in which an ingress wrote down the path that was asked for."""
    return name not in _NOT_STORED and not (secret and any(secret in value for value in values))


def _verified(
    ctx: ServiceContext, request: Request, provider: Provider, received: Callback, limit: int
) -> tuple[Callback, str]:
    """The callback as its adapter can read it, and what proves it. Raises Refusal 401, 413 or 415.

    Some sign the bytes as they came, some what is in them: the second is tried where there is a second.
    """
    try:
        proof = provider.verify(received)
        readable = replace(received, body=unpacked(request.encodings, received.body, limit))
    except BadCallback as error:
        if not received.body or "content-encoding" not in received.headers:
            raise refused(ctx, provider, error) from None
        try:
            readable = replace(received, body=unpacked(request.encodings, received.body, limit))
            proof = provider.verify(readable)
        except (BadCallback, Refusal):
            raise refused(ctx, provider, error) from None
    ctx.metrics.signatures.labels("callback", provider.name, "valid").inc()
    return readable, proof


def refused(ctx: ServiceContext, provider: Provider, error: BadCallback) -> Refusal:
    ctx.metrics.signatures.labels("callback", provider.name, error.kind).inc()
    ctx.presence.refusals.note(f"{CALLBACK}{provider.name}", error.kind)
    log.warning("signature_refused", provider=provider.name, why=error.kind)
    return Refusal(401, "signature refused", "the signature is missing or wrong")


def callback_of(ctx: ServiceContext, request: Request, kind: CallbackKind, body: bytes, secret: str) -> Callback:
    """The URL is the configured public one: what the app sees behind an ingress is not what was signed."""
    scope = request.scope
    path = scope.get("raw_path") or scope["path"].encode()
    if secret:
        path = path.rpartition(b"/")[0]
    query: bytes = scope["query_string"]
    url = ctx.configuration.public_url + path.decode("latin-1") + (f"?{query.decode('latin-1')}" if query else "")
    gathered: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        gathered.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    headers = {name: tuple(values) for name, values in gathered.items()}
    return Callback(kind=kind, method=scope["method"], url=url, query=query, headers=headers, body=body, secret=secret)
