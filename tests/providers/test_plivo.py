"""Plivo: our requests and signatures against Plivo's own library, every answer, every callback."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import httpx
import orjson
import pytest
import requests
from requests.adapters import HTTPAdapter

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
from dcbridge.providers.base import Callback, CallbackKind, MediaFile, Turn
from dcbridge.providers.plivo import Plivo, PlivoFields
from tests.providers.recorder import recording

AUTH_ID, TOKEN = "MAXXXXXXXXXXXXXXXXXX", "t0k/en+"
BASE = "https://bridge.example.com/callbacks/acme/"
TEXT = "Grüße & 1+1=2 €😀"


def plivo(**fields: object) -> Plivo:
    given = {"auth_id": AUTH_ID, "auth_token": TOKEN, **fields}
    return Plivo("acme", PlivoFields.model_validate(given), "https://bridge.example.com")


def message(text: str = TEXT, *media: str) -> AgentMessage:
    to = Address("16504661149")
    return AgentMessage("0123456789", "1613474523265-0", Address("12025550123"), to, (to,), "Text", text, media=media)


FILES = tuple(MediaFile(name, "image/png", 70, f"https://bridge.example.com/m/{name}") for name in ("one", "two"))


URL = f"{BASE}status?m={message().ref}.0"


class Redirected(HTTPAdapter):
    """Calls the recorder where the library would call api.plivo.com."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        request.url = str(request.url).replace("https://api.plivo.com", self.url)
        return super().send(request, *args, **kwargs)


@pytest.mark.parametrize(("text", "files"), [(TEXT, ()), (TEXT, FILES), ("", FILES[:1])])
def test_the_request_is_the_one_that_plivos_library_writes(text: str, files: tuple[MediaFile, ...]) -> None:
    import plivo as theirs  # type: ignore[import-untyped]  # takes seconds, and ships no types

    said = message(text, *(file.name for file in files))
    more: dict[str, Any] = {"type_": "mms", "media_urls": [file.url for file in files]} if files else {}
    more |= {"text": text} if text else {}
    with recording(lambda _: {"message": "x", "message_uuid": ["m-1"], "api_id": "a"}, 202) as (url, arrived):
        client = theirs.RestClient(AUTH_ID, TOKEN)
        client.session.mount("https://", Redirected(url))
        made = client.messages.create(src="+12025550123", dst="+16504661149", url=URL, **more)
        client.session.close()
        client.multipart_session.close()
        ours = plivo(base_url=url)
        with httpx.Client() as http:
            answer = http.send(ours.build_request(Turn(said, ours.parts(said)[0], 0.0, media=files)))
    assert ours.parse_response(answer).provider_id == made.message_uuid[0] == "m-1"
    their, one = arrived
    assert (their.method, their.path) == (one.method, one.path)
    assert their.headers["authorization"] == one.headers["authorization"]
    written: dict[str, Any] = orjson.loads(their.body)
    usual = {"log": "true", "trackable": False}
    assert {name: value for name, value in written.items() if usual.get(name) != value} == orjson.loads(one.body)


@pytest.mark.parametrize(("text", "parts"), [("a" * 1530, 1), ("a" * 1531, 2), ("я" * 670, 1), ("я" * 671, 2)])
def test_a_text_of_more_than_ten_sms_goes_in_several_requests(text: str, parts: int) -> None:
    pieces = plivo().parts(message(text))
    assert len(pieces) == parts
    assert "".join(piece.text for piece in pieces) == text


@pytest.mark.parametrize(
    ("status", "body", "error", "reason", "code"),
    [
        (400, {"error": "a sentence"}, Refused, Reason.INVALID_STRUCTURE, "E400"),
        (405, b"", Refused, Reason.INVALID_STRUCTURE, "E405"),
        (401, b"", AccountFault, Reason.GENERAL, "HTTP 401"),
        (404, {"error": "not found"}, AccountFault, Reason.GENERAL, "E404"),
        (403, b"", AccountFault, Reason.GENERAL, "HTTP 403"),
        (429, b"", Throttled, Reason.RATE_LIMIT, "HTTP 429"),
        (422, b"", Refused, Reason.GENERAL, "HTTP 422"),
        (302, b"", AccountFault, Reason.GENERAL, "HTTP 302"),
        (500, b"[" * 100_000, OutcomeUnknown, Reason.GENERAL, "HTTP 500"),
        (202, b"", Unreadable, Reason.GENERAL, "HTTP 202"),
        (202, {"message_uuid": []}, Unreadable, Reason.GENERAL, "HTTP 202"),
        (202, {"message_uuid": "m-1"}, Unreadable, Reason.GENERAL, "HTTP 202"),
        (202, {"message_uuid": ["a b"]}, Unreadable, Reason.GENERAL, "HTTP 202"),
    ],
)
def test_what_an_answer_means(status: int, body: object, error: type[SendError], reason: Reason, code: str) -> None:
    answer = httpx.Response(status, content=body if isinstance(body, bytes) else orjson.dumps(body))
    with pytest.raises(SendError) as raised:
        plivo().parse_response(answer)
    assert (type(raised.value), raised.value.reason, raised.value.code) == (error, reason, code)


# ---------------------------------------------------------------- callbacks

REPORT = {"MessageUUID": "m-1", "From": "12025550123", "To": "16504661149", "Status": "delivered", "PartInfo": "1 of 1"}
RECEIVED = {"MessageUUID": "m-2", "From": "16504661149", "To": "12025550123", "Text": "yes ü & = €😀", "Type": "sms"}


def callback(
    said: Mapping[str, str], kind: CallbackKind = "status", url: str = URL, token: str = TOKEN, method: str = "POST",
    **headers: str,
) -> Callback:  # fmt: skip
    base, _, query = url.partition("?")
    form = "".join(f"{name}{said[name]}" for name in sorted(said)) if method == "POST" else ""
    text = f"{base}?{query}{'.' if query else ''}{form}" if form else f"{base}?{query}"
    digest = hmac.digest(token.encode(), f"{text}.n-1".encode(), "sha256")
    given = {"content-type": "application/x-www-form-urlencoded", "x-plivo-signature-v3-nonce": "n-1",
             "x-plivo-signature-v3": base64.b64encode(digest).decode(),
             **{name.replace("_", "-"): value for name, value in headers.items()}}  # fmt: skip
    named = {name: (value,) for name, value in given.items() if value != "-"}
    return Callback(kind, method, url, query.encode(), named, urlencode(said).encode() if method == "POST" else b"")


@pytest.mark.parametrize(
    ("said", "kind", "url", "method"),
    [(REPORT, "status", URL, "POST"), (REPORT, "status", f"{BASE}status", "POST"),
     (RECEIVED, "inbound", f"{BASE}inbound", "POST"), ({}, "inbound", f"{BASE}inbound?From=1&Text=x", "GET")],
)  # fmt: skip
def test_a_signature_that_plivos_library_believes_is_right(
    said: dict[str, str], kind: CallbackKind, url: str, method: str
) -> None:
    from plivo.utils import validate_v3_signature  # type: ignore[import-untyped]

    signed = callback(said, kind, url, method=method)
    given, nonce = signed.header("x-plivo-signature-v3"), signed.header("x-plivo-signature-v3-nonce")
    assert validate_v3_signature(method, url, nonce, TOKEN, given, dict(said))
    assert plivo().verify(signed) == given
    assert not validate_v3_signature(method, url + "1", nonce, TOKEN, given, dict(said))
    with pytest.raises(BadSignature, match="no secret matches"):
        plivo().verify(replace(signed, url=url + "1"))


NAME = "x_plivo_signature_v3"


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({NAME: "-"}, "missing"),
        ({f"{NAME}_nonce": "-"}, "missing"),
        ({f"{NAME}_nonce": "n-2"}, "no secret matches"),
        ({NAME: "é"}, "no secret matches"),
        ({NAME: ",,"}, "missing"),
        ({"token": "other"}, "no secret matches"),
    ],
)
def test_a_callback_that_proves_nothing_is_refused(given: dict[str, Any], kind: str) -> None:
    plivo().verify(callback(REPORT))
    with pytest.raises(BadSignature, match=kind):
        plivo().verify(callback(REPORT, **given))


def test_one_of_several_signatures_is_enough_and_the_main_accounts_counts() -> None:
    right = callback(REPORT).header("x-plivo-signature-v3")
    plivo().verify(callback(REPORT, x_plivo_signature_v3=f"AAAA, {right}"))
    plivo().verify(callback(REPORT, x_plivo_signature_v3="-", x_plivo_signature_ma_v3=right))


D, F, S = UpdateStatus.DELIVERED, UpdateStatus.FAILED, UpdateStatus.SENT


@pytest.mark.parametrize(
    ("status", "code", "becomes", "reason"),
    [
        *((word, "", S, None) for word in ("queued", "sent", "a word of tomorrow")),
        *((word, "", D, None) for word in ("delivered", "read", "DELIVERED")),
        *(("undelivered", code, F, Reason.INVALID_DESTINATION) for code in ("50", "70")),
        *(("failed", code, F, Reason.NOT_ALLOWED) for code in ("30", "40", "60", "100", "200", "201", "300", "450")),
        *(("rejected", code, F, Reason.INVALID_STRUCTURE) for code in ("10", "110")),
        ("failed", "420", F, Reason.EXPIRED),
        *(("undelivered", code, F, Reason.GENERAL) for code in ("20", "80", "90", "1000", "900", "9999", "")),
    ],
)
def test_what_a_report_says(status: str, code: str, becomes: UpdateStatus, reason: Reason | None) -> None:
    [update] = plivo().parse_callback(callback({**REPORT, "Status": status, "ErrorCode": code}))
    assert update == DeliveryUpdate("acme", "m-1", becomes, message().ref, 0, reason, code)


@pytest.mark.parametrize(
    ("info", "pieces"), [("1 of 3", 3), ("3 of 3", 3), ("", 1), ("1 of 0", 1), ("1 of 1000", 1), ("x of 3", 1)]
)
def test_each_sms_of_a_long_text_is_reported_by_itself(info: str, pieces: int) -> None:
    [update] = plivo().parse_callback(callback({**REPORT, "PartInfo": info}))
    assert isinstance(update, DeliveryUpdate)
    assert update.pieces == pieces


@pytest.mark.parametrize("url", [f"{BASE}status", f"{BASE}status?m=of-another"])
def test_a_report_without_our_reference_names_none_of_our_messages(url: str) -> None:
    [update] = plivo().parse_callback(callback(REPORT, url=url))
    assert isinstance(update, DeliveryUpdate)
    assert (update.ref, update.part, update.provider_id) == ("", 0, "m-1")


def test_what_a_consumer_wrote() -> None:
    ends = Address("16504661149"), Address("12025550123")
    received = callback(RECEIVED, "inbound", f"{BASE}inbound")
    assert plivo().parse_callback(received) == [ConsumerMessage("acme", "m-2", *ends, "yes ü & = €😀")]
    picture = {name: value for name, value in RECEIVED.items() if name != "Text"} | {"Media0": "https://m.example/1"}
    [said] = plivo().parse_callback(callback(picture, "inbound", f"{BASE}inbound"))
    assert isinstance(said, ConsumerMessage)
    assert (said.text, said.media_urls) == ("", ("https://m.example/1",))


@pytest.mark.parametrize(
    ("said", "kind", "why"),
    [
        ({}, "status", "no MessageUUID"),
        ({**REPORT, "MessageUUID": "a b"}, "status", "no MessageUUID"),
        ({**REPORT, "Status": ""}, "status", "no Status"),
        ({"MessageUUID": "m-1", "From": "1", "To": "2"}, "inbound", "no Text"),
        ({**RECEIVED, "From": ""}, "inbound", "no From"),
    ],
)
def test_a_callback_that_cannot_be_read_is_kept(said: dict[str, str], kind: CallbackKind, why: str) -> None:
    with pytest.raises(UnreadableEvent, match=why):
        plivo().parse_callback(callback(said, kind))
