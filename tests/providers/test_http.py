"""Kind `http`: the examples of its page, every place and template, every answer, and descriptions with mistakes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import orjson
import pytest
import yaml
from pydantic import ValidationError

from dcbridge.config.loader import parse
from dcbridge.errors import (
    AccountFault,
    BadSignature,
    Deferred,
    OutcomeUnknown,
    Refused,
    SendError,
    Throttled,
    Unreadable,
    UnreadableEvent,
)
from dcbridge.messages import Address, AgentMessage, ConsumerMessage, DeliveryUpdate, Reason, UpdateStatus
from dcbridge.providers.base import Callback, Turn, Unread
from dcbridge.providers.http import Http, HttpFields
from dcbridge.providers.http_template import pointed

PAGE = Path(__file__).parent.parent.parent / "docs" / "providers" / "http.md"
SECRETS = {
    "ACME_KEY": "k&=\"", "ACME_AUTHORIZATION": "Bearer b", "ACME_SIGNATURE_SECRET": "acme-signs",
    "KANNEL_CALLBACK_SECRET": "0123456789abcdef", "KANNEL_PASSWORD": "p&w",
}  # fmt: skip
TEXT = 'Grüße "&" 1+1=2 {x} €😀\\\n'


def example(name: str) -> dict[str, Any]:
    """A provider of the page, with its secrets filled in."""
    for block in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL):
        filled = re.sub(r"\$\{([A-Z_]+)\}", lambda found: repr(SECRETS[found[1]]), block)
        if name in (found := yaml.load(filled, yaml.BaseLoader)["providers"]):  # noqa: S506  # no type is built
            return {key: value for key, value in found[name].items() if key != "kind"}
    raise AssertionError(f"the page has no {name}")


SEND: dict[str, Any] = {"url": "https://a.example/"}
ACME, KANNEL = example("acme-sms"), example("kannel")


def http(fields: dict[str, Any], **changes: Any) -> Http:
    return Http("acme", HttpFields.model_validate({**fields, **changes}), "https://bridge.example.com")


def message(text: str = TEXT) -> AgentMessage:
    to = Address("16504661149")
    return AgentMessage("0123456789", "1613474523265-0", Address("12025550123"), to, (to,), "Text", text)


def request(provider: Http, said: AgentMessage) -> httpx.Request:
    return provider.build_request(Turn(said, provider.parts(said)[0], 0.0))


# ---------------------------------------------------------------- requests


def test_a_json_body_is_filled_value_by_value() -> None:
    made, ref = request(http(ACME), message()), message().ref
    assert (made.method, str(made.url)) == ("POST", "https://api.acme.example/v1/messages")
    assert made.headers["authorization"] == "Bearer b"
    assert made.headers["content-type"] == "application/json"
    assert orjson.loads(made.content) == {
        "to": "+16504661149",
        "from": "+12025550123",
        "text": TEXT,
        "reference": f"{ref}.0",
        "account": {"key": 'k&="', "retries": 3, "flash": False},
        "callback": f"https://bridge.example.com/callbacks/acme/status?m={ref}.0",
    }


@pytest.mark.parametrize(("text", "coding"), [("Grüße & 1+1=2 €", "0"), (TEXT, "2")])
def test_a_query_is_filled_value_by_value(text: str, coding: str) -> None:
    made, ref = request(http(KANNEL), message(text)), message().ref
    assert made.method == "GET"
    assert made.content == b""
    query = dict(parse_qsl(urlsplit(str(made.url)).query, strict_parsing=True))
    report = f"https://bridge.example.com/callbacks/acme/status/0123456789abcdef?m={ref}.0&s=%d"
    assert query == {
        "username": "dcbridge", "password": "p&w", "to": "+16504661149", "from": "+12025550123", "text": text,
        "coding": coding, "charset": "UTF-8", "dlr-mask": "31", "dlr-url": report,
    }  # fmt: skip


def test_an_address_that_no_server_would_read_is_no_request() -> None:
    """It would be taken for a server that is away, and tried for days."""
    ours = http({"send": {**SEND, "method": "GET", "query": {"t": "{text}"}, "sms": 25}})
    with pytest.raises(Refused) as raised:
        request(ours, message("я" * 67 * 24))
    assert raised.value.reason is Reason.INVALID_STRUCTURE
    assert len(str(request(ours, message("я" * 67 * 20)).url)) < 8192


def test_a_form_a_path_and_a_login() -> None:
    send = {"url": "https://a.example/{to}/{text}?v=1", "query": {"x": "{{{to_digits}}}"}, "form": {"t": "{text}"}}
    made = request(http({"send": send, "username": "ü", "password": "p:w"}), message("a/b?&"))
    assert str(made.url) == "https://a.example/%2B16504661149/a%2Fb%3F%26?v=1&x=%7B16504661149%7D"
    assert made.content == b"t=a%2Fb%3F%26"
    assert made.headers["content-type"] == "application/x-www-form-urlencoded"
    assert made.headers["authorization"] == "Basic " + base64.b64encode("ü:p:w".encode()).decode()


@pytest.mark.parametrize(
    ("sms", "text", "parts"),
    [
        (10, "a" * 1530, 1),
        (10, "a" * 1531, 2),
        (10, "я" * 670, 1),
        (10, "я" * 671, 2),
        (1, "a" * 160, 1),
        (1, "я" * 71, 2),
    ],
)
def test_how_many_sms_a_request_carries(sms: int, text: str, parts: int) -> None:
    pieces = http({"send": {"url": "https://a.example/", "sms": sms}}).parts(message(text))
    assert len(pieces) == parts
    assert "".join(piece.text for piece in pieces) == text


# ---------------------------------------------------------------- answers


def answered(status: int, body: object = b"", **headers: str) -> httpx.Response:
    return httpx.Response(status, content=body if isinstance(body, bytes) else orjson.dumps(body), headers=headers)


@pytest.mark.parametrize(
    ("fields", "answer", "found"),
    [
        (ACME, answered(202, {"id": "a-1"}), "a-1"),
        (ACME, answered(202, {"id": 17}), "17"),
        (ACME, answered(202, {"id": "a 1"}), ""),
        (ACME, answered(202, {"id": "0" * 129}), ""),
        (ACME, answered(202, {"id": ["a"]}), ""),
        (ACME, answered(202, b"["), ""),
        (KANNEL, answered(202, b"0: Accepted for delivery"), ""),
        (KANNEL, answered(202, b"3: Queued for later delivery"), ""),
        ({"send": SEND, "taken": {"id": "header.X-Id"}}, answered(200, **{"X-Id": "h"}), "h"),
        ({"send": SEND, "taken": {"id": "form.id"}}, answered(200, b"ok=1&id=f"), "f"),
        ({"send": SEND, "taken": {"id": "body:^ID: (.+)$"}}, answered(200, b"ID: b"), "b"),
        ({"send": SEND, "taken": {"id": "body:^ID: (.+)$"}}, answered(200, b"\xff"), ""),
        ({"send": SEND}, answered(201), ""),
    ],
)  # fmt: skip
def test_an_answer_that_says_it_has_the_message(fields: dict[str, Any], answer: httpx.Response, found: str) -> None:
    assert http(fields).parse_response(answer).provider_id == found


@pytest.mark.parametrize(
    ("fields", "answer", "error", "reason", "code"),
    [
        (ACME, answered(400, {"error": "filtered"}), Refused, Reason.NOT_ALLOWED, "filtered"),
        (ACME, answered(202, {"error": "filtered"}), Refused, Reason.NOT_ALLOWED, "filtered"),
        (ACME, answered(400, {"error": "no_such_number"}), Refused, Reason.INVALID_DESTINATION, "no_such_number"),
        (ACME, answered(400, {"error": "a sentence of theirs"}), Refused, Reason.GENERAL, "HTTP 400"),
        (ACME, answered(503, b"queue full"), Throttled, Reason.RATE_LIMIT, "HTTP 503"),
        (ACME, answered(503, b"x" * 65536 + b"queue full"), OutcomeUnknown, Reason.GENERAL, "HTTP 503"),
        (ACME, answered(503, b"bad gateway"), OutcomeUnknown, Reason.GENERAL, "HTTP 503"),
        (ACME, answered(402, {"error": "x"}), AccountFault, Reason.GENERAL, "x"),
        (ACME, answered(401), AccountFault, Reason.GENERAL, "HTTP 401"),
        (ACME, answered(429), Throttled, Reason.RATE_LIMIT, "HTTP 429"),
        (ACME, answered(302), AccountFault, Reason.GENERAL, "HTTP 302"),
        (ACME, answered(200, {"id": "a-1"}), Unreadable, Reason.GENERAL, "HTTP 200"),
        (KANNEL, answered(202, b"something else"), Unreadable, Reason.GENERAL, "HTTP 202"),
        (KANNEL, answered(503, b"Temporal failure, try again later."), Throttled, Reason.RATE_LIMIT, "HTTP 503"),
        (KANNEL, answered(403, b"Authorization failed for sendsms"), AccountFault, Reason.GENERAL, "HTTP 403"),
        (KANNEL, answered(400, b"Invalid receiver"), Refused, Reason.INVALID_STRUCTURE, "HTTP 400"),
        ({"send": SEND, "errors": [{"status": 409, "is": "deferred"}]}, answered(409), Deferred,
         Reason.GENERAL, "HTTP 409"),
        ({"send": SEND, "errors": [{"status": 409, "is": "unknown"}]}, answered(409),
         OutcomeUnknown, Reason.GENERAL, "HTTP 409"),
    ],
)  # fmt: skip
def test_what_another_answer_means(
    fields: dict[str, Any], answer: httpx.Response, error: type[SendError], reason: Reason, code: str
) -> None:
    with pytest.raises(SendError) as raised:
        http(fields).parse_response(answer)
    assert (type(raised.value), raised.value.reason, raised.value.code) == (error, reason, code)


def test_retry_after_is_kept_to_with_a_row_of_the_description() -> None:
    with pytest.raises(Throttled) as raised:
        http(KANNEL).parse_response(answered(503, b"", **{"Retry-After": "7"}))
    assert raised.value.retry_after == 7


# ---------------------------------------------------------------- callbacks


def callback(
    body: object = b"", kind: Literal["status", "inbound"] = "status", query: dict[str, str] | None = None, *,
    secret: str = "", **headers: str,
) -> Callback:  # fmt: skip
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    written = urlencode(query or {})
    url = f"https://bridge.example.com/callbacks/acme/{kind}" + (f"?{written}" if written else "")
    named = {name.replace("_", "-"): (value,) for name, value in headers.items()}
    return Callback(kind, "POST" if raw else "GET", url, written.encode(), named, raw, secret)


def signed(body: bytes, secret: str = "acme-signs") -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


BODY = b'{"reports":[]}'


@pytest.mark.parametrize(
    ("changes", "wrong", "right"),
    [
        ({}, callback(BODY), callback(BODY, x_acme_signature=signed(BODY))),
        ({}, callback(BODY + b" ", x_acme_signature=signed(BODY)), callback(BODY, x_acme_signature=signed(BODY))),
        ({}, callback(BODY, x_acme_signature=signed(BODY)[7:]), callback(BODY, x_acme_signature=signed(BODY))),
        ({}, callback(BODY, x_acme_signature=signed(BODY, "x")), callback(BODY, x_acme_signature=f" {signed(BODY)} ")),
        ({}, callback(BODY, x_acme_signature="sha256="), callback(BODY, x_acme_signature=signed(BODY).upper())),
        ({}, callback(BODY, x_acme_signature="é"), callback(BODY, x_acme_signature=signed(BODY))),
        ({}, callback(x_acme_signature=signed(b"")), callback(BODY, x_acme_signature=signed(BODY))),
        (
            {"callback_secret": "0123456789abcdef"},
            callback(BODY, x_acme_signature=signed(BODY)),
            callback(BODY, x_acme_signature=signed(BODY), secret="0123456789abcdef"),
        ),
        (
            {"callback_secret": "0123456789abcdef"},
            callback(BODY, secret="0123456789abcdef"),
            callback(BODY, x_acme_signature=signed(BODY), authorization="Bearer 0123456789abcdef"),
        ),
        (
            {"callback_secret": "0123456789abcdef", "signature": None},
            callback(secret="0123456789abcdee"),
            callback(secret="0123456789abcdef"),
        ),
        (
            {"signature": {"header": "X-S", "secret": "s", "hash": "sha1", "encoding": "base64"}},
            callback(BODY, x_s=base64.b64encode(hmac.digest(b"t", BODY, "sha1")).decode()),
            callback(BODY, x_s=base64.b64encode(hmac.digest(b"s", BODY, "sha1")).decode()),
        ),
    ],
)
def test_a_callback_that_proves_nothing_is_refused(changes: dict[str, Any], wrong: Callback, right: Callback) -> None:
    ours = http(ACME, **changes)
    ours.verify(right)
    with pytest.raises(BadSignature):
        ours.verify(wrong)


def test_a_signature_proves_the_query_as_well_where_that_is_read() -> None:
    """One body for all messages, each of which is named in the address: they are no repetitions of each other."""
    ours = http(ACME, callback_secret="0123456789abcdef", status={**ACME["status"], "reference": "query.m"})
    proof: dict[str, Any] = {"x_acme_signature": signed(BODY), "secret": "0123456789abcdef"}
    one, other = callback(BODY, query={"m": "1"}, **proof), callback(BODY, query={"m": "2"}, **proof)
    assert (ours.verify(one) or ours.event_id(one)) != (ours.verify(other) or ours.event_id(other))
    assert (ours.verify(one) or ours.event_id(one)) == (ours.verify(one) or ours.event_id(one))
    assert http(ACME).verify(callback(BODY, query={"m": "1"}, x_acme_signature=signed(BODY))) == http(ACME).verify(
        callback(BODY, query={"m": "2"}, x_acme_signature=signed(BODY))
    )


REF = "0123456789abcdef01234567"
D, F, S = UpdateStatus.DELIVERED, UpdateStatus.FAILED, UpdateStatus.SENT


@pytest.mark.parametrize(
    ("said", "update"),
    [
        ({"status": "delivered", "reference": f"{REF}.1"}, DeliveryUpdate("acme", "", D, REF, 1)),
        ({"status": "delivered", "id": "a-1"}, DeliveryUpdate("acme", "a-1", D)),
        ({"status": "a word of tomorrow", "id": "a-1"}, DeliveryUpdate("acme", "a-1", S)),
        ({"status": "cancelled", "id": "a-1"}, DeliveryUpdate("acme", "a-1", UpdateStatus.REMOVED)),
        (
            {"status": "failed", "error": "filtered", "reference": f"{REF}-7.0"},
            DeliveryUpdate("acme", "", F, f"{REF}-7", 0, Reason.NOT_ALLOWED, "filtered"),
        ),
        ({"status": "failed", "error": "a sentence of theirs"}, DeliveryUpdate("acme", "", F, "", 0, Reason.GENERAL)),
    ],
)
def test_what_a_report_says(said: dict[str, str], update: DeliveryUpdate) -> None:
    assert http(ACME).parse_callback(callback({"reports": [said]})) == [update]


def test_one_element_that_cannot_be_read_leaves_the_others() -> None:
    good, bad = {"status": "delivered", "reference": f"{REF}.0"}, {"status": 1.5}
    found = http(ACME).parse_callback(callback({"reports": [good, bad, "x", good]}))
    assert [type(one) for one in found] == [DeliveryUpdate, Unread, Unread, DeliveryUpdate]
    assert isinstance(found[1], Unread)
    assert orjson.loads(found[1].body) == {"reports": [bad]}
    [again] = http(ACME).parse_callback(replace(callback(b"x"), body=found[1].body))
    assert again == found[1]


def test_kannels_report_and_what_a_consumer_wrote() -> None:
    words = {"1": D, "2": F, "4": S, "8": S, "16": F}
    for word, status in words.items():
        [update] = http(KANNEL).parse_callback(callback(query={"m": f"{REF}.0", "s": word}))
        reason = Reason.GENERAL if status is F else None
        assert update == DeliveryUpdate("acme", "", status, REF, 0, reason)
    wrote = {"i": "uuid-1", "p": "+16504661149", "P": "+12025550123", "a": TEXT}
    ends = Address("16504661149"), Address("+12025550123")
    assert http(KANNEL).parse_callback(callback(kind="inbound", query=wrote)) == [
        ConsumerMessage("acme", "uuid-1", *ends, TEXT)
    ]


@pytest.mark.parametrize(
    ("fields", "said", "why"),
    [
        (ACME, callback(b"x"), "no list"),
        (ACME, callback({"reports": {}}), "no list"),
        (ACME, callback(b"[" * 100_000), "no list"),
        (KANNEL, callback(query={"m": f"{REF}.0"}), "no status"),
        (KANNEL, callback(kind="inbound", query={"p": "1", "P": "2", "a": "x"}), "no id"),
        (KANNEL, callback(kind="inbound", query={"i": "1", "p": "1", "P": "2"}), "no text"),
        (KANNEL, callback(kind="inbound", query={"i": "1", "P": "2", "a": "x"}), "no From"),
        ({"send": SEND}, callback(b"x"), "status is not configured"),
    ],
)
def test_a_callback_that_cannot_be_read_says_why(fields: dict[str, Any], said: Callback, why: str) -> None:
    with pytest.raises(UnreadableEvent, match=why):
        http(fields).parse_callback(said)


def test_the_same_callback_has_the_same_id() -> None:
    one = callback(query={"m": f"{REF}.0", "s": "1"})
    assert http(KANNEL).event_id(one) == http(KANNEL).event_id(replace(one, secret="another"))
    assert http(KANNEL).event_id(one) != http(KANNEL).event_id(callback(query={"m": f"{REF}.0", "s": "2"}))


@pytest.mark.parametrize(
    ("value", "pointer", "found"),
    [
        ({"a": [{"b": 1}]}, "/a/0/b", 1),
        ({"a/b": {"~": 2}}, "/a~1b/~0", 2),
        ({"a": 1}, "", {"a": 1}),
        ({"a": 1}, "/b", None),
        ([1], "/1", None),
        ([1], "/-1", None),
        ([1], "/٠", None),
        ("text", "/0", None),
        (None, "/a", None),
    ],
)
def test_a_json_pointer(value: object, pointer: str, found: object) -> None:
    assert pointed(value, pointer) == found


# ---------------------------------------------------------------- descriptions that make no sense


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"send": {"url": "ftp://a.example/"}}, "pattern"),
        ({"send": {"url": "https://{to}.example/"}}, "no value before its path"),
        ({"send": {**SEND, "query": {"a": "{unknown}"}}}, "is no value; there is to, to_digits"),
        ({"send": {**SEND, "query": {"a": "{"}}}, "single {"),
        ({"send": {**SEND, "form": {"a": "}"}}}, "single }"),
        ({"send": {**SEND, "json": {"a": ["{unknown}"]}}}, "is no value; there is"),
        ({"send": {**SEND, "json": "=1,"}}, "with = that is no JSON value"),
        ({"send": {**SEND, "json": "{text}", "form": {}}}, "form and json should not be given together"),
        ({"send": {**SEND, "method": "GET", "form": {}}}, "method GET has no body"),
        ({"send": {**SEND, "query": {"a": "{secret.b}"}}}, "secrets should have b"),
        ({"send": SEND, "taken": {"id": "somewhere"}}, "is no place"),
        ({"send": SEND, "taken": {"id": "json:id"}}, "is no JSON pointer"),
        ({"send": SEND, "taken": {"id": "body:id"}}, "one group in parentheses"),
        ({"send": SEND, "taken": {"body": "("}}, "is no regular expression"),
        ({"send": SEND, "status": {"word": "query.s", "id": "query.i", "words": {}}}, "nothing else proves a callback"),
        ({**KANNEL, "status": {"word": "query.s", "words": {}}}, "reference or id should be given"),
        ({**KANNEL, "status": {**KANNEL["status"], "each": "query.x"}}, "each should be a place such as json:/results"),
        ({**KANNEL, "status": {**KANNEL["status"], "word": "header.x"}}, "a place of an answer"),
        ({**KANNEL, "status": {**KANNEL["status"], "words": {"1": "gone"}}}, "sent"),
        ({**ACME, "status": {**ACME["status"], "reference": "query.m"}}, "a signature does not cover the query"),
        ({**ACME, "errors": [{"status": 400, "is": "refused", "reason": "351"}]}, "reason"),
        ({**ACME, "errors": [{"is": "refused"}]}, "status, body or code should be given"),
        (
            {"send": SEND, "errors": [{"status": 202, "is": "throttled"}]},
            "errors[0] fits an answer that says the message",
        ),
        ({"send": SEND, "errors": [{"code": ["7"], "is": "throttled"}]}, "nothing says where an answer has one"),
        ({**ACME, "send": SEND, "taken": {}}, "without either no report finds its message"),
        ({**ACME, "taken": {}, "status": {"word": "json:/s", "id": "json:/i", "words": {}}}, "no report finds"),
        ({"send": {**SEND, "headers": {"X-Key": "key\n"}}}, "printable ASCII on one line"),
        ({"send": {**SEND, "headers": {"X-Key": "é"}}}, "printable ASCII on one line"),
        (
            {"send": {**SEND, "headers": {"X-Key": "Bearer {secret.a}"}}, "secrets": {"a": "b"}},
            "headers are no templates",
        ),
        ({"send": {**SEND, "headers": {"X Key": "key"}}}, "is not the name of a header"),
        ({"send": {**SEND, "headers": {"host": "a.example"}}}, "is a header that dcbridge writes itself"),
        ({"send": {**SEND, "headers": {"authorization": "x"}}, "username": "u"}, "does not go with username"),
        ({"send": SEND, "username": "a:b"}, "username should have no colon"),
        ({"send": {"url": "https://a.example:99999/"}}, "is no URL"),
        ({"send": {"url": "https://[::1/"}}, "is no URL"),
    ],
)
def test_a_description_that_makes_no_sense_is_refused(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError) as raised:
        http(fields)
    assert why in str(raised.value)
    assert not [secret for secret in SECRETS.values() if len(secret) > 5 and secret in str(raised.value)]


# ---------------------------------------------------------------- as a configuration

FILE = """\
public_url: https://bridge.example.com
digital_channels:
  base_url: https://digital.example.com/nexus/v3
  contact_center_id: 0ff723ff-6c6f-44e0-9ce3-ce579337eadd
endpoints: {main: {secrets: ["${APP_SECRET}"]}}
channels: {"0123456789": {type: sms, provider: NAME, number: "+12025550123"}}
"""
ENVIRONMENT = {**SECRETS, "APP_SECRET": "f3b1c7e09a5d42861", "KANNEL_PASSWORD": "9d1b3f5a7c0e2846"}


def warnings(name: str, *edit: str) -> list[str]:
    """What is said of the page's example in a whole bridge.yaml."""
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    [block] = [one for one in blocks if name in yaml.safe_load(one)["providers"]]
    text = FILE.replace("NAME", name) + (block.replace(*edit) if edit else block)
    assert not edit or edit[0] in block
    return [f"{one}".partition(": ")[2] for one in parse(text, ENVIRONMENT).warnings]


@pytest.mark.parametrize(
    ("name", "edit", "said"),
    [
        ("acme-sms", (), []),
        ("kannel", (), []),
        (
            "kannel",
            ("127.0.0.1", "kannel.example.com"),
            ["providers.kannel.send.url: is http: messages and the login travel unencrypted; write https://"],
        ),
    ],
)
def test_the_examples_are_a_configuration(name: str, edit: tuple[str, ...], said: list[str]) -> None:
    assert warnings(name, *edit) == said


def test_a_company_without_reports_deserves_a_look() -> None:
    fields = HttpFields.model_validate({"send": SEND})
    assert dict(fields.doubts()).keys() == {"status"}
    assert dict(HttpFields.model_validate(KANNEL).doubts()) == {}
