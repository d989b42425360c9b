"""Sinch: our requests and signatures against Sinch's own library, every answer, every callback."""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
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
from dcbridge.providers.base import Callback, MediaFile, Turn
from dcbridge.providers.sinch import Sinch, SinchFields
from tests.providers.recorder import Heard, assert_same, recording

SECRET, PATH_SECRET = "s1gn", "0123456789abcdef"
EVENTS = "https://bridge.example.com/callbacks/acme/events"
TEXT = "Grüße & 1+1=2 €😀"


def sinch(**fields: object) -> Sinch:
    given = {
        "project_id": "p-1", "key_id": "k-1", "key_secret": "s:cr/t+", "signature_secret": SECRET,
        "base_url": "https://zt.eu.sms.api.sinch.com", **fields,
    }  # fmt: skip
    return Sinch("acme", SinchFields.model_validate(given), "https://bridge.example.com")


def message(text: str = TEXT, *media: str) -> AgentMessage:
    to = Address("16504661149")
    return AgentMessage("0123456789", "1613474523265-0", Address("12025550123"), to, (to,), "Text", text, media=media)


FILES = tuple(MediaFile(name, "image/png", 70, f"https://bridge.example.com/m/{name}") for name in ("one", "two"))


@pytest.mark.parametrize(("text", "files"), [(TEXT, ()), (TEXT, FILES[:1]), ("", FILES[:1])])
def test_both_requests_are_those_that_sinchs_library_writes(text: str, files: tuple[MediaFile, ...]) -> None:
    from sinch import SinchClient  # type: ignore[import-untyped]  # takes seconds, and ships no types

    def answer(heard: Heard) -> object:
        token = {"access_token": "t-1", "token_type": "bearer", "expires_in": 3600, "scope": ""}
        batch: dict[str, object] = {
            "id": "m-1",
            "to": ["16504661149"],
            "from": "12025550123",
            "body": TEXT,
            "type": "mt_text",
        }
        batch |= {"body": {"url": FILES[0].url}, "type": "mt_media"} if files else {}
        return token if heard.path == "/oauth2/token" else batch

    said = message(text, *(file.name for file in files))
    with recording(answer) as (url, arrived):
        ours = sinch(base_url=url, token_url=f"{url}/oauth2/token")
        with httpx.Client() as http:
            token = ours.login.read_token(http.send(ours.login.token_request()))
            request = ours.build_request(Turn(said, ours.parts(said)[0], 0.0, media=files))
            request.headers["Authorization"] = f"Bearer {token.value}"
            assert ours.parse_response(http.send(request)).provider_id == "m-1"
        client = SinchClient(key_id="k-1", key_secret="s:cr/t+", project_id="p-1", sms_region="eu")
        client.configuration.auth_origin = client.configuration.sms_origin = url
        send = client.sms.batches.send_mms if files else client.sms.batches.send_sms
        made = send(
            to=["+16504661149"], from_="+12025550123", delivery_report="per_recipient",
            event_destination_target=EVENTS, client_reference=f"{said.ref}.0",
            body={"url": FILES[0].url, **({"message": text} if text else {})} if files else text,
        )  # fmt: skip
        client.configuration.transport.http_session.close()
    assert made.id == "m-1"
    assert_same(arrived[:2], arrived[2:])


@pytest.mark.parametrize(("text", "parts"), [("a" * 1530, 1), ("a" * 1531, 2), ("я" * 670, 1), ("я" * 671, 2)])
def test_a_text_of_more_than_ten_sms_goes_in_several_requests(text: str, parts: int) -> None:
    pieces = sinch().parts(message(text))
    assert len(pieces) == parts
    assert "".join(piece.text for piece in pieces) == text


def test_a_report_comes_to_the_address_of_the_request() -> None:
    said = message()
    urls = [
        orjson.loads(one.build_request(Turn(said, one.parts(said)[0], 0.0)).content)["callback_url"]
        for one in (sinch(), sinch(signature_secret=None, callback_secret=[PATH_SECRET, "f" * 16]))
    ]
    assert urls == [EVENTS, f"{EVENTS}/{PATH_SECRET}"]


def wrong(code: object) -> dict[str, object]:
    return {"code": code, "text": "x"}


@pytest.mark.parametrize(
    ("status", "body", "error", "reason", "code"),
    [
        *(
            (400, wrong(code), Refused, Reason.INVALID_STRUCTURE, code)
            for code in ("syntax_invalid_json", "syntax_invalid_parameter_format", "syntax_constraint_violation")
        ),
        (401, wrong("unauthorized"), AccountFault, Reason.GENERAL, "unauthorized"),
        (403, wrong("missing_gateway_mapping"), AccountFault, Reason.GENERAL, "missing_gateway_mapping"),
        (403, {}, AccountFault, Reason.GENERAL, "HTTP 403"),
        (429, wrong("too_many_requests"), Throttled, Reason.RATE_LIMIT, "too_many_requests"),
        (400, wrong("a word of tomorrow"), Refused, Reason.GENERAL, "HTTP 400"),
        (400, wrong("unknown_group"), Refused, Reason.GENERAL, "unknown_group"),
        (404, wrong(["x"]), Refused, Reason.GENERAL, "HTTP 404"),
        (400, b"[" * 100_000, Refused, Reason.GENERAL, "HTTP 400"),
        (301, b"", AccountFault, Reason.GENERAL, "HTTP 301"),
        (500, wrong("internal_error"), OutcomeUnknown, Reason.GENERAL, "internal_error"),
        (503, b"", OutcomeUnknown, Reason.GENERAL, "HTTP 503"),
        (201, {}, Unreadable, Reason.GENERAL, "HTTP 201"),
        (201, {"id": "a b"}, Unreadable, Reason.GENERAL, "HTTP 201"),
        (201, b"", Unreadable, Reason.GENERAL, "HTTP 201"),
    ],
)
def test_what_an_answer_means(status: int, body: object, error: type[SendError], reason: Reason, code: str) -> None:
    answer = httpx.Response(status, content=body if isinstance(body, bytes) else orjson.dumps(body))
    with pytest.raises(SendError) as raised:
        sinch().parse_response(answer)
    assert (type(raised.value), raised.value.reason, raised.value.code) == (error, reason, code)


# ---------------------------------------------------------------- callbacks

NONE: Mapping[str, str] = {}


def callback(
    said: object, *, secret: str = SECRET, age: float = 0, headers: Mapping[str, str] = NONE, path: str = ""
) -> Callback:
    body = said if isinstance(said, bytes) else orjson.dumps(said)
    moment = str(int(time.time() - age))
    digest = hmac.digest(secret.encode(), body + f".n-1.{moment}".encode(), "sha256")
    whole = {
        "x-sinch-webhook-signature": base64.b64encode(digest).decode(),
        "x-sinch-webhook-signature-nonce": "n-1",
        "x-sinch-webhook-signature-timestamp": moment,
        **headers,
    }
    named = {name: (value,) for name, value in whole.items() if value != "-"}
    return Callback("events", "POST", EVENTS, b"", named, body, path)


def report(status: object, code: object = None, reference: str | None = None) -> dict[str, object]:
    said: dict[str, object] = {
        "type": "recipient_delivery_report_sms", "batch_id": "m-1", "recipient": "16504661149", "status": status,
        "at": "2026-11-26T12:00:00.000Z",
        "client_reference": f"{message().ref}.0" if reference is None else reference,
    }  # fmt: skip
    return said if code is None else {**said, "code": code}


RECEIVED = {
    "type": "mo_text", "id": "m-2", "from": "16504661149", "to": "12025550123", "body": "yes ü €😀",
    "received_at": "2026-11-26T12:00:00.000Z",
}  # fmt: skip


@pytest.mark.parametrize("said", [report("Delivered", 0), RECEIVED])
def test_a_signature_that_sinchs_library_believes_is_right(said: object) -> None:
    from sinch.domains.sms.sinch_events.v1.sms_sinch_event import (  # type: ignore[import-untyped]
        SmsSinchEvent,
    )

    signed = callback(said)
    headers = {name: value for name, (value,) in signed.headers.items()}
    theirs = SmsSinchEvent(SECRET)
    assert theirs.validate_authentication_header(headers, signed.body)
    sinch().verify(signed)
    assert theirs.parse_event(signed.body).type
    assert not theirs.validate_authentication_header(headers, signed.body + b" ")
    with pytest.raises(BadSignature, match="no secret matches"):
        sinch().verify(replace(signed, body=signed.body + b" "))


# Signed when it is sent: between collecting a test and running it many minutes may pass.
late = partial(callback, RECEIVED)
NAME = "x-sinch-webhook-signature"


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        (partial(late, headers={NAME: "-"}), "missing"),
        (partial(late, headers={f"{NAME}-nonce": "-"}), "missing"),
        (partial(late, headers={f"{NAME}-nonce": "n-2"}), "no secret matches"),
        (partial(late, headers={f"{NAME}-nonce": "é"}), "no secret matches"),
        (partial(late, headers={NAME: "é"}), "no secret matches"),
        *((partial(late, headers={f"{NAME}-timestamp": one}), "no timestamp") for one in ("-", "1e9", "9" * 5000, "٣")),
        (lambda: late(headers={f"{NAME}-timestamp": str(int(time.time()) - 1)}), "no secret matches"),
        (partial(late, secret="other"), "no secret matches"),
        (partial(late, age=400), "too old or too new"),
        (partial(late, age=-400), "too old or too new"),
        (partial(late, headers={NAME: "-"}, path=PATH_SECRET), "missing"),  # a path proves nothing where Sinch signs
    ],
)
def test_a_callback_that_proves_nothing_is_refused(wrong: Callable[[], Callback], kind: str) -> None:
    ours = sinch(callback_secret=PATH_SECRET)
    ours.verify(late())
    with pytest.raises(BadSignature, match=kind):
        ours.verify(wrong())


def test_without_a_signature_the_secret_in_the_path_proves_it() -> None:
    ours = sinch(signature_secret=None, callback_secret=PATH_SECRET)
    ours.verify(late(path=PATH_SECRET))
    for path in (PATH_SECRET[:-1], ""):
        with pytest.raises(BadSignature):
            ours.verify(late(path=path))
    with pytest.raises(ValidationError, match="something has to prove a callback"):
        sinch(signature_secret=None)


D, F, R, S = UpdateStatus.DELIVERED, UpdateStatus.FAILED, UpdateStatus.REMOVED, UpdateStatus.SENT


@pytest.mark.parametrize(
    ("status", "code", "becomes", "reason"),
    [
        ("Queued", 400, S, None),
        ("Dispatched", 401, S, None),
        ("DISPATCHED", 401, S, None),
        ("Unknown", 418, S, None),
        ("A word of tomorrow", 999, S, None),
        *((word, 0, D, None) for word in ("Delivered", "DELIVERED")),
        *((word, 407, R, None) for word in ("Cancelled", "Deleted")),
        ("Expired", 406, F, Reason.EXPIRED),
        ("Aborted", 417, F, Reason.INVALID_DESTINATION),
        *(("Failed", code, F, Reason.NOT_ALLOWED) for code in (410, 412, 413, 415)),
        *(("Rejected", code, F, Reason.INVALID_STRUCTURE) for code in (405, 411)),
        *(("Failed", code, F, Reason.UNSUPPORTED) for code in (414, 416)),
        *(("Failed", code, F, Reason.GENERAL) for code in (402, 403, 404, 408, 418, 9999, None)),
        ("Failed", 406, F, Reason.EXPIRED),
    ],
)
def test_what_a_report_says(status: str, code: int | None, becomes: UpdateStatus, reason: Reason | None) -> None:
    [update] = sinch().parse_callback(callback(report(status, code)))
    assert update == DeliveryUpdate("acme", "m-1", becomes, message().ref, 0, reason, str(code) if code else "")


def test_what_a_consumer_wrote() -> None:
    ends = Address("16504661149"), Address("12025550123")
    assert sinch().parse_callback(callback(RECEIVED)) == [ConsumerMessage("acme", "m-2", *ends, "yes ü €😀")]
    files: list[object] = [{"url": "https://m.example/1", "status": "Uploaded"}, {"status": "Failed", "code": 1}, 7]
    for inner, text in (({"message": "Hi", "subject": "S"}, "Hi"), ({"subject": "S"}, "S"), ({}, "")):
        said: dict[str, Any] = {**RECEIVED, "type": "mo_media", "body": {**inner, "media": files}}
        [one] = sinch().parse_callback(callback(said))
        assert isinstance(one, ConsumerMessage)
        assert (one.text, one.media_urls) == (text, ("https://m.example/1",))
    assert sinch().event_id(callback(RECEIVED)) != sinch().event_id(callback({**RECEIVED, "id": "m-3"}))


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"", "no type"),
        (b"[7]", "no type"),
        ({**RECEIVED, "id": ""}, "no id"),
        ({**RECEIVED, "body": None}, "no text"),
        ({**RECEIVED, "type": "mo_binary"}, "no text"),
        ({**RECEIVED, "from": ""}, "no From"),
        ({**report("Delivered"), "batch_id": "a b"}, "no id"),
        ({"type": "delivery_report_sms", "batch_id": "m-1", "statuses": []}, "no id"),
        (report(""), "no status"),
        (report({"a": 1}), "no status"),
    ],
)
def test_a_callback_that_cannot_be_read_is_kept(said: object, kind: str) -> None:
    with pytest.raises(UnreadableEvent, match=kind):
        sinch().parse_callback(callback(said))


@pytest.mark.parametrize("reference", ["", "of another system", "0" * 24])
def test_a_reference_of_another_system_names_none_of_our_messages(reference: str) -> None:
    [update] = sinch().parse_callback(callback(report("Delivered", 0, reference)))
    assert isinstance(update, DeliveryUpdate)
    assert (update.ref, update.part, update.provider_id) == ("", 0, "m-1")
