"""Twilio, the way in: signatures that Twilio's own validator makes, and what a callback says."""

from __future__ import annotations

import hashlib
from typing import Any, Literal
from urllib.parse import parse_qs, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped] # it ships no types

from dcbridge.errors import BadSignature, UnreadableEvent
from dcbridge.messages import Address, ConsumerMessage, DeliveryUpdate, Reason, UpdateStatus
from dcbridge.providers.base import Callback
from dcbridge.providers.twilio import Twilio, TwilioFields

URL = "https://bridge.example.com/callbacks/acme/status?m=0123abcd-2&p=1"
FORM = "application/x-www-form-urlencoded"
STATUS = {"MessageSid": "SM1", "MessageStatus": "delivered", "To": "+16504661149", "From": "+12025550123"}
INBOUND = {"MessageSid": "SM2", "From": "+16504661149", "To": "+12025550123", "Body": "yes", "NumMedia": "0"}


def twilio(**fields: object) -> Twilio:
    given_fields = {"account_sid": "AC1", "auth_token": "12345", **fields}
    return Twilio("acme", TwilioFields.model_validate(given_fields), "https://bridge.example.com")


def callback(
    params: dict[str, str] | list[tuple[str, str]] | bytes = b"",
    *,
    url: str = URL,
    kind: Literal["status", "inbound"] = "status",
    method: str = "POST",
    content_type: str = FORM,
    **headers: str | tuple[str, ...],
) -> Callback:
    named = {name.replace("_", "-"): (value,) if isinstance(value, str) else value for name, value in headers.items()}
    return Callback(
        kind=kind,
        method=method,
        url=url,
        query=url.partition("?")[2].encode(),
        headers={"content-type": (content_type,), **named},
        body=params if isinstance(params, bytes) else urlencode(params).encode(),
    )


def signature(params: dict[str, str], *, url: str = URL, secret: str = "12345", algorithm: str = "HMAC_SHA1") -> str:
    return str(RequestValidator(secret).compute_signature(url, params, algorithm))


def test_the_published_vector() -> None:
    params = {
        "CallSid": "CA1234567890ABCDE",
        "Caller": "+14158675309",
        "Digits": "1234",
        "From": "+14158675309",
        "To": "+18005551212",
    }
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    twilio().verify(callback(params, url=url, x_twilio_signature="RSOYDt4T1cUTdK1PDd93/VVr8B8="))
    with pytest.raises(BadSignature, match="no secret matches"):
        twilio().verify(callback(params, url=url, x_twilio_signature="RSOYDt4T1cUTdK1PDd93/VVr8B9="))


SHARED = "key=K1,algorithm=HMAC_SHA256"


@pytest.mark.parametrize(
    ("wrong", "right", "kind"),
    [
        ({}, {"x_twilio_signature": signature(STATUS)}, "missing"),
        (
            {"x_twilio_signature": (signature(STATUS), signature(STATUS))},
            {"x_twilio_signature": signature(STATUS)},
            "more than one signature",
        ),
        (
            {"x_twilio_signature": signature(STATUS, secret="12346")},
            {"x_twilio_signature": signature(STATUS, secret="12345")},
            "no secret matches",
        ),
        (
            {"x_twilio_signature": signature(STATUS, secret="old2")},
            {"x_twilio_signature": signature(STATUS, secret="old1")},
            "no secret matches",
        ),
        (
            {"x_twilio_signature": signature(STATUS, url=URL.replace("p=1", "p=2"))},
            {"x_twilio_signature": signature(STATUS, url=URL)},
            "no secret matches",
        ),
        ({"x_twilio_signature": "é"}, {"x_twilio_signature": signature(STATUS)}, "no secret matches"),
        (
            {
                "x_twilio_signature": signature(STATUS, secret="shared", algorithm="HMAC_SHA1"),
                "x_twilio_webhooks_signature_settings": SHARED,
            },
            {
                "x_twilio_signature": signature(STATUS, secret="shared", algorithm="HMAC_SHA256"),
                "x_twilio_webhooks_signature_settings": SHARED,
            },
            "no secret matches",
        ),
        (
            {
                "x_twilio_signature": signature(STATUS, secret="shared", algorithm="HMAC_SHA256"),
                "x_twilio_webhooks_signature_settings": "key=K2,algorithm=HMAC_SHA256",
            },
            {
                "x_twilio_signature": signature(STATUS, secret="shared", algorithm="HMAC_SHA256"),
                "x_twilio_webhooks_signature_settings": " algorithm = hmac_sha256 , key = K1",
            },
            "unknown signing key",
        ),
        (
            {
                "x_twilio_signature": signature(STATUS, secret="shared", algorithm="HMAC_SHA256"),
                "x_twilio_webhooks_signature_settings": "key=K1,algorithm=HMAC_SHA512",
            },
            {
                "x_twilio_signature": signature(STATUS, secret="shared", algorithm="HMAC_SHA256"),
                "x_twilio_webhooks_signature_settings": SHARED,
            },
            "unknown algorithm",
        ),
        (
            {"x_twilio_signature": signature(STATUS), "x_twilio_webhooks_signature_settings": (SHARED, "")},
            {"x_twilio_signature": signature(STATUS), "x_twilio_webhooks_signature_settings": ""},
            "more than one signature settings",
        ),
        (
            {
                "x_twilio_signature": signature(STATUS, algorithm="HMAC_SHA256"),
                "x_twilio_webhooks_signature_settings": "key=,algorithm=HMAC_SHA256",
            },
            {
                "x_twilio_signature": signature(STATUS),
                "x_twilio_webhooks_signature_settings": "algorithm=HMAC_SHA1",
            },
            "unknown signing key",  # the auth token does not sign in the shared-key mode
        ),
    ],
)
def test_a_wrong_signature_beside_its_right_twin(wrong: dict[str, Any], right: dict[str, Any], kind: str) -> None:
    provider = twilio(previous_auth_tokens=["old1"], signing_keys={"K1": "shared"})
    provider.verify(callback(STATUS, **right))
    with pytest.raises(BadSignature) as refused:
        provider.verify(callback(STATUS, **wrong))
    assert refused.value.kind == kind


@pytest.mark.parametrize(
    ("signed", "seen", "accepted"),
    [
        ("https://b.example.com/x?a=1", "https://b.example.com/x?a=1", True),
        ("https://b.example.com:443/x?a=1", "https://b.example.com/x?a=1", True),
        ("https://b.example.com/x?a=1", "https://b.example.com:443/x?a=1", True),
        ("https://b.example.com/x?a=1", "https://b.example.com:8443/x?a=1", True),  # as the SDK has it
        ("http://b.example.com:80/x", "http://b.example.com/x", True),
        ("https://b.example.com:443", "https://b.example.com", True),
        ("https://b.example.com:80/x?a=1", "https://b.example.com/x?a=1", False),
        ("https://b.example.com/x?a=1", "https://b.example.com/x?a=%31", False),
        ("https://b.example.com/x?a=1", "http://b.example.com/x?a=1", False),
        ("https://b.example.com/x?a=1", "https://b.example.com/X?a=1", False),
    ],
)
def test_the_port_may_be_there_or_not(signed: str, seen: str, accepted: bool) -> None:
    header = signature(STATUS, url=signed)
    assert RequestValidator("12345").validate(seen, STATUS, header) is accepted
    if accepted:
        twilio().verify(callback(STATUS, url=seen, x_twilio_signature=header))
    else:
        with pytest.raises(BadSignature):
            twilio().verify(callback(STATUS, url=seen, x_twilio_signature=header))


def test_a_get_is_signed_by_its_url_alone() -> None:
    url = f"{URL}&{urlencode(STATUS)}"
    seen = callback(url=url, method="GET", x_twilio_signature=signature({}, url=url))
    twilio().verify(seen)
    [update] = twilio().parse_callback(seen)
    assert isinstance(update, DeliveryUpdate)
    assert (update.provider_id, update.ref, update.part) == ("SM1", "0123abcd-2", 1)
    posted = callback(STATUS, url=url, x_twilio_signature=signature({}, url=url))
    with pytest.raises(BadSignature):
        twilio().verify(posted)  # the same signature does not cover a body


def test_a_json_body_is_signed_by_its_hash() -> None:
    body = b'{"a": 1}'
    url = f"{URL}&bodySHA256={hashlib.sha256(body).hexdigest()}"
    header = signature({}, url=url)
    assert RequestValidator("12345").validate(url, body.decode(), header)
    twilio().verify(callback(body, url=url, content_type="application/json", x_twilio_signature=header))
    with pytest.raises(BadSignature, match="not what was signed"):
        twilio().verify(callback(b'{"a": 2}', url=url, content_type="application/json", x_twilio_signature=header))


def test_a_body_that_nothing_signs_is_refused() -> None:
    header = signature({})
    twilio().verify(callback(b"", content_type="application/json", x_twilio_signature=header))
    with pytest.raises(BadSignature, match="the body is not signed"):
        twilio().verify(callback(b"{}", content_type="application/json", x_twilio_signature=header))


# ---------------------------------------------------------------- what cannot be signed right costs nothing


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (b"&".join(b"n%d=1" % n for n in range(501)), b"&".join(b"n%d=1" % n for n in range(500))),
        (b"a=" + b"x" * (1 << 18), b"a=" + b"x" * ((1 << 18) - 2)),
        (b"a=1" + b"&" * 500, b"a=1" + b"&" * 499),
    ],
    ids=["parameters", "bytes", "empty parameters"],
)
def test_a_form_may_be_so_large(wrong: bytes, right: bytes) -> None:
    def signed(body: bytes) -> Callback:
        params = {name: values[0] for name, values in parse_qs(body.decode(), max_num_fields=None).items()}
        return callback(body, x_twilio_signature=signature(params))

    assert twilio().verify(signed(right))
    with pytest.raises(BadSignature) as refused:
        twilio().verify(signed(wrong))
    assert refused.value.kind == "too large for a form"


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ("", "no secret matches"),
        (signature(STATUS)[:-1], "no secret matches"),
        (signature(STATUS) + "=", "no secret matches"),
        (signature(STATUS).lower(), "no secret matches"),
        (signature(STATUS)[:-2] + "\n=", "no secret matches"),
        (signature(STATUS) + "," + signature(STATUS), "no secret matches"),
        ("A" * 1_000_000, "no secret matches"),
        (signature(STATUS, algorithm="HMAC_SHA256"), "no secret matches"),
    ],
)
def test_a_header_of_another_shape(header: str, kind: str) -> None:
    assert twilio().verify(callback(STATUS, x_twilio_signature=f" {signature(STATUS)} ")) == signature(STATUS)
    with pytest.raises(BadSignature) as refused:
        twilio().verify(callback(STATUS, x_twilio_signature=header))
    assert refused.value.kind == kind


def test_a_body_is_hashed_only_where_its_url_is_signed() -> None:
    url = f"{URL}&bodySHA256={'0' * 64}"
    with pytest.raises(BadSignature, match="no secret matches"):
        twilio().verify(callback(b"{}", url=url, content_type="application/json", x_twilio_signature=signature({})))
    header = signature({}, url=url)
    with pytest.raises(BadSignature, match="not what was signed"):
        twilio().verify(callback(b"{}", url=url, content_type="application/json", x_twilio_signature=header))


# ---------------------------------------------------------------- companies with the same API


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ({"x_signalwire_signature": signature(STATUS)}, ""),
        ({"x_twilio_signature": signature(STATUS)}, ""),
        ({"x_twilio_signature": signature(STATUS), "x_signalwire_signature": signature(STATUS)}, ""),
        # Beside a form's signature SignalWire may send one of another scheme, in hex digits.
        ({"x_twilio_signature": signature(STATUS), "x_signalwire_signature": "0" * 40}, ""),
        ({"x_twilio_signature": "0" * 40, "x_signalwire_signature": signature(STATUS)}, ""),
        ({"x_signalwire_signature": signature(STATUS, secret="12346")}, "no secret matches"),
        ({"x_signalwire_signature": signature(STATUS, url=URL + "x")}, "no secret matches"),
        ({"x_signalwire_signature": "0" * 40}, "no secret matches"),
        ({"x_signalwire_signature": (signature(STATUS), signature(STATUS))}, "more than one signature"),
        ({"x_someones_signature": signature(STATUS)}, "missing"),
    ],
)
def test_the_header_of_signalwire(headers: dict[str, Any], kind: str) -> None:
    seen = callback(STATUS, **headers)
    if not kind:
        assert twilio().verify(seen) == signature(STATUS)
        return
    with pytest.raises(BadSignature) as refused:
        twilio().verify(seen)
    assert refused.value.kind == kind


TWILIOS = "AC" + "0" * 32
RESERVED = ("a:b", "a/b", "a b", "a%b", "a\n", "é", "-a", "a" * 65)
SID, UUID = "SM" + "0123456789abcdef" * 2, "6f1d2f9c-7a30-4a0e-9b1e-1f2e3d4c5b6a"


@pytest.mark.parametrize(
    ("account", "base_url", "sid", "accepted"),
    [
        (TWILIOS, "https://api.twilio.com", SID, True),
        (TWILIOS, "https://api.dublin.ie1.twilio.com", SID.replace("SM", "MM"), True),
        (TWILIOS, "https://api.twilio.com", SID[:-1], False),
        (TWILIOS, "https://api.twilio.com", SID + "0", False),
        (TWILIOS, "https://api.twilio.com", SID + "NumMedia0", False),
        (TWILIOS, "https://api.twilio.com", SID.upper(), False),
        (TWILIOS, "https://api.twilio.com", UUID, False),
        (TWILIOS, "https://twilio.com.example.net", UUID, True),
        (UUID, "https://example.signalwire.com/api/laml", UUID, True),
        (UUID, "https://example.signalwire.com/api/laml", SID, True),
        (UUID, "https://example.signalwire.com/api/laml", UUID + "NumMedia0", False),
        (UUID, "https://example.signalwire.com/api/laml", SID + "NumMedia0", False),
        ("AC1", "https://api.example.com", "msg_01HZX-7", True),
        *(
            ("AC1", "https://api.example.com", sid, False)
            for sid in ("a:b", "a/b", "a b", "a%b", "a\n", "é", "-a", "a" * 65)
        ),
    ],
)
def test_an_id_looks_like_an_id(account: str, base_url: str, sid: str, accepted: bool) -> None:
    provider = twilio(account_sid=account, base_url=base_url)
    for kind, said in (("status", STATUS), ("inbound", INBOUND)):
        seen = callback(said | {"MessageSid": sid}, kind=kind)  # type: ignore[arg-type] # one of the two words
        if accepted:
            [event] = provider.parse_callback(seen)
            assert event.provider_id == sid
        else:
            with pytest.raises(UnreadableEvent, match="is not an id"):
                provider.parse_callback(seen)


class Form(dict[str, list[str]]):
    """A form as a framework hands it to the SDK."""

    def getlist(self, name: str) -> list[str]:
        return self[name]


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)
values = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(st.lists(st.tuples(names | st.sampled_from("ab"), values | st.sampled_from("xy")), min_size=1, max_size=8))
def test_any_form_with_repeats_is_signed_as_the_sdk_signs_it(pairs: list[tuple[str, str]]) -> None:
    as_form = Form(parse_qs(urlencode(pairs), keep_blank_values=True, max_num_fields=None))
    header = RequestValidator("12345").compute_signature(URL, as_form)
    twilio().verify(callback(pairs, x_twilio_signature=header))
    with pytest.raises(BadSignature):
        twilio().verify(callback([*pairs, ("zz", "added")], x_twilio_signature=header))


STATUSES = [
    ("accepted", "", UpdateStatus.SENT, None),
    ("scheduled", "", UpdateStatus.SENT, None),
    ("queued", "", UpdateStatus.SENT, None),
    ("sending", "", UpdateStatus.SENT, None),
    ("sent", "", UpdateStatus.SENT, None),
    ("sent", "30003", UpdateStatus.SENT, None),
    ("invented-in-2031", "", UpdateStatus.SENT, None),
    ("delivered", "", UpdateStatus.DELIVERED, None),
    ("delivered", "0", UpdateStatus.DELIVERED, None),
    ("read", "", UpdateStatus.DELIVERED, None),
    ("canceled", "", UpdateStatus.REMOVED, None),
    ("partially_delivered", "", UpdateStatus.FAILED, Reason.GENERAL),
    ("failed", "", UpdateStatus.FAILED, Reason.GENERAL),
    ("undelivered", "30005", UpdateStatus.FAILED, Reason.INVALID_DESTINATION),
    ("undelivered", "30007", UpdateStatus.FAILED, Reason.NOT_ALLOWED),
    ("undelivered", "30003", UpdateStatus.FAILED, Reason.GENERAL),
    ("failed", "63018", UpdateStatus.FAILED, Reason.RATE_LIMIT),
    ("failed", "30036", UpdateStatus.FAILED, Reason.EXPIRED),
    ("failed", "99999", UpdateStatus.FAILED, Reason.GENERAL),
    ("failed", "call +1555", UpdateStatus.FAILED, Reason.GENERAL),
]


@pytest.mark.parametrize(("word", "code", "status", "reason"), STATUSES)
def test_a_status_is_read(word: str, code: str, status: UpdateStatus, reason: Reason | None) -> None:
    said = STATUS | {"MessageStatus": word} | ({"ErrorCode": code} if code else {})
    assert twilio().parse_callback(callback(said)) == [
        DeliveryUpdate("acme", "SM1", status, "0123abcd-2", 1, reason, code if code.isdigit() and code != "0" else "")
    ]
    assert twilio().event_id(callback(said)) == f"SM1:{word}:{code}"


@pytest.mark.parametrize(
    ("query", "ref", "part"),
    [
        ("?m=abc-1&p=12", "abc-1", 12),
        ("?p=2&m=abc", "abc", 2),
        ("?m=abc", "abc", 0),
        ("?m=abc&p=", "abc", 0),
        ("?m=abc&p=-1", "abc", 0),
        ("?m=a%0Ab&p=1", "", 1),
        ("?m=" + "a" * 65, "", 0),
        ("", "", 0),
    ],
)
def test_our_reference_comes_back_in_the_query(query: str, ref: str, part: int) -> None:
    [update] = twilio().parse_callback(callback(STATUS, url=URL.partition("?")[0] + query))
    assert isinstance(update, DeliveryUpdate)
    assert (update.ref, update.part) == (ref, part)


def test_a_consumer_message_is_read() -> None:
    said = INBOUND | {"Body": "Grüße 😀 +1", "MediaUrl10": "https://m/10", "MediaUrl9": "https://m/9", "MediaUrl": "x"}
    seen = callback(said, kind="inbound")
    assert twilio().parse_callback(seen) == [
        ConsumerMessage(
            provider="acme",
            provider_id="SM2",
            sender=Address("16504661149"),
            to=Address("+12025550123"),
            text="Grüße 😀 +1",
            media_urls=("https://m/9", "https://m/10"),
        )
    ]
    assert twilio().event_id(seen) == "SM2"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"Body=caf%C3%A9", "café"),
        (b"Body=caf%E9", "caf\ufffd"),
        (b"Body=%", "%"),
        (b"Body=a+b%2B", "a b+"),
        (b"Body=", ""),
        (b"Body", ""),
        (b"Body=first&Body=second", "first"),
        ("Body=é".encode(), "é"),
        (b"Body=a\x00b", "a\x00b"),
    ],
)
def test_odd_encodings_of_a_text(body: bytes, text: str) -> None:
    rest = urlencode({name: value for name, value in INBOUND.items() if name != "Body"}).encode()
    [said] = twilio().parse_callback(callback(rest + b"&" + body, kind="inbound"))
    assert isinstance(said, ConsumerMessage)
    assert said.text == text


@pytest.mark.parametrize(
    ("kind", "wrong", "right"),
    [
        ("status", {"MessageStatus": ""}, {}),
        ("status", {"MessageSid": ""}, {}),
        ("status", {"MessageStatus": None}, {}),
        ("inbound", {"MessageSid": None}, {}),
        ("inbound", {"From": ""}, {}),
        ("inbound", {"To": None}, {}),
        ("inbound", {"Body": None}, {"Body": ""}),
        ("inbound", {"Body": None}, {"Body": None, "MediaUrl0": "https://m/0"}),
    ],
)
def test_what_cannot_be_read_says_so(
    kind: Literal["status", "inbound"], wrong: dict[str, str | None], right: dict[str, str | None]
) -> None:
    def changed(changes: dict[str, str | None]) -> Callback:
        whole: dict[str, str | None] = {**(STATUS if kind == "status" else INBOUND), **changes}
        return callback({name: value for name, value in whole.items() if value is not None}, kind=kind)

    assert len(twilio().parse_callback(changed(right))) == 1
    with pytest.raises(UnreadableEvent):
        twilio().parse_callback(changed(wrong))


@given(st.binary(max_size=60), st.sampled_from(["status", "inbound"]), st.sampled_from([FORM, "application/json", ""]))
def test_no_body_raises_anything_else(body: bytes, kind: Literal["status", "inbound"], content_type: str) -> None:
    seen = callback(body, kind=kind, content_type=content_type)
    twilio().event_id(seen)
    with pytest.raises(UnreadableEvent):
        twilio().parse_callback(seen)


@pytest.mark.parametrize(
    ("kind", "body", "content_type"),
    [("inbound", b'<?xml version="1.0" encoding="UTF-8"?><Response/>', "text/xml"), ("status", b"", "")],
)
def test_the_answer(kind: Literal["status", "inbound"], body: bytes, content_type: str) -> None:
    answer = twilio().callback_response(callback(kind=kind))
    assert (answer.status, answer.body, answer.content_type) == (200, body, content_type)
