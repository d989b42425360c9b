"""Africa's Talking: our request against its own library, every answer, every callback."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlencode

import httpx
import pytest
from pydantic import ValidationError

from dcbridge.errors import (
    AccountFault,
    BadSignature,
    OutcomeUnknown,
    Refused,
    SendError,
    Throttled,
    Unreadable,
    UnreadableEvent,
)
from dcbridge.messages import Address, AgentMessage, ConsumerMessage, Cost, DeliveryUpdate, Reason, UpdateStatus
from dcbridge.providers.africastalking import AfricasTalking, AfricasTalkingFields
from dcbridge.providers.base import Callback, CallbackKind, Submission, Turn
from tests.providers.recorder import Heard, recording

SECRET, OTHER = "0123456789abcdef", "f" * 16
TEXTS = ["Hello", "Grüße & 1+1=2 €😀", "a=b&c;d\n%41 +x", "नमस्ते", "\u00a0~*'()"]
ID = "ATXid_dda018a640edfcc5d2ce455de3e4a6e7"


def adapter(**fields: object) -> AfricasTalking:
    given = {"username": "acme", "api_key": "atsk_1", "callback_secret": SECRET, **fields}
    return AfricasTalking("acme", AfricasTalkingFields.model_validate(given), "https://bridge.example.com")


def message(text: str = "Hello", sender: str = "12025550123") -> AgentMessage:
    to = Address("254711123456")
    return AgentMessage("0123456789", "1613474523265-0", Address(sender), to, (to,), "Text", text)


ROWS = [(text, sender) for text in TEXTS for sender in ("+12025550123", "20880", "ACME", "")]


def test_requests_are_those_that_its_library_writes() -> None:
    from africastalking.SMS import SMSService  # type: ignore[import-untyped]  # ships no types

    class Loopback(SMSService):  # type: ignore[misc]
        def _make_url(self, path: str, content: object = None) -> str:
            return f"{url}/version1{path}"

    with recording(lambda heard: {}) as (url, arrived):
        for text, sender in ROWS:
            Loopback("acme", "atsk_1").send(text, ["+254711123456"], sender or None)
            ours = adapter(base_url=url, shared_sender=not sender)
            said = message(text, sender or "12025550123")
            with httpx.Client() as http:
                http.send(ours.build_request(Turn(said, ours.parts(said)[0], 0.0)))
    assert len(arrived) == 2 * len(ROWS)
    for theirs, mine in zip(arrived[::2], arrived[1::2], strict=True):
        assert _compared(mine) == _compared(theirs)


def _compared(heard: Heard) -> tuple[Any, ...]:
    headers = [heard.headers[name] for name in ("apikey", "accept", "content-type")]
    return heard.method, heard.path, headers, sorted(parse_qsl(heard.body.decode(), strict_parsing=True))


@pytest.mark.parametrize(("text", "parts"), [("a" * 918, 1), ("a" * 919, 2), ("я" * 402, 1), ("я" * 403, 2)])
def test_a_text_of_more_than_six_sms_goes_in_several_requests(text: str, parts: int) -> None:
    pieces = adapter().parts(message(text))
    assert len(pieces) == parts
    assert "".join(piece.text for piece in pieces) == text


def answered(*recipients: object, said: str = "Sent to 1/1 Total Cost: KES 0.8000") -> dict[str, object]:
    return {"SMSMessageData": {"Message": said, "Recipients": recipients}}


def one(status_code: object, status: str = "", **more: object) -> dict[str, object]:
    given = {"statusCode": status_code, "number": "+254711123456", "status": status, "cost": "0", "messageId": "None"}
    return {**given, **more}


TAKEN = {"cost": "KES 0.8000", "messageId": ID}


@pytest.mark.parametrize(
    ("body", "cost"),
    [
        *((answered(one(known, "Success", **TAKEN)), 0) for known in (100, 101, 102, "101")),
        (answered(one(101, "Success", messageParts=3, **TAKEN)), 3),
        (answered(one(199, "Success", **TAKEN)), 0),
        # What courier's tests answer with: no code at all.
        (answered({"status": "Success", "messageId": "1002"}), None),
    ],
)
def test_an_answer_that_the_message_is_taken(body: object, cost: int | None) -> None:
    taken = adapter().parse_response(httpx.Response(201, json=body))
    assert isinstance(taken, Submission)
    assert taken.provider_id == ("1002" if cost is None else ID)
    assert taken.cost == (None if cost is None else Cost("acme", "KES", 80_000_000, cost))


REFUSALS: list[tuple[int, object, type[SendError], Reason, str]] = [
    *((201, answered(one(known)), Refused, Reason.NOT_ALLOWED, str(known)) for known in (401, 402, 406, 409)),
    *((201, answered(one(known)), Refused, Reason.INVALID_DESTINATION, str(known)) for known in (403, 404, 407)),
    *((201, answered(one(known)), OutcomeUnknown, Reason.GENERAL, str(known)) for known in (500, 501)),
    (201, answered(one(405)), AccountFault, Reason.GENERAL, "405"),
    (201, answered(one(502)), Refused, Reason.GENERAL, "502"),
    (200, answered(one(499)), Refused, Reason.GENERAL, "499"),
    (201, answered(one("406", "UserInBlacklist")), Refused, Reason.NOT_ALLOWED, "406"),
    (201, answered(one(403), one(101, "Success", **TAKEN)), Refused, Reason.INVALID_DESTINATION, "403"),
    (201, answered(said="InvalidSenderId"), Refused, Reason.NOT_ALLOWED, "InvalidSenderId"),
    (201, answered(said="Sent to 0/1 Total Cost: 0"), Refused, Reason.GENERAL, "HTTP 201"),
    (201, answered(said="Sent to 1/1 Total Cost: KES 1"), OutcomeUnknown, Reason.GENERAL, "no recipient"),
    (201, answered("x"), OutcomeUnknown, Reason.GENERAL, "no recipient"),
    (201, {}, OutcomeUnknown, Reason.GENERAL, "no recipient"),
    (200, b"<html>", OutcomeUnknown, Reason.GENERAL, "no recipient"),
    (201, answered(one(101, "Success")), Unreadable, Reason.GENERAL, "HTTP 201"),
    (201, answered(one(101, messageId="a b")), Unreadable, Reason.GENERAL, "HTTP 201"),
    (400, b"Request is missing required form field 'to'", Refused, Reason.GENERAL, "HTTP 400"),
    (401, b"The supplied authentication is invalid", AccountFault, Reason.GENERAL, "HTTP 401"),
    (401, {"error": "failed"}, AccountFault, Reason.GENERAL, "HTTP 401"),
    (429, b"Too many requests", Throttled, Reason.RATE_LIMIT, "HTTP 429"),
    (302, b"", AccountFault, Reason.GENERAL, "HTTP 302"),
    (408, b"", OutcomeUnknown, Reason.GENERAL, "HTTP 408"),
    (503, b"", OutcomeUnknown, Reason.GENERAL, "HTTP 503"),
]


@pytest.mark.parametrize(("status", "body", "error", "reason", "code"), REFUSALS)
def test_an_answer_that_it_is_not(status: int, body: Any, error: type[SendError], reason: Reason, code: str) -> None:
    answer = httpx.Response(status, content=body) if isinstance(body, bytes) else httpx.Response(status, json=body)
    with pytest.raises(SendError) as raised:
        adapter().parse_response(answer)
    assert (type(raised.value), raised.value.reason, raised.value.code) == (error, reason, code)


# ---------------------------------------------------------------- callbacks


def callback(kind: CallbackKind, said: str | dict[str, str], secret: str = SECRET) -> Callback:
    body = said if isinstance(said, str) else urlencode(said)
    headers = {"content-type": ("application/x-www-form-urlencoded; charset=UTF-8",)}
    return Callback(
        kind, "POST", f"https://bridge.example.com/callbacks/acme/{kind}", b"", headers, body.encode(), secret
    )


@pytest.mark.parametrize(
    ("secret", "kind"), [("", "missing"), (OTHER, "no secret matches"), (SECRET + "0", "no secret matches")]
)
def test_a_callback_without_the_secret_is_refused(secret: str, kind: str) -> None:
    said = {"id": ID, "status": "Success"}
    adapter().verify(callback("status", said))
    adapter(callback_secret=[OTHER, SECRET]).verify(callback("status", said))
    with pytest.raises(BadSignature, match=kind):
        adapter().verify(callback("status", said, secret))


D, F, S = UpdateStatus.DELIVERED, UpdateStatus.FAILED, UpdateStatus.SENT


@pytest.mark.parametrize(
    ("status", "why", "becomes", "reason"),
    [
        ("Success", "", D, None),
        *((word, "", S, None) for word in ("Sent", "Submitted", "Buffered", "Queued", "a word of tomorrow")),
        ("Expired", "", F, Reason.EXPIRED),
        ("AbsentSubscriber", "", F, Reason.GENERAL),
        ("Rejected", "InsufficientCredit", F, Reason.GENERAL),
        ("Rejected", "DoNotDisturbRejection", F, Reason.NOT_ALLOWED),
        ("Failed", "UserInBlackList", F, Reason.NOT_ALLOWED),
        ("Failed", "UserDoesNotExist", F, Reason.INVALID_DESTINATION),
        ("failed", "NotNetworkSubcriber", F, Reason.INVALID_DESTINATION),  # as its own page spells it
        ("Failed", "InvalidLinkId", F, Reason.UNSUPPORTED),
        ("Failed", "DeliveryFailure", F, Reason.GENERAL),
    ],
)
def test_what_a_report_says(status: str, why: str, becomes: UpdateStatus, reason: Reason | None) -> None:
    said = {"id": ID, "status": status, "phoneNumber": "+254711123456", "networkCode": "63902", "retryCount": "0"}
    given = callback("status", said | ({"failureReason": why} if why else {}))
    assert adapter().parse_callback(given) == [DeliveryUpdate("acme", ID, becomes, reason=reason, detail=why)]
    assert adapter().event_id(given) == f"{ID}:{status}"


RECEIVED = "linkId=03090445075804249226&text={text}&to=21512&id=ec9adc86&date=2017-05-03{date}&from=%2B254791541111"


# The forms of courier's tests, with both of its spellings of a date.
@pytest.mark.parametrize("date", ["T06%3A04%3A45Z", "+06%3A04%3A45", ""])
@pytest.mark.parametrize(
    ("text", "read"),
    [("Msg", "Msg"), ("Gr%C3%BC%C3%9Fe+%26+%F0%9F%98%80", "Grüße & 😀"), ("", ""), ("%FF", "�"), ("STOP", "STOP")],
)
def test_what_a_consumer_wrote(text: str, read: str, date: str) -> None:
    given = callback("inbound", RECEIVED.format(text=text, date=date))
    expected = ConsumerMessage("acme", "ec9adc86", Address("254791541111"), Address("21512"), read)
    assert adapter().parse_callback(given) == [expected]
    assert adapter().event_id(given) == "ec9adc86:"


@pytest.mark.parametrize(
    ("kind", "said", "why"),
    [
        ("status", f"id={ID}", "no status"),
        ("status", "status=Success", "no id"),
        ("status", "id=a%20b&status=Success", "no id"),
        ("status", "", "no id"),
        ("inbound", "empty", "no id"),
        ("inbound", "id=1&from=%2B254791541111&to=21512", "no text"),
        ("inbound", "id=1&to=21512&text=x", "no From"),
        ("inbound", "id=1&from=%2B254791541111&text=x", "no To"),
        ("inbound", "senderId=ACME&phoneNumber=%2B254711123456", "no id"),  # its notification of an opt-out
    ],
)
def test_a_callback_that_cannot_be_read_is_kept(kind: CallbackKind, said: str, why: str) -> None:
    with pytest.raises(UnreadableEvent, match=why):
        adapter().parse_callback(callback(kind, said))


@pytest.mark.parametrize("fields", [{"username": "a b"}, {"api_key": "é"}, {"callback_secret": "short"}])
def test_fields_that_fit_no_request_are_refused_at_the_start(fields: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        adapter(**fields)


@pytest.mark.parametrize(
    ("username", "base_url", "doubts"),
    [
        ("sandbox", "https://api.africastalking.com", ["base_url"]),
        ("sandbox", "https://api.sandbox.africastalking.com", []),
        ("acme", "https://api.africastalking.com", []),
    ],
)
def test_the_trial_account_has_another_host(username: str, base_url: str, doubts: list[str]) -> None:
    given = {"username": username, "base_url": base_url, "api_key": "k", "callback_secret": SECRET}
    assert [field for field, _ in AfricasTalkingFields.model_validate(given).doubts()] == doubts
