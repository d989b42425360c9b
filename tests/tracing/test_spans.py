"""Spans by the SDK, in memory: which trace and parent each has, and what is never an attribute."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from dcbridge.errors import Refused
from dcbridge.tracing import ids, switch
from dcbridge.tracing.ids import Parent
from dcbridge.tracing.spans import MOST_REFUSED, Tracing
from dcbridge.transport.sender import Sender
from tests.tracing.collector import Collector

TRACE, SPAN = "463ac35c9f6413ad48485a3953bb6124", 0xA2FB4A1D1A96D312
ROOT = Path(__file__).parent.parent.parent


class Made:
    """Tracing that is on, and what it made."""

    def __init__(self, *, tell: bool = False) -> None:
        self._kept = InMemorySpanExporter()
        self.tracing = switch.start("test", "0", tell=tell, processor=SimpleSpanProcessor(self._kept))

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self._kept.get_finished_spans()}

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._kept.get_finished_spans() if span.name == name]


@pytest.fixture
def made() -> Iterator[Made]:
    yield Made()
    switch.stop()


def webhook(tracing: Tracing, parent: Parent, trace: str) -> str:
    """A webhook of one message, "ref"; its trace as the ledger holds it."""

    async def request() -> str:
        span, carried = tracing.request("/webhooks/messages/{endpoint}", "POST", parent, trace)
        switch.created("outbound", [("ref", carried)])
        tracing.answered(span, 200, "accepted", {})
        return carried

    return asyncio.run(request())


def hexes(span: ReadableSpan) -> tuple[str, int, int]:
    assert span.context is not None
    return f"{span.context.trace_id:032x}", span.context.span_id, span.parent.span_id if span.parent else 0


def test_a_message_is_one_trace_though_nobody_hands_a_span_on(made: Made) -> None:
    carried = webhook(made.tracing, Parent(TRACE, SPAN), TRACE)
    assert carried == TRACE
    with switch.processing("outbound", "ref", carried, channel="c"), switch.asking("POST"):
        pass
    with switch.about("delivery_update", "ref", carried):
        pass
    server, send, process, post = (
        hexes(made.spans[name])
        for name in ("POST /webhooks/messages/{endpoint}", "send outbound", "process outbound", "POST")
    )
    update = hexes(made.spans["delivery_update"])
    assert {one[0] for one in (server, send, process, post, update)} == {TRACE}
    assert server[2] == SPAN
    assert send[1:] == (ids.span_id_of(TRACE, "ref"), server[1])
    assert (process[2], post[2], update[2]) == (send[1], process[1], send[1])
    kinds = [made.spans[name].kind for name in ("send outbound", "process outbound", "POST")]
    assert kinds == [SpanKind.PRODUCER, SpanKind.CONSUMER, SpanKind.CLIENT]
    assert dict(made.spans["process outbound"].attributes or {}) == {
        "messaging.system": "rq",
        "messaging.destination.name": "outbound",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.message.id": "ref",
        "dcbridge.channel": "c",
    }


@pytest.mark.parametrize(
    ("sampler", "parent", "carried", "recorded"),
    [
        ("parentbased_always_on", Parent(TRACE), TRACE, True),
        ("parentbased_always_on", Parent(TRACE, SPAN, True), TRACE, True),
        ("parentbased_always_on", Parent(TRACE, SPAN, False), f"{TRACE}:0", False),
        ("parentbased_always_on", Parent(TRACE, 0, False), f"{TRACE}:0", False),
        ("parentbased_always_off", Parent(TRACE, SPAN, True), f"{TRACE}:1", True),
        ("parentbased_always_off", Parent(TRACE, SPAN), TRACE, False),
        ("always_on", Parent(TRACE, SPAN, False), TRACE, True),
        ("always_off", Parent(TRACE, SPAN, True), TRACE, False),
    ],
)
def test_what_the_sender_decided_holds_in_the_workers_too(
    monkeypatch: pytest.MonkeyPatch, sampler: str, parent: Parent, carried: str, recorded: bool
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    made = Made()
    try:
        assert webhook(made.tracing, parent, TRACE) == carried
        with switch.processing("outbound", "ref", carried), switch.asking("POST"):
            pass
        with switch.together("receipts", [("ref", carried)]):
            pass
    finally:
        switch.stop()
    assert len(made.spans) == (5 if recorded else 0)


def test_what_a_stranger_sends_fills_no_queue(made: Made) -> None:
    """Without a secret, anybody may ask for a record of the trace."""

    async def request(status: int) -> None:
        span, _ = made.tracing.request("/webhooks/messages/{endpoint}", "POST", Parent(TRACE, SPAN, True), TRACE)
        made.tracing.answered(span, status, "signature refused", {})

    for status in (401, 404, 413) * MOST_REFUSED:
        asyncio.run(request(status))
    assert MOST_REFUSED <= len(made.named("POST /webhooks/messages/{endpoint}")) <= 2 * MOST_REFUSED  # a new minute
    asyncio.run(request(200))
    last = made.named("POST /webhooks/messages/{endpoint}")[-1]
    assert (last.attributes or {})["http.response.status_code"] == 200


def test_receipts_of_one_request_stay_in_their_own_traces(made: Made) -> None:
    with pytest.raises(Refused), switch.together("receipts", [("a", TRACE), ("b", "another")]), switch.asking("POST"):
        raise Refused("350")
    first, second = sorted(made.named("process receipts"), key=lambda span: len(span.links))
    assert hexes(first)[0] == TRACE
    assert hexes(second)[0] == f"{ids.trace_id_of('another'):032x}"
    assert [link.context for link in second.links] == [first.context]
    assert hexes(made.spans["POST"])[2] == hexes(first)[1]
    for span in (first, second):
        assert (span.attributes or {})["error.type"] == "refused"
        assert not span.status.is_ok


def test_an_exception_leaves_its_kind_and_no_word_of_it(made: Made) -> None:
    with pytest.raises(ValueError, match="canary"), switch.processing("outbound", "ref", TRACE):
        raise ValueError("canary@example.com")
    [span] = made.named("process outbound")
    assert "canary" not in span.to_json()
    assert (span.attributes or {})["error.type"] == "ValueError"


def test_a_value_is_short(made: Made) -> None:
    with switch.processing("outbound", "x" * 1000, TRACE, provider="y" * 1000, part=None, code=""):
        pass
    [span] = made.named("process outbound")
    values = dict(span.attributes or {})
    assert max(len(str(value)) for value in values.values()) == 128
    assert not {"dcbridge.part", "dcbridge.code"} & set(values)


@pytest.mark.parametrize("tell", [False, True])
async def test_others_are_given_the_trace_only_where_an_operator_wants_that(tell: bool) -> None:
    made = Made(tell=tell)
    heard: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append((await reader.readuntil(b"\r\n\r\n")).decode().lower())
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        async with Sender() as sender:
            with switch.processing("outbound", "ref", TRACE):
                await sender.http(httpx.Request("GET", f"http://127.0.0.1:{port}/canary?to=canary"))
            await sender.http(httpx.Request("GET", f"http://127.0.0.1:{port}/canary"))  # about no message
    finally:
        switch.stop()
        server.close()
    [span] = made.named("GET")
    trace, span_id, _ = hexes(span)
    assert ("traceparent" in heard[0], "traceparent" in heard[1]) == (tell, False)
    assert (f"traceparent: 00-{trace}-{span_id:016x}-01" in heard[0]) == tell
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET",
        "server.address": "127.0.0.1",
        "server.port": port,
        "url.scheme": "http",
        "http.response.status_code": 404,
        "error.type": "404",
    }


@pytest.mark.parametrize("sick", ["slow", "huge", "redirects", "500"])
def test_a_sick_collector_holds_up_nobody(monkeypatch: pytest.MonkeyPatch, sick: str) -> None:
    """The queue is bounded, an answer is not read, nobody is followed, and the end comes soon."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "64")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "32")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60" if sick == "slow" else "1")
    threads = threading.active_count()
    with Collector(sick) as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        switch.start("test", "0")
        for number in range(2000):
            switch.created("outbound", [(f"ref{number}", TRACE)])
        began = time.monotonic()
        switch.stop()
        assert time.monotonic() - began < 20
        assert set(collector.paths) == {"/v1/traces"}
        assert collector.most < 1 << 27  # what the kernel takes of it
    assert threading.active_count() <= threads + 4


NEEDED = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "google.protobuf", "requests")  # redis-py uses the API


def test_where_it_is_off_nothing_of_it_is_imported() -> None:
    modules = "service.main, service.mail.main, workers.worker, dcbridge.cli.app"
    code = f"import sys, {modules}; print([one for one in sys.modules if one.startswith({NEEDED})])"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
