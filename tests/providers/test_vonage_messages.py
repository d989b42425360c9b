"""Vonage's Messages API: requests and tokens against Vonage's own libraries, every answer, every webhook."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from functools import cache
from typing import Any

import httpx
import jwt
import orjson
import pytest
import requests
from pydantic import ValidationError
from requests.adapters import BaseAdapter
from vonage_http_client import Auth, HttpClient  # type: ignore[import-untyped] # it ships no types
from vonage_jwt import verify_signature  # type: ignore[import-untyped] # it ships no types
from vonage_messages import Messages  # type: ignore[import-untyped] # it ships no types
from vonage_messages.models import (  # type: ignore[import-untyped] # it ships no types
    MmsAudio,
    MmsContent,
    MmsFile,
    MmsImage,
    MmsVcard,
    MmsVideo,
)

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
from dcbridge.messages import Address, AgentMessage, ConsumerMessage, Cost, DeliveryUpdate, Reason, UpdateStatus
from dcbridge.providers.base import Callback, CallbackKind, MediaFile, Turn
from dcbridge.providers.vonage import Vonage, VonageFields

APPLICATION, SECRET, PATH_SECRET = "d1a2b3c4-0000-4000-8000-00000000000a", "s" * 32, "0123456789abcdef"
MODELS = {"image": MmsImage, "audio": MmsAudio, "video": MmsVideo, "vcard": MmsVcard, "file": MmsFile}
TYPES = {"image": "image/png", "audio": "audio/mpeg", "video": "video/mp4", "vcard": "text/vcard",
         "file": "application/pdf"}  # fmt: skip


@cache
def key(bits: int = 2048) -> str:
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    made = generate_private_key(65537, bits)
    return made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def vonage(**fields: object) -> Vonage:
    """Made once for the same fields: reading the key takes long."""
    return _vonage(tuple(fields.items()))


@cache
def _vonage(fields: tuple[tuple[str, object], ...]) -> Vonage:
    given = {"api_key": "k", "api_secret": "s", "signature_secret": SECRET, "application_id": APPLICATION,
             "private_key": key(), **dict(fields)}  # fmt: skip
    return Vonage("acme", VonageFields.model_validate(given), "https://bridge.example.com")


def message(text: str = "Look") -> AgentMessage:
    to = Address("16504661149")
    return AgentMessage("0123456789", "1-0", Address("12025550123"), to, (to,), "RichMedia", text, media=("a",))


def file(kind: str, number: int = 1) -> MediaFile:
    return MediaFile(f"file.{kind}", TYPES[kind], 70, f"https://bridge.example.com/m/{number}")


class Wire(BaseAdapter):
    """Where the library would call api.nexmo.com; keeps what it sends."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[requests.PreparedRequest] = []

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        self.sent.append(request)
        answer = requests.Response()
        answer.status_code, answer.url = 202, str(request.url)
        answer.headers["Content-Type"] = "application/json"
        answer._content = orjson.dumps({"message_uuid": "aaaa-1"})
        return answer

    def close(self) -> None:
        return


def written_by_the_library(model: Any) -> requests.PreparedRequest:
    client, wire = HttpClient(Auth(application_id=APPLICATION, private_key=key())), Wire()
    client._session.mount("https://", wire)
    Messages(client).send(model)
    client._session.close()
    [sent] = wire.sent
    return sent


ROWS = [*(([kind], text) for kind in MODELS for text in ("Grüße & €😀", "")), (["image", "video", "vcard"], "Look"),
        (["file", "file"], "")]  # fmt: skip


@pytest.mark.parametrize(("kinds", "text"), ROWS)
def test_the_request_is_the_one_that_vonages_library_writes(kinds: list[str], text: str) -> None:
    provider, said = vonage(), message(text)
    files = tuple(file(kind, number) for number, kind in enumerate(kinds))
    request = provider.build_request(Turn(said, provider.parts(said)[0], 0.0, media=files))
    ends = {"to": "16504661149", "from_": "12025550123", "client_ref": f"{said.ref}.0"}
    each = [{"url": one.url, **({"caption": text} if text and not at else {})} for at, one in enumerate(files)]
    if len(kinds) == 1:
        model = MODELS[kinds[0]](**ends, **{kinds[0]: each[0]})
    else:
        from vonage_messages.models import mms

        items = [getattr(mms, f"MmsContentItem{k.capitalize()}")(**one) for k, one in zip(kinds, each, strict=True)]
        model = MmsContent(**ends, content=items)
    theirs = written_by_the_library(model)
    assert (request.method, str(request.url)) == (theirs.method, theirs.url)
    assert orjson.loads(request.content) == orjson.loads(theirs.body or b"")
    assert request.headers["Content-Type"] == theirs.headers["Content-Type"] == "application/json"


def test_a_request_has_a_token_of_its_own_that_names_the_application() -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    provider, now = vonage(), time.time()
    login = provider.login
    assert login is not None
    sent = [login.signed(httpx.Request("POST", "https://api.nexmo.com/v1/messages"), now) for _ in range(2)]  # type: ignore[union-attr]
    theirs = written_by_the_library(MmsImage(to="16504661149", from_="12025550123", image={"url": "https://x.example"}))
    public: Any = load_pem_private_key(key().encode(), None).public_key()
    shown = [one.headers["Authorization"] for one in (*sent, theirs)]
    tokens = [(one.decode() if isinstance(one, bytes) else one).removeprefix("Bearer ") for one in shown]
    first, second, their = (jwt.decode(token, public, ["RS256"]) for token in tokens)
    assert set(first) == set(their)
    assert first["application_id"] == their["application_id"] == APPLICATION
    assert first["jti"] != second["jti"]
    assert first["exp"] - first["iat"] == 300
    assert [jwt.get_unverified_header(token) for token in tokens] == [{"alg": "RS256", "typ": "JWT"}] * 3


def test_a_text_keeps_the_login_of_the_sms_api() -> None:
    provider, said = vonage(), message()
    request = provider.build_request(Turn(said, provider.parts(said)[0], 0.0))
    assert request.url.path == "/sms/json"
    before = request.headers["Authorization"]
    assert provider.login is not None
    assert provider.login.signed(request, 1.0).headers["Authorization"] == before  # type: ignore[union-attr]


def test_files_are_carried_where_there_is_an_application() -> None:
    without = vonage(application_id=None, private_key=None)
    assert (without.can.media, without.login) == (None, None)
    limits = vonage().can.media
    assert limits is not None
    assert limits.carry([file("image"), file("vcard")])
    assert not limits.carry([MediaFile("x.webp", "image/webp", 70)])
    assert not limits.carry([MediaFile("x.png", "image/png", 600_001)])


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"application_id": None}, "given together"),
        ({"private_key": None}, "given together"),
        ({"private_key": "no key"}, "as a PEM file has it"),
        ({"private_key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"}, "as a PEM file has it"),
    ],
)
def test_what_is_no_application_is_refused_at_the_start(fields: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        vonage(**fields)


def problem(number: object) -> dict[str, object]:
    return {"type": f"https://developer.vonage.com/api-errors/messages#{number}", "title": "x", "instance": "1"}


@pytest.mark.parametrize(
    ("status", "body", "error", "reason", "code"),
    [
        (422, problem("1120"), Refused, Reason.NOT_ALLOWED, "1120"),
        (422, problem("1150"), Refused, Reason.INVALID_STRUCTURE, "1150"),
        (422, problem("1430"), Refused, Reason.INVALID_DESTINATION, "1430"),
        (422, problem("1360"), Refused, Reason.EXPIRED, "1360"),
        (422, problem("1380"), Refused, Reason.UNSUPPORTED, "1380"),
        (422, problem("1000"), Throttled, Reason.RATE_LIMIT, "1000"),
        (422, problem("1080"), AccountFault, Reason.GENERAL, "1080"),
        (422, problem("99999"), Refused, Reason.GENERAL, "99999"),
        (422, problem("x"), Refused, Reason.GENERAL, "HTTP 422"),
        (422, {"type": ["#1120"], "title": {}}, Refused, Reason.GENERAL, "HTTP 422"),
        (401, problem("unauthorized"), AccountFault, Reason.GENERAL, "HTTP 401"),
        (402, problem("low-balance"), AccountFault, Reason.GENERAL, "HTTP 402"),
        (429, problem("throttled"), Throttled, Reason.RATE_LIMIT, "HTTP 429"),
        (500, problem("internal-error"), OutcomeUnknown, Reason.GENERAL, "HTTP 500"),
        (202, {}, Unreadable, Reason.GENERAL, "HTTP 202"),
        (202, {"message_uuid": "a b"}, Unreadable, Reason.GENERAL, "HTTP 202"),
    ],
)
def test_what_an_answer_means(status: int, body: object, error: type[SendError], reason: Reason, code: str) -> None:
    with pytest.raises(error) as raised:
        vonage().parse_response(httpx.Response(status, content=orjson.dumps(body)))
    assert (raised.value.reason, raised.value.code) == (reason, code)


def test_an_accepted_message_has_its_id() -> None:
    answer = httpx.Response(202, content=orjson.dumps({"message_uuid": "aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab"}))
    assert vonage().parse_response(answer).provider_id == "aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab"


def webhook(said: object, kind: CallbackKind = "status", secret: str = SECRET, **claims: object) -> Callback:
    body = said if isinstance(said, bytes) else orjson.dumps(said)
    usual = {"iat": int(time.time()), "jti": "j", "iss": "Vonage", "payload_hash": hashlib.sha256(body).hexdigest()}
    told = {name: value for name, value in {**usual, **claims}.items() if value is not None}
    return carrying(body, jwt.encode(told, secret, "HS256"), kind)


def without_algorithm() -> str:
    """A token whose signature is right, and whose header says that there is none."""
    claims = {"iat": NOW, "payload_hash": hashlib.sha256(orjson.dumps(STATUS)).hexdigest()}
    signed = b".".join(base64.urlsafe_b64encode(orjson.dumps(one)).rstrip(b"=") for one in ({"alg": "none"}, claims))
    signature = hmac.digest(SECRET.encode(), signed, "sha256")
    return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def carrying(body: bytes, token: str, kind: CallbackKind = "status", secret: str = "") -> Callback:
    headers = {"content-type": ("application/json",), "authorization": (f"Bearer {token}",)}
    return Callback(kind, "POST", f"https://bridge.example.com/callbacks/acme/{kind}", b"", headers, body, secret)


STATUS = {"message_uuid": "aaaa-1", "to": "16504661149", "from": "12025550123", "status": "delivered",
          "client_ref": f"{message().ref}.0", "channel": "mms"}  # fmt: skip
NOW = int(time.time())


def test_a_webhook_that_vonages_library_believes_is_taken() -> None:
    said = webhook(STATUS)
    assert verify_signature(said.header("authorization").removeprefix("Bearer "), SECRET)
    assert vonage().verify(said) == ""


@pytest.mark.parametrize(
    ("callback", "why"),
    [
        (webhook(STATUS, secret="t" * 32), "no secret matches"),
        (webhook(STATUS, payload_hash=None), "the body is not what was signed"),
        (webhook(STATUS, payload_hash="é" * 64), "the body is not what was signed"),
        (webhook(STATUS, payload_hash="0" * 64), "the body is not what was signed"),
        (webhook(STATUS, iat=NOW - 200_000), "too old or too new"),
        (webhook(STATUS, iat=NOW + 200_000), "too old or too new"),
        (webhook(STATUS, iat=None), "too old or too new"),
        (carrying(orjson.dumps(STATUS), "x"), "not a token"),
        (carrying(orjson.dumps(STATUS), "a.b." + "A" * 43), "no secret matches"),
        (carrying(orjson.dumps(STATUS), jwt.encode({"iat": NOW}, "", "none")), "not a token"),
        (carrying(orjson.dumps(STATUS), without_algorithm()), "another algorithm"),
        (carrying(orjson.dumps(STATUS), jwt.encode({"iat": NOW}, SECRET * 2, "HS384")), "not a token"),
    ],
)
def test_a_webhook_that_is_not_proven_is_refused(callback: Callback, why: str) -> None:
    with pytest.raises(BadSignature, match=why):
        vonage().verify(callback)


def test_an_account_that_does_not_sign_has_a_secret_in_the_path() -> None:
    provider = vonage(signature_secret=None, callback_secret=PATH_SECRET)
    body = orjson.dumps(STATUS)
    assert provider.verify(carrying(body, "x", secret=PATH_SECRET)) == ""
    with pytest.raises(BadSignature):
        provider.verify(carrying(body, "x", secret=PATH_SECRET[:-1] + "0"))


@pytest.mark.parametrize(
    ("status", "error", "becomes", "reason"),
    [
        ("submitted", None, UpdateStatus.SENT, None),
        ("a word of tomorrow", None, UpdateStatus.SENT, None),
        ("delivered", None, UpdateStatus.DELIVERED, None),
        ("undeliverable", "1430", UpdateStatus.FAILED, Reason.INVALID_DESTINATION),
        ("rejected", "1160", UpdateStatus.FAILED, Reason.NOT_ALLOWED),
        ("rejected", "1360", UpdateStatus.FAILED, Reason.EXPIRED),
        ("rejected", "7", UpdateStatus.FAILED, Reason.GENERAL),
        ("rejected", None, UpdateStatus.FAILED, Reason.GENERAL),
    ],
)
def test_what_a_status_says(status: str, error: str | None, becomes: UpdateStatus, reason: Reason | None) -> None:
    said = {**STATUS, "status": status, **({"error": problem(error)} if error else {})}
    said |= {"usage": {"currency": "EUR", "price": "0.0333"}}
    cost = Cost("acme", "EUR", 3_330_000, 1)
    expected = DeliveryUpdate("acme", "aaaa-1", becomes, message().ref, 0, reason, error or "", cost=cost)
    assert vonage().parse_callback(webhook(said)) == [expected]
    assert vonage().event_id(webhook(said)) == f"aaaa-1:{status}"


RECEIVED = {"channel": "mms", "message_uuid": "aaaa-2", "to": "12025550123", "from": "16504661149"}
IMAGE, VIDEO = ({"url": f"https://api-us.nexmo.com/v3/media/{n}", "name": "x", "caption": "Look"} for n in (1, 2))


@pytest.mark.parametrize(
    ("more", "text", "media"),
    [
        ({"message_type": "image", "image": IMAGE}, "Look", (IMAGE["url"],)),
        ({"message_type": "image", "image": {"url": IMAGE["url"]}}, "", (IMAGE["url"],)),
        ({"message_type": "image", "image": IMAGE, "video": VIDEO}, "Look", (IMAGE["url"], VIDEO["url"])),
        ({"message_type": "content", "content": [{"type": "image", **IMAGE}, 7]}, "Look", (IMAGE["url"],)),
        ({"message_type": "text", "text": "yes ü"}, "yes ü", ()),
    ],
)
def test_what_a_consumer_sent(more: dict[str, object], text: str, media: tuple[str, ...]) -> None:
    ends = Address("16504661149"), Address("12025550123")
    [found] = vonage().parse_callback(webhook({**RECEIVED, **more}, "inbound"))
    assert found == ConsumerMessage("acme", "aaaa-2", *ends, text, media_urls=media)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("inbound", RECEIVED),
        ("inbound", {**RECEIVED, "image": {"url": []}}),
        ("inbound", {**RECEIVED, "text": "x", "from": None}),
        ("status", {**STATUS, "status": None}),
        ("status", {**STATUS, "message_uuid": "a b"}),
    ],
)
def test_what_says_nothing_is_kept(kind: CallbackKind, said: dict[str, object]) -> None:
    with pytest.raises(UnreadableEvent):
        vonage().parse_callback(webhook(said, kind))
