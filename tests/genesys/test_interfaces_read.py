"""What Genesys' interfaces answer in six forms, what an address says after a login, and names without values."""

from __future__ import annotations

from typing import Any

import httpx
import orjson
import pytest

from dcbridge.errors import AccountFault, OutcomeUnknown, Refused, SendError, Throttled, Unreadable
from dcbridge.genesys import shapes
from dcbridge.genesys.authentication import Credentials, WrongRedirect, contact_center_of, read_redirect
from dcbridge.genesys.envelope import LONGEST_ANSWER, first_text, read

ID = "bff348eb-dd5f-47d6-bf96-0e75b8ecf7ca"


def answer(status: int, body: object = b"", **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return httpx.Response(status, content=content, headers={k.replace("_", "-"): v for k, v in headers.items()})


@pytest.mark.parametrize(
    "body",
    [
        {"status": {"code": 0}, "data": {"id": ID}},
        {"status": {"code": 1}},
        {"status": {"code": "SUCCESS"}, "secureMailId": ID},
        {"status": {"code": 200, "message": "Successful", "corrId": "x"}, "data": {}},
        {"statusCode": 0, "uris": []},
        {"access_token": "x"},
        {"status": {}, "data": None},
        {"status": None},
        {},
        b"",
        b" \n",
    ],
)
def test_taken(body: object) -> None:
    assert read(answer(200, body)).good


@pytest.mark.parametrize(
    ("status", "body", "error", "code"),
    [
        (200, {"status": {"code": 2}}, Refused, "http 200 status 2"),
        (200, {"statusCode": 7, "failed": []}, Refused, "http 200 status 7"),
        (200, {"status": {"code": "INVALID_PARAMETER", "message": "a person's name"}}, Refused,
         "http 200 status INVALID_PARAMETER"),
        (200, {"statusCode": 20, "statusMessage": "who are you"}, Refused, "http 200 status 20"),
        (200, {"status": {"code": 404}}, Refused, "http 200 status 404"),
        (200, {"error": "invalid_grant"}, Refused, "http 200 status invalid_grant"),
        (200, {"status": {"code": "a sentence about +16504661149"}}, None, ""),
        (200, b"<html>", Unreadable, "http 200"),
        (200, [], Unreadable, "http 200"),
        (200, b'{"a":"' + b"x" * LONGEST_ANSWER + b'"}', Unreadable, "http 200"),
        (204, b"", None, ""),
        (302, b"", AccountFault, "http 302"),
        (400, {"status": {"code": 400, "message": "x"}}, Refused, "http 400"),
        (401, b"", AccountFault, "http 401"),
        (403, {"message": "Forbidden"}, AccountFault, "http 403"),
        (404, {"status": {"code": 500, "message": "Resource not found"}}, Refused, "http 404 status 500"),
        (409, {}, Refused, "http 409"),
        (408, b"", OutcomeUnknown, "http 408"),
        (429, {"timestamp": 1, "status": 429, "error": "Too Many Requests", "path": "/x"}, Throttled, "http 429"),
        (500, b"<html>", OutcomeUnknown, "http 500"),
        (503, {"statusCode": 4}, OutcomeUnknown, "http 503 status 4"),
    ],
)  # fmt: skip
def test_not_taken(status: int, body: object, error: type[SendError] | None, code: str) -> None:
    reading = read(answer(status, body))
    assert reading.good == (error is None)
    if error is not None:
        assert (type(reading.error()), reading.error().code) == (error, code)


def test_a_retry_after_is_the_whole_accounts() -> None:
    found = read(answer(429, b"", Retry_After="7")).error()
    assert (found.retry_after, found.whole_account) == (7, True)


def test_the_first_text_that_is_one() -> None:
    reading = read(answer(200, {"data": {"interactionId": 7, "id": ID}, "interactionId": "other"}))
    assert first_text(reading, "interactionId", "id") == ID
    assert first_text(read(answer(200, {"data": [], "id": ID})), "interactionId", "id") == ID
    assert first_text(read(answer(200, {})), "id") == ""


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"data": {"id": ID, "n": 1, "on": True, "none": None}},
         {"data": "object", "data.id": "text", "data.n": "number", "data.on": "boolean", "data.none": "null"}),
        ({"ids": ["1", {"id": "2"}]}, {"ids": "list", "ids[]": "object", "ids[].id": "text"}),
        ({"slots": {"2026-11-26T11:00:00.000Z": "3", "2026-11-26T12:00:00.000Z": "1"}},
         {"slots": "object", "slots.*": "text"}),
        ({"+16504661149": 1, ID: 2, "a@b.example": 3, "": 4, "Jane Doe": 5, "x" * 41: 6}, {"*": "number"}),
        ({"address1": "x", "line2of3": "y"}, {"address1": "text", "line2of3": "text"}),
        ([], {}),
        (None, {}),
    ],
)  # fmt: skip
def test_shapes_hold_no_value(value: Any, found: dict[str, str]) -> None:
    assert dict(shapes.fields(value)) == found


def test_shapes_are_bounded() -> None:
    deep: Any = {}
    for _ in range(100):
        deep = {"a": deep}
    assert len(list(shapes.fields(deep))) == shapes.DEEPEST
    names = [f"{a}{b}{c}" for a in "abcdefgh" for b in "abcdefgh" for c in "abcdefgh"]
    assert len(list(shapes.fields(dict.fromkeys(names, 1)))) == shapes.MOST_FIELDS


HERE = Credentials("https://x/auth/v3", "authorization_code", "client", redirect_uri="https://app.example.com/in")
STATE = "70db3ab252ead1dd"


@pytest.mark.parametrize("mark", ["?", "&"])
def test_a_pasted_address_gives_its_code(mark: str) -> None:
    pasted = f" {HERE.redirect_uri}{mark}code=ABC%2BXYZ&state={STATE}#fragment\n"
    assert read_redirect(pasted, HERE, STATE) == "ABC+XYZ"


@pytest.mark.parametrize(
    ("pasted", "why"),
    [
        ("", "should be the whole address"),
        ("x" * 9000, "should be the whole address"),
        (f"https://other.example.com/in?code=A&state={STATE}", "does not begin"),
        (HERE.redirect_uri, "has no parameters"),
        (f"{HERE.redirect_uri}side?code=A&state={STATE}", "has no parameters"),
        (f"{HERE.redirect_uri}?code=A", "its state"),
        (f"{HERE.redirect_uri}?code=A&state=70db3ab252ead1de", "its state"),
        (f"{HERE.redirect_uri}?code=A&state=%ff", "its state"),
        (f"{HERE.redirect_uri}?code=A&state={STATE}&code=B", "twice"),
        (f"{HERE.redirect_uri}?error=access_denied&state={STATE}", "has no code"),
        (f"{HERE.redirect_uri}?" + "&".join(f"a{n}=1" for n in range(30)), "has too many"),
    ],
)
def test_a_pasted_address_that_is_not_the_answer_to_this_login(pasted: str, why: str) -> None:
    with pytest.raises(WrongRedirect, match=why):
        read_redirect(pasted, HERE, STATE)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"contactCenterId": ID}, ID),
        ({"contact_center_id": ID}, ID),
        ({"status": {"code": 0}, "data": {"contactCenterId": ID}}, ID),
        ({"contactCenterId": 1}, ""),
        ({}, ""),
    ],
)
def test_whose_a_token_is(body: object, found: str) -> None:
    assert contact_center_of(read(answer(200, body))) == found
