"""Twilio, the way out: our request against the one that Twilio's own client writes, and every answer."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, parse_qsl

import httpx
import pytest
from pydantic import ValidationError
from twilio.rest import Client  # type: ignore[import-untyped] # it ships no types

from dcbridge.errors import AccountFault, OutcomeUnknown, Refused, RouteRefused, SendError, Throttled, Unreadable
from dcbridge.messages import Address, AgentMessage, Content, Reason
from dcbridge.providers.base import Turn
from dcbridge.providers.twilio import Twilio, TwilioFields
from tests.providers.recorder import Heard, recording

ACCOUNT = "AC" + "0" * 32
TEXT = "Grüße & 1+1=2 €😀\r\n100%"


def twilio(**fields: object) -> Twilio:
    return Twilio(
        "acme",
        TwilioFields.model_validate({"account_sid": ACCOUNT, "auth_token": "12345", **fields}),
        "https://bridge.example.com/base",
    )


def message(text: str = TEXT, **changes: Any) -> AgentMessage:
    to = Address("16504661149")
    whole: dict[str, Any] = {
        "channel_id": "0123456789",
        "message_id": "1613474523265-0",
        "sender": Address("12025550123"),
        "to": to,
        "recipients": (to,),
        "type": "Text",
        "text": text,
    }
    return AgentMessage(**(whole | changes))


def form(provider: Twilio, said: AgentMessage) -> dict[str, str]:
    request = provider.build_request(Turn(said, provider.parts(said)[0], 0.0))
    return dict(parse_qsl(request.content.decode(), keep_blank_values=True, strict_parsing=True))


@pytest.fixture
def loopback() -> Iterator[tuple[str, list[Heard]]]:
    """An address to send to, and what arrived there."""
    with recording(lambda _: {"sid": "SM1", "status": "queued"}, 201) as both:
        yield both


@pytest.mark.parametrize(
    ("fields", "theirs"),
    [
        ({}, {"from_": "+12025550123"}),
        ({"from_number": "898989"}, {"from_": "898989"}),
        ({"messaging_service_sid": "MG1"}, {"messaging_service_sid": "MG1"}),
        (
            {"messaging_service_sid": "MG1", "from_number": "+12025550199", "validity_period": 600},
            {"messaging_service_sid": "MG1", "from_": "+12025550199", "validity_period": 600},
        ),
        ({"api_key_sid": "SK1", "api_key_secret": "pass:word"}, {"from_": "+12025550123"}),
        ({"status_callbacks": False}, {"from_": "+12025550123"}),
    ],
)
def test_the_request_is_the_one_that_twilios_client_writes(
    loopback: tuple[str, list[Heard]], fields: dict[str, object], theirs: dict[str, Any]
) -> None:
    url, arrived = loopback
    said = message()
    provider = twilio(base_url=url, **fields)
    request = provider.build_request(Turn(said, provider.parts(said)[0], 0.0))
    with httpx.Client() as http:
        assert provider.parse_response(http.send(request)).provider_id == "SM1"

    user, secret = fields.get("api_key_sid", ACCOUNT), fields.get("api_key_secret", "12345")
    client = Client(str(user), str(secret), account_sid=ACCOUNT)
    client.api.base_url = url
    callback = f"https://bridge.example.com/base/callbacks/acme/status?m={said.ref}&p=0"
    callback += "" if fields.get("callback_retries") == 0 else "#rc=5&rp=all"
    more = {} if fields.get("status_callbacks") is False else {"status_callback": callback}
    client.messages.create(to="+16504661149", body=TEXT, **theirs, **more)
    client.http_client.session.close()

    ours, twilios = arrived
    path = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
    assert (ours.method, ours.path) == (twilios.method, twilios.path) == ("POST", path)
    assert ours.headers["authorization"] == twilios.headers["authorization"]
    assert ours.headers["content-type"] == twilios.headers["content-type"] == "application/x-www-form-urlencoded"
    form, twilios_form = (parse_qs(one.body.decode(), strict_parsing=True) for one in (ours, twilios))
    assert form == twilios_form
    assert form["Body"] == [TEXT]


def test_an_api_key_stands_in_for_the_account_in_the_header_only() -> None:
    provider = twilio(api_key_sid="SK1", api_key_secret="s")
    said = message()
    request = provider.build_request(Turn(said, provider.parts(said)[0], 0.0))
    assert request.headers["Authorization"] == "Basic " + base64.b64encode(b"SK1:s").decode()
    assert f"/Accounts/{ACCOUNT}/" in str(request.url)


def test_a_long_text_goes_in_parts_that_name_themselves() -> None:
    provider = twilio()
    said = message("word " * 500)
    parts = provider.parts(said)
    assert [(part.number, part.count) for part in parts] == [(0, 2), (1, 2)]
    assert "".join(part.text for part in parts) == said.text
    forms = [parse_qs(provider.build_request(Turn(said, part, 0.0)).content.decode()) for part in parts]
    assert [form["StatusCallback"][0].rpartition("?")[2] for form in forms] == [
        f"m={said.ref}&p={n}#rc=5&rp=all" for n in (0, 1)
    ]
    assert [form["Body"][0] for form in forms] == [part.text for part in parts]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"text": ""}, Reason.INVALID_STRUCTURE),
        ({"text": " \n"}, Reason.INVALID_STRUCTURE),
        ({"type": "Email"}, Reason.UNSUPPORTED),
        ({"type": "Email", "text": "", "contents": (Content("text", "x"),)}, Reason.UNSUPPORTED),
        ({"type": "RichMedia", "text": ""}, Reason.UNSUPPORTED),
        ({"to": Address("1650466114")}, Reason.INVALID_DESTINATION),
        ({"sender": Address("")}, Reason.INVALID_STRUCTURE),
    ],
)
def test_what_cannot_be_sent_is_refused(changes: dict[str, Any], reason: Reason) -> None:
    provider = twilio()
    with pytest.raises(Refused) as refused:
        form(provider, message(**changes))
    assert refused.value.reason is reason


@pytest.mark.parametrize(
    "changes", [{}, {"text": "."}, {"type": "RichMedia"}, {"sender": Address("1")}, {"to": Address("16504661140")}]
)
def test_and_what_is_one_step_away_from_it_is_sent(changes: dict[str, Any]) -> None:
    assert form(twilio(), message(**changes))["Body"] == changes.get("text", TEXT)


def test_a_channels_region_reads_national_numbers() -> None:
    assert form(twilio(default_region="US"), message(to=Address("6504661149")))["To"] == "+16504661149"


def test_a_lone_surrogate_does_not_break_the_form() -> None:
    assert form(twilio(), message("a\ud83db"))["Body"] == "a?b"


def answered(status: int, body: object = None, **headers: str) -> httpx.Response:
    if isinstance(body, bytes):
        return httpx.Response(status, content=body, headers=headers)
    return httpx.Response(status, json=body, headers=headers)


@pytest.mark.parametrize("status", [200, 201])
def test_taken_names_the_sid(status: int) -> None:
    body = {"sid": "SM" + "1" * 32, "status": "queued", "error_code": None}
    assert twilio().parse_response(answered(status, body)).provider_id == body["sid"]


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"sid":""}', b'{"sid":7}', b'{"status":"queued"}', b"[" * 9999]
)
def test_a_success_without_a_sid_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        twilio().parse_response(answered(201, body))
    assert twilio().parse_response(answered(201, b'{"sid":"7"}')).provider_id == "7"


ERRORS: list[tuple[int, object, type[SendError], Reason, str]] = [
    (429, {"code": 20429}, Throttled, Reason.RATE_LIMIT, "20429"),
    (429, b"slow down", Throttled, Reason.RATE_LIMIT, "HTTP 429"),
    (400, {"code": 14107}, Throttled, Reason.RATE_LIMIT, "14107"),
    (400, {"code": 21611}, Throttled, Reason.RATE_LIMIT, "21611"),
    (400, {"code": 63018}, Throttled, Reason.RATE_LIMIT, "63018"),
    (401, {"code": 20003}, AccountFault, Reason.GENERAL, "20003"),
    (401, b"", AccountFault, Reason.GENERAL, "HTTP 401"),
    (402, b"", AccountFault, Reason.GENERAL, "HTTP 402"),
    (403, b"", AccountFault, Reason.GENERAL, "HTTP 403"),
    (403, {"code": 20403}, AccountFault, Reason.GENERAL, "20403"),
    (400, {"code": 20005}, AccountFault, Reason.GENERAL, "20005"),
    (400, {"code": 30002}, AccountFault, Reason.GENERAL, "30002"),
    (404, {"code": 20404}, AccountFault, Reason.GENERAL, "20404"),
    (302, b"", AccountFault, Reason.GENERAL, "HTTP 302"),
    (403, {"code": 21408}, RouteRefused, Reason.NOT_ALLOWED, "21408"),
    (403, {"code": 99999}, Refused, Reason.GENERAL, "99999"),
    (
        400,
        {"code": 21211, "message": "The 'To' number +1555 is not valid"},
        Refused,
        Reason.INVALID_DESTINATION,
        "21211",
    ),
    (400, {"code": "21614"}, Refused, Reason.INVALID_DESTINATION, "21614"),
    (400, {"code": 21610}, Refused, Reason.NOT_ALLOWED, "21610"),
    (400, {"code": 21617}, Refused, Reason.INVALID_STRUCTURE, "21617"),
    (400, {"code": 21621}, Refused, Reason.UNSUPPORTED, "21621"),
    (400, {"code": 30036}, Refused, Reason.EXPIRED, "30036"),
    (400, {"code": 63038}, Refused, Reason.RATE_LIMIT, "63038"),
    (400, {"code": 30003}, Refused, Reason.GENERAL, "30003"),
    (400, {"code": 11237}, Refused, Reason.GENERAL, "11237"),
    (400, {"code": 99999}, Refused, Reason.GENERAL, "99999"),
    (400, {"code": "call +1555"}, Refused, Reason.GENERAL, "HTTP 400"),
    (400, {"code": None}, Refused, Reason.GENERAL, "HTTP 400"),
    (404, b"no such page", Refused, Reason.GENERAL, "HTTP 404"),
    (408, b"", OutcomeUnknown, Reason.GENERAL, "HTTP 408"),
    (500, {"code": 20500}, OutcomeUnknown, Reason.GENERAL, "20500"),
    (503, b"", OutcomeUnknown, Reason.GENERAL, "HTTP 503"),
]


@pytest.mark.parametrize(("status", "body", "error", "reason", "code"), ERRORS)
def test_what_follows_from_an_error(
    status: int, body: object, error: type[SendError], reason: Reason, code: str
) -> None:
    with pytest.raises(SendError) as raised:
        twilio().parse_response(answered(status, body))
    assert type(raised.value) is error
    assert (raised.value.reason, raised.value.code) == (reason, code)


@pytest.mark.parametrize(
    ("status", "header", "wait", "whole_account"),
    [
        (429, "30", 30.0, True),
        (429, "soon", None, True),
        (429, "Sun, 06 Nov 1994 08:49:37 GMT", 0.0, True),
        (400, "5", 5.0, False),
    ],
)
def test_retry_after_is_read(status: int, header: str, wait: float | None, whole_account: bool) -> None:
    with pytest.raises(Throttled) as raised:
        twilio().parse_response(answered(status, {"code": 21611}, **{"Retry-After": header}))
    assert (raised.value.retry_after, raised.value.whole_account) == (wait, whole_account)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ({"validity_period": 0}, {"validity_period": 1}),
        ({"validity_period": 36001}, {"validity_period": 36000}),
        ({"account_sid": "AC/1"}, {"account_sid": "AC1"}),
        ({"account_sid": "AC1\n"}, {"account_sid": "AC1"}),
        ({"auth_token": ""}, {"auth_token": "x"}),
        ({"previous_auth_tokens": [""]}, {"previous_auth_tokens": ["x"]}),
        ({"api_key_sid": "SK1"}, {"api_key_sid": "SK1", "api_key_secret": "x"}),
        ({"base_url": "api.twilio.com"}, {"base_url": "https://api.twilio.com/"}),
        ({"default_region": "us"}, {"default_region": "US"}),
        ({"from": "x"}, {"from_number": "x"}),
    ],
)
def test_fields_that_cannot_be_right_are_refused(wrong: dict[str, object], right: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        twilio(**wrong)
    assert twilio(**right)


def test_every_field_is_described_and_no_secret_prints() -> None:
    assert all(field.description and field.description.endswith(".") for field in TwilioFields.model_fields.values())
    fields = TwilioFields.model_validate(
        {
            "account_sid": "AC1",
            "auth_token": "hidden",
            "previous_auth_tokens": ["hidden"],
            "signing_keys": {"k": "hidden"},
        }
    )
    assert "hidden" not in repr(fields)


def test_a_public_host_with_an_underscore_is_refused_where_twilio_would_have_to_call_it() -> None:
    fields = TwilioFields.model_validate({"account_sid": "AC1", "auth_token": "x"})
    with pytest.raises(ValueError, match="underscore"):
        Twilio("acme", fields, "https://my_bridge.example.com")
    assert Twilio("acme", fields, "https://my-bridge.example.com/with_path")
    assert Twilio("acme", fields.model_copy(update={"status_callbacks": False}), "https://my_bridge.example.com")
