"""Bird's API v1: our request against Bird's own library, every answer, every callback as that library reads it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
import warnings
from collections.abc import Callable, Mapping
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
    RouteRefused,
    SendError,
    Throttled,
    Unreadable,
    UnreadableEvent,
)
from dcbridge.messages import Address, AgentMessage, ConsumerMessage, Cost, DeliveryUpdate, Reason, UpdateStatus
from dcbridge.providers.base import Callback, Turn
from dcbridge.providers.messagebird import MessageBird, MessageBirdFields
from tests.providers.recorder import Heard, recording

KEY = b"0123456789abcdef01234567"
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
ID = "sms_01krdgeqcxet5s7t44vh8rt9mg"
TEXTS = ["Hello", "Grüße & 1+1=2 €😀", 'a "b" \\ c\n', "नमस्ते"]
CATEGORIES = ("transactional", "marketing", "authentication", "service")


def adapter(**fields: object) -> MessageBird:
    given = {"api_key": "bk_eu1_s3cr3t", "signature_secret": SECRET, **fields}
    return MessageBird("acme", MessageBirdFields.model_validate(given), "https://bridge.example.com")


def message(text: str = "Hello", sender: str = "12025550123") -> AgentMessage:
    to = Address("16504661149")
    return AgentMessage("0123456789", "1613474523265-0", Address(sender), to, (to,), "Text", text)


@pytest.fixture(scope="module")
def library() -> Any:
    """Bird's own. It takes seconds to import, and warns of the names of its fields."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import bird
    return bird


def test_requests_are_those_that_birds_library_writes(library: Any) -> None:
    rows = [(text, sender, category) for text in TEXTS for sender in ("+12025550123", "24680", "ACME")
            for category in CATEGORIES]  # fmt: skip
    with recording(lambda heard: taken(), status=202) as (url, arrived):
        bird = library.Bird(api_key="bk_eu1_s3cr3t", base_url=url, max_retries=0)
        for text, sender, category in rows:
            said = message(text, sender)
            key = f"{said.ref}.0"
            made = bird.sms.send(
                to="+16504661149", from_=sender, text=text, category=category, metadata={"dcbridge": key},
                options={"idempotency_key": key},
            )  # fmt: skip
            assert made.id == ID
            ours = adapter(base_url=url, category=category)
            with httpx.Client() as http:
                answer = http.send(ours.build_request(Turn(said, ours.parts(said)[0], 0.0)))
            assert ours.parse_response(answer).provider_id == ID
        bird.close()
    assert len(arrived) == 2 * len(rows)
    for theirs, mine in zip(arrived[::2], arrived[1::2], strict=True):
        assert _compared(mine) == _compared(theirs)


def _compared(heard: Heard) -> tuple[object, ...]:
    headers = [heard.headers[name] for name in ("authorization", "content-type", "idempotency-key")]
    return heard.method, heard.path, headers, orjson.loads(heard.body)


@pytest.mark.parametrize(
    ("fields", "host"),
    [
        ({}, "eu1.platform.bird.com"),
        ({"api_key": "bm_us12_x_y"}, "us12.platform.bird.com"),
        ({"api_key": "k", "base_url": "https://x.example"}, "x.example"),
        ({"base_url": "https://x.example/"}, "x.example"),
    ],
)
def test_the_region_is_that_of_the_key(fields: dict[str, str], host: str) -> None:
    ours = adapter(**fields)
    request = ours.build_request(Turn(message(), ours.parts(message())[0], 0.0))
    assert str(request.url) == f"https://{host}/v1/sms/messages"


@pytest.mark.parametrize(("text", "parts"), [("a" * 1530, 1), ("a" * 1531, 2), ("я" * 670, 1), ("я" * 671, 2)])
def test_a_text_of_more_than_ten_sms_goes_in_several_requests(text: str, parts: int) -> None:
    pieces = adapter().parts(message(text))
    assert len(pieces) == parts
    assert "".join(piece.text for piece in pieces) == text


def taken(**more: object) -> dict[str, object]:
    nothing = ("requested_language", "resolved_language", "template_id", "template_version_id", "template_content_hash",
               "cost", "tags", "metadata", "sent_at", "delivered_at")  # fmt: skip
    given: dict[str, object] = {
        "id": ID, "direction": "outbound", "status": "accepted", "to": "+16504661149", "from": "+12025550123",
        "text": "Hello", "category": "service", "created_at": "2026-11-26T12:00:00Z",
        "segments": {"count": 1, "encoding": "GSM_7BIT", "characters": 5},
    }  # fmt: skip
    return {**dict.fromkeys(nothing), **given, **more}


def wrong(kind: str, name: str, *params: str) -> dict[str, object]:
    details = [{"param": one, "message": "x"} for one in params]
    return {"error": {"type": kind, "code": "E09999", "name": name, "message": "x", "details": details}}


def failed(why: str, status: str = "rejected") -> dict[str, object]:
    return taken(status=status, last_error={"code": why, "description": "x", "occurred_at": "2026-11-26T12:00:00Z"})


V = "validation_error"
REFUSALS: list[tuple[int, object, type[SendError], Reason, str]] = [
    (422, wrong(V, "SMSInvalidRecipient"), Refused, Reason.INVALID_DESTINATION, "SMSInvalidRecipient"),
    (422, wrong(V, "ValidationError", "to"), Refused, Reason.INVALID_DESTINATION, "to"),
    (422, wrong(V, "ValidationError", "text", "token"), Refused, Reason.INVALID_STRUCTURE, "ValidationError"),
    (422, wrong(V, "SMSSenderNotConfigured"), RouteRefused, Reason.NOT_ALLOWED, "SMSSenderNotConfigured"),
    (422, wrong(V, "SenderCategoryNotPermitted"), RouteRefused, Reason.NOT_ALLOWED, "SenderCategoryNotPermitted"),
    (422, wrong(V, "SMSUnsupportedFeature"), Refused, Reason.UNSUPPORTED, "SMSUnsupportedFeature"),
    (422, wrong(V, "AWordOfTomorrow"), Refused, Reason.GENERAL, "AWordOfTomorrow"),
    (400, wrong("bad_request_error", "InvalidRequest"), Refused, Reason.INVALID_STRUCTURE, "InvalidRequest"),
    (401, wrong("auth_error", "Unauthorized"), AccountFault, Reason.GENERAL, "Unauthorized"),
    (402, wrong("billing_error", "Funds"), AccountFault, Reason.GENERAL, "Funds"),
    (403, wrong("permission_error", "Scope"), AccountFault, Reason.GENERAL, "HTTP 403"),
    (409, wrong("conflict_error", "RequestInProgress"), OutcomeUnknown, Reason.GENERAL, "RequestInProgress"),
    (409, wrong("conflict_error", "IdempotencyKeyReuse"), OutcomeUnknown, Reason.GENERAL, "IdempotencyKeyReuse"),
    (409, wrong("conflict_error", "Other"), Refused, Reason.GENERAL, "Other"),
    (429, wrong("rate_limit_error", "RateLimited"), Throttled, Reason.RATE_LIMIT, "RateLimited"),
    (500, wrong("internal_error", "Internal"), OutcomeUnknown, Reason.GENERAL, "Internal"),
    (503, b"<html>", OutcomeUnknown, Reason.GENERAL, "HTTP 503"),
    (301, b"", AccountFault, Reason.GENERAL, "HTTP 301"),
    (404, {"error": 7}, Refused, Reason.GENERAL, "HTTP 404"),
    # Accepted by HTTP, and rejected in the body.
    (202, failed("recipient_opted_out"), Refused, Reason.NOT_ALLOWED, "recipient_opted_out"),
    (202, failed("invalid_destination"), Refused, Reason.INVALID_DESTINATION, "invalid_destination"),
    (202, failed("sender_unregistered", "failed"), RouteRefused, Reason.NOT_ALLOWED, "sender_unregistered"),
    (202, failed("insufficient_balance"), AccountFault, Reason.GENERAL, "insufficient_balance"),
    (202, taken(status="rejected"), Refused, Reason.GENERAL, "rejected"),
    (202, {}, Unreadable, Reason.GENERAL, "HTTP 202"),
    (202, taken(id="eml_1"), Unreadable, Reason.GENERAL, "HTTP 202"),
    (202, b"", Unreadable, Reason.GENERAL, "HTTP 202"),
]


@pytest.mark.parametrize(("status", "body", "error", "reason", "code"), REFUSALS)
def test_what_an_answer_means(status: int, body: Any, error: type[SendError], reason: Reason, code: str) -> None:
    answer = httpx.Response(status, content=body if isinstance(body, bytes) else orjson.dumps(body))
    with pytest.raises(SendError) as raised:
        adapter().parse_response(answer)
    assert (type(raised.value), raised.value.reason, raised.value.code) == (error, reason, code)


@pytest.mark.parametrize(("status", "body"), [row[:2] for row in REFUSALS if row[0] > 400 and isinstance(row[1], dict)])
def test_birds_library_reads_the_same_name_in_an_error(library: Any, status: int, body: Mapping[str, Any]) -> None:
    read = library._exceptions.from_response(status, orjson.dumps(body), {})
    said = body["error"]
    assert (read.name, read.type) == (said["name"], said["type"]) if isinstance(said, dict) else read.name is None


# ---------------------------------------------------------------- callbacks


def signed(body: bytes, *, key: bytes = KEY, event_id: str = "msg_1", age: float = 0.0, before: str = "") -> Callback:
    moment = str(int(time.time() - age))
    digest = hmac.digest(key, f"{event_id}.{moment}.".encode() + body, hashlib.sha256)
    headers = {
        "webhook-id": (event_id,),
        "webhook-timestamp": (moment,),
        "webhook-signature": (f"{before}v1,{base64.b64encode(digest).decode()}",),
    }
    return Callback("events", "POST", "https://bridge.example.com/callbacks/acme/events", b"", headers, body)


def callback(event: Mapping[str, object]) -> Callback:
    return signed(orjson.dumps(event))


def event(word: str, why: str | None = None, **more: object) -> dict[str, object]:
    nothing = ("tags", "requested_language", "resolved_language", "template_id", "template_version_id",
               "template_content_hash", "cost")  # fmt: skip
    data = {
        **dict.fromkeys(nothing), "sms_id": ID, "workspace_id": "ws_01krdgeqcxet5s7t44vh8rt9mg", "to": "+16504661149",
        "from": "+12025550123", "metadata": {"dcbridge": f"{message().ref}.0"},
        "segments": {"count": 2, "encoding": "GSM_7BIT", "characters": 200}, **more,
    }  # fmt: skip
    if word in ("undelivered", "failed", "rejected", "expired"):
        error = {"code": why, "description": "x", "carrier_error_code": None, "occurred_at": "2026-11-26T12:00:00Z"}
        data["error"] = None if why is None else error
    return {"type": f"sms.{word}", "timestamp": "2026-11-26T12:00:00Z", "data": data}


CENT = {"amount": "0.00990", "currency_code": "EUR", "transaction_amount": "0.00790", "passthrough_amount": "0.00200"}
RECEIVED = event("received", to="+12025550123", **{"from": "+16504661149"}, metadata=None, text="yes ü €😀")
D, F, S = UpdateStatus.DELIVERED, UpdateStatus.FAILED, UpdateStatus.SENT
UPDATES: list[tuple[str, str | None, UpdateStatus, Reason | None]] = [
    *((word, None, S, None) for word in ("accepted", "sent")),
    ("delivered", None, D, None),
    ("expired", None, F, Reason.EXPIRED),
    *(("undelivered", why, F, Reason.INVALID_DESTINATION) for why in ("invalid_destination", "landline_unreachable")),
    *(
        ("failed", why, F, Reason.NOT_ALLOWED)
        for why in ("blocked_by_carrier", "blocked_by_fraud_protection", "blocked_by_recipient", "content_rejected")
    ),
    *(("rejected", why, F, Reason.NOT_ALLOWED) for why in ("sender_unregistered", "recipient_opted_out")),
    *(
        ("failed", why, F, Reason.GENERAL)
        for why in (
            "unreachable",
            "provider_unavailable",
            "insufficient_balance",
            "unknown",
            "a_word_of_tomorrow",
            None,
        )
    ),
]


@pytest.mark.parametrize(("word", "why", "becomes", "reason"), UPDATES)
def test_what_a_report_says(
    library: Any, word: str, why: str | None, becomes: UpdateStatus, reason: Reason | None
) -> None:
    given = callback(event(word, why, cost=CENT))
    assert _birds(library, given).root.type == f"sms.{word}"
    adapter().verify(given)
    cost = Cost("acme", "EUR", 990_000, 2)
    expected = DeliveryUpdate("acme", ID, becomes, message().ref, 0, reason, why or "", cost=cost)
    assert adapter().parse_callback(given) == [expected]


def _birds(library: Any, given: Callback) -> Any:
    """The callback as Bird's library verifies and reads it."""
    headers = {name: values[0] for name, values in given.headers.items()}
    return library.Bird(webhook_secret=SECRET).webhooks.unwrap(given.body, headers)


def test_what_a_consumer_wrote(library: Any) -> None:
    given = callback(RECEIVED)
    assert _birds(library, given).root.data.text == "yes ü €😀"
    ends = Address("16504661149"), Address("+12025550123")
    assert adapter().parse_callback(given) == [ConsumerMessage("acme", ID, *ends, "yes ü €😀")]
    assert adapter().event_id(given) == "msg_1"
    subject = event("received", to="+12025550123", **{"from": "+16504661149"}, metadata=None, subject="cat")
    [said] = adapter().parse_callback(callback(subject))
    assert isinstance(said, ConsumerMessage)
    assert said.text == "cat"


@pytest.mark.parametrize(
    ("word", "metadata"),
    [("sent", None), ("sent", {"dcbridge": "of another system"}), ("sent", {"dcbridge": 7}), ("tomorrow", {"x": "y"})],
)
def test_an_event_of_another_system_names_none_of_our_messages(word: str, metadata: object) -> None:
    [update] = adapter().parse_callback(callback(event(word, metadata=metadata)))
    assert update == DeliveryUpdate("acme", ID, S)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({}, "no event of an SMS"),
        ({"type": "email.delivered", "data": {"email_id": "eml_1"}}, "no event of an SMS"),
        ({"type": "sms_suppression.created", "data": {"sms_id": ID}}, "no event of an SMS"),
        ({"type": "sms.delivered", "data": {}}, "no sms_id"),
        ({"type": "sms.delivered", "data": {"sms_id": "eml_1"}}, "no sms_id"),
        ({"type": "sms.received", "data": {"sms_id": ID, "from": "+16504661149", "to": "+12025550123"}}, "no text"),
        ({"type": "sms.received", "data": {"sms_id": ID, "to": "+12025550123", "text": "x"}}, "no From"),
    ],
)
def test_a_callback_that_cannot_be_read_is_kept(said: Mapping[str, object], why: str) -> None:
    with pytest.raises(UnreadableEvent, match=why):
        adapter().parse_callback(callback(said))


GOOD = orjson.dumps(RECEIVED)


def changed(headers: dict[str, tuple[str, ...]]) -> Callback:
    right = signed(GOOD)
    return replace(right, headers={**right.headers, **headers})


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: replace(signed(GOOD), body=GOOD + b" "), "no secret matches"),
        (lambda: signed(GOOD, key=b"another"), "no secret matches"),
        (lambda: signed(GOOD, before="v2,"), "no secret matches"),
        (lambda: signed(GOOD, age=310.0), "too old"),
        (lambda: signed(GOOD, age=-3000.0), "too old"),
        (lambda: changed({"webhook-id": ("msg_2",)}), "no secret matches"),
        (lambda: changed({"webhook-id": ()}), "missing"),
        (lambda: changed({"webhook-signature": ()}), "missing"),
        (lambda: changed({"webhook-timestamp": ("soon",)}), "no timestamp"),
        (lambda: changed({"webhook-signature": ("v1,é \udc80",)}), "no secret"),
    ],
)
def test_a_callback_that_bird_did_not_sign_is_refused(library: Any, make: Callable[[], Callback], kind: str) -> None:
    """Made in the test: a signature is good for five minutes, and a run of all tests is longer."""
    given = make()
    for right in (signed(GOOD), signed(GOOD, age=290.0), signed(GOOD, before="v1,AAAA v2,BBBB ")):
        adapter().verify(right)
        assert _birds(library, right).root.type == "sms.received"
    with pytest.raises(BadSignature, match=kind):
        adapter().verify(given)
    with pytest.raises((library.WebhookVerificationError, IndexError, TypeError)):  # it stumbles over some of them
        _birds(library, given)


@pytest.mark.parametrize(
    "fields",
    [
        {"api_key": "k"},
        {"api_key": "bk_eu_x"},
        {"signature_secret": "whsec_"},
        {"signature_secret": "whsec_???"},
        {"category": "other"},
        {"api_key": "é"},
    ],
)
def test_fields_that_fit_no_request_are_refused_at_the_start(fields: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        adapter(**fields)
