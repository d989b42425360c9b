"""Bandwidth: our requests against Bandwidth's own library, every answer, every callback."""

from __future__ import annotations

from dataclasses import replace
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
from dcbridge.providers.bandwidth import Bandwidth, BandwidthFields
from dcbridge.providers.base import Callback, MediaFile, Turn, Unread
from tests.providers.recorder import Heard, assert_same, recording

SECRET, OTHER = "0123456789abcdef", "f" * 16
EVENTS = "https://bridge.example.com/callbacks/acme/events"
TEXT = "Grüße & 1+1=2 €😀"
FIELDS = {"account_id": "5500001", "application_id": "93de2206", "client_id": "BWDBID-1", "client_secret": "s:cr/t+"}


def bandwidth(**fields: object) -> Bandwidth:
    given = {**FIELDS, "callback_secret": SECRET, **fields}
    return Bandwidth("acme", BandwidthFields.model_validate(given), "https://bridge.example.com")


def message(text: str = TEXT, *media: str) -> AgentMessage:
    to = Address("16504661149")
    return AgentMessage("0123456789", "1613474523265-0", Address("12025550123"), to, (to,), "Text", text, media=media)


FILES = tuple(MediaFile(name, "image/png", 70, f"https://bridge.example.com/m/{name}") for name in ("one", "two"))


@pytest.mark.parametrize(("text", "files"), [(TEXT, ()), (TEXT, FILES), ("", FILES[:1])])
def test_both_requests_are_those_that_bandwidths_library_writes(text: str, files: tuple[MediaFile, ...]) -> None:
    from bandwidth import (  # type: ignore[import-untyped]  # takes seconds, and ships no types
        ApiClient,
        Configuration,
        MessageRequest,
        MessagesApi,
    )

    def answer(heard: Heard) -> object:
        return {"access_token": "t-1", "token_type": "bearer", "expires_in": 3600, "id": "m-1"}

    said = message(text, *(file.name for file in files))
    with recording(answer) as (url, arrived):

        class Loopback(ApiClient):  # type: ignore[misc]
            def call_api(self, method: str, path: str, *rest: Any, **named: Any) -> Any:
                return super().call_api(method, path.replace("https://messaging.bandwidth.com", url), *rest, **named)

        ours = bandwidth(base_url=f"{url}/api/v2", token_url=f"{url}/token")
        with httpx.Client() as http:
            token = ours.login.read_token(http.send(ours.login.token_request()))
            request = ours.build_request(Turn(said, ours.parts(said)[0], 0.0, media=files))
            request.headers["Authorization"] = f"Bearer {token.value}"
            assert ours.parse_response(http.send(request)).provider_id == "m-1"
        config = Configuration(client_id="BWDBID-1", client_secret="s:cr/t+", access_token_url=f"{url}/token")
        wanted = {"applicationId": "93de2206", "to": ["+16504661149"], "from": "+12025550123",
                  **({"text": text} if text else {}), **({"media": [file.url for file in files]} if files else {}),
                  "tag": f"{said.ref}.0"}  # fmt: skip
        written = MessageRequest.from_dict(wanted)
        assert written is not None
        client = Loopback(config)
        MessagesApi(client).create_message("5500001", written)
        client.rest_client.pool_manager.clear()
    assert_same(arrived[:2], arrived[2:])


@pytest.mark.parametrize(("text", "parts"), [("a" * 1530, 1), ("a" * 1531, 2), ("я" * 670, 1), ("я" * 671, 2)])
def test_a_text_of_more_than_ten_sms_goes_in_several_requests(text: str, parts: int) -> None:
    pieces = bandwidth().parts(message(text))
    assert len(pieces) == parts
    assert "".join(piece.text for piece in pieces) == text


def wrong(kind: object, *fields: object) -> dict[str, object]:
    return {"type": kind, "description": "x", "fieldErrors": [{"fieldName": one} for one in fields]}


@pytest.mark.parametrize(
    ("status", "body", "error", "reason", "code"),
    [
        (400, wrong("request-validation"), Refused, Reason.INVALID_STRUCTURE, "request-validation"),
        (400, wrong("request-validation", "text"), Refused, Reason.INVALID_STRUCTURE, "request-validation"),
        (400, wrong("request-validation", "from", "to"), Refused, Reason.INVALID_DESTINATION, "to"),
        (400, wrong("request-validation", "to[0]"), Refused, Reason.INVALID_DESTINATION, "to"),
        (400, wrong("request-validation", "topic", 7), Refused, Reason.INVALID_STRUCTURE, "request-validation"),
        (401, wrong("unauthorized"), AccountFault, Reason.GENERAL, "unauthorized"),
        (403, wrong("forbidden"), AccountFault, Reason.GENERAL, "forbidden"),
        (403, {}, AccountFault, Reason.GENERAL, "HTTP 403"),
        (429, wrong("too-many-requests"), Throttled, Reason.RATE_LIMIT, "too-many-requests"),
        (404, wrong("a word of tomorrow"), Refused, Reason.GENERAL, "HTTP 404"),
        (400, wrong("x" * 41), Refused, Reason.GENERAL, "HTTP 400"),
        (400, {"fieldErrors": "x", "type": 7}, Refused, Reason.GENERAL, "7"),
        (400, b"[" * 100_000, Refused, Reason.GENERAL, "HTTP 400"),
        (301, b"", AccountFault, Reason.GENERAL, "HTTP 301"),
        (408, b"", OutcomeUnknown, Reason.GENERAL, "HTTP 408"),
        (500, wrong("server-error"), OutcomeUnknown, Reason.GENERAL, "server-error"),
        (202, {}, Unreadable, Reason.GENERAL, "HTTP 202"),
        (202, {"id": "a b"}, Unreadable, Reason.GENERAL, "HTTP 202"),
        (202, b"", Unreadable, Reason.GENERAL, "HTTP 202"),
    ],
)
def test_what_an_answer_means(status: int, body: object, error: type[SendError], reason: Reason, code: str) -> None:
    answer = httpx.Response(status, content=body if isinstance(body, bytes) else orjson.dumps(body))
    with pytest.raises(SendError) as raised:
        bandwidth().parse_response(answer)
    assert (type(raised.value), raised.value.reason, raised.value.code) == (error, reason, code)


# ---------------------------------------------------------------- callbacks


def callback(*events: object, secret: str = "", authorization: str = "") -> Callback:
    headers = {"authorization": (authorization,)} if authorization else {}
    return Callback("events", "POST", EVENTS, b"", headers, orjson.dumps(events), secret)


def report(kind: str, error: object = None, tag: str | None = None) -> dict[str, object]:
    said = message()
    inner = {
        "id": "m-1", "owner": "+12025550123", "applicationId": "93de2206", "time": "2026-11-26T12:00:00Z",
        "segmentCount": 1, "direction": "out", "to": ["+16504661149"], "from": "+12025550123",
        "tag": f"{said.ref}.0" if tag is None else tag,
    }  # fmt: skip
    event: dict[str, object] = {"type": kind, "time": "2026-11-26T12:00:00Z", "description": "x", "to": "+16504661149"}
    return {**event, "message": inner} | ({} if error is None else {"errorCode": error})


RECEIVED = {
    "type": "message-received", "time": "2026-11-26T12:00:00Z", "description": "Incoming", "to": "+12025550123",
    "message": {"id": "m-2", "owner": "+12025550123", "applicationId": "93de2206", "time": "2026-11-26T12:00:00Z",
                "segmentCount": 1, "direction": "in", "to": ["+12025550123"], "from": "+16504661149",
                "text": "yes ü €😀"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({}, "missing"),
        ({"authorization": "Basic Zm9vOnNlY3JldA=="}, "no secret matches"),
        ({"secret": SECRET + "0"}, "no secret matches"),
        ({"secret": "é"}, "no secret matches"),
    ],
)
def test_a_callback_without_the_secret_is_refused(given: dict[str, str], kind: str) -> None:
    bandwidth().verify(callback(RECEIVED, secret=SECRET))
    bandwidth().verify(callback(RECEIVED, authorization="Basic Zm9vOjAxMjM0NTY3ODlhYmNkZWY="))
    bandwidth(callback_secret=[OTHER, SECRET]).verify(callback(RECEIVED, secret=SECRET))
    with pytest.raises(BadSignature, match=kind):
        bandwidth().verify(callback(RECEIVED, **given))


D, F, S = UpdateStatus.DELIVERED, UpdateStatus.FAILED, UpdateStatus.SENT


@pytest.mark.parametrize(
    ("kind", "error", "becomes", "reason"),
    [
        ("message-sending", None, S, None),
        ("message-sent", None, S, None),
        ("message-read", None, S, None),
        ("message-delivered", None, D, None),
        *(
            ("message-failed", code, F, Reason.INVALID_DESTINATION)
            for code in (4404, 4406, 4408, 4420, 4492, 4720, 4730)
        ),
        *(("message-failed", code, F, Reason.NOT_ALLOWED) for code in (4403, 4405, 4434, 4470, 4750, 4770, 4775, 4795)),
        *(("message-failed", code, F, Reason.UNSUPPORTED) for code in (4409, 4412, 4700, 4712)),
        *(("message-failed", code, F, Reason.INVALID_STRUCTURE) for code in (4401, 4435, 4752)),
        *(("message-failed", code, F, Reason.RATE_LIMIT) for code in (4780, 4781, 4785)),
        *(("message-failed", code, F, Reason.GENERAL) for code in (4701, 5106, 9902, None)),
        ("message-failed", "4404", F, Reason.INVALID_DESTINATION),
    ],
)
def test_what_a_report_says(kind: str, error: object, becomes: UpdateStatus, reason: Reason | None) -> None:
    from bandwidth.models.status_callback import StatusCallback  # type: ignore[import-untyped]

    event = report(kind, error)
    if isinstance(error, int | None):
        assert StatusCallback.from_dict(event) is not None, "Bandwidth's library cannot read what the test says"
    [update] = bandwidth().parse_callback(callback(event))
    detail = "" if error is None else str(error)
    assert update == DeliveryUpdate("acme", "m-1", becomes, message().ref, 0, reason, detail)


def test_what_a_consumer_wrote() -> None:
    from bandwidth.models.inbound_callback import InboundCallback  # type: ignore[import-untyped]

    assert InboundCallback.from_dict(RECEIVED) is not None
    ends = Address("16504661149"), Address("+12025550123")
    assert bandwidth().parse_callback(callback(RECEIVED)) == [ConsumerMessage("acme", "m-2", *ends, "yes ü €😀")]
    inner: dict[str, Any] = {**RECEIVED["message"]}  # type: ignore[dict-item]
    picture = {**RECEIVED, "message": {**inner, "text": None, "media": ["https://m.example/1", None]}}
    [said] = bandwidth().parse_callback(callback(picture))
    assert isinstance(said, ConsumerMessage)
    assert (said.text, said.media_urls) == ("", ("https://m.example/1",))


def test_events_of_one_callback_are_read_each_by_itself() -> None:
    said = callback(report("message-delivered"), {"type": "message-sent"}, 7, RECEIVED)
    update, no_message, no_object, received = bandwidth().parse_callback(said)
    assert isinstance(update, DeliveryUpdate)
    assert isinstance(received, ConsumerMessage)
    assert no_message == Unread("no type or no id of a message", b'[{"type":"message-sent"}]')
    assert no_object == Unread("no type or no id of a message", b"[7]")
    assert bandwidth().event_id(said) == bandwidth().event_id(replace(said, headers={"x": ("y",)}))
    assert bandwidth().event_id(said) != bandwidth().event_id(replace(said, body=said.body + b" "))


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"7", b"\xff"])
def test_a_callback_that_is_no_list_of_events_is_kept(body: bytes) -> None:
    with pytest.raises(UnreadableEvent, match="no list of events"):
        bandwidth().parse_callback(replace(callback(), body=body))


@pytest.mark.parametrize("tag", ["", "of another system", "0" * 24, f"{'0' * 24}.x"])
def test_a_tag_of_another_system_names_none_of_our_messages(tag: str) -> None:
    [update] = bandwidth().parse_callback(callback(report("message-sent", tag=tag)))
    assert isinstance(update, DeliveryUpdate)
    assert (update.ref, update.part, update.provider_id) == ("", 0, "m-1")


@pytest.mark.parametrize(
    "fields", [{"account_id": "a/b"}, {"client_id": "a:b"}, {"client_id": ""}, {"client_secret": "é"}]
)
def test_fields_that_fit_no_request_are_refused_at_the_start(fields: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        bandwidth(**fields)
