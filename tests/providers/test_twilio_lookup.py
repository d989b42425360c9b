"""Twilio, asked what became of a message: our requests and pages against Twilio's own client, and every answer."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import orjson
import pytest
from twilio.rest import Client  # type: ignore[import-untyped] # it ships no types

from dcbridge.errors import AccountFault, OutcomeUnknown, Refused, SendError, Throttled, Unreadable
from dcbridge.messages import Address, AgentMessage, MessageStatus, Reason, UpdateStatus
from dcbridge.providers.base import Page, Part, Request, StatusLookup, Turn
from dcbridge.providers.smtp import Smtp
from dcbridge.providers.twilio import Twilio, TwilioFields
from dcbridge.providers.twilio_lookup import SLACK
from tests.providers.recorder import Heard, recording

ACCOUNT = "AC" + "0" * 32
LIST = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
SERVICE = "MG" + "1" * 32
NOW = 1_800_000_000
AGE = 20.0  # seconds since the request in question began


def twilio(**fields: object) -> Twilio:
    return Twilio(
        "acme",
        TwilioFields.model_validate({"account_sid": ACCOUNT, "auth_token": "12345", **fields}),
        "https://bridge.example.com/base",
    )


def asking(**fields: object) -> StatusLookup:
    found = twilio(**fields).status_lookup
    assert found is not None
    return found


def message() -> AgentMessage:
    to = Address("16504661149")
    return AgentMessage("0123456789", "m-1", Address("12025550123"), to, (to,), "Text", "Hello")


def date(at: float) -> str:
    return format_datetime(datetime.fromtimestamp(at, UTC))


def listed(sid: str = "SM1", at: float | None = NOW - AGE, **changes: object) -> dict[str, object]:
    """One row of Twilio's list, as its documentation has it."""
    row: dict[str, object] = {
        "sid": sid,
        "account_sid": ACCOUNT,
        "api_version": "2010-04-01",
        "body": "Hello",
        "date_created": None if at is None else date(at),
        "date_sent": None if at is None else date(at),
        "date_updated": None if at is None else date(at),
        "direction": "outbound-api",
        "error_code": None,
        "error_message": None,
        "from": "+12025550123",
        "messaging_service_sid": None,
        "num_media": "0",
        "num_segments": "1",
        "price": None,
        "price_unit": "USD",
        "status": "sent",
        "subresource_uris": {},
        "to": "+16504661149",
        "uri": f"/2010-04-01/Accounts/{ACCOUNT}/Messages/{sid}.json",
    }
    return row | {name.removesuffix("_"): value for name, value in changes.items()}


def answered(body: object, status: int = 200, at: float | None = NOW, **headers: str) -> httpx.Response:
    dated = {"Date": date(at)} if at is not None else {}
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    named = {name.replace("_", "-"): said for name, said in headers.items()}
    return httpx.Response(status, content=content, headers=dated | named)


def page(*rows: object, following: object = None, **fields: object) -> Page:
    said, body = message(), {"messages": list(rows), "next_page_uri": following}
    return asking(**fields).parse_list(answered(body), Turn(said, Part(0, 1, "Hello"), 0.0), AGE)


# ---------------------------------------------------------------- the requests


def told(asked: Heard) -> object:
    """Two pages of one list, and one message by itself."""
    if urlsplit(asked.path).path != LIST:
        return listed("SM7", status="delivered")
    second = "Page" in dict(parse_qsl(urlsplit(asked.path).query))
    following = None if second else f"{LIST}?To=%2B16504661149&PageSize=200&Page=1&PageToken=PASM1"
    meta = {"page": 0, "page_size": 200, "start": 0, "end": 0, "uri": asked.path}
    ends = {"first_page_uri": None, "previous_page_uri": None, "next_page_uri": following}
    return {"messages": [listed("SM2" if second else "SM1")], **meta, **ends}


@pytest.fixture
def loopback() -> Iterator[tuple[str, list[Heard]]]:
    with recording(told) as both:
        yield both


def client(url: str, user: str = ACCOUNT, password: str = "12345") -> Any:
    made = Client(user, password, account_sid=ACCOUNT)
    made.api.base_url = url
    return made


def parsed(asked: Heard) -> tuple[str, str, list[tuple[str, str]], str]:
    path, _, query = asked.path.partition("?")
    return asked.method, path, sorted(parse_qsl(query, strict_parsing=True)), asked.headers["authorization"]


def test_the_search_and_its_pages_are_those_of_twilios_client(loopback: tuple[str, list[Heard]]) -> None:
    url, arrived = loopback
    ours, part = asking(base_url=url), Part(0, 1, "Hello")
    rows: list[str] = []
    request: Request | None = ours.list_request(Turn(message(), part, 0.0))
    with httpx.Client() as http:
        while request is not None:
            assert isinstance(request, httpx.Request)
            found = ours.parse_list(http.send(request), Turn(message(), part, 0.0), 1e9)
            rows += [row.reported.provider_id for row in found.rows]
            request = found.following
    theirs = client(url)
    seen = theirs.messages.list(to="+16504661149", from_="+12025550123", page_size=200)
    theirs.http_client.session.close()
    assert rows == [one.sid for one in seen] == ["SM1", "SM2"]
    mine, twilios = arrived[:2], arrived[2:]
    assert len(twilios) == 2
    assert [parsed(one) for one in mine] == [parsed(one) for one in twilios]


def test_a_question_by_sid_is_that_of_twilios_client_and_so_is_what_is_read(loopback: tuple[str, list[Heard]]) -> None:
    url, arrived = loopback
    ours = asking(base_url=url, api_key_sid="SK1", api_key_secret="s")
    with httpx.Client() as http:
        request = ours.status_request("SM7")
        assert isinstance(request, httpx.Request)
        reported = ours.parse_status(http.send(request))
    theirs = client(url, "SK1", "s")
    seen = theirs.messages("SM7").fetch()
    theirs.http_client.session.close()
    assert reported == MessageStatus(seen.sid, UpdateStatus(seen.status))
    mine, twilios = arrived
    assert urlsplit(mine.path).path == f"/2010-04-01/Accounts/{ACCOUNT}/Messages/SM7.json"
    assert parsed(mine) == parsed(twilios)


@pytest.mark.parametrize(
    ("fields", "query"),
    [
        ({}, {"To": "+16504661149", "From": "+12025550123"}),
        ({"from_number": "+12025550199"}, {"To": "+16504661149", "From": "+12025550199"}),
        ({"from_number": "898989"}, {"To": "+16504661149"}),
        ({"from_number": "Company"}, {"To": "+16504661149"}),
        ({"messaging_service_sid": SERVICE}, {"To": "+16504661149"}),
        (
            {"messaging_service_sid": SERVICE, "from_number": "+12025550199"},
            {"To": "+16504661149", "From": "+12025550199"},
        ),
    ],
)
def test_who_is_searched_for(fields: dict[str, object], query: dict[str, str]) -> None:
    request = asking(**fields).list_request(Turn(message(), Part(0, 1, "Hello"), 0.0))
    assert isinstance(request, httpx.Request)
    assert dict(request.url.params) == {**query, "PageSize": "200"}
    assert request.headers["Authorization"] == "Basic " + base64.b64encode(f"{ACCOUNT}:12345".encode()).decode()


def test_a_sid_cannot_lead_elsewhere() -> None:
    request = asking().status_request("../../Calls?x=1#")
    assert isinstance(request, httpx.Request)
    assert str(request.url).endswith("/Messages/..%2F..%2FCalls%3Fx%3D1%23.json")


# ---------------------------------------------------------------- the rows


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"to": "+16504661140"}, {}),
        ({"from_": "+12025550124"}, {}),
        ({"direction": "inbound"}, {}),
        ({"direction": "outbound-reply"}, {}),
        ({"from_": None, "messaging_service_sid": None}, {"messaging_service_sid": SERVICE}),
        ({"at": NOW - AGE - SLACK - 1}, {}),
    ],
)
def test_what_is_not_between_us_and_the_recipient_in_that_time_is_no_row(
    changes: dict[str, Any], fields: dict[str, object]
) -> None:
    assert page(listed(**changes), **fields).rows == []


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({}, {}),
        ({"direction": None}, {}),
        ({"from_": "COMPANY"}, {"from_number": "Company"}),
        ({"from_": "+19999999999", "messaging_service_sid": SERVICE}, {"messaging_service_sid": SERVICE}),
        ({"from_": None, "messaging_service_sid": SERVICE, "status": "accepted"}, {"messaging_service_sid": SERVICE}),
        ({"at": NOW - AGE - SLACK}, {}),
        ({"at": None, "status": "queued"}, {}),  # no date: it cannot be ruled out
        ({"date_sent": None, "status": "queued"}, {}),
        ({"body": " Hello\r\n"}, {}),
    ],
)
def test_and_what_is_one_step_away_from_it_is_one(changes: dict[str, Any], fields: dict[str, object]) -> None:
    [row] = page(listed(**changes), **fields).rows
    assert row.same


@pytest.mark.parametrize("body", ["hello", "Hello!", "Sent from your Twilio trial account - Hello", "", None])
def test_another_text_is_a_row_that_is_not_the_same(body: str | None) -> None:
    [row] = page(listed(body=body)).rows
    assert not row.same


def test_a_text_is_compared_as_it_went_out() -> None:
    part = Part(1, 2, "a\ud83db ")
    [row] = asking().parse_list(answered({"messages": [listed(body="a?b")]}), Turn(message(), part, 0.0), AGE).rows
    assert row.same


def test_time_is_told_by_the_date_of_the_answer_and_not_by_our_clock() -> None:
    said, body = message(), {"messages": [listed(at=1_000_000_000.0)]}
    for now, rows in ((1_000_000_000 + AGE, 1), (1_000_000_000 + AGE + SLACK + 1, 0)):
        found = asking().parse_list(answered(body, at=now), Turn(said, Part(0, 1, "Hello"), 0.0), AGE)
        assert len(found.rows) == rows


@pytest.mark.parametrize(
    ("rows", "older"),
    [
        ([], False),
        ([listed()], False),
        ([listed(at=NOW - 3600)], True),
        ([listed(), listed(at=NOW - 3600)], True),
        ([listed(at=None)], False),
        ([listed(at=NOW - 3600), listed(at=None)], True),
        ([listed(date_sent=date(NOW - 3600), date_created=date(NOW))], True),
    ],
)
def test_a_page_says_whether_later_ones_are_older_than_the_time_in_question(rows: list[object], older: bool) -> None:
    assert page(*rows).older is older


@pytest.mark.parametrize(
    ("base_url", "path", "then"),
    [
        (
            "https://api.twilio.com",
            f"{LIST}?Page=1&PageToken=PA1",
            f"https://api.twilio.com{LIST}?Page=1&PageToken=PA1",
        ),
        ("https://a.example.com/laml", f"{LIST}?Page=1", f"https://a.example.com/laml{LIST}?Page=1"),
        ("https://a.example.com/laml", f"/laml{LIST}?Page=1", f"https://a.example.com/laml{LIST}?Page=1"),
        (
            "https://api.twilio.com",
            f"https://elsewhere.example.com{LIST}?Page=1",
            f"https://api.twilio.com{LIST}?Page=1",
        ),
        ("https://api.twilio.com", None, None),
        ("https://api.twilio.com", "", None),
    ],
)
def test_the_next_page_is_always_of_our_own_list(base_url: str, path: str | None, then: str | None) -> None:
    following = page(following=path, base_url=base_url).following
    assert (str(following.url) if isinstance(following, httpx.Request) else following) == then


@pytest.mark.parametrize("path", ["/2010-04-01/Accounts/AC9/Messages.json?Page=1", "/Calls.json", "?Page=1", 7])
def test_another_list_is_not_gone_through(path: object) -> None:
    with pytest.raises(Unreadable):
        page(following=path)


# ---------------------------------------------------------------- the fates


@pytest.mark.parametrize(
    ("status", "code", "reported"),
    [
        ("accepted", None, MessageStatus("SM1", UpdateStatus.SENT)),
        ("queued", None, MessageStatus("SM1", UpdateStatus.SENT)),
        ("sending", None, MessageStatus("SM1", UpdateStatus.SENT)),
        ("sent", None, MessageStatus("SM1", UpdateStatus.SENT)),
        ("delivered", None, MessageStatus("SM1", UpdateStatus.DELIVERED)),
        ("delivered", 0, MessageStatus("SM1", UpdateStatus.DELIVERED)),
        ("read", None, MessageStatus("SM1", UpdateStatus.DELIVERED)),
        ("undelivered", 30005, MessageStatus("SM1", UpdateStatus.FAILED, Reason.INVALID_DESTINATION, "30005")),
        ("failed", "30007", MessageStatus("SM1", UpdateStatus.FAILED, Reason.NOT_ALLOWED, "30007")),
        ("failed", None, MessageStatus("SM1", UpdateStatus.FAILED, Reason.GENERAL)),
        ("failed", "call +1555", MessageStatus("SM1", UpdateStatus.FAILED, Reason.GENERAL)),
        ("canceled", None, MessageStatus("SM1", UpdateStatus.REMOVED)),
        ("something new", None, MessageStatus("SM1", UpdateStatus.SENT)),
    ],
)
def test_what_became_of_it(status: str, code: object, reported: MessageStatus) -> None:
    one = listed(status=status, error_code=code)
    assert asking().parse_status(answered(one)) == reported
    assert page(one).rows[0].reported == reported


def test_a_message_that_twilio_does_not_know() -> None:
    assert asking().parse_status(answered({"code": 20404, "status": 404}, 404)) is None


ERRORS: list[tuple[object, int, type[SendError]]] = [
    ({"code": 20429}, 429, Throttled),
    ({"code": 20003}, 401, AccountFault),
    (b"", 403, AccountFault),
    (b"no such page", 404, Refused),
    ({"code": 20500}, 500, OutcomeUnknown),
    (b"", 503, OutcomeUnknown),
    (b"<html>", 200, Unreadable),
    (b"[]", 200, Unreadable),
    ({"messages": {}}, 200, Unreadable),
    ({"messages": [7]}, 200, Unreadable),
    ({"messages": [{"body": "Hello"}]}, 200, Unreadable),
]


@pytest.mark.parametrize(("body", "status", "error"), ERRORS)
def test_what_is_no_answer(body: object, status: int, error: type[SendError]) -> None:
    with pytest.raises(error):
        asking().parse_list(answered(body, status), Turn(message(), Part(0, 1, "Hello"), 0.0), AGE)
    with pytest.raises(error):
        asking().parse_status(answered(body, status))


def test_a_list_of_an_account_that_is_not_there_is_no_answer() -> None:
    with pytest.raises(AccountFault):
        asking().parse_list(answered({"code": 20404}, 404), Turn(message(), Part(0, 1, "Hello"), 0.0), AGE)


def test_an_answer_without_a_date_tells_no_time() -> None:
    body = {"messages": [listed()]}
    with pytest.raises(Unreadable):
        asking().parse_list(answered(body, at=None), Turn(message(), Part(0, 1, "Hello"), 0.0), AGE)
    assert asking().parse_list(answered(body), Turn(message(), Part(0, 1, "Hello"), 0.0), AGE).rows


def test_a_wait_that_is_asked_for_is_read() -> None:
    with pytest.raises(Throttled) as raised:
        asking().parse_status(answered({"code": 20429}, 429, Retry_After="30"))
    assert (raised.value.retry_after, raised.value.whole_account) == (30.0, True)


# ---------------------------------------------------------------- who can be asked


def test_who_can_be_asked_says_so() -> None:
    assert twilio(ask=False).status_lookup is None
    assert asking(list_lag=3).lag == 3
    assert Smtp.status_lookup is None


# ---------------------------------------------------------------- the shape of an id

NO_SIDS = [
    "", " ", "SM 1", "SM1\n", "SM1/", "../x", "SM1?x", "-SM1", "_1", "x" * 65, "x" * 900_000, "SM\u0661", "SM\u00e9",
    "\0", ACCOUNT + "x", f"{ACCOUNT}-1", 7, True, None, ["SM1"], {"sid": "SM1"},
]  # fmt: skip


@pytest.mark.parametrize("sid", NO_SIDS, ids=lambda sid: repr(sid)[:12])
def test_what_is_no_id_is_neither_remembered_nor_asked_for(sid: object) -> None:
    with pytest.raises(Unreadable):
        page(listed() | {"sid": sid})
    with pytest.raises(Unreadable):
        page(listed(), listed("SM2") | {"sid": sid})  # whoever skips a row may believe that the message is not there
    with pytest.raises(Unreadable):
        asking().parse_status(answered({**listed(), "sid": sid}))


@pytest.mark.parametrize(
    "sid", ["SM1", "x" * 64, "SM" + "0" * 32, "0b0b7c93-9e4a-4d5b-8fbd-2f0f3c9a1f6e", "0", "a_b-c"]
)
def test_ids_of_twilio_and_of_companies_like_it(sid: str) -> None:
    [row] = page(listed(sid)).rows
    reported = asking().parse_status(answered(listed(sid)))
    assert reported is not None
    assert row.reported.provider_id == reported.provider_id == sid


@pytest.mark.parametrize(("length", "followed"), [(2000, True), (2049, False), (900_000, False)])
def test_the_next_page_has_an_address_of_bounded_length(length: int, followed: bool) -> None:
    following = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json?" + "x" * length
    if followed:
        assert page(listed(), following=following).following is not None
    else:
        with pytest.raises(Unreadable):
            page(listed(), following=following)
