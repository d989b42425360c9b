"""One trace from the webhook to the receipt, as a collector of OpenTelemetry gets it from real processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
import yaml

from dcbridge.tracing.ids import span_id_of, trace_id_of
from tests.stack import Stack, sms_body, until
from tests.tracing.collector import Collector, Sent

WEBHOOK = "POST /webhooks/messages/{endpoint}"
TRACE, SPAN = "463ac35c9f6413ad48485a3953bb6124", "a2fb4a1d1a96d312"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture(scope="module")
def traced(collector: Collector) -> Iterator[Stack]:
    settings = {
        "DCBRIDGE_TRACING": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
    }
    made = Stack(settings=settings, items=True)
    configured = made.folder / "bridge.yaml"
    told = yaml.safe_load(configured.read_text())
    told["genesys"] = {"base_url": f"http://127.0.0.1:{made.ports.page}"}
    configured.write_text(yaml.safe_dump(told))
    with made as running:
        yield running


def all_of(collector: Collector, trace: str, *names: str) -> list[Sent]:
    """The spans of a trace, once these are among them; two processes send them, each when it likes."""
    wanted = f"{trace_id_of(trace):032x}"

    def found() -> list[Sent] | None:
        of_it = [span for span in collector.spans() if span.trace == wanted]
        return None if Counter(names) - Counter(span.name for span in of_it) else of_it

    return until(found, f"the spans {names} have come")


def path(spans: list[Sent], span: Sent) -> list[str]:
    """What a span hangs under, from the top of its trace."""
    above = {one.id: one for one in spans}
    names = [span.name]
    while span.parent in above:
        span = above[span.parent]
        names.insert(0, span.name)
    return names


def test_a_message_is_one_trace_from_its_webhook_to_its_receipt(traced: Stack, collector: Collector) -> None:
    message, number = traced.new_id(), traced.new_number()
    body = sms_body(message, number, "canary of a text")
    traced.expects(body)
    answer = traced.webhook(body, {"X-B3-TraceId": TRACE, "X-B3-SpanId": SPAN, "X-B3-Sampled": "1"})
    assert answer.status_code == 200
    traced.receipt(message)
    traced.settled()
    spans = all_of(collector, TRACE, WEBHOOK, "process outbound", "process receipts", "POST", "POST", "delivery_update")
    ref = traced.ref(message)
    assert sorted((path(spans, span), span.service, span.kind) for span in spans if span.name != "delivery_update") == [
        ([WEBHOOK], "dcbridge-service", "SERVER"),
        ([WEBHOOK, "send outbound"], "dcbridge-service", "PRODUCER"),
        ([WEBHOOK, "send outbound", "process outbound"], "dcbridge-worker", "CONSUMER"),
        (
            [WEBHOOK, "send outbound", "process outbound", "POST"],
            "dcbridge-worker",
            "CLIENT",
        ),
        ([WEBHOOK, "send outbound", "process receipts"], "dcbridge-worker", "CONSUMER"),
        (
            [WEBHOOK, "send outbound", "process receipts", "POST"],
            "dcbridge-worker",
            "CLIENT",
        ),
    ]
    [server] = [span for span in spans if span.kind == "SERVER"]
    assert server.parent == SPAN
    assert server.attributes["http.response.status_code"] == 200
    [process] = [span for span in spans if span.name == "process outbound"]
    assert process.parent == f"{span_id_of(TRACE, ref):016x}"
    assert process.attributes["messaging.message.id"] == ref
    assert (process.attributes["dcbridge.provider"], process.attributes["dcbridge.state"]) == ("twilio", "sent")
    updates = [span for span in spans if span.name == "delivery_update"]
    assert updates[-1].attributes["dcbridge.status"] == "delivered"
    [[callback, _]] = updates[-1].links
    assert callback != TRACE  # the trace of the callback, which the provider began
    for line in (*traced.lines("service", "messages_webhook"), *traced.lines("worker", "message_sent")):
        assert line["trace_id"] == f"{trace_id_of(line['trace']):032x}"
    private = ("canary", number, "+15557650123")
    sent = b"".join(collector.raw)
    assert [one for one in private if one.encode() in sent] == []


def test_where_the_sender_does_not_record_nobody_does(traced: Stack, collector: Collector) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    message = traced.new_id()
    body = sms_body(message, traced.new_number())
    traced.expects(body)
    assert traced.webhook(body, {"traceparent": f"00-{trace}-{SPAN}-00"}).status_code == 200
    traced.receipt(message)
    assert traced.entry(message).trace_id == f"{trace}:0"
    assert traced.lines("worker", "message_sent")[-1]["trace"] == trace
    later = traced.agent_writes(traced.new_number())
    traced.receipt(later)
    all_of(collector, traced.entry(later).trace_id, "process receipts")
    assert [span for span in collector.spans() if span.trace == trace] == []


def test_what_a_consumer_writes_is_one_trace_from_its_callback_to_the_agent(
    traced: Stack, collector: Collector
) -> None:
    sender = traced.new_number()
    traced.sandbox("consumer/sms", {"from": f"+{sender}", "text": "canary of a consumer", "wait": True})
    until(lambda: [one for one in traced.recorded("seen") if one["sender"] == sender], "the agent sees it")
    traced.settled()
    trace = traced.lines("worker", "consumer_message_posted")[-1]["trace"]
    spans = all_of(collector, trace, "POST /callbacks/{provider}/{kind}", "process inbound", "process inbound", "POST")
    [post] = [span for span in spans if span.kind == "CLIENT"]
    assert path(spans, post) == [
        "POST /callbacks/{provider}/{kind}",
        "send inbound",
        "process inbound",
        "send inbound",
        "process inbound",
        "POST",
    ]
    assert sender.encode() not in b"".join(collector.raw)


def test_an_interaction_event_is_one_trace_from_its_webhook_to_the_subscriber(
    traced: Stack, collector: Collector
) -> None:
    traced.sandbox("interaction", {"event": "STARTED", "wait": True})
    until(lambda: traced.lines("worker", "event_delivered"), "it is told")
    trace = traced.lines("service", "interactions_webhook")[-1]["trace"]
    spans = all_of(collector, trace, "POST /webhooks/interactions/{endpoint}", "process events", "POST")
    [post] = [span for span in spans if span.kind == "CLIENT"]
    assert path(spans, post) == [
        "POST /webhooks/interactions/{endpoint}",
        "send inbound",
        "process inbound",
        "send events",
        "process events",
        "POST",
    ]


def test_a_work_item_is_made_in_the_trace_of_what_became_a_dead_letter(traced: Stack, collector: Collector) -> None:
    traced.control(digital_channels={"mode": "refuse_text"})
    traced.sandbox("consumer/sms", {"from": f"+{traced.new_number()}", "text": "canary of a letter", "wait": True})
    until(lambda: traced.sandbox("items"), "it is a work item")
    traced.control(digital_channels={"mode": "ok"})
    trace = traced.lines("worker", "consumer_message_dead")[-1]["trace"]
    spans = all_of(
        collector, trace, "process inbound", "process inbound", "send events", "process events", "POST", "POST"
    )
    [refused] = [span for span in spans if span.failed and span.kind == "CONSUMER"]
    assert (refused.name, refused.attributes["error.type"]) == ("process inbound", "refused")
    assert ["send events", "process events", "POST"] in [path(spans, span)[-3:] for span in spans]
    assert b"canary" not in b"".join(collector.raw)
