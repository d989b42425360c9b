"""Telnyx: our request and signatures against Telnyx' own library, every answer, every callback."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import orjson
import pytest
from nacl.signing import SigningKey
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
from dcbridge.providers.base import Callback, Turn
from dcbridge.providers.opt_outs import ListedOptOut
from dcbridge.providers.telnyx import Telnyx, TelnyxFields

KEY = SigningKey(b"k" * 32)
PUBLIC = base64.b64encode(bytes(KEY.verify_key)).decode()
ID = "40385f64-5717-4562-b3fc-2c963f66afa6"
EVENTS = "https://bridge.example.com/callbacks/acme/events"


def telnyx(**fields: object) -> Telnyx:
    given = {"api_key": "KEY0123", "public_key": PUBLIC, **fields}
    return Telnyx("acme", TelnyxFields.model_validate(given), "https://bridge.example.com")


def message(text: str = "Hello") -> AgentMessage:
    to = Address("16504661149")
    return AgentMessage("0123456789", "1613474523265-0", Address("12025550123"), to, (to,), "Text", text)


def request(provider: Telnyx, said: AgentMessage) -> httpx.Request:
    return provider.build_request(Turn(said, provider.parts(said)[0], 0.0))


@pytest.mark.parametrize(
    ("fields", "theirs"),
    [
        ({}, {"from_": "+12025550123"}),
        ({"from_number": "Company", "messaging_profile_id": ID}, {"from_": "Company", "messaging_profile_id": ID}),
        ({"status_callbacks": False}, {"from_": "+12025550123"}),
    ],
)
def test_the_request_is_the_one_that_telnyxs_library_writes(fields: dict[str, object], theirs: dict[str, Any]) -> None:
    from telnyx import Telnyx as Sdk  # takes seconds, and every worker of pytest imports every file

    ours = request(telnyx(**fields), message("Grüße & 1+1=2 €😀"))
    written = orjson.loads(ours.content)
    sent: list[httpx.Request] = []

    def answer(one: httpx.Request) -> httpx.Response:
        sent.append(one)
        return httpx.Response(200, json={"data": {"id": ID}})

    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        more = {"webhook_url": written["webhook_url"]} if fields.get("status_callbacks", True) else {}
        made = Sdk(api_key="KEY0123", http_client=http).messages.send(
            to="+16504661149", text="Grüße & 1+1=2 €😀", **theirs, **more
        )
    [one] = sent
    assert (ours.method, str(ours.url)) == (one.method, str(one.url)) == ("POST", "https://api.telnyx.com/v2/messages")
    for name in ("authorization", "content-type"):
        assert ours.headers[name] == one.headers[name]
    assert written == orjson.loads(one.content)
    assert made.data is not None
    assert telnyx().parse_response(httpx.Response(200, json={"data": {"id": ID}})).provider_id == made.data.id


@pytest.mark.parametrize(("text", "parts"), [("a" * 1530, 1), ("a" * 1531, 2), ("я" * 670, 1), ("я" * 671, 2)])
def test_a_text_of_more_than_ten_sms_goes_in_several_requests(text: str, parts: int) -> None:
    pieces = telnyx().parts(message(text))
    assert len(pieces) == parts
    assert "".join(piece.text for piece in pieces) == text


def test_the_list_of_opt_outs_is_asked_for_and_read_as_telnyxs_library_does() -> None:
    from telnyx import Telnyx as Sdk

    listing, asked = telnyx().opt_out_list, list[httpx.Request]()
    assert listing is not None
    row = {
        "to": "+16504661149",
        "from": "+12025550123",
        "created_at": "2026-01-30T14:00:00.123+00:00",
        "keyword": "STOP",
    }
    pages = [{"data": [row], "meta": {"page_number": n, "total_pages": 2}} for n in (1, 2)]

    def answer(one: httpx.Request) -> httpx.Response:
        asked.append(one)
        return httpx.Response(200, json=pages[len(asked) - 1])

    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        theirs = list(Sdk(api_key="KEY0123", http_client=http).messaging_optouts.list(page_number=1, page_size=100))
    following, ours = "", list[ListedOptOut]()
    for one, said in zip(asked, pages, strict=True):
        request = listing.page_request(following)
        assert (request.method, request.url.path) == (one.method, one.url.path)
        assert sorted(request.url.params.multi_items()) == sorted(one.url.params.multi_items())
        assert request.headers["authorization"] == one.headers["authorization"]
        page = listing.parse_page(httpx.Response(200, json=said))
        ours += page.rows
        following = page.following
    assert following == ""
    assert [(one.number, one.sender) for one in ours] == [(one.to, one.from_) for one in theirs]
    assert [one.at for one in ours] == [one.created_at.timestamp() for one in theirs if one.created_at]


@pytest.mark.parametrize(
    ("body", "rows", "following"),
    [
        ({"data": []}, [], ""),
        ({"data": [], "meta": {"page_number": 1, "total_pages": 9}}, [], ""),  # nothing, and it would go on
        ({"data": [{}, None, 7], "meta": {"page_number": 1, "total_pages": 2}}, [("", None)] * 3, "2"),
        ({"data": [{"to": 7, "created_at": 7}], "meta": {"page_number": "1", "total_pages": 2}}, [("7", 7.0)], ""),
        ({"data": [{"to": "+1", "created_at": "x"}], "meta": []}, [("+1", None)], ""),
        ({"data": [{"to": "+1", "created_at": "2026-01-30"}], "meta": {"page_number": 2, "total_pages": 2}},
         [("+1", 1769731200.0)], ""),
        ({"data": [{"created_at": "9999-12-31T23:59:59-23:00"}]}, [("", None)], ""),
    ],
)  # fmt: skip
def test_a_page_of_opt_outs(body: object, rows: list[tuple[str, float | None]], following: str) -> None:
    listing = telnyx().opt_out_list
    assert listing is not None
    page = listing.parse_page(httpx.Response(200, json=body))
    assert ([(one.number, one.at) for one in page.rows], page.following) == (rows, following)


@pytest.mark.parametrize(("status", "body", "error"), [
    (200, b"", Unreadable), (200, b"[]", Unreadable), (200, b'{"data": {}}', Unreadable), (429, b"{}", Throttled),
    (401, b'{"errors": [{"code": "10009"}]}', AccountFault), (500, b"", OutcomeUnknown), (404, b"", Refused),
])  # fmt: skip
def test_what_is_no_page_of_opt_outs(status: int, body: bytes, error: type[SendError]) -> None:
    listing = telnyx().opt_out_list
    assert listing is not None
    with pytest.raises(error):
        listing.parse_page(httpx.Response(status, content=body))


def errors(*codes: object) -> dict[str, object]:
    return {"errors": [{"code": code, "title": "x"} for code in codes]}


@pytest.mark.parametrize(
    ("status", "body", "error", "reason", "code"),
    [
        (429, errors("10011"), Throttled, Reason.RATE_LIMIT, "10011"),
        (400, errors("40011"), Throttled, Reason.RATE_LIMIT, "40011"),
        (401, errors("10009"), AccountFault, Reason.GENERAL, "10009"),
        (403, errors("10010"), AccountFault, Reason.GENERAL, "10010"),
        (402, errors("20100"), AccountFault, Reason.GENERAL, "20100"),
        (403, {}, AccountFault, Reason.GENERAL, "HTTP 403"),
        *(
            (422, errors(code), Refused, Reason.INVALID_DESTINATION, code)
            for code in ("10002", "40001", "40012", "40310")
        ),
        *((422, errors(code), Refused, Reason.INVALID_STRUCTURE, code) for code in ("10003", "10004", "40009")),
        *((400, errors(code), Refused, Reason.NOT_ALLOWED, code) for code in ("40002", "40003", "40300", "40333")),
        (404, errors("10005"), Refused, Reason.UNKNOWN_MESSAGE, "10005"),
        (400, errors(40014), Refused, Reason.EXPIRED, "40014"),
        (400, errors("99999"), Refused, Reason.GENERAL, "99999"),
        (400, errors("a sentence with spaces"), Refused, Reason.GENERAL, "HTTP 400"),
        (400, {"errors": "x"}, Refused, Reason.GENERAL, "HTTP 400"),
        (400, b"[" * 100_000, Refused, Reason.GENERAL, "HTTP 400"),
        (500, errors("10007"), OutcomeUnknown, Reason.GENERAL, "10007"),
        (503, b"", OutcomeUnknown, Reason.GENERAL, "HTTP 503"),
        (301, b"", AccountFault, Reason.GENERAL, "HTTP 301"),
        (200, {"data": {}}, Unreadable, Reason.GENERAL, "HTTP 200"),
        (200, {"data": {"id": "a b"}}, Unreadable, Reason.GENERAL, "HTTP 200"),
        (200, b"", Unreadable, Reason.GENERAL, "HTTP 200"),
    ],
)
def test_what_an_answer_means(status: int, body: object, error: type[SendError], reason: Reason, code: str) -> None:
    answer = httpx.Response(status, content=body if isinstance(body, bytes) else orjson.dumps(body))
    with pytest.raises(SendError) as raised:
        telnyx().parse_response(answer)
    assert (type(raised.value), raised.value.reason, raised.value.code) == (error, reason, code)


# ---------------------------------------------------------------- callbacks


def event(kind: str, payload: object, event_id: str = "e-1") -> bytes:
    return orjson.dumps({"data": {"event_type": kind, "id": event_id, "payload": payload, "record_type": "event"}})


def report(status: str, *codes: str) -> bytes:
    to = [{"phone_number": "+16504661149", "status": status}]
    return event("message.finalized", {"id": ID, "direction": "outbound", "to": to, **errors(*codes)})


NONE: Mapping[str, str] = {}
RECEIVED = {
    "id": "m-2", "direction": "inbound", "text": "yes ü €😀", "from": {"phone_number": "+16504661149"},
    "to": [{"phone_number": "+12025550123"}], "media": [],
}  # fmt: skip


def callback(
    body: bytes, url: str = EVENTS, *, key: SigningKey = KEY, age: float = 0, headers: Mapping[str, str] = NONE
) -> Callback:
    moment = str(int(time.time() - age))
    signature = base64.b64encode(key.sign(moment.encode() + b"|" + body).signature).decode()
    whole = {"telnyx-signature-ed25519": signature, "telnyx-timestamp": moment, **headers}
    named = {name: (value,) for name, value in whole.items() if value != "-"}
    return Callback("events", "POST", url, urlsplit(url).query.encode(), named, body)


@pytest.mark.parametrize("body", [report("delivered"), event("message.received", RECEIVED), b"", b"\xff"])
def test_a_signature_that_telnyxs_library_believes_is_right(body: bytes) -> None:
    from telnyx import Telnyx as Sdk

    signed = callback(body)
    telnyx().verify(signed)
    if body[:1] == b"{":
        headers = {name: value for name, (value,) in signed.headers.items()}
        with httpx.Client() as http:
            Sdk(api_key="KEY", public_key=PUBLIC, http_client=http).webhooks.unwrap(body.decode(), headers=headers)
    with pytest.raises(BadSignature, match="the key does not match"):
        telnyx().verify(replace(signed, body=body + b" "))


# Signed when it is sent: between collecting a test and running it many minutes may pass.
late = partial(callback, report("sent"))


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        (partial(late, headers={"telnyx-signature-ed25519": "-"}), "missing"),
        (partial(late, headers={"telnyx-timestamp": "-"}), "missing"),
        (partial(late, headers={"telnyx-signature-ed25519": "A" * 86 + "=="}), "the key does not match"),
        (partial(late, headers={"telnyx-signature-ed25519": "A" * 87}), "not a signature"),
        (partial(late, headers={"telnyx-signature-ed25519": "é" * 86 + "=="}), "not a signature"),
        *((partial(late, headers={"telnyx-timestamp": one}), "not a signature") for one in ("1e9", "9" * 5000, "٣")),
        (lambda: late(headers={"telnyx-timestamp": str(int(time.time()) - 1)}), "the key does not match"),
        (partial(late, key=SigningKey(b"l" * 32)), "the key does not match"),
        (partial(late, age=400), "too old or too new"),
        (partial(late, age=-400), "too old or too new"),
    ],
)
def test_a_callback_that_proves_nothing_is_refused(wrong: Callable[[], Callback], kind: str) -> None:
    telnyx().verify(callback(report("sent")))
    with pytest.raises(BadSignature, match=kind):
        telnyx().verify(wrong())


@pytest.mark.parametrize("key", ["", "x", PUBLIC[:-4], PUBLIC + PUBLIC])
def test_a_public_key_that_is_none_is_refused_at_the_start(key: str) -> None:
    with pytest.raises(ValidationError, match="32 bytes in base64"):
        telnyx(public_key=key)
    telnyx(public_key=f" {PUBLIC}\n")


D, F, S = UpdateStatus.DELIVERED, UpdateStatus.FAILED, UpdateStatus.SENT


@pytest.mark.parametrize(
    ("status", "codes", "becomes", "reason"),
    [
        *((word, (), D, None) for word in ("delivered", "read")),
        *((word, (), S, None) for word in ("queued", "sending", "sent", "delivery_unconfirmed", "a word of tomorrow")),
        ("expired", (), F, Reason.EXPIRED),
        ("sending_failed", ("40001", "40003"), F, Reason.INVALID_DESTINATION),
        ("delivery_failed", ("40300",), F, Reason.NOT_ALLOWED),
        ("delivery_failed", ("40008",), F, Reason.GENERAL),
        ("delivery_failed", (), F, Reason.GENERAL),
    ],
)
def test_what_a_report_says(status: str, codes: tuple[str, ...], becomes: UpdateStatus, reason: Reason | None) -> None:
    said = message()
    url = orjson.loads(request(telnyx(), said).content)["webhook_url"]
    [update] = telnyx().parse_callback(callback(report(status, *codes), url))
    detail = codes[0] if codes else ""
    assert update == DeliveryUpdate("acme", ID, becomes, said.ref, 0, reason, detail)


def test_a_reference_counts_with_its_code_alone() -> None:
    """The address of a callback is not signed."""
    said = message()
    url = orjson.loads(request(telnyx(), said).content)["webhook_url"]
    query = {name: value for name, [value] in parse_qs(urlsplit(url).query).items()}
    for wrong in (
        EVENTS,
        f"{EVENTS}?m={query['m']}",
        f"{EVENTS}?m={said.ref}.1&c={query['c']}",
        f"{EVENTS}?m={query['m']}&c={query['c'][:-1]}g",
        orjson.loads(request(telnyx(api_key="KEY0124"), said).content)["webhook_url"],
    ):
        [update] = telnyx().parse_callback(callback(report("delivered"), wrong))
        assert isinstance(update, DeliveryUpdate)
        assert (update.ref, update.part, update.provider_id) == ("", 0, ID)  # found by its id


def test_what_a_consumer_wrote() -> None:
    ends = Address("16504661149"), Address("+12025550123")
    received = callback(event("message.received", RECEIVED))
    assert telnyx().parse_callback(received) == [ConsumerMessage("acme", "m-2", *ends, "yes ü €😀")]
    picture = {**RECEIVED, "text": None, "media": [{"url": "https://m.telnyx.com/1"}, {"url": None}, "x"]}
    [said] = telnyx().parse_callback(callback(event("message.received", picture)))
    assert isinstance(said, ConsumerMessage)
    assert (said.text, said.media_urls) == ("", ("https://m.telnyx.com/1",))
    assert telnyx().event_id(received) == "e-1"


@pytest.mark.parametrize("kind", ["call.initiated", "fax.delivered"])
def test_an_event_of_another_product_says_nothing(kind: str) -> None:
    assert telnyx().parse_callback(callback(event(kind, {"id": ID}))) == ()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "no event_type"),
        (b"\xff", "no event_type"),
        (b"[" * 100_000, "no event_type"),
        (orjson.dumps({"data": "x"}), "no event_type"),
        (event("message.sent", {}), "no id of a message"),
        (event("message.sent", {"id": "a b"}), "no id of a message"),
        (event("message.sent", {"id": ID}), "no status"),
        (event("message.sent", {"id": ID, "to": ["x"]}), "no status"),
        (event("message.received", {**RECEIVED, "text": None}), "no text"),
        (event("message.received", {**RECEIVED, "from": {}}), "no From"),
        (event("message.received", {**RECEIVED, "to": []}), "no To"),
    ],
)
def test_a_callback_that_cannot_be_read_says_why(body: bytes, why: str) -> None:
    with pytest.raises(UnreadableEvent, match=why):
        telnyx().parse_callback(callback(body))
