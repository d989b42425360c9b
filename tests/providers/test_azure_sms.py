"""Azure: our requests and signatures against Azure's own library, every answer, every callback."""

from __future__ import annotations

import base64
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import orjson
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
from dcbridge.messages import Address, AgentMessage, ConsumerMessage, DeliveryUpdate, Reason, UpdateStatus
from dcbridge.providers.azure_sms import AzureSms, AzureSmsFields
from dcbridge.providers.base import Callback, Turn, Unread
from tests.providers.recorder import recording

KEY, SECRET = base64.b64encode(b"k" * 64).decode(), "0123456789abcdef"
EVENTS = "https://bridge.example.com/callbacks/acme/events"
TEXT = "Grüße & 1+1=2 €😀"
NOW = 1_790_000_000.0


def azure(**fields: object) -> AzureSms:
    given = {"base_url": "https://x.communication.azure.com", "access_key": KEY, "callback_secret": SECRET, **fields}
    return AzureSms("acme", AzureSmsFields.model_validate(given), "https://bridge.example.com")


def message(text: str = TEXT) -> AgentMessage:
    to = Address("16504661149")
    return AgentMessage("0123456789", "1613474523265-0", Address("12025550123"), to, (to,), "Text", text)


def request(ours: AzureSms, part: int = 0, began_at: float = NOW, said: AgentMessage | None = None) -> httpx.Request:
    said = said or message()
    return ours.build_request(Turn(said, ours.parts(said)[part], NOW - 9000, began_at))


def test_the_request_is_the_one_that_azures_library_writes() -> None:
    from azure.communication.sms import SmsClient  # takes seconds
    from azure.core.credentials import AzureKeyCredential

    said = message()
    with recording(lambda _: {"value": [item(successful=True)]}, 202) as (url, arrived):
        client: Any = SmsClient(url, AzureKeyCredential(KEY))
        [made] = client.send("+12025550123", "+16504661149", TEXT, enable_delivery_report=True, tag=f"{said.ref}.0")
        client._sms_service_client.close()
        ours = request(azure(base_url=url))
        with httpx.Client() as http:
            assert azure().parse_response(http.send(ours)).provider_id == made.message_id == "m-1"
        their, one = arrived
        theirs, written = orjson.loads(their.body), orjson.loads(one.body)
        # Its own key and time of each call, of the same form; everything else is the same.
        for each in (theirs, written):
            [recipient] = each["smsRecipients"]
            assert len(recipient.pop("repeatabilityRequestId")) == 36
            assert parsedate_to_datetime(recipient.pop("repeatabilityFirstSent"))
        assert (their.method, their.path, theirs) == (one.method, one.path, written)
        assert one.headers["content-type"] == their.headers["content-type"]
        # The same bytes, signed for the moment at which theirs were: the same three headers.
        again = httpx.Request("POST", f"{url}{their.path}", content=their.body)
        moment = parsedate_to_datetime(their.headers["x-ms-date"]).timestamp()
        signed = azure(base_url=url).login.signed(again, moment)
        for name in ("authorization", "x-ms-date", "x-ms-content-sha256"):
            assert signed.headers[name] == their.headers[name]


def test_a_second_attempt_repeats_the_key_and_the_time_and_another_part_has_its_own() -> None:
    said = message("a" * 2000)
    first, again, other = request(azure(), said=said), request(azure(), said=said), request(azure(), 1, said=said)
    assert first.content == again.content
    keys = [orjson.loads(one.content)["smsRecipients"][0] for one in (first, other)]
    assert keys[0]["repeatabilityRequestId"] != keys[1]["repeatabilityRequestId"]
    assert {parsedate_to_datetime(one["repeatabilityFirstSent"]).timestamp() for one in keys} == {NOW}
    later = orjson.loads(request(azure(), said=said, began_at=0.0).content)["smsRecipients"][0]
    assert parsedate_to_datetime(later["repeatabilityFirstSent"]).timestamp() == NOW - 9000


@pytest.mark.parametrize(("text", "parts"), [("a" * 1530, 1), ("a" * 1531, 2), ("я" * 670, 1), ("я" * 671, 2)])
def test_a_text_of_more_than_ten_sms_goes_in_several_requests(text: str, parts: int) -> None:
    pieces = azure().parts(message(text))
    assert len(pieces) == parts
    assert "".join(piece.text for piece in pieces) == text


@pytest.mark.parametrize("key", ["", "x", "not base64!"])
def test_an_access_key_that_is_none_is_refused_at_the_start(key: str) -> None:
    with pytest.raises(ValidationError):
        azure(access_key=key)


def item(**changes: object) -> dict[str, object]:
    usual = {"to": "+16504661149", "messageId": "m-1", "httpStatusCode": 202, "repeatabilityResult": "accepted"}
    return usual | changes


def refused(status: object, **changes: object) -> dict[str, object]:
    return {"value": [item(httpStatusCode=status, successful=False, messageId=None, **changes)]}


def wrong(code: object) -> dict[str, object]:
    return {"error": {"code": code, "message": "x"}}


@pytest.mark.parametrize(
    ("status", "body", "error", "reason", "code"),
    [
        (202, refused(400), Refused, Reason.INVALID_DESTINATION, "400"),
        (202, refused(401), AccountFault, Reason.GENERAL, "401"),
        (202, refused(403), AccountFault, Reason.GENERAL, "403"),
        (202, refused(404), Refused, Reason.GENERAL, "404"),
        (202, refused(429), Throttled, Reason.RATE_LIMIT, "429"),
        *((202, refused(code), OutcomeUnknown, Reason.GENERAL, str(code)) for code in (500, 502, 503, 504)),
        (202, refused("x y"), Refused, Reason.GENERAL, "rejected"),
        (202, refused(412, repeatabilityResult="Rejected"), OutcomeUnknown, Reason.GENERAL, "repetition rejected"),
        (400, wrong("BadRequest"), Refused, Reason.INVALID_STRUCTURE, "BadRequest"),
        (401, wrong("Denied"), AccountFault, Reason.GENERAL, "Denied"),
        (401, b"", AccountFault, Reason.GENERAL, "HTTP 401"),
        (429, wrong("TooManyRequests"), Throttled, Reason.RATE_LIMIT, "TooManyRequests"),
        (404, wrong("NotFound"), Refused, Reason.GENERAL, "NotFound"),
        (400, {"error": 7}, Refused, Reason.GENERAL, "HTTP 400"),
        (400, b"[" * 100_000, Refused, Reason.GENERAL, "HTTP 400"),
        (307, b"", AccountFault, Reason.GENERAL, "HTTP 307"),
        (500, b"", OutcomeUnknown, Reason.GENERAL, "HTTP 500"),
        (202, b"", Unreadable, Reason.GENERAL, "HTTP 202"),
        (202, {"value": []}, Unreadable, Reason.GENERAL, "HTTP 202"),
        (202, {"value": [item(successful=True, messageId="a b")]}, Unreadable, Reason.GENERAL, "HTTP 202"),
        (202, {"value": [item(successful="true")]}, Unreadable, Reason.GENERAL, "HTTP 202"),
    ],
)
def test_what_an_answer_means(status: int, body: object, error: type[SendError], reason: Reason, code: str) -> None:
    answer = httpx.Response(status, content=body if isinstance(body, bytes) else orjson.dumps(body))
    with pytest.raises(SendError) as raised:
        azure().parse_response(answer)
    assert (type(raised.value), raised.value.reason, raised.value.code) == (error, reason, code)


# ---------------------------------------------------------------- callbacks


def callback(said: object, secret: str = SECRET, method: str = "POST", **headers: str) -> Callback:
    body = said if isinstance(said, bytes) else orjson.dumps(said)
    named = {name.replace("_", "-"): (value,) for name, value in headers.items()}
    return Callback("events", method, EVENTS, b"", named, body, secret)


def report(status: object, details: object = "No error.", tag: str | None = None) -> dict[str, object]:
    data = {
        "messageId": "m-1", "from": "12025550123", "to": "+16504661149", "deliveryStatus": status,
        "deliveryStatusDetails": details, "receivedTimestamp": "2026-11-26T12:00:00Z",
        "deliveryAttempts": [{"timestamp": "2026-11-26T12:00:00Z", "segmentsSucceeded": 1, "segmentsFailed": 0}],
        "Tag": f"{message().ref}.0" if tag is None else tag,
    }  # fmt: skip
    return {
        "id": "e-1", "topic": "/subscriptions/x", "subject": "/phonenumber/12025550123", "data": data,
        "eventType": "Microsoft.Communication.SMSDeliveryReportReceived", "dataVersion": "1.0",
        "metadataVersion": "1", "eventTime": "2026-11-26T12:00:00Z",
    }  # fmt: skip


RECEIVED = {
    "specversion": "1.0", "id": "e-2", "source": "/subscriptions/x", "type": "Microsoft.Communication.SMSReceived",
    "time": "2026-11-26T12:00:00Z", "subject": "/phonenumber/12025550123",
    "data": {"From": "+16504661149", "To": "+12025550123", "Message": "yes ü €😀"},
}  # fmt: skip


@pytest.mark.parametrize("secret", ["", SECRET[:-1], "é"])
def test_a_callback_without_the_secret_is_refused(secret: str) -> None:
    azure().verify(callback([report("Delivered")]))
    azure(callback_secret=["f" * 16, SECRET]).verify(callback([report("Delivered")]))
    with pytest.raises(BadSignature):
        azure().verify(callback([report("Delivered")], secret))


D, F, S = UpdateStatus.DELIVERED, UpdateStatus.FAILED, UpdateStatus.SENT


@pytest.mark.parametrize(
    ("status", "details", "becomes", "reason", "code"),
    [
        ("Delivered", "No error.", D, None, ""),
        ("delivered", "4004", D, None, ""),
        ("A word of tomorrow", "No error.", S, None, ""),
        *(("Failed", f"{n}: x", F, Reason.NOT_ALLOWED, str(n)) for n in (4000, 4005, 4007, 4009, 4010)),
        *(("Failed", f"x ({n})", F, Reason.INVALID_DESTINATION, str(n)) for n in (4002, 4003, 4004, 4006)),
        ("Failed", "4001", F, Reason.INVALID_STRUCTURE, "4001"),
        ("Failed", "4008", F, Reason.RATE_LIMIT, "4008"),
        ("Failed", "9999", F, Reason.GENERAL, "9999"),
        ("Failed", "a text of Azure", F, Reason.GENERAL, ""),
        ("Failed", "to +4004400440044004 " + "9" * 5000, F, Reason.GENERAL, ""),
        ("Failed", {"a": 4004}, F, Reason.GENERAL, ""),
    ],
)
def test_what_a_report_says(
    status: str, details: object, becomes: UpdateStatus, reason: Reason | None, code: str
) -> None:
    [update] = azure().parse_callback(callback([report(status, details)]))
    assert update == DeliveryUpdate("acme", "m-1", becomes, message().ref, 0, reason, code)


def test_what_a_consumer_wrote_in_both_schemas() -> None:
    from azure.core.messaging import CloudEvent

    theirs: Any = CloudEvent
    assert theirs.from_dict(RECEIVED).data == RECEIVED["data"]
    said = ConsumerMessage("acme", "e-2", Address("16504661149"), Address("+12025550123"), "yes ü €😀")
    assert azure().parse_callback(callback(RECEIVED)) == azure().parse_callback(callback([RECEIVED])) == [said]
    grid = {"id": "e-2", "eventType": RECEIVED["type"], "data": RECEIVED["data"]}
    assert azure().parse_callback(callback([grid])) == [said]


def test_events_of_one_callback_are_read_each_by_itself() -> None:
    update, unread, received = azure().parse_callback(callback([report("Delivered"), {"id": "x"}, RECEIVED]))
    assert isinstance(update, DeliveryUpdate)
    assert unread == Unread("no event of a message", b'[{"id":"x"}]')
    assert isinstance(received, ConsumerMessage)


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"7", b"\xff"])
def test_a_callback_without_an_event_is_kept(body: bytes) -> None:
    with pytest.raises(UnreadableEvent, match="no event"):
        azure().parse_callback(callback(body))


VALIDATION = {
    "id": "2d1781af", "topic": "/subscriptions/x", "subject": "",
    "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
    "data": {"validationCode": "512d38b6-c7b8-40c8-89fe-f46f9e9622b6", "validationUrl": "https://x.example"},
}  # fmt: skip


def test_the_handshake_of_event_grids_schema_is_answered_with_its_code() -> None:
    said = callback([VALIDATION])
    answer = azure().callback_response(said)
    assert (answer.status, answer.content_type) == (200, "application/json")
    assert orjson.loads(answer.body) == {"validationResponse": "512d38b6-c7b8-40c8-89fe-f46f9e9622b6"}
    assert azure().parse_callback(said) == []
    for data in (*({"validationCode": code} for code in ("", "a\nb", "x" * 201, ["x"], None)), 7, "x"):
        other = {**VALIDATION, "data": data}
        assert azure().callback_response(callback([other])).body == b""
    assert azure().callback_response(callback([report("Delivered"), 7])).body == b""


@pytest.mark.parametrize(
    ("origin", "answered"),
    [("eventgrid.azure.net", {"WebHook-Allowed-Origin": "eventgrid.azure.net", "WebHook-Allowed-Rate": "*"}),
     ("", {}), ("a\r\nX: y", {}), ("x" * 201, {})],
)  # fmt: skip
def test_the_handshake_of_cloudevents_is_answered_with_its_origin(origin: str, answered: dict[str, str]) -> None:
    said = callback(b"", method="OPTIONS", webhook_request_origin=origin)
    answer = azure().callback_response(said)
    assert (answer.status, answer.body, answer.headers) == (200, b"", answered)
    assert azure().callback_response(replace(said, method="POST")).headers == {}
