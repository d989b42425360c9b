"""Vonage's SMS API: our request and signatures against Vonage's own library, every answer, every callback."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode

import httpx
import orjson
import pytest
import requests
from pydantic import ValidationError
from requests.adapters import BaseAdapter
from vonage_http_client import Auth, HttpClient  # type: ignore[import-untyped] # it ships no types
from vonage_sms import Sms, SmsMessage  # type: ignore[import-untyped] # it ships no types

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
from dcbridge.messages import (
    Address,
    AgentMessage,
    ConsumerMessage,
    Cost,
    DeliveryUpdate,
    Piece,
    Reason,
    UpdateStatus,
)  # fmt: skip
from dcbridge.providers.base import Callback, Turn
from dcbridge.providers.vonage import Vonage, VonageFields

URL = "https://bridge.example.com/callbacks/acme/status"
FORM, JSON = "application/x-www-form-urlencoded", "application/json"
SECRET = "signature-secret"
REF = "0123456789abcdef01234567"


def vonage(**fields: object) -> Vonage:
    given = {"api_key": "5a9b0c1d", "api_secret": "s3cret", "signature_secret": SECRET, **fields}
    return Vonage("acme", VonageFields.model_validate(given), "https://bridge.example.com")


def message(text: str = "Hello") -> AgentMessage:
    to = Address("16504661149")
    return AgentMessage("0123456789", "1613474523265-0", Address("12025550123"), to, (to,), "Text", text)


class Wire(BaseAdapter):
    """Where the library would call rest.nexmo.com; keeps what it sends."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[requests.PreparedRequest] = []

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        self.sent.append(request)
        answer = requests.Response()
        answer.status_code, answer.url = 200, str(request.url)
        answer.headers["Content-Type"] = JSON
        answer._content = orjson.dumps(TAKEN)
        return answer

    def close(self) -> None:
        return


TAKEN = {"message-count": "1", "messages": [{"to": "1", "message-id": "0A", "status": "0"}]}


@pytest.mark.parametrize(
    ("text", "kind", "ttl"),
    [("Grüße & 1+1=2 €", "text", None), ("😀 Grüße", "unicode", None), ("Hello", "text", 600)],
)
def test_the_request_is_the_one_that_vonages_library_writes(text: str, kind: str, ttl: int | None) -> None:
    provider, said = vonage(validity_period=ttl), message(text)
    request = provider.build_request(Turn(said, provider.parts(said)[0], 0.0))
    client, wire = HttpClient(Auth(api_key="5a9b0c1d", api_secret="s3cret")), Wire()
    client._session.mount("https://", wire)
    written = SmsMessage(
        to="16504661149", from_="12025550123", text=text, type=kind, client_ref=f"{said.ref}.0.1",
        ttl=ttl * 1000 if ttl else None,
    )  # fmt: skip
    Sms(client).send(written)
    client._session.close()
    [theirs] = wire.sent
    assert (
        (request.method, str(request.url)) == (theirs.method, theirs.url) == ("POST", "https://rest.nexmo.com/sms/json")
    )
    assert request.headers["Authorization"] == theirs.headers["Authorization"]
    assert request.headers["Content-Type"] == theirs.headers["Content-Type"] == FORM
    ours = dict(parse_qsl(request.content.decode(), strict_parsing=True))
    assert ours.pop("status-report-req") == "1"
    assert ours == dict(parse_qsl(str(theirs.body), strict_parsing=True))


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("a" * 160, [1]),
        ("a" * 161, [2]),
        ("€" * 81, [2]),
        ("я" * 71, [2]),
        ("😀" * 36, [2]),
        ("a" * 1530, [10]),
        ("a" * 1531, [10, 1]),
        ("я" * 671, [10, 1]),
    ],
)
def test_the_reference_says_how_many_sms_are_reported(text: str, counts: list[int]) -> None:
    provider, said = vonage(), message(text)
    pieces = provider.parts(said)
    assert "".join(piece.text for piece in pieces) == text
    forms = [dict(parse_qsl(provider.build_request(Turn(said, piece, 0.0)).content.decode())) for piece in pieces]
    assert [form["client-ref"] for form in forms] == [f"{said.ref}.{n}.{count}" for n, count in enumerate(counts)]
    for number, (form, count) in enumerate(zip(forms, counts, strict=True)):
        [update] = provider.parse_callback(callback({**STATUS, "client-ref": form["client-ref"]}))
        assert isinstance(update, DeliveryUpdate)
        assert (update.ref, update.part, update.pieces) == (said.ref, number, count)


def answered(status: int, body: object) -> httpx.Response:
    return httpx.Response(status, content=body if isinstance(body, bytes) else orjson.dumps(body))


def said(status: object, **more: object) -> dict[str, object]:
    return {"message-count": "1", "messages": [{"status": status, **more}]}


@pytest.mark.parametrize(
    ("body", "provider_id"),
    [
        (said("0", **{"message-id": "0A"}), "0A"),
        (said(0, **{"message-id": "0A"}), "0A"),
        ({"messages": [{"status": "0", "message-id": "0A"}, {"status": "1"}]}, "0A"),
        ({"messages": [{"status": "1"}, {"status": "0", "message-id": "0B"}]}, "0B"),
    ],
)
def test_one_accepted_sms_makes_a_message_accepted(body: object, provider_id: str) -> None:
    assert vonage().parse_response(answered(200, body)).provider_id == provider_id


@pytest.mark.parametrize(
    ("status", "body", "error", "reason", "code"),
    [
        *((200, said(code), Throttled, Reason.RATE_LIMIT, code) for code in ("1", "10")),
        (200, said("5"), OutcomeUnknown, Reason.GENERAL, "5"),
        *((200, said(code), AccountFault, Reason.GENERAL, code) for code in ("4", "8", "9", "11", "14", "32")),
        *((200, said(code), Refused, Reason.INVALID_STRUCTURE, code) for code in ("2", "3", "12", "22", "23")),
        *((200, said(code), Refused, Reason.INVALID_DESTINATION, code) for code in ("6", "33")),
        (200, said("7"), Refused, Reason.NOT_ALLOWED, "7"),
        *((200, said(code), RouteRefused, Reason.NOT_ALLOWED, code) for code in ("15", "29")),
        (200, said("99"), Refused, Reason.GENERAL, "99"),
        (200, said(7), Refused, Reason.NOT_ALLOWED, "7"),
        (200, said("0"), Unreadable, Reason.GENERAL, "HTTP 200"),
        (200, said("0", **{"message-id": "a b"}), Unreadable, Reason.GENERAL, "HTTP 200"),
        (200, said("a sentence"), Unreadable, Reason.GENERAL, "HTTP 200"),
        (200, {"messages": []}, Unreadable, Reason.GENERAL, "HTTP 200"),
        (200, {"messages": ["0"]}, Unreadable, Reason.GENERAL, "HTTP 200"),
        (200, b"[" * 100_000, Unreadable, Reason.GENERAL, "HTTP 200"),
        (200, b"", Unreadable, Reason.GENERAL, "HTTP 200"),
        (429, b"", Throttled, Reason.RATE_LIMIT, "HTTP 429"),
        (500, said("0"), OutcomeUnknown, Reason.GENERAL, "HTTP 500"),
        (401, b"", AccountFault, Reason.GENERAL, "HTTP 401"),
        (302, b"", AccountFault, Reason.GENERAL, "HTTP 302"),
        (400, b"", Refused, Reason.GENERAL, "HTTP 400"),
    ],
)
def test_what_an_answer_means(status: int, body: object, error: type[SendError], reason: Reason, code: str) -> None:
    with pytest.raises(SendError) as raised:
        vonage().parse_response(answered(status, body))
    assert (type(raised.value), raised.value.reason, raised.value.code) == (error, reason, code)


# ---------------------------------------------------------------- callbacks

STATUS = {
    "msisdn": "16504661149", "to": "12025550123", "messageId": "0A0000001234567B", "status": "delivered",
    "err-code": "0", "price": "0.0333", "client-ref": f"{REF}.1.1", "api-key": "5a9b0c1d",
}  # fmt: skip
INBOUND = {
    "msisdn": "16504661149",
    "to": "12025550123",
    "messageId": "0B",
    "text": "yes & no = ü €😀",
    "type": "unicode",
}
Kind = Literal["status", "inbound"]


def callback(said: dict[str, Any], kind: Kind = "status", method: str = "POST", content_type: str = FORM) -> Callback:
    query = urlencode(said) if method == "GET" else ""
    body = b"" if method == "GET" else orjson.dumps(said) if content_type == JSON else urlencode(said).encode()
    url = URL + (f"?{query}" if query else "")
    return Callback(kind, method, url, query.encode(), {"content-type": (content_type,)}, body)


def signed(fields: dict[str, Any], secret: str = SECRET, method: str = "sha256", age: float = 0) -> dict[str, Any]:
    """As Vonage's library signs."""
    whole = {**fields, "nonce": "a1", "timestamp": str(int(time.time() - age))}
    theirs = Auth(api_key="5a9b0c1d", signature_secret=secret, signature_method=method)
    return {**whole, "sig": theirs.sign_params(dict(whole))}


@pytest.mark.parametrize("method", ["md5", "sha1", "sha256", "sha512"])
@pytest.mark.parametrize(("http", "content_type"), [("GET", FORM), ("POST", FORM), ("POST", JSON)])
@pytest.mark.parametrize("fields", [STATUS, INBOUND])
def test_a_signature_of_vonages_library_is_right(
    fields: dict[str, str], http: str, content_type: str, method: str
) -> None:
    ours, right = vonage(signature_method=method), signed(fields, method=method)
    assert ours.verify(callback(right, method=http, content_type=content_type)) == right["sig"]
    assert ours.verify(callback({**right, "sig": right["sig"].upper()}, method=http, content_type=content_type))
    for wrong in ({**right, "to": "12025550124"}, {**right, "more": ""}, signed(fields, "another", method)):
        with pytest.raises(BadSignature, match="no secret matches"):
            ours.verify(callback(wrong, method=http, content_type=content_type))


def test_the_old_hash_is_md5_with_the_secret_behind() -> None:
    fields = {"a": "1&2", "timestamp": str(int(time.time()))}
    said = f"&a=1_2&timestamp={fields['timestamp']}{SECRET}"
    right = {**fields, "sig": hashlib.md5(said.encode(), usedforsecurity=False).hexdigest()}
    vonage(signature_method="md5hash").verify(callback(right))
    with pytest.raises(BadSignature):
        vonage(signature_method="md5").verify(callback(right))


def without(fields: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key != name}


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        (lambda: without(signed(STATUS), "sig"), "missing"),
        (lambda: {**signed(STATUS), "sig": "é"}, "no secret matches"),
        (lambda: signed(STATUS, age=172_900), "too old or too new"),
        (lambda: signed(STATUS, age=-172_900), "too old or too new"),
        (lambda: {f"n{number}": "" for number in range(600)} | {"sig": "0"}, "missing"),
        (dict, "missing"),
    ],
)
def test_a_callback_that_proves_nothing_is_refused(wrong: Callable[[], dict[str, Any]], kind: str) -> None:
    vonage().verify(callback(signed(STATUS)))
    for method, content_type in (("POST", FORM), ("GET", FORM), ("POST", JSON)):
        with pytest.raises(BadSignature, match=kind):
            vonage().verify(callback(wrong(), method=method, content_type=content_type))


def test_a_signature_without_time_is_refused() -> None:
    theirs = Auth(api_key="5a9b0c1d", signature_secret=SECRET, signature_method="sha256")
    for moment in ("soon", "9" * 5000, "-1", "1e9"):
        fields = {**STATUS, "timestamp": moment}
        with pytest.raises(BadSignature, match="no timestamp"):
            vonage().verify(callback({**fields, "sig": theirs.sign_params(dict(fields))}))


def test_an_account_that_does_not_sign_has_a_secret_in_the_path() -> None:
    ours = vonage(signature_secret=None, callback_secret="0123456789abcdef")
    ours.verify(replace(callback(STATUS), secret="0123456789abcdef"))
    for wrong in ("0123456789abcdee", ""):
        with pytest.raises(BadSignature):
            ours.verify(replace(callback(STATUS), secret=wrong))
    with pytest.raises(ValidationError, match="signature_secret or callback_secret should be given"):
        vonage(signature_secret=None)
    for wrong in ("0123456789abcde", "0123456789/abcdef", "0" * 129):
        with pytest.raises(ValidationError):
            vonage(callback_secret=wrong)


D, F, S = UpdateStatus.DELIVERED, UpdateStatus.FAILED, UpdateStatus.SENT


@pytest.mark.parametrize(
    ("status", "error", "becomes", "reason"),
    [
        ("delivered", "0", D, None),
        ("Delivered", "0", D, None),
        *((word, "0", S, None) for word in ("accepted", "buffered", "unknown", "a word of tomorrow")),
        ("expired", "1", F, Reason.EXPIRED),
        *((word, "6", F, Reason.NOT_ALLOWED) for word in ("failed", "rejected", "deleted")),
        *(("failed", code, F, Reason.INVALID_DESTINATION) for code in ("3", "5", "11", "12")),
        *(("failed", code, F, Reason.NOT_ALLOWED) for code in ("4", "9", "13", "14", "50", "54")),
        ("failed", "10", F, Reason.INVALID_STRUCTURE),
        ("failed", "16", F, Reason.RATE_LIMIT),
        *(("failed", code, F, Reason.GENERAL) for code in ("1", "2", "7", "8", "15", "99", "", "x" * 5000)),
    ],
)
def test_what_a_receipt_says(status: str, error: str, becomes: UpdateStatus, reason: Reason | None) -> None:
    [update] = vonage().parse_callback(callback({**STATUS, "status": status, "err-code": error}))
    detail = error if error not in ("0", "x" * 5000) else ""
    cost = Cost("acme", "EUR", 3_330_000, 1)
    assert update == DeliveryUpdate("acme", STATUS["messageId"], becomes, REF, 1, reason, detail, cost=cost)


@pytest.mark.parametrize(
    "ref",
    [
        "",
        "order-17",
        f"{REF[:-1]}G.1.1",
        *(REF + end for end in ("", ".1", ".1.x", ".9999999.1", ".٣.1", ".1.0", ".1.100")),
    ],
)
def test_a_reference_of_another_system_is_none_of_ours(ref: str) -> None:
    [update] = vonage().parse_callback(callback({**STATUS, "client-ref": ref}))
    assert isinstance(update, DeliveryUpdate)
    assert (update.ref, update.part) == ("", 0)


def test_what_a_consumer_wrote() -> None:
    expected = ConsumerMessage("acme", "0B", Address("16504661149"), Address("12025550123"), INBOUND["text"])
    for method, content_type in (("GET", FORM), ("POST", FORM), ("POST", JSON)):
        assert vonage().parse_callback(callback(INBOUND, "inbound", method, content_type)) == [expected]
    pieces = [{**INBOUND, "concat": "true", "concat-ref": "7", "concat-total": "2", "concat-part": n} for n in "12"]
    said = [vonage().parse_callback(callback(piece, "inbound"))[0] for piece in pieces]
    assert [one.provider_id for one in said if isinstance(one, ConsumerMessage)] == ["0B.1", "0B.2"]
    assert [one.piece for one in said if isinstance(one, ConsumerMessage)] == [Piece("7", 1, 2), Piece("7", 2, 2)]
    assert len({vonage().event_id(callback(piece, "inbound")) for piece in pieces}) == 2


@pytest.mark.parametrize(
    ("part", "total"), [("3", "2"), ("0", "2"), ("1", "1"), ("1", "256"), ("x", "2"), ("1", "٢"), ("", "")]
)
def test_what_is_no_piece_of_anything_is_a_message_by_itself(part: str, total: str) -> None:
    piece = {**INBOUND, "concat": "true", "concat-ref": "7", "concat-total": total, "concat-part": part}
    [message] = vonage().parse_callback(callback(piece, "inbound"))
    assert isinstance(message, ConsumerMessage)
    assert message.piece is None


@pytest.mark.parametrize(
    ("wrong", "kind", "why"),
    [
        (without(STATUS, "messageId"), "status", "no messageId"),
        ({**STATUS, "messageId": "a b"}, "status", "no messageId"),
        ({**STATUS, "messageId": "0" * 65}, "status", "no messageId"),
        (without(STATUS, "status"), "status", "no status"),
        (STATUS, "inbound", "no text"),
        ({**INBOUND, "msisdn": ""}, "inbound", "no From"),
        ({**INBOUND, "to": "\u200b"}, "inbound", "no To"),
        ({**INBOUND, "to": "1" * 321}, "inbound", "To is longer than 320 characters"),
    ],
)
def test_a_callback_that_cannot_be_read_says_why(wrong: dict[str, Any], kind: Kind, why: str) -> None:
    with pytest.raises(UnreadableEvent, match=why):
        vonage().parse_callback(callback(wrong, kind))
