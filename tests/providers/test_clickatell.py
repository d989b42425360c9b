"""Clickatell's One API: its own examples, every answer, every callback."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import orjson
import pytest

from dcbridge.errors import (
    AccountFault,
    BadSignature,
    OutcomeUnknown,
    Refused,
    RouteRefused,
    SendError,
    Throttled,
    Unreadable,
    UnreadableEvent,
)
from dcbridge.messages import Address, AgentMessage, ConsumerMessage, DeliveryUpdate, Reason, UpdateStatus
from dcbridge.providers.base import Callback, Turn, Unread
from dcbridge.providers.clickatell import Clickatell, ClickatellFields

SECRET, OTHER = "0123456789abcdef", "f" * 16
ID = "77fb29998253415fa5d66971d519d362"


def adapter(**fields: object) -> Clickatell:
    given = {"api_key": "k", "callback_secret": SECRET, **fields}
    return Clickatell("acme", ClickatellFields.model_validate(given), "https://bridge.example.com")


def message(text: str = "Hello") -> AgentMessage:
    to = Address("27999000001")
    return AgentMessage("0123456789", "1613474523265-0", Address("12027530410"), to, (to,), "Text", text)


def request(ours: Clickatell, text: str = "Hello") -> httpx.Request:
    said = message(text)
    return ours.build_request(Turn(said, ours.parts(said)[0], 0.0))


# https://www.clickatell.com/developers/api-documentation/one-api-send-plain-text-message/, two ways and one way
@pytest.mark.parametrize("two_way", [True, False])
def test_the_request_is_that_of_clickatells_example(two_way: bool) -> None:
    text = "Example two-way message on SMS Channel"
    one = {"content": text, "to": "27999000001", "channel": "sms"} | ({"from": "12027530410"} if two_way else {})
    made = request(adapter(two_way=two_way), text)
    assert (made.method, str(made.url)) == ("POST", "https://platform.clickatell.com/v1/message")
    assert (made.headers["authorization"], made.headers["content-type"]) == ("k", "application/json")
    assert orjson.loads(made.content) == {"messages": [one | {"clientMessageId": f"{message().ref}.0"}]}


@pytest.mark.parametrize(("text", "parts"), [("a" * 612, 1), ("a" * 613, 2), ("я" * 268, 1), ("я" * 269, 2)])
def test_a_text_of_more_than_four_sms_goes_in_several_requests(text: str, parts: int) -> None:
    pieces = adapter().parts(message(text))
    assert len(pieces) == parts
    assert "".join(piece.text for piece in pieces) == text


def answered(error: object = None, **more: object) -> dict[str, object]:
    one = {"apiMessageId": ID, "accepted": True, "to": "2799900001", "error": None}
    if error is not None:
        one |= {"apiMessageId": None, "accepted": False, "error": {"code": error, "description": "x"}}
    return {"messages": [one | more], "error": None}


def of_all(error: object) -> dict[str, object]:
    return {"messages": [], "error": {"code": error, "description": "x"}}


def test_an_answer_that_the_message_is_taken() -> None:
    assert adapter().parse_response(httpx.Response(202, json=answered())).provider_id == ID


REFUSALS: list[tuple[int, object, type[SendError], Reason, str]] = [
    *((400, answered(one), AccountFault, Reason.GENERAL, str(one)) for one in (2, 3, 20, 38, 39, 110, 111)),
    *((400, answered(one), Refused, Reason.NOT_ALLOWED, str(one)) for one in (26, 28)),
    *((400, answered(one), Refused, Reason.INVALID_DESTINATION, str(one)) for one in (25, 27)),
    *((400, answered(one), Refused, Reason.INVALID_STRUCTURE, str(one)) for one in (21, 22, 23, 24, 40, 100)),
    *((400, answered(one), Refused, Reason.UNSUPPORTED, str(one)) for one in (30, 31, 32)),
    *((400, answered(one), RouteRefused, Reason.NOT_ALLOWED, str(one)) for one in (44, 45, 101)),
    (400, answered(43), Throttled, Reason.RATE_LIMIT, "43"),
    (202, answered(26), Refused, Reason.NOT_ALLOWED, "26"),  # accepted by HTTP, refused in the body
    (207, answered("25"), Refused, Reason.INVALID_DESTINATION, "25"),
    (202, answered(accepted=False), Refused, Reason.GENERAL, "rejected"),
    (202, of_all(43), Throttled, Reason.RATE_LIMIT, "43"),
    (400, answered(999), Refused, Reason.GENERAL, "999"),
    (401, of_all(1), AccountFault, Reason.GENERAL, "1"),
    (401, of_all(7), AccountFault, Reason.GENERAL, "7"),
    (402, b"", AccountFault, Reason.GENERAL, "HTTP 402"),
    (429, b"", Throttled, Reason.RATE_LIMIT, "HTTP 429"),
    (500, of_all(18), OutcomeUnknown, Reason.GENERAL, "18"),
    (503, of_all(19), OutcomeUnknown, Reason.GENERAL, "19"),
    (404, b"<html>", Refused, Reason.GENERAL, "HTTP 404"),
    (202, {}, Unreadable, Reason.GENERAL, "HTTP 202"),
    (202, answered(apiMessageId="a b"), Unreadable, Reason.GENERAL, "HTTP 202"),
    (202, b"", Unreadable, Reason.GENERAL, "HTTP 202"),
]


@pytest.mark.parametrize(("status", "body", "error", "reason", "code"), REFUSALS)
def test_what_an_answer_means(status: int, body: Any, error: type[SendError], reason: Reason, code: str) -> None:
    answer = httpx.Response(status, content=body if isinstance(body, bytes) else orjson.dumps(body))
    with pytest.raises(SendError) as raised:
        adapter().parse_response(answer)
    assert (type(raised.value), raised.value.reason, raised.value.code) == (error, reason, code)


# ---------------------------------------------------------------- callbacks


def callback(event: object, secret: str = SECRET, authorization: str = "") -> Callback:
    headers = {"authorization": (authorization,)} if authorization else {}
    body = orjson.dumps({"integrationId": "fa8090815f05d5ed015f0b5b56080cd2", "integrationName": "My", "event": event})
    return Callback("events", "POST", "https://bridge.example.com/callbacks/acme/events", b"", headers, body, secret)


def report(status: object, **more: object) -> dict[str, object]:
    said = {"channel": "sms", "messageId": ID, "clientMessageId": f"{message().ref}.0", "timestamp": 1506607698000}
    return {**said, "statusCode": status, "status": "X", **more}


def wrote(text: object, charset: str = "UTF-8", **more: object) -> dict[str, object]:
    """https://www.clickatell.com/developers/api-documentation/one-api-received-message-callback/"""
    said = {
        "channel": "sms", "messageId": "3a89680503414383af44dcd0e4e5f184", "relatedMessageId": ID,
        "relatedClientMessageId": None, "from": "2799900001", "to": "2799900002", "timestamp": 1506607698000,
    }  # fmt: skip
    return {**said, "content": text, "charset": charset, **more}


D, F, S, R = UpdateStatus.DELIVERED, UpdateStatus.FAILED, UpdateStatus.SENT, UpdateStatus.REMOVED


@pytest.mark.parametrize(
    ("status", "becomes", "reason"),
    [
        *((one, S, None) for one in (1, 2, 3, 4, 24, 140)),
        *((one, D, None) for one in (5, 6, "5")),
        (21, R, None),
        (20, F, Reason.EXPIRED),
        (22, F, Reason.NOT_ALLOWED),
        *((one, F, Reason.RATE_LIMIT) for one in (26, 27, 28)),
        (29, F, Reason.INVALID_DESTINATION),
        *((one, F, Reason.UNSUPPORTED) for one in (80, 85)),
        *((one, F, Reason.GENERAL) for one in (23, 25, 60, 61, 100)),
    ],
)
def test_what_a_report_says(status: object, becomes: UpdateStatus, reason: Reason | None) -> None:
    [update] = adapter().parse_callback(callback({"messageStatusUpdate": [report(status)]}))
    detail = str(status) if becomes is F else ""
    assert update == DeliveryUpdate("acme", ID, becomes, message().ref, 0, reason, detail)


@pytest.mark.parametrize(
    ("text", "charset", "read"),
    [
        ("Text Content of the reply message", "UTF-8", "Text Content of the reply message"),
        ("50%25 + 1 ü 😀", "UTF-8", "50%25 + 1 ü 😀"),
        # As courier's tests have them, of the older API.
        ("hello%21", "ISO-8859-1", "hello!"),
        ("%00m%00e%00x%00i%00c%00o%00+%00t%00e%00n%00%ED%00a", "UTF-16BE", "mexico tenía"),
        ("%D8%3D%DE%00", "UTF-16BE", "😀"),
        ("Gr%FC%DFe", "iso-8859-1", "Grüße"),
        ("50% + 1", "ISO-8859-1", "50% + 1"),  # it has white space, and so was not quoted
        ("%00", "UTF-16BE", "�"),
        ("", "UTF-16BE", ""),
        ("a+b", "KOI8-R", "a+b"),
    ],
)
def test_what_a_consumer_wrote(text: str, charset: str, read: str) -> None:
    expected = ConsumerMessage(
        "acme", "3a89680503414383af44dcd0e4e5f184", Address("2799900001"), Address("2799900002"), read
    )
    assert adapter().parse_callback(callback({"moText": [wrote(text, charset)]})) == [expected]


def test_events_of_one_callback_are_read_each_by_itself() -> None:
    said = callback({"messageStatusUpdate": [report(4), {"messageId": ID}, 7], "moText": [wrote("x"), wrote(None)]})
    sent, no_status, no_object, text, no_text = adapter().parse_callback(said)
    assert isinstance(sent, DeliveryUpdate)
    assert isinstance(text, ConsumerMessage)
    assert no_status == Unread("no statusCode", orjson.dumps({"event": {"messageStatusUpdate": [{"messageId": ID}]}}))
    assert no_object == Unread("no messageId", b'{"event":{"messageStatusUpdate":[7]}}')
    assert no_text == Unread("no content", orjson.dumps({"event": {"moText": [wrote(None)]}}))
    assert adapter().event_id(said) == adapter().event_id(replace(said, headers={"x": ("y",)}))
    assert adapter().event_id(said) != adapter().event_id(replace(said, body=said.body + b" "))


@pytest.mark.parametrize("event", [None, {}, {"moMedia": [{"messageId": ID}]}, {"moText": []}, {"moText": 7}, 7])
def test_a_callback_that_says_nothing_of_a_text_is_kept(event: object) -> None:
    with pytest.raises(UnreadableEvent, match="no report and no text"):
        adapter().parse_callback(callback(event))


@pytest.mark.parametrize("reference", [None, "", "of another system", 7])
def test_a_report_without_our_reference_is_found_by_its_id(reference: object) -> None:
    [update] = adapter().parse_callback(callback({"messageStatusUpdate": [report(5, clientMessageId=reference)]}))
    assert update == DeliveryUpdate("acme", ID, D)
    assert adapter().can.named_by_id


@pytest.mark.parametrize(
    ("secret", "authorization", "kind"),
    [
        ("", "", "missing"),
        (OTHER, "", "no secret matches"),
        (SECRET + "0", "", "no secret matches"),
        ("", "Basic Zm9vOmZvbw==", "no secret matches"),
    ],
)
def test_a_callback_without_the_secret_is_refused(secret: str, authorization: str, kind: str) -> None:
    said = {"moText": [wrote("x")]}
    adapter().verify(callback(said))
    adapter().verify(callback(said, "", "Basic Zm9vOjAxMjM0NTY3ODlhYmNkZWY="))
    adapter(callback_secret=[OTHER, SECRET]).verify(callback(said))
    with pytest.raises(BadSignature, match=kind):
        adapter().verify(callback(said, secret, authorization))
