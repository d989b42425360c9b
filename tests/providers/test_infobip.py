"""Infobip: our request against Infobip's own library, every answer, every callback."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import httpx
import orjson
import pytest
from pydantic import ValidationError

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
from dcbridge.providers.base import Callback, Template, Turn, Unread
from dcbridge.providers.infobip import Infobip, InfobipFields
from tests.providers.recorder import Heard, recording

SECRET = "0123456789abcdef"
REF = "0123456789abcdef01234567"
TEXT = "Grüße & 1+1=2 €😀"


def infobip(**fields: object) -> Infobip:
    given = {"base_url": "https://x.api.infobip.com", "api_key": "key", "callback_secret": SECRET, **fields}
    return Infobip("acme", InfobipFields.model_validate(given), "https://bridge.example.com")


def message(text: str = TEXT) -> AgentMessage:
    to = Address("16504661149")
    return AgentMessage("0123456789", "1613474523265-0", Address("12025550123"), to, (to,), "Text", text)


def request(provider: Infobip, said: AgentMessage) -> httpx.Request:
    return provider.build_request(Turn(said, provider.parts(said)[0], 0.0))


@pytest.fixture
def loopback() -> Iterator[tuple[str, list[Heard]]]:
    """An address to send to, and what arrived there."""
    with recording(lambda _: rejected(1, 26)) as both:
        yield both


def test_the_ids_of_a_registered_text_are_those_that_infobips_library_writes() -> None:
    from infobip_api_client import SmsIndiaDltOptions, SmsRegionalOptions

    ids = SmsIndiaDltOptions(content_template_id="1707", principal_entity_id="1601")
    said, ours = message(), infobip(base_url="https://x.example", validity_period=600)
    written = ours.build_request(Turn(said, ours.parts(said)[0], 0.0, template=Template("1601", "1707")))
    options = orjson.loads(written.content)["messages"][0]["options"]
    assert options["regional"] == SmsRegionalOptions(india_dlt=ids).to_dict()
    assert options["validityPeriod"] == {"amount": 600, "timeUnit": "SECONDS"}


@pytest.mark.parametrize(
    "fields", [{}, {"from_number": "Company"}, {"validity_period": 600}, {"callback_secret": ["f" * 16, SECRET]}]
)
def test_the_request_is_the_one_that_infobips_library_writes(
    loopback: tuple[str, list[Heard]], fields: dict[str, object]
) -> None:
    from infobip_api_client import ApiClient, Configuration, SmsApi, SmsRequest  # takes seconds

    url, arrived = loopback
    said, first = message(), "f" * 16 if "callback_secret" in fields else SECRET
    with httpx.Client() as http:
        http.send(request(infobip(base_url=url, **fields), said))
    one: dict[str, Any] = {
        "sender": fields.get("from_number", "12025550123"),
        "destinations": [{"to": "16504661149", "messageId": f"{said.ref}.0"}],
        "content": {"text": TEXT},
        "webhooks": {
            "delivery": {"url": f"https://bridge.example.com/callbacks/acme/status/{first}"},
            "contentType": "application/json",
        },
    }
    if "validity_period" in fields:
        one["options"] = {"validityPeriod": {"amount": 600, "timeUnit": "SECONDS"}}
    client = ApiClient(Configuration(host=url, api_key="key"))
    written = SmsRequest.from_dict({"messages": [one]})
    assert written is not None
    SmsApi(client).send_sms_messages(written)
    client.rest_client.pool_manager.clear()
    ours, theirs = arrived
    assert (ours.method, ours.path) == (theirs.method, theirs.path) == ("POST", "/sms/3/messages")
    for name in ("authorization", "content-type"):
        assert ours.headers[name] == theirs.headers[name]
    assert orjson.loads(ours.body) == orjson.loads(theirs.body)


@pytest.mark.parametrize(("text", "parts"), [("a" * 1530, 1), ("a" * 1531, 2), ("я" * 670, 1), ("я" * 671, 2)])
def test_a_text_of_more_than_ten_sms_goes_in_several_requests(text: str, parts: int) -> None:
    said = message(text)
    pieces = infobip().parts(said)
    assert len(pieces) == parts
    ids = {orjson.loads(infobip().build_request(Turn(said, piece, 0.0)).content)["messages"][0]["destinations"][0][
        "messageId"] for piece in pieces}  # fmt: skip
    assert ids == {f"{said.ref}.{number}" for number in range(parts)}


def rejected(group: object, number: object, message_id: object = f"{REF}.0") -> dict[str, object]:
    return {"bulkId": "1", "messages": [{"messageId": message_id, "status": {"groupId": group, "id": number}}]}


@pytest.mark.parametrize(("group", "number"), [(1, 26), (1, 7), (0, 0), (3, 5), (5, 23), ("1", "26")])
def test_an_answer_that_says_it_has_the_message(group: object, number: object) -> None:
    answer = httpx.Response(200, json=rejected(group, number))
    assert infobip().parse_response(answer).provider_id == f"{REF}.0"


@pytest.mark.parametrize(
    ("status", "body", "error", "reason", "code"),
    [
        *((200, rejected(5, n), Refused, Reason.INVALID_DESTINATION, str(n)) for n in (8, 18, 51, 52)),
        (200, rejected(5, 6), RouteRefused, Reason.INVALID_DESTINATION, "6"),
        *((200, rejected(5, n), Refused, Reason.NOT_ALLOWED, str(n)) for n in (10, 14, 87)),
        *((200, rejected(5, n), RouteRefused, Reason.NOT_ALLOWED, str(n)) for n in (11, 13, 19)),
        *((200, rejected(5, n), Refused, Reason.INVALID_STRUCTURE, str(n)) for n in (24, 25)),
        *((200, rejected(5, n), OutcomeUnknown, Reason.GENERAL, str(n)) for n in (21, 100)),
        *((200, rejected(5, n), AccountFault, Reason.GENERAL, str(n)) for n in (12, 17)),
        *((200, rejected(4, n), Refused, Reason.EXPIRED, str(n)) for n in (15, 29)),
        (200, rejected(5, 20), Refused, Reason.RATE_LIMIT, "20"),
        (200, rejected(5, 999), Refused, Reason.GENERAL, "999"),
        (200, rejected(2, None), Refused, Reason.GENERAL, "rejected"),
        (200, rejected(None, 26), Unreadable, Reason.GENERAL, "HTTP 200"),
        (200, rejected(1, 26, "a b"), Unreadable, Reason.GENERAL, "HTTP 200"),
        (200, {"messages": "x"}, Unreadable, Reason.GENERAL, "HTTP 200"),
        (200, b"[" * 100_000, Unreadable, Reason.GENERAL, "HTTP 200"),
        (429, {"errorCode": "E429"}, Throttled, Reason.RATE_LIMIT, "E429"),
        (401, {"requestError": {"serviceException": {"messageId": "UNAUTHORIZED"}}}, AccountFault, Reason.GENERAL,
         "UNAUTHORIZED"),
        (403, {"errorCode": "E403"}, AccountFault, Reason.GENERAL, "E403"),
        (400, {"errorCode": "E400"}, Refused, Reason.INVALID_STRUCTURE, "E400"),
        (400, {"requestError": []}, Refused, Reason.GENERAL, "HTTP 400"),
        (500, {"errorCode": "E500"}, OutcomeUnknown, Reason.GENERAL, "E500"),
        (302, b"", AccountFault, Reason.GENERAL, "HTTP 302"),
    ],
)  # fmt: skip
def test_what_an_answer_means(status: int, body: object, error: type[SendError], reason: Reason, code: str) -> None:
    answer = httpx.Response(status, content=body if isinstance(body, bytes) else orjson.dumps(body))
    with pytest.raises(SendError) as raised:
        infobip().parse_response(answer)
    assert (type(raised.value), raised.value.reason, raised.value.code) == (error, reason, code)


# ---------------------------------------------------------------- callbacks


def callback(
    body: object, kind: Literal["status", "inbound"] = "status", secret: str = SECRET, authorization: str = ""
) -> Callback:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    headers = {"authorization": (authorization,)} if authorization else {}
    url = f"https://bridge.example.com/callbacks/acme/{kind}"
    return Callback(kind, "POST", url, b"", headers, raw, secret)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (callback(b"", secret=SECRET[:-1]), callback(b"", secret=SECRET)),
        (callback(b"", secret=SECRET + "0"), callback(b"", secret="f" * 16)),
        (callback(b"", secret=""), callback(b"", secret="", authorization=f"Bearer {SECRET}")),
        (callback(b"", secret="é"), callback(b"", secret="", authorization="Basic dTowMTIzNDU2Nzg5YWJjZGVm")),
        (callback(b"", secret="0" * 16, authorization=f"Bearer {SECRET}"), callback(b"")),
        (callback(b"", secret="", authorization="Basic é"), callback(b"")),
    ],
)
def test_a_callback_without_the_secret_is_refused(wrong: Callback, right: Callback) -> None:
    ours = infobip(callback_secret=["f" * 16, SECRET])
    ours.verify(right)
    with pytest.raises(BadSignature):
        ours.verify(wrong)


@pytest.mark.parametrize("secret", ["", (), "0" * 15, "0" * 129, "0123456789abcde/", "0123456789abcdé"])
def test_a_secret_that_fits_no_path_is_refused_at_the_start(secret: object) -> None:
    with pytest.raises(ValidationError) as raised:
        infobip(callback_secret=secret)
    assert "0123456789abcde" not in str(raised.value)


def report(group: object, number: object = 0, error: object = 0, message_id: object = f"{REF}.1") -> dict[str, object]:
    return {"messageId": message_id, "status": {"groupId": group, "id": number}, "error": {"id": error}}


D, F, S = UpdateStatus.DELIVERED, UpdateStatus.FAILED, UpdateStatus.SENT


@pytest.mark.parametrize(
    ("said", "becomes", "reason", "detail"),
    [
        (report(3, 5), D, None, ""),
        (report(3, 2), S, None, ""),
        *((report(group, 7), S, None, "") for group in (0, 1, 99)),
        (report(4, 15), F, Reason.EXPIRED, ""),
        *((report(2, 9, error), F, Reason.INVALID_DESTINATION, str(error)) for error in (1, 9, 11, 351, 629, 3041)),
        *((report(2, 9, error), F, Reason.NOT_ALLOWED, str(error)) for error in (560, 566, 573, 608, 2049, 2053)),
        *((report(2, 9, error), F, Reason.RATE_LIMIT, str(error)) for error in (541, 630, 4103)),
        *((report(2, 9, error), F, Reason.EXPIRED, str(error)) for error in (811, 4098, 4101)),
        (report(2, 9, 355), F, Reason.INVALID_STRUCTURE, "355"),
        (report(2, 9, 255), F, Reason.GENERAL, "255"),
        (report(5, 14, 0), F, Reason.NOT_ALLOWED, ""),
        (report("5", "8", None), F, Reason.INVALID_DESTINATION, ""),
        (report(5, 999, "a sentence of theirs"), F, Reason.GENERAL, ""),
    ],
)
def test_what_a_report_says(said: object, becomes: UpdateStatus, reason: Reason | None, detail: str) -> None:
    [update] = infobip().parse_callback(callback({"results": [said]}))
    assert update == DeliveryUpdate("acme", f"{REF}.1", becomes, REF, 1, reason, detail)


BAD: list[tuple[object, str]] = [
    (None, "no messageId"),
    ("x", "no messageId"),
    ({"messageId": "a b"}, "no messageId"),
    ({"messageId": "m-1"}, "no status"),
    ({"messageId": "m-1", "status": []}, "no status"),
]


@pytest.mark.parametrize(("bad", "why"), BAD)
def test_one_report_that_cannot_be_read_leaves_the_others(bad: object, why: str) -> None:
    found = infobip().parse_callback(callback({"results": [report(3, 5), bad, report(1, 7)]}))
    assert [type(one) for one in found] == [DeliveryUpdate, Unread, DeliveryUpdate]
    assert found[1] == Unread(why, orjson.dumps({"results": [bad]}))
    assert isinstance(found[1], Unread)
    [again] = infobip().parse_callback(replace(callback(b""), body=found[1].body))
    assert again == found[1]


def test_what_consumers_wrote() -> None:
    one = {"messageId": "m-1", "from": "16504661149", "to": "12025550123", "text": TEXT, "cleanText": "x"}
    others = [{**one, "text": None}, {**one, "from": ""}, {**one, "to": "1" * 321}, {**one, "messageId": "m-2"}]
    found = infobip().parse_callback(callback({"results": [one, *others]}, "inbound"))
    ends = Address("16504661149"), Address("12025550123")
    assert found[0] == ConsumerMessage("acme", "m-1", *ends, TEXT)
    assert [one.kind for one in found if isinstance(one, Unread)] == [
        "no text", "no From", "To is longer than 320 characters"
    ]  # fmt: skip
    assert found[4] == ConsumerMessage("acme", "m-2", *ends, TEXT)


def test_a_result_that_is_too_deep_to_be_written_alone_leaves_the_others() -> None:
    deep = b'{"messageId":' + b"[" * 500 + b"]" * 500 + b"}"
    body = b'{"results":[' + deep + b"," + orjson.dumps(report(3, 5)) + b"]}"
    [bad, good] = infobip().parse_callback(callback(body))
    assert bad == Unread("no messageId", b"")  # the whole callback is kept
    assert isinstance(good, DeliveryUpdate)


@pytest.mark.parametrize("body", [b"", b"\xff", b"[" * 100_000, b"[]", b'{"results":{}}', b'{"results":[]}'])
def test_a_callback_without_results_cannot_be_read(body: bytes) -> None:
    with pytest.raises(UnreadableEvent, match="no results"):
        infobip().parse_callback(callback(body))


def test_a_redelivery_has_the_same_id_and_another_callback_another() -> None:
    first, again = callback({"results": [report(3, 5)]}), callback({"results": [report(3, 5)]})
    assert infobip().event_id(first) == infobip().event_id(again)
    assert infobip().event_id(first) != infobip().event_id(callback({"results": [report(3, 2)]}))
