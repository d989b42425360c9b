"""What every public route has in common: the limits, the signature, the time, the answer and its one log line."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import structlog
from redis.exceptions import RedisError
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send
from structlog.contextvars import bind_contextvars

from dcbridge.config.genesys_cloud import OPEN_MESSAGING
from dcbridge.config.models import Configuration
from dcbridge.genesys import cloud, signature
from dcbridge.http.deadlines import Deadlines
from dcbridge.ledger import Ledger
from dcbridge.ledger.signatures import CALLBACK, UNKNOWN
from dcbridge.providers.base import Provider
from dcbridge.runtime.logs import Tokens, info_line
from dcbridge.runtime.metrics import Metrics
from dcbridge.settings.process import Settings
from dcbridge.tracing import ids, switch
from service.answer import RETRY_AFTER, Answer, Refusal, plain
from service.journal.inbox import Inbox
from service.keys import Keys
from service.mail_buckets import MailBuckets
from service.presence import Presence
from service.request import Request

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from dcbridge.tracing.spans import Tracing

log = structlog.get_logger()


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
    keys: Keys = field(default_factory=Keys)
    mail_buckets: MailBuckets = field(default_factory=MailBuckets)
    presence: Presence = field(default_factory=Presence)


@dataclass(slots=True)
class Outcome:
    """What a handler did: its answer, and the facts for the log line."""

    answer: Answer
    word: str
    facts: dict[str, object]


Handler = Callable[[ServiceContext, Request], Awaitable[Outcome]]


class Endpoint:
    """One route as an ASGI app: it answers within `answer_within` seconds, and plainly whatever happens."""

    def __init__(self, ctx: ServiceContext, name: str, handler: Handler, deadlines: Deadlines, route: str) -> None:
        """`route`: its path with the names of what varies, as a span may show it."""
        self._ctx, self._name, self._handler, self._deadlines = ctx, name, handler, deadlines
        self._route, self._tracing = route, switch.current()
        self._seconds = ctx.metrics.answer_seconds.labels(name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        request = Request(scope, receive)
        span = None if self._tracing is None else _begun(self._tracing, self._route, request)
        bind_contextvars(trace=request.trace)  # for other lines of this request, whose task has a context of its own
        configured = next(iter(request.names.values()))
        facts: dict[str, object] = {}
        try:
            outcome = await self._deadlines.within(self._handler(self._ctx, request))
            answer, word, facts = outcome.answer, outcome.word, outcome.facts
        except Refusal as refusal:
            answer, word = plain(refusal.status, refusal.says, refusal.headers), refusal.outcome
            if refusal.outcome.startswith("unknown "):
                self._ctx.presence.refusals.note(*self._wrong_address(refusal, configured))
                configured = UNKNOWN  # what a stranger typed is no label
        except ClientDisconnect:
            answer, word = plain(400, "the request did not arrive whole"), "disconnected"
        except (RedisError, OSError, TimeoutError) as error:
            if isinstance(error, TimeoutError) and not request.arrived:
                answer, word = plain(408, "the request did not arrive in time"), "too slow"
            else:
                answer, word = plain(503, "not stored; send it again", RETRY_AFTER), "unavailable"
                facts = {"error": type(error).__name__}
        except Exception:
            log.error("request_internal_error", route=self._name, exc_info=True)
            answer, word = plain(503, "not stored; send it again", RETRY_AFTER), "bug"
        self._note(request, began, configured, answer.status, word, facts)
        if span is not None and self._tracing is not None:
            more = {"configured": configured, "http.request.body.size": cast(int | None, facts.get("bytes"))}
            self._tracing.answered(span, answer.status, word, more)
        await answer.send(send)

    def _wrong_address(self, refusal: Refusal, given: str) -> tuple[str, str]:
        """Where and why; what a stranger typed is not kept."""
        if refusal.outcome == "unknown endpoint" and given in self._ctx.configuration.endpoints:
            return given, "another webhook's address"
        if refusal.outcome == "unknown provider" and given in self._ctx.providers:
            return f"{CALLBACK}{given}", refusal.says
        return UNKNOWN, refusal.says

    def _note(
        self, request: Request, began: float, configured: str, status: int, word: str, facts: dict[str, object]
    ) -> None:
        """The figures, and the one line."""
        now = time.monotonic()
        self._ctx.metrics.requests.labels(self._name, configured, word).inc()
        if request.arrived:  # how long a sender took to send is not our time
            self._seconds.observe(now - request.arrived)
            self._ctx.metrics.note_answer(now - request.arrived)
        ms = round((now - began) * 1000, 1)
        if status < 300:
            info_line(self._name, trace=request.trace, name=configured, status=status, outcome=word, ms=ms, **facts)
        else:
            log.warning(self._name, name=configured, status=status, outcome=word, ms=ms, **facts)


def _begun(tracing: Tracing, route: str, request: Request) -> Span:
    """The span of a request, which continues the trace that its headers name."""
    parent = ids.parent_of(request.scope["headers"])
    request.continues(parent.trace)
    if parent.trace != request.trace:  # it named none, or one that we do not go on with
        parent = ids.Parent(sampled=parent.sampled)
    span, request.carried = tracing.request(route, request.scope["method"], parent, request.trace)
    return span


async def signature_header(
    ctx: ServiceContext, request: Request, name: str, header: signature.Given | str | None = None
) -> signature.Given:
    """X-Hub-Signature, or another `header`, before the body is kept. Raises Refusal 401 for one that no secret could
    have made.
    """
    header = signature.given(request.signatures) if header is None else header
    if isinstance(header, signature.Given):
        return header
    await request.body(ctx.settings.body_limit, keep=False)  # or the sender would not read the answer
    raise not_signed(ctx, name, header)


def not_signed(ctx: ServiceContext, name: str, wrong: str) -> Refusal:
    """Counted and logged; the sender is told nothing of what is wrong."""
    ctx.metrics.signatures.labels("webhook", name, wrong).inc()
    ctx.presence.refused(name, wrong)
    log.warning("signature_refused", endpoint=name, why=wrong)
    of_cloud = ctx.configuration.platform_at.get(name) == OPEN_MESSAGING
    header = cloud.HEADER if of_cloud else signature.HEADER
    return Refusal(401, "signature refused", f"{header} is missing or wrong")


def signed(ctx: ServiceContext, name: str, places: Iterable[int], secrets: Iterable[bytes]) -> None:
    """Counts a right signature, and the place of each secret that was needed."""
    ctx.metrics.signatures.labels("webhook", name, "valid").inc()
    ctx.presence.signed(name, secrets)
    for place in places:
        ctx.metrics.secret_uses.labels(name, str(place)).inc()
