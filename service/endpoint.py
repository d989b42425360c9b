"""What every public route has in common: the limits, the signature, the time, the answer and its one log line."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

import orjson
import structlog
from redis.exceptions import RedisError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from dcbridge.config.models import Configuration
from dcbridge.genesys import signature
from dcbridge.ledger import Ledger
from dcbridge.providers.base import Provider
from dcbridge.runtime.logs import Tokens
from dcbridge.runtime.metrics import Metrics
from dcbridge.settings.process import Settings
from service.journal.inbox import Inbox

log = structlog.get_logger()

RETRY_AFTER = "5"  # seconds
ARRIVED = "dcbridge.arrived"  # in a request's scope: when its last byte was here
_TRACE = re.compile(r"[A-Za-z0-9_.:-]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class ServiceContext:
    """What the handlers work with, built once in main."""

    settings: Settings
    configuration: Configuration
    ledger: Ledger
    inbox: Inbox
    providers: dict[str, Provider]
    tokens: Tokens
    metrics: Metrics


class Refusal(Exception):
    """An answer other than 200, decided: the status, a word for the metric, and what to tell the sender."""

    def __init__(self, status: int, outcome: str, says: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(outcome)
        self.status, self.outcome, self.says, self.headers = status, outcome, says, headers or {}


@dataclass(slots=True)
class Outcome:
    """What a handler did: its answer, and the facts for the log line."""

    response: Response
    word: str
    facts: dict[str, object]


Handler = Callable[[ServiceContext, Request, str], Awaitable[Outcome]]


def route(ctx: ServiceContext, name: str, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """Wrap a handler: it has `answer_within` seconds, and whatever happens the sender gets a plain answer."""

    async def endpoint(request: Request) -> Response:
        began = time.monotonic()
        trace = trace_of(request)
        facts: dict[str, object] = {}
        configured = next(iter(request.path_params.values()), "")
        with structlog.contextvars.bound_contextvars(trace=trace):
            try:
                async with asyncio.timeout(ctx.settings.answer_within):
                    outcome = await handler(ctx, request, trace)
                response, word, facts = outcome.response, outcome.word, outcome.facts
            except Refusal as refusal:
                response, word = plain(refusal.status, refusal.says), refusal.outcome
                response.headers.update(refusal.headers)
                if refusal.outcome.startswith("unknown "):
                    configured = "(unknown)"  # what a stranger typed is no label
            except ClientDisconnect:
                response, word = plain(400, "the request did not arrive whole"), "disconnected"
            except (RedisError, OSError, TimeoutError) as error:
                if isinstance(error, TimeoutError) and ARRIVED not in request.scope:
                    response, word = plain(408, "the request did not arrive in time"), "too slow"
                else:
                    response, word = plain(503, "not stored; send it again"), "unavailable"
                    response.headers["Retry-After"] = RETRY_AFTER
                    facts = {"error": type(error).__name__}
            except Exception:
                log.error("request_internal_error", route=name, exc_info=True)
                response, word = plain(503, "not stored; send it again"), "bug"
                response.headers["Retry-After"] = RETRY_AFTER
            now = time.monotonic()
            seconds = now - began
            ctx.metrics.requests.labels(name, configured, word).inc()
            if arrived := request.scope.get(ARRIVED):  # how long a sender took to send is not our time
                ctx.metrics.answer_seconds.labels(name).observe(now - arrived)
                ctx.metrics.note_answer(now - arrived)
            tell = log.info if response.status_code < 300 else log.warning
            tell(name, name=configured, status=response.status_code, outcome=word, ms=round(seconds * 1000, 1), **facts)
            return response

    return endpoint


def plain(status: int, says: str) -> Response:
    """A small JSON answer."""
    return json_answer({"error": says}, status)


def json_answer(value: object, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


def trace_of(request: Request) -> str:
    """The sender's X-B3-TraceId, an opaque text, or one of ours."""
    given = request.headers.get("x-b3-traceid", "")
    return given if _TRACE.match(given) else uuid.uuid4().hex


async def read_body(request: Request, limit: int, *, keep: bool = True) -> bytes:
    """The raw bytes, and a note of when they had come; with `keep` off they are read and dropped.

    Raises Refusal 413 as soon as they are known to be too many.
    """
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and (len(declared) > 15 or int(declared) > limit):
        raise Refusal(413, "too large", f"a body may have {limit} bytes")
    body, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise Refusal(413, "too large", f"a body may have {limit} bytes")
        if keep:
            body += chunk
    request.scope[ARRIVED] = time.monotonic()
    return bytes(body)


async def signature_header(ctx: ServiceContext, request: Request, name: str) -> signature.Given:
    """X-Hub-Signature, before the body is kept. Raises Refusal 401 for one that no secret could have made."""
    header = signature.given([value for key, value in request.scope["headers"] if key == b"x-hub-signature"])
    if isinstance(header, signature.Given):
        return header
    await read_body(request, ctx.settings.body_limit, keep=False)  # or the sender would not read the answer
    raise not_signed(ctx, name, header)


def not_signed(ctx: ServiceContext, name: str, wrong: str) -> Refusal:
    """Counted and logged; the sender is told nothing of what is wrong."""
    ctx.metrics.signatures.labels("webhook", name, wrong).inc()
    log.warning("signature_refused", endpoint=name, why=wrong)
    return Refusal(401, "signature refused", "X-Hub-Signature is missing or wrong")


def signed(ctx: ServiceContext, name: str, places: Iterable[int]) -> None:
    """Counts a right signature, and the place of each secret that was needed."""
    ctx.metrics.signatures.labels("webhook", name, "valid").inc()
    for place in places:
        ctx.metrics.secret_uses.labels(name, str(place)).inc()
