"""Spans by the SDK of OpenTelemetry, with the names and attributes of its semantic conventions.

    webhook       SERVER    POST /webhooks/messages/{endpoint}
      message     PRODUCER  send outbound               its id is derived: dcbridge.tracing.ids
        job       CONSUMER  process outbound            one for each attempt
          request CLIENT    POST
        update    INTERNAL  delivery_update             links to the trace of the callback
        receipt   CONSUMER  process receipts            of several in one request, the others link to the first
          request CLIENT    POST

RQ's queues are the destinations of the messaging conventions: https://opentelemetry.io/docs/specs/semconv/messaging/
Attributes are our own words, ids and numbers; no text, address, URL, header or message of an exception is ever one.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry import context as contexts
from opentelemetry import trace as api
from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from dcbridge.tracing import ids

Attributes = Mapping[str, str | int | float | bool | None]

SYSTEM = "rq"
LONGEST = 128  # characters of an attribute
REFUSED = frozenset({400, 401, 404, 405, 413, 415})  # what somebody is answered who has shown no secret
MOST_REFUSED = 60  # requests with such an answer whose spans are sent, in a minute
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE", "QUERY"})


class _Ids(RandomIdGenerator):
    """Random ones, but for what the span that is being started was given."""

    def __init__(self) -> None:
        self.given = threading.local()

    def generate_trace_id(self) -> int:
        return self._given("trace_id") or super().generate_trace_id()

    def generate_span_id(self) -> int:
        return self._given("span_id") or super().generate_span_id()

    def is_trace_id_random(self) -> bool:
        return False  # it is whatever the sender of a webhook says

    def _given(self, name: str) -> int:
        number: int = getattr(self.given, name, 0)
        setattr(self.given, name, 0)
        return number


class Tracing:
    """One process' spans."""

    def __init__(
        self, process: str, version: str, *, tell: bool = False, processor: SpanProcessor | None = None
    ) -> None:
        """See `switch.start`."""
        self.tell = tell
        self._refused = (0, 0)  # the minute, and how many there were in it
        self._ids = _Ids()
        self._provider = TracerProvider(
            resource=Resource.create(_resource(process, version)), id_generator=self._ids, shutdown_on_exit=False
        )
        if processor is None:
            from dcbridge.tracing.export import processor as over_otlp

            processor = over_otlp()
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("dcbridge", version)

    def close(self) -> None:
        """Send what is left; see export.FLUSH."""
        self._provider.shutdown()

    # ------------------------------------------------------------ a request that came

    def request(self, route: str, method: str, parent: ids.Parent, trace: str) -> tuple[Span, str]:
        """Its span, which is the current one from now on, and `trace` as the ledger is to hold it."""
        trace_id, remote = ids.trace_id_of(trace), None
        if parent.span_id or parent.sampled is False:
            # Who forbids the record and names no span still has to be obeyed: a span is made up, and nobody sees it.
            span_id = parent.span_id or ids.span_id_of(trace, "sender")
            sampled = self._by_itself(trace_id) if parent.sampled is None else parent.sampled
            remote = _remote(trace_id, span_id, sampled)
        method = method if method in METHODS else "_OTHER"
        span = self._start(
            f"{method} {route}",
            SpanKind.SERVER,
            trace_id,
            remote,
            {"http.request.method": method, "http.route": route},
        )
        contexts.attach(api.set_span_in_context(span, Context()))  # the task of a request has a context of its own
        sampled = span.get_span_context().trace_flags.sampled
        return span, trace if sampled == self._by_itself(trace_id) else ids.marked(trace, sampled)

    def answered(self, span: Span, status: int, outcome: str, more: Attributes) -> None:
        """The end of what `request` began. A span that is not ended is not sent: others cannot fill the queue."""
        if status in REFUSED and not self._may_send_refused():
            return
        span.set_attributes(_plain({"http.response.status_code": status, "outcome": outcome, **more}))
        if status >= 500:
            span.set_attribute("error.type", str(status))
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def _may_send_refused(self) -> bool:
        minute, (before, count) = int(time.monotonic() // 60), self._refused
        self._refused = (minute, count + 1 if minute == before else 1)
        return self._refused[1] <= MOST_REFUSED

    # ------------------------------------------------------------ work in the ledger

    def created(self, queue: str, them: Sequence[tuple[str, str]], more: Attributes) -> None:
        """A span that is over when it begins: it says when the message was in the ledger."""
        now, here = time.time_ns(), api.get_current_span().get_span_context()
        for name, trace in them:
            trace_id = ids.trace_id_of(trace or name)
            span = self._start(
                f"send {queue}",
                SpanKind.PRODUCER,
                trace_id,
                here if here.trace_id == trace_id else self._undecided(trace_id, trace),
                _messaging("send", queue, name) | dict(more),
                links=() if here.trace_id == trace_id or not here.is_valid else (Link(here),),
                span_id=ids.span_id_of(trace or name, name),
                start=now,
            )
            span.end(now)

    @contextmanager
    def processing(self, queue: str, name: str, trace: str, more: Attributes) -> Iterator[None]:
        attributes = _messaging("process", queue, name) | dict(more)
        span = self._under(name, trace, f"process {queue}", SpanKind.CONSUMER, attributes)
        with _current(span):
            yield

    @contextmanager
    def about(self, what: str, name: str, trace: str, more: Attributes) -> Iterator[None]:
        here = api.get_current_span().get_span_context()
        own = not here.is_valid or here.trace_id == ids.trace_id_of(trace or name)
        attributes = {"messaging.message.id": name} | dict(more)
        with _current(self._under(name, trace, what, SpanKind.INTERNAL, attributes, () if own else (Link(here),))):
            yield

    @contextmanager
    def together(self, queue: str, them: Sequence[tuple[str, str]], more: Attributes) -> Iterator[None]:
        spans: list[Span] = []
        for name, trace in them:
            attributes = _messaging("process", queue, name) | {"messaging.batch.message_count": len(them)} | dict(more)
            links = (Link(spans[0].get_span_context()),) if spans else ()
            spans.append(self._under(name, trace, f"process {queue}", SpanKind.CONSUMER, attributes, links))
        first, *others = spans
        try:
            with _current(first):
                yield
        except BaseException as error:
            for span in others:
                _fail(span, *_words(error))
            raise
        finally:
            for span in others:
                span.end()

    # ------------------------------------------------------------ a request to others

    @contextmanager
    def asking(self, kind: str, more: Attributes) -> Iterator[None]:
        if not api.get_current_span().get_span_context().is_valid:  # a look at a token, a probe: nobody's message
            yield
            return
        with _current(self._tracer.start_span(kind, kind=SpanKind.CLIENT, attributes=_plain(more))):
            yield

    def answered_by(self, status: int) -> None:
        """What the other side said to `asking`."""
        span = api.get_current_span()
        span.set_attribute("http.response.status_code", status)
        if status >= 400:
            span.set_attribute("error.type", str(status))
            span.set_status(Status(StatusCode.ERROR))

    def headers(self) -> list[tuple[str, str]]:
        """What a request to others has besides, where an operator wants that."""
        here = api.get_current_span().get_span_context()
        if not self.tell or not here.is_valid:
            return []
        return [("traceparent", f"00-{here.trace_id:032x}-{here.span_id:016x}-{here.trace_flags & 1:02x}")]

    # ------------------------------------------------------------ the current span

    def note(self, more: Attributes) -> None:
        api.get_current_span().set_attributes(_plain(more))

    def failed(self, outcome: str, code: str) -> None:
        _fail(api.get_current_span(), outcome, code)

    # ------------------------------------------------------------ inside

    def _under(
        self, name: str, trace: str, title: str, kind: SpanKind, attributes: Attributes, links: Sequence[Link] = ()
    ) -> Span:
        """A span below the one that `created` made in this process or another."""
        trace_id = ids.trace_id_of(trace or name)
        sampled = ids.split(trace)[1]
        parent = _remote(
            trace_id, ids.span_id_of(trace or name, name), self._by_itself(trace_id) if sampled is None else sampled
        )
        return self._start(title, kind, trace_id, parent, attributes, links)

    def _start(
        self,
        title: str,
        kind: SpanKind,
        trace_id: int,
        parent: SpanContext | None,
        attributes: Attributes,
        links: Sequence[Link] = (),
        span_id: int = 0,
        start: int | None = None,
    ) -> Span:
        """`span_id`: 0 is a random one."""
        if parent is None:
            self._ids.given.trace_id, context = trace_id, Context()
        else:
            context = api.set_span_in_context(NonRecordingSpan(parent), Context())
        self._ids.given.span_id = span_id
        return self._tracer.start_span(title, context, kind, _plain(attributes), links, start)

    def _undecided(self, trace_id: int, trace: str) -> SpanContext | None:
        """The parent of a span that has none here, where it was decided already whether its trace is recorded."""
        sampled = ids.split(trace)[1]
        return None if sampled is None else _remote(trace_id, ids.span_id_of(trace, "sender"), sampled)

    def _by_itself(self, trace_id: int) -> bool:
        """What the sampler says of a trace of which it knows the id alone: the same in every process."""
        decision = self._provider.sampler.should_sample(Context(), trace_id, "").decision
        return decision == Decision.RECORD_AND_SAMPLE


@contextmanager
def _current(span: Span) -> Iterator[None]:
    """The span is the current one, and ends. Of an exception only its kind is kept: its message may quote data."""
    token = contexts.attach(api.set_span_in_context(span))
    try:
        yield
    except BaseException as error:
        _fail(span, *_words(error))
        raise
    finally:
        contexts.detach(token)
        span.end()


def _words(error: BaseException) -> tuple[str, str]:
    """Of an error of sending (`dcbridge.errors`) the words that logs have; of any other its class."""
    outcome, code = getattr(error, "outcome", None), getattr(error, "code", None)
    return (outcome if isinstance(outcome, str) else type(error).__name__, code if isinstance(code, str) else "")


def _fail(span: Span, outcome: str, code: str) -> None:
    span.set_attributes(_plain({"error.type": outcome, "code": code or None}))
    span.set_status(Status(StatusCode.ERROR))


def _remote(trace_id: int, span_id: int, sampled: bool) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(int(sampled)))


def _messaging(operation: str, queue: str, name: str) -> dict[str, str | int | float | bool | None]:
    return {
        "messaging.system": SYSTEM,
        "messaging.destination.name": queue,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.message.id": name,
    }


def _plain(given: Attributes) -> dict[str, str | int | float | bool]:
    """Those that say something, short; words of ours under a name that is ours."""
    return {
        (name if "." in name else f"dcbridge.{name}"): value[:LONGEST] if isinstance(value, str) else value
        for name, value in given.items()
        if value is not None and value != ""
    }


def _resource(process: str, version: str) -> dict[str, str]:
    """OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence."""
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return {SERVICE_VERSION: version} if named else {SERVICE_VERSION: version, SERVICE_NAME: process}
