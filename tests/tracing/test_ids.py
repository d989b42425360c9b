"""Which trace a request continues, and the ids that several processes derive alike."""

from __future__ import annotations

import pytest

from dcbridge.tracing.ids import Parent, marked, parent_of, span_id_of, split, trace_id_of

TRACE, SHORT, SPAN = "463ac35c9f6413ad48485a3953bb6124", "463ac35c9f6413ad", "a2fb4a1d1a96d312"
NUMBER = int(SPAN, 16)
W3C = f"00-{TRACE}-{SPAN}-01"


def of(**headers: str) -> Parent:
    return parent_of([(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()])


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, Parent()),
        ({"x_b3_traceid": TRACE}, Parent(TRACE)),
        ({"x_b3_traceid": TRACE, "x_b3_spanid": SPAN}, Parent(TRACE, NUMBER)),
        ({"x_b3_traceid": SHORT, "x_b3_spanid": SPAN, "x_b3_sampled": "1"}, Parent(SHORT, NUMBER, True)),
        ({"x_b3_traceid": TRACE, "x_b3_spanid": SPAN, "x_b3_sampled": "0"}, Parent(TRACE, NUMBER, False)),
        ({"x_b3_traceid": TRACE, "x_b3_sampled": "false"}, Parent(TRACE, 0, False)),
        ({"x_b3_traceid": TRACE, "x_b3_sampled": "perhaps"}, Parent(TRACE)),
        ({"x_b3_traceid": TRACE, "x_b3_flags": "1", "x_b3_sampled": "0"}, Parent(TRACE, 0, True)),
        ({"x_b3_traceid": TRACE.upper(), "x_b3_spanid": SPAN.upper()}, Parent(TRACE.upper(), NUMBER)),
        ({"x_b3_traceid": "0" * 32, "x_b3_spanid": SPAN}, Parent("0" * 32)),
        ({"x_b3_traceid": "any words", "x_b3_spanid": SPAN}, Parent("any words")),
        ({"x_b3_traceid": TRACE, "x_b3_spanid": "12"}, Parent(TRACE)),
        ({"x_b3_traceid": TRACE, "traceparent": f"00-{'1' * 32}-{SPAN}-01"}, Parent(TRACE)),
        ({"b3": f"{TRACE}-{SPAN}-1"}, Parent(TRACE, NUMBER, True)),
        ({"b3": f"{TRACE}-{SPAN}"}, Parent(TRACE, NUMBER)),
        ({"b3": f"{SHORT}-{SPAN}-d-{SPAN}"}, Parent(SHORT, NUMBER, True)),
        ({"b3": f"{TRACE}-{SPAN}-0"}, Parent(TRACE, NUMBER, False)),
        ({"b3": "0"}, Parent("", 0, False)),
        ({"b3": f"{'0' * 32}-{SPAN}-1"}, Parent()),
        ({"b3": f"{TRACE}-{SPAN}-2"}, Parent()),
        ({"b3": TRACE, "traceparent": W3C}, Parent(TRACE, NUMBER, True)),
        ({"traceparent": W3C}, Parent(TRACE, NUMBER, True)),
        ({"traceparent": f"00-{TRACE}-{SPAN}-02"}, Parent(TRACE, NUMBER, False)),
        ({"traceparent": f"01-{TRACE}-{SPAN}-01-more"}, Parent(TRACE, NUMBER, True)),
        ({"traceparent": f"00-{TRACE}-{SPAN}-01-more"}, Parent()),
        ({"traceparent": f"ff-{TRACE}-{SPAN}-01"}, Parent()),
        ({"traceparent": f"00-{'0' * 32}-{SPAN}-01"}, Parent()),
        ({"traceparent": f"00-{TRACE}-{'0' * 16}-01"}, Parent()),
        ({"traceparent": W3C.upper()}, Parent()),
        ({"traceparent": f"01-{TRACE}-{SPAN}-01-{'x' * 1000}"}, Parent()),
    ],
)
def test_the_trace_that_a_request_continues(headers: dict[str, str], expected: Parent) -> None:
    assert of(**headers) == expected


def test_of_two_traceparents_none_is_believed() -> None:
    assert parent_of([(b"traceparent", W3C.encode())] * 2) == Parent()


def test_bytes_that_are_no_text() -> None:
    assert parent_of([(b"traceparent", b"\xff\xfe"), (b"b3", b"\x80" * 32)]) == Parent()


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        (TRACE, int(TRACE, 16)),
        (TRACE.upper(), int(TRACE, 16)),
        (f"{TRACE}:0", int(TRACE, 16)),
        (SHORT, int(SHORT, 16)),
        ("05bb858a-3468-4c82-a8ce-3b1a9c4e4b67", 0x05BB858A34684C82A8CE3B1A9C4E4B67),
    ],
)
def test_a_trace_that_is_a_number_keeps_it(trace: str, expected: int) -> None:
    assert trace_id_of(trace) == expected


@pytest.mark.parametrize("trace", ["", "any words", "0" * 32, "0" * 16, "12", "g" * 32, "\udc80"])
def test_any_other_trace_has_a_number_that_is_always_the_same(trace: str) -> None:
    assert 0 < trace_id_of(trace) < 1 << 128
    assert trace_id_of(trace) == trace_id_of(trace)
    assert trace_id_of(trace) != trace_id_of(trace + "x")


def test_the_span_of_a_message_is_known_from_its_trace_and_name() -> None:
    assert 0 < span_id_of(TRACE, "ref") < 1 << 64
    assert span_id_of(TRACE, "ref") == span_id_of(f"{TRACE.upper()}:1", "ref")
    assert len({span_id_of(TRACE, "ref"), span_id_of(TRACE, "ref-1"), span_id_of(SHORT, "ref")}) == 3


def test_what_was_decided_travels_with_the_trace() -> None:
    assert split(marked(TRACE, False)) == (TRACE, False)
    assert split(marked(SHORT, True)) == (SHORT, True)
    for other in ("a.b_c:d-e", "abc:0", TRACE, f"{TRACE}:2", "x" * 64, ""):
        assert split(other) == (other, None)
    assert marked("any words", False) == "any words"
