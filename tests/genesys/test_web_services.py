"""Web Services for voice: every notification that the document prints, what happens on a line, and the requests."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from dcbridge.genesys.envelope import read as read_answer
from dcbridge.genesys.phone_line import MOST, Disposed, Missed, PhoneLine
from dcbridge.genesys.web_services import (
    Call,
    Changed,
    Device,
    Failure,
    Service,
    WebServices,
    calls_of,
    csrf_of,
    last_segment,
    read,
)

PRINTED = Path(__file__).parent / "web_services_notifications.jsonl"
ROWS = [orjson.loads(line) for line in PRINTED.read_bytes().splitlines()]


@pytest.mark.parametrize("row", ROWS, ids=range(len(ROWS)))
def test_each_notification_of_the_document_is_read(row: dict[str, Any]) -> None:
    data = row.get("data", row)  # mobile notifications have no envelope
    found = list(read(data))
    match data["messageType"]:
        case "CallStateChangeMessage" if "call" in data:
            call = data["call"]
            [one] = found
            assert one == Call(
                call["id"],
                call["callUuid"],
                call["state"],
                call["callType"],
                data["notificationType"],
                "",  # extensions have no number that can be written to
                call.get("userData", {}),
            )
        case "DeviceStateChangeMessage" if "devices" in data:
            assert found == [
                Device(one["id"], one["deviceState"], one["userState"]["state"]) for one in data["devices"]
            ]
        case "ServiceStateChangeMessage":
            assert found == [Service("Voice", data["service"]["state"])]
        case "ErrorMessage":
            assert found == [Failure(last_segment(data.get("callUri")), last_segment(data["deviceUri"]))]
        case _:
            assert found == [Changed(data.get("callId", ""), data.get("deviceId", ""))]


def test_the_document_prints_eighty() -> None:
    found = Counter(type(one).__name__ for row in ROWS for one in read(row.get("data", row)))
    assert found == {"Call": 57, "Device": 17, "Failure": 2, "Service": 2, "Changed": 2}


@pytest.mark.parametrize("data", [None, [], "text", {}, {"messageType": 7}, {"messageType": "Other"}])
def test_what_is_no_notification_says_nothing(data: object) -> None:
    assert list(read(data)) == []


@pytest.mark.parametrize(
    "call",
    [None, [], {}, {"id": ["x"]}, {"id": "x" * 301}, {"uri": "/"}],
)
def test_a_call_without_a_name_is_none(call: object) -> None:
    assert list(read({"messageType": "CallStateChangeMessage", "call": call})) == []


@pytest.mark.parametrize(
    ("more", "number"),
    [
        ({"participantsInfo": [{"e164Number": "+16504661149"}]}, "16504661149"),
        ({"participantsInfo": [{"e164Number": "16504661149"}]}, "16504661149"),
        ({"participants": ["16504661149"]}, "16504661149"),
        ({"participantsInfo": [{"e164Number": "5001"}]}, ""),
        ({"participantsInfo": [{"e164Number": "0651234567"}]}, ""),
        ({"participantsInfo": [{"e164Number": "+1650466114x"}]}, ""),
        ({"participantsInfo": [{"e164Number": "1" * 16}]}, ""),
        ({"participantsInfo": [{"digits": "16504661149"}], "participants": ["16504661149"]}, ""),
        ({"participantsInfo": [{"e164Number": "+16504661149"}] * 2}, ""),
        ({"participantsInfo": ["+16504661149"]}, ""),
        ({}, ""),
    ],
)
def test_who_can_be_written_to(more: dict[str, Any], number: str) -> None:
    [call] = read({"messageType": "CallStateChangeMessage", "call": {"id": "1", "state": "Ringing"} | more})
    assert isinstance(call, Call)
    assert call.number == number


# ---------------------------------------------------------------- what happens on a line

NUMBER = "16504661149"


def calls(*states: str, kind: str = "Inbound", uuid: str = "u", number: str = NUMBER, **data: str) -> list[Call]:
    return [Call("1", uuid, state, kind, "StatusChange", number, data) for state in states]


@pytest.mark.parametrize(
    ("states", "more", "means"),
    [
        (("Ringing", "Released"), {}, Missed("u", NUMBER)),
        (("Ringing", "Ringing", "Released", "Released"), {}, Missed("u", NUMBER)),
        (("Ringing", "Established", "Released"), {}, None),
        (("Ringing", "Held", "Released"), {}, None),
        (("Released",), {}, None),
        (("Established", "Released"), {}, None),
        (("Dialing", "Ringing", "Released"), {}, None),
        (("Ringing", "Released"), {"kind": "Consult"}, None),
        (("Ringing", "Released"), {"kind": "outbound"}, None),
        (("Ringing", "Released"), {"kind": "Internal"}, Missed("u", NUMBER)),
        (("Ringing", "Released"), {"number": ""}, Missed("u", "")),
        (("Ringing", "Unknown", ""), {}, None),
    ],
)
def test_which_call_is_missed(states: tuple[str, ...], more: dict[str, Any], means: Missed | None) -> None:
    line = PhoneLine("DispositionCode")
    found = [one for call in calls(*states, **more) if (one := line.heard(call))]
    assert found == ([means] if means else [])


def test_a_number_that_the_last_notification_lacks_is_that_of_an_earlier_one() -> None:
    line = PhoneLine("DispositionCode")
    [ringing], [released] = calls("Ringing"), calls("Released", number="")
    assert [line.heard(ringing), line.heard(released)] == [None, Missed("u", NUMBER)]


def test_a_disposition_is_told_once_for_each_code() -> None:
    line = PhoneLine("DispositionCode")
    codes = ["", "IssueResolved", "IssueResolved", "CallBack"]
    told = [line.heard(calls("Established", DispositionCode=code)[0]) for code in codes]
    assert told == [None, Disposed("u", "IssueResolved", NUMBER), None, Disposed("u", "CallBack", NUMBER)]


def test_what_ended_while_nobody_listened_is_no_missed_call() -> None:
    line = PhoneLine("DispositionCode")
    for call in (*calls("Ringing", uuid="gone"), *calls("Ringing", uuid="rings"), *calls("Ringing", uuid="answered")):
        line.heard(call)
    line.recovered(
        [*calls("Ringing", uuid="rings"), *calls("Established", uuid="answered"), *calls("Ringing", uuid="new")]
    )
    ends = {uuid: line.heard(calls("Released", uuid=uuid)[0]) for uuid in ("gone", "rings", "answered", "new", "other")}
    assert ends == {"gone": None, "rings": Missed("rings", NUMBER), "answered": None, "new": Missed("new", NUMBER)} | {
        "other": None
    }


def test_so_many_calls_are_remembered_and_no_more() -> None:
    line = PhoneLine("DispositionCode")
    for number in range(MOST + 1):
        line.heard(calls("Ringing", uuid=str(number))[0])
    assert [line.heard(calls("Released", uuid=str(one))[0]) for one in (0, 2)] == [None, Missed("2", NUMBER)]


# ---------------------------------------------------------------- requests

API = WebServices("https://gws.example.com/api/v2")


def test_requests_are_those_of_the_document() -> None:
    said = [
        (one.method, str(one.url), orjson.loads(one.content) if one.content else None)
        for one in (API.me(), API.start("SIP_5999"), API.end())
    ]
    assert said == [
        ("GET", "https://gws.example.com/api/v2/me?subresources=*", None),
        (
            "POST",
            "https://gws.example.com/api/v2/me",
            {"operationName": "StartContactCenterSession", "channels": ["voice"], "place": "SIP_5999"},
        ),
        ("POST", "https://gws.example.com/api/v2/me", {"operationName": "EndContactCenterSession"}),
    ]


@pytest.mark.parametrize("place", [{}, {"me": {}}, {"user": {}}])
def test_calls_of_state_recovery(place: dict[str, Any]) -> None:
    listed = {"calls": [{"id": "1", "callUuid": "u", "state": "Ringing"}, {}, "no call"]}
    body = {"statusCode": 0} | (listed if not place else {next(iter(place)): listed})
    assert calls_of(read_answer(httpx.Response(200, json=body))) == [Call("1", "u", "Ringing")]


@pytest.mark.parametrize(
    ("name", "token", "good"),
    [
        ("X-CSRF", "abc", True),
        ("", "abc", False),
        ("X-CSRF", "", False),
        ("X CSRF", "abc", False),
        ("X-CSRF", "a b", False),
        ("Authorization", "abc", False),
        ("cookie", "abc", False),
        ("X" * 101, "abc", False),
    ],
)
def test_a_csrf_token_is_a_header_and_no_header_of_ours(name: str, token: str, good: bool) -> None:
    found = csrf_of(httpx.Headers({"X-CSRF-HEADER": name, "X-CSRF-TOKEN": token}))
    assert found == ((name, token) if good else None)
