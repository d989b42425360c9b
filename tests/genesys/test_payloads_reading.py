"""The tolerant reader: the documented examples, what the contract leaves open, and anything at all."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dcbridge.events import event as events
from dcbridge.genesys import payloads
from dcbridge.messages import Address, AgentMessage, Content, Reason

SMS = orjson.loads(b"""{"channel": {"id": "0123456789", "type": "sms", "from": {"id": "0123456789"},
    "to": {"id": "16504661149"}, "messageId": "1613474523265-0"}, "type": "Text", "text": "Agent message text"}""")
EMAIL = orjson.loads(b"""{"channel": {"id": "company.com", "type": "email",
    "from": {"id": "no-reply@company.com", "name": "Sender display name"},
    "to": [{"id": "recipient-1@mail.com", "name": "First Recipient"},
           {"id": "recipient-2@mail.com", "name": "Second Recipient"}],
    "messageId": "f7acbac6-68db-4031-aec2-4bbd02627c4b",
    "context": {"replyTo": {"id": "reply-to@company.com", "name": "Responder display name"}}},
    "type": "Email", "subject": "Subject", "content": [{"type": "text", "text": "Plain text email body"},
    {"type": "html", "text": "Html email body"}]}""")


def changed(value: Any, path: str, to: Any = ...) -> Any:
    """A copy with the dotted path set, or removed."""
    copy = orjson.loads(orjson.dumps(value))
    *parents, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    at = copy
    for step in parents:
        at = at[step]
    if to is ...:
        del at[last]
    else:
        at[last] = to
    return copy


def read(value: Any, endpoint: str = "main") -> payloads.Incoming:
    [one] = payloads.read_webhook(orjson.dumps(value), endpoint, "trace")
    return one


# ---------------------------------------------------------------- the documented examples


def test_the_documented_sms() -> None:
    one = read(SMS)
    assert (one.message_id, one.channel_id, one.problem) == ("1613474523265-0", "0123456789", None)
    assert one.copies == (
        AgentMessage(
            channel_id="0123456789",
            message_id="1613474523265-0",
            sender=Address("0123456789"),
            to=Address("16504661149"),
            recipients=(Address("16504661149"),),
            type="Text",
            text="Agent message text",
            trace_id="trace",
        ),
    )


def test_the_documented_email_is_one_copy_for_each_recipient() -> None:
    one = read(EMAIL)
    assert one.problem is None
    first, second = one.copies
    both = (Address("recipient-1@mail.com", "First Recipient"), Address("recipient-2@mail.com", "Second Recipient"))
    assert (first.to, second.to) == both
    assert first.recipients == second.recipients == both
    assert first.sender == Address("no-reply@company.com", "Sender display name")
    assert first.reply_to == Address("reply-to@company.com", "Responder display name")
    assert first.contents == (Content("text", "Plain text email body"), Content("html", "Html email body"))
    assert (first.subject, first.type, first.text) == ("Subject", "Email", "")
    assert (first.index, second.index) == (0, 1)
    assert second.ref == f"{first.ref}-1"


# ---------------------------------------------------------------- what the contract leaves open

TOLERATED = [
    ("one object in a list", [SMS]),
    ("one object in messages", {"messages": [SMS]}),
    ("to as a list", changed(SMS, "channel.to", [{"id": "16504661149"}])),
    ("to as a bare text", changed(SMS, "channel.to", "16504661149")),
    ("an id as a number", changed(SMS, "channel.to.id", 16504661149)),
    ("white space around an id", changed(SMS, "channel.to.id", " 16504661149\n")),
    ("type of the channel in capitals", changed(SMS, "channel.type", "SMS")),
    ("no type of the channel", changed(SMS, "channel.type")),
    ("messageId beside the channel", changed(changed(SMS, "channel.messageId"), "messageId", "1613474523265-0")),
    ("unknown fields everywhere", changed(changed(SMS, "channel.platform", {"a": [1]}), "id", "x")),
    ("an empty content", changed(SMS, "content", [])),
    ("content null", changed(SMS, "content", None)),
    ("subject null", changed(SMS, "subject", None)),
    ("context of another shape", changed(SMS, "channel.context", "later")),
    ("the same recipient twice", changed(SMS, "channel.to", [{"id": "16504661149"}, {"id": "16504661149"}])),
    ("a recipient without an id beside one with", changed(SMS, "channel.to", [{}, None, {"id": "16504661149"}])),
]


@pytest.mark.parametrize(("what", "value"), TOLERATED, ids=[what for what, _ in TOLERATED])
def test_what_is_read_as_the_documented_sms(what: str, value: Any) -> None:
    assert read(value).copies == read(SMS).copies
    assert read(value).problem is None


@pytest.mark.parametrize("kind", ["text", "TEXT", "Structured", "RichMedia", "", None, 7])
def test_a_type_that_we_do_not_know_is_carried_by_its_text(kind: object) -> None:
    one = read(changed(SMS, "type", kind))
    assert one.problem is None
    assert one.copies[0].text == "Agent message text"


STRUCTURE, UNSUPPORTED = Reason.INVALID_STRUCTURE, Reason.UNSUPPORTED

REFUSED = [
    (changed(SMS, "channel"), STRUCTURE, "channel is missing", 0),
    (changed(SMS, "channel", []), STRUCTURE, "channel is missing", 0),
    (changed(SMS, "channel.id"), STRUCTURE, "channel.id", 1),
    (changed(SMS, "channel.id", True), STRUCTURE, "channel.id", 1),
    (changed(SMS, "channel.id", " "), STRUCTURE, "channel.id", 1),
    (changed(SMS, "channel.from"), STRUCTURE, "channel.from.id", 1),
    (changed(SMS, "channel.from", {"name": "x"}), STRUCTURE, "channel.from.id", 1),
    (changed(SMS, "channel.to"), STRUCTURE, "channel.to has no id", 0),
    (changed(SMS, "channel.to", []), STRUCTURE, "channel.to has no id", 0),
    (changed(SMS, "channel.to", [{"id": 1.5}]), STRUCTURE, "channel.to has no id", 0),
    (changed(SMS, "text", 5), STRUCTURE, "text is not a text", 1),
    (changed(SMS, "text", ["x"]), STRUCTURE, "text is not a text", 1),
    (changed(SMS, "text", ""), STRUCTURE, "text is missing or empty", 1),
    (changed(SMS, "text"), STRUCTURE, "text is missing or empty", 1),
    (changed(changed(SMS, "text"), "type", "RichMedia"), UNSUPPORTED, "nothing in the message", 1),
    (changed(EMAIL, "subject", {}), STRUCTURE, "subject", 2),
    (changed(EMAIL, "content", {}), STRUCTURE, "content", 2),
    (changed(EMAIL, "content", ["x"]), STRUCTURE, "content", 2),
    (changed(EMAIL, "content.0.text", 7), STRUCTURE, "content", 2),
    (changed(EMAIL, "content", [{"type": "image", "text": "x"}]), UNSUPPORTED, "nothing in the message", 2),
    (changed(EMAIL, "content", [{"type": "text", "text": ""}]), UNSUPPORTED, "nothing in the message", 2),
    (changed(EMAIL, "channel.type", "sms"), UNSUPPORTED, "an SMS channel carries text only", 2),
    (changed(EMAIL, "channel.to", [{"id": f"{n}@x.org"} for n in range(1001)]), STRUCTURE, "more than 1000", 1000),
    ("text", STRUCTURE, "not an object", 0),
    (None, STRUCTURE, "not an object", 0),
    ([], STRUCTURE, "channel is missing", 0),
    ({"messages": []}, STRUCTURE, "channel is missing", 0),
    ({"messages": {}}, STRUCTURE, "channel is missing", 0),
    ([[SMS]], STRUCTURE, "not an object", 0),
]


@pytest.mark.parametrize(("value", "reason", "what", "copies"), REFUSED)
def test_what_is_wrong_is_said_in_the_message(value: Any, reason: Reason, what: str, copies: int) -> None:
    """The accepted twins are the documented examples; each copy that can be named gets its receipt."""
    one = read(value)
    assert one.problem is not None
    assert one.problem.reason is reason
    assert what in one.problem.what
    assert len(one.copies) == copies
    assert one.message_id


def test_email_types_are_read_in_any_case_and_kept_in_order() -> None:
    one = read(changed(EMAIL, "content", [{"type": "HTML", "text": "b"}, {"type": "Text", "text": "a"}, {}]))
    assert [c.type for c in one.copies[0].contents] == ["html", "text", ""]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])  # two parsers, and they differ on such numbers
def test_a_number_too_long_for_anybody_is_no_id(encoding: str) -> None:
    text = json.dumps(changed(SMS, "channel.to", {"id": 7})).replace("7}", "10000000000000000000000000}")
    [one] = payloads.read_webhook(text.encode(encoding), "main")
    assert (one.problem and one.problem.what, one.copies) == ("channel.to has no id", ())


def test_several_messages_in_one_webhook_are_read_each_for_itself() -> None:
    other = changed(SMS, "channel.messageId", "2")
    for value in ([SMS, other, 7], {"messages": [SMS, other, 7], "extra": 1}):
        found = payloads.read_webhook(orjson.dumps(value), "main")
        assert [one.message_id for one in found[:2]] == ["1613474523265-0", "2"]
        assert [one.problem is None for one in found] == [True, True, False]


def test_a_message_with_a_channel_beside_messages_is_one_message() -> None:
    assert read(changed(SMS, "messages", [1, 2])).copies == read(SMS).copies


# ---------------------------------------------------------------- ids of our own


def test_a_message_without_an_id_gets_the_same_one_again_and_others_get_others() -> None:
    body = orjson.dumps(changed(SMS, "channel.messageId"))
    [first], [again] = payloads.read_webhook(body, "main"), payloads.read_webhook(body, "main")
    [elsewhere] = payloads.read_webhook(body, "other")
    [other] = payloads.read_webhook(body.replace(b"Agent", b"agent"), "main")
    assert first.message_id == again.message_id
    assert first.message_id.startswith("dcbridge-")
    assert len({first.message_id, elsewhere.message_id, other.message_id}) == 3


def test_the_same_words_twice_in_one_webhook_are_two_messages() -> None:
    value = changed(SMS, "channel.messageId")
    first, second = payloads.read_webhook(orjson.dumps([value, value]), "main")
    assert first.message_id != second.message_id


# ---------------------------------------------------------------- encodings and oddities


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_every_encoding_of_json(encoding: str) -> None:
    value = changed(SMS, "text", "Grüße, 你好 😀")
    [one] = payloads.read_webhook(json.dumps(value, ensure_ascii=False).encode(encoding), "main")
    assert one.copies[0].text == "Grüße, 你好 😀"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'"\\ud83d"', "\ufffd"),
        (b'"a\\udc00b"', "a\ufffdb"),
        (b'"\\ud83d\\ude00"', "😀"),
        (b'{"\\ud800": ["\\udfff"]}', {"\ufffd": ["\ufffd"]}),
        (b'  {"a": 1}\r\n', {"a": 1}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'"\\u0000"', "\x00"),
    ],
)
def test_odd_json(body: bytes, expected: object) -> None:
    assert payloads.read_json(body) == expected


@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"{", b"{'a': 1}", b"NaN", b"[Infinity]", b"\xff\xfe", b"\x00", b"text=1&a=2", b'"a\nb"', b"{}{}",
     b"[" * 100_000, b"[" * 5000 + b"]" * 5000, b'"\xc3\x28"', b'{"a":' * 2000 + b"1" + b"}" * 2000],
)  # fmt: skip
def test_what_is_no_json_is_said_so(body: bytes) -> None:
    with pytest.raises(payloads.NotJson):
        payloads.read_webhook(body, "main")
    with pytest.raises(payloads.NotJson):
        payloads.read_interactions(body)


@pytest.mark.parametrize("depth", [10, 200, 300, 900])
def test_deep_fields_that_nobody_knows_are_kept_or_the_whole_is_refused(depth: int) -> None:
    body = orjson.dumps(SMS)[:-1] + b',"extra":' + b"[" * depth + b"]" * depth + b"}"
    [one] = payloads.read_webhook(body, "main")
    assert payloads.read_stored(one.payload, 0, one.message_id) == one.copies[0]
    assert b"[" * depth in one.payload.replace(b" ", b"")


# ---------------------------------------------------------------- what is stored


def test_unknown_fields_survive_in_the_payload() -> None:
    value = changed(changed(EMAIL, "attachments", [{"url": "genesys://nexus/1"}]), "channel.metadata", {"a": None})
    assert orjson.loads(read(value).payload) == value


def test_the_stored_payload_gives_the_same_copies() -> None:
    for one in (read(SMS), read(EMAIL), *(read(value) for _, value in TOLERATED)):
        for copy in one.copies:
            assert payloads.read_stored(one.payload, copy.index, one.message_id, "trace") == copy
    with pytest.raises(ValueError, match="no such copy"):
        payloads.read_stored(read(SMS).payload, 1, "1613474523265-0")


HUGE = b"1" + b"0" * 400
PIECES = [
    HUGE, b"-" + HUGE, b"1" * 5000, b"1e400", b"-1e400", b"1" * 400 + b".5", b"1e-400", b"0." + b"1" * 5000,
    b"18446744073709551615", b"18446744073709551616", b"-9223372036854775808", b"-9223372036854775809", b"12345678901",
    b'"\\ud83d"', b'{"\\ud800":1,"\\udfff":2}', b'"\xed\xa0\x80"', b'{"a":1,"a":2}', b'"\\u0000"', b'""',
    b"[" * 240 + b"]" * 240, b"[" * 300 + b"]" * 300, b"[" * 900 + b"]" * 900, b'{"a":' * 400 + b"1" + b"}" * 400,
    b"[" * 400 + HUGE + b"]" * 400, b'{"a":[' * 200 + b'"\\ud83d"' + b"]}" * 200, b"[" + b"1e999," * 3000 + b"1]",
]  # fmt: skip


@pytest.mark.parametrize("piece", PIECES, ids=lambda piece: piece[:16].decode("latin-1") + f" {len(piece)}")
@pytest.mark.parametrize("beside", [b"1", HUGE, b'"\\ud83d"'], ids=["alone", "a number", "a surrogate"])
def test_what_is_taken_in_can_be_read_again(piece: bytes, beside: bytes) -> None:
    """With what it stands beside decides which of two readers takes the body."""
    body = orjson.dumps(SMS)[:-1] + b',"extra":' + piece + b',"beside":' + beside + b"}"
    for bodies in (body, b"[" + body + b"," + body.replace(b"1613474523265-0", b"2") + b"]"):
        for one in payloads.read_webhook(bodies, "main", "trace"):
            assert (one.problem, len(one.copies)) == (None, 1)
            orjson.loads(one.payload)  # as versions before this one read it
            assert payloads.read_stored(one.payload, 0, one.message_id, "trace") == one.copies[0]
            assert one.copies[0].text == SMS["text"]


@pytest.mark.parametrize("place", ["channel.id", "channel.messageId", "channel.to", "channel.from", "text", "subject"])
@pytest.mark.parametrize("piece", [HUGE, b"1e400", b"18446744073709551616"])
def test_a_number_that_is_too_large_is_nothing_wherever_it_stands(place: str, piece: bytes) -> None:
    body = orjson.dumps(changed(SMS, place, "here")).replace(b'"here"', piece)
    [one] = payloads.read_webhook(body, "main")
    for copy in one.copies:
        stored = payloads.read_stored(one.payload, 0, one.message_id)
        assert (stored.to, stored.sender, stored.channel_id) == (copy.to, copy.sender, copy.channel_id)


@pytest.mark.parametrize("extra", [HUGE, b"Infinity", b"-Infinity", b"NaN", b"[" + HUGE + b",NaN]"])
def test_what_older_versions_stored_is_read(extra: bytes) -> None:
    payload = orjson.dumps(SMS)[:-1] + b', "extra": ' + extra + b"}"
    assert payloads.read_stored(payload, 0, "1613474523265-0", "trace") == read(SMS).copies[0]


@pytest.mark.parametrize("piece", PIECES, ids=lambda piece: piece[:16].decode("latin-1") + f" {len(piece)}")
def test_an_event_with_it_can_be_kept_and_read_again(piece: bytes) -> None:
    body = b'{"data":{"entities":[{"event":"STARTED","entity":{"id":"1","x":' + piece + b"}}]}}"
    [kept], _ = events.split("events", body, events.moment(0), "trace")
    if piece.count(b"[") + piece.count(b"{") > 240:  # deeper than a subscriber's body can be written
        with pytest.raises(payloads.NotJson, match="nested too deeply"):
            events.for_ledger(kept, {})
        return
    content = events.for_ledger(kept, {}).content
    assert events.read(kept.event.id, b"0 1 " + content).event.interaction == "1"


@pytest.mark.parametrize("literal", [b"NaN", b"Infinity", b"-Infinity"])
def test_what_is_no_number_of_json_is_not_taken_in(literal: bytes) -> None:
    with pytest.raises(payloads.NotJson):
        payloads.read_webhook(orjson.dumps(SMS)[:-1] + b',"extra":' + literal + b"}", "main")


# ---------------------------------------------------------------- anything

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
NAMES = [
    "channel", "id", "type", "from", "to", "messageId", "context", "replyTo", "name", "text", "subject", "content",
    "messages",
]  # fmt: skip
LIKE_A_MESSAGE = st.recursive(
    JSON, lambda inner: st.dictionaries(st.sampled_from(NAMES), inner, max_size=6) | st.lists(inner, max_size=3)
)


@given(st.binary(max_size=200))
@example(b'{"channel":{"messageId":12345678901234567890123}}')
def test_any_bytes_are_read_or_are_no_json(body: bytes) -> None:
    try:
        found = payloads.read_webhook(body, "main")
        payloads.read_interactions(body)
    except payloads.NotJson:
        return
    assert found


@given(LIKE_A_MESSAGE, st.sampled_from(["utf-8", "utf-16"]))
def test_any_json_is_read_and_stored(value: Any, encoding: str) -> None:
    body = json.dumps(value).encode(encoding)
    try:
        found = payloads.read_webhook(body, "main", "trace")
    except payloads.NotJson:
        assert "NaN" in body.decode(encoding) or "Infinity" in body.decode(encoding)
        return
    for one in found:
        assert one.message_id
        assert one.problem is not None or one.copies
        assert one.problem is not None or one.channel_id
        for copy in one.copies:
            copy.text.encode()  # what comes out can be written in UTF-8
            assert payloads.read_stored(one.payload, copy.index, one.message_id, "trace") == copy
    payloads.read_interactions(body)


PATHS = st.sampled_from(
    ["channel", "channel.id", "channel.from", "channel.from.id", "channel.to", "channel.messageId", "channel.type",
     "channel.context", "type", "text", "subject", "content"]
)  # fmt: skip


@given(st.sampled_from([SMS, EMAIL]), PATHS, JSON)
def test_a_documented_message_with_anything_in_one_place(message: Any, path: str, value: Any) -> None:
    body = json.dumps(changed(message, path, None)).encode()
    body = json.dumps(_put(orjson.loads(body), path, value)).encode()
    try:
        [one] = payloads.read_webhook(body, "main", "trace")
    except payloads.NotJson:
        return
    for copy in one.copies:
        assert payloads.read_stored(one.payload, copy.index, one.message_id, "trace") == copy


def _put(value: Any, path: str, what: Any) -> Any:
    *parents, last = path.split(".")
    at = value
    for step in parents:
        at = at[step]
    at[last] = what
    return value


# ---------------------------------------------------------------- interactions


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            {"operationId": "op", "data": {"entities": [{"event": "STARTED", "entity": {"id": "i-1"}}]}},
            ("op", [("i-1", "STARTED")]),
        ),
        ({"operationId": "op", "data": {"entities": [{}]}}, ("op", [("", "")])),
        ({"operationId": 7, "data": {"entities": [{"event": "NEW", "entity": {}}, 5]}}, ("7", [("", "NEW"), ("", "")])),
        ({"data": {"entities": {}}}, ("", [])),
        ({"data": []}, ("", [])),
        ({}, ("", [])),
        ([], ("", [])),
        ("text", ("", [])),
    ],
)
def test_interactions(value: Any, expected: object) -> None:
    operation, told = payloads.read_interactions(orjson.dumps(value))
    assert (operation, [(one.interaction, one.name) for one in told]) == expected


def test_a_short_body_is_kept_as_it_came_and_a_long_one_without_its_white_space() -> None:
    pretty = json.dumps(SMS, indent=2).encode()
    [short] = payloads.read_webhook(pretty, "main")
    assert (short.payload, short.raw) == (pretty, pretty)
    long = pretty + b" " * payloads.AS_IT_CAME
    [padded] = payloads.read_webhook(long, "main")
    assert (padded.payload, padded.raw) == (orjson.dumps(SMS), long)
    for one in (short, padded):
        assert payloads.read_stored(one.payload, 0, one.message_id) == one.copies[0]


@pytest.mark.parametrize("body", [b"[%s]", b'{"messages": [%s]}', b"\xef\xbb\xbf%s"], ids=["list", "messages", "mark"])
def test_what_is_not_the_message_alone_is_written_again(body: bytes) -> None:
    [one] = payloads.read_webhook(body % json.dumps(SMS, indent=2).encode(), "main")
    assert one.payload == orjson.dumps(SMS)
