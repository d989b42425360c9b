"""The Digital Channels client: against the strict sandbox, and against answers of every shape."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dcbridge.config.loader import parse
from dcbridge.digital_channels import DigitalChannels, Media
from dcbridge.errors import AccountFault, OutcomeUnknown, Refused, SendError, Throttled, Unreachable, Unreadable
from dcbridge.genesys.signature import sign
from dcbridge.messages import Reason, Receipt, ReceiptStatus
from dcbridge.transport.sender import Sender
from tests.listening import listening
from tests.sandbox.two_worlds import CCID, Worlds, two_worlds

SECRET, SECOND_SECRET, OWN_SECRET = "the-app-secret-of-main", "the-app-secret-of-second", "the-secret-of-one-channel"
SMS, EMAIL, OWN = "0123456789", "company.com", "own"
OWN_CCID = "11111111-2222-3333-4444-555555555555"
YAML = """
public_url: http://127.0.0.1:8080
digital_channels:
  base_url: {base_url}
  contact_center_id: {ccid}
{more}
endpoints:
  main: {{secrets: [{secret}, the-secret-before]}}
  second: {{secrets: [{second}]}}
providers:
  twilio: {{kind: twilio, account_sid: AC0123456789abcdef0123456789abcdef, auth_token: the-auth-token-of-twilio}}
  mail: {{kind: smtp, host: 127.0.0.1, security: none}}
channels:
  "0123456789": {{type: sms, provider: twilio, endpoint: main}}
  company.com: {{type: email, provider: mail, endpoint: main}}
  a+b: {{type: sms, provider: twilio, endpoint: main}}
  own: {{type: sms, provider: twilio, endpoint: second, secrets: [{own_secret}], contact_center_id: {own}}}
"""
DELIVERED = Receipt(SMS, "m-0", SMS, "16504661149", ReceiptStatus.DELIVERED)
FAILED = Receipt(SMS, "m-0", SMS, "16504661149", ReceiptStatus.FAILED, Reason.INVALID_DESTINATION, "21211")


@asynccontextmanager
async def client(url: str, **settings: str) -> AsyncIterator[DigitalChannels]:
    """The client of a Digital Channels at `url`; `settings` go into its part of bridge.yaml."""
    more = "\n".join(f"  {name}: {value}" for name, value in settings.items())
    text = YAML.format(
        base_url=f"{url}/nexus//v3/",
        ccid=CCID,
        more=more,
        secret=SECRET,
        own=OWN_CCID,
        second=SECOND_SECRET,
        own_secret=OWN_SECRET,
    )
    async with Sender(connect_timeout=1.0, write_timeout=1.0, read_timeout=1.0) as sender:
        yield DigitalChannels(parse(text, {}), sender)


async def known(worlds: Worlds) -> None:
    await worlds.control("/agent/sms", {"to": "16504661149", "text": "hello", "messageId": "m-0", "wait": True})


# ---------------------------------------------------------------- the strict sandbox


async def test_a_consumer_message_reaches_the_agent_and_both_shapes_of_its_id_are_read() -> None:
    async with two_worlds(app_secret=SECRET) as worlds, client(worlds.url) as dc:
        ids = [await dc.post_consumer_message(SMS, "16504661149", f"text {n} 😀", "trace") for n in range(2)]
        assert [[seen.id] for seen in worlds.world.seen] == ids
        assert [seen.text for seen in worlds.world.seen] == ["text 0 😀", "text 1 😀"]
        assert not worlds.world.violations


async def test_receipts_travel_together_and_are_accepted_together() -> None:
    async with two_worlds(app_secret=SECRET) as worlds, client(worlds.url) as dc:
        await known(worlds)
        await dc.post_receipts(SMS, [FAILED, FAILED])
        [message] = worlds.world.agent.values()
        assert message.receipts["16504661149"].reasons == [
            {"code": 530, "message": "Invalid destination. (21211)"},
        ]
        assert message.receipts["16504661149"].repeated == 1
        assert not worlds.world.violations


@pytest.mark.parametrize(
    ("channel", "error", "code"),
    [(OWN, AccountFault, "http 401"), ("a+b", Refused, "http 404 status 404"), ("nobody", Refused, "http 404")],
)
async def test_what_the_sandbox_refuses(channel: str, error: type[SendError], code: str) -> None:
    """A wrong secret, a channel that it does not have; the twin is the documented channel above."""
    async with two_worlds(app_secret=SECRET) as worlds, client(worlds.url) as dc:
        with pytest.raises(error) as raised:
            await dc.post_consumer_message(channel, "1", "text")
        assert raised.value.code.startswith(code)
        assert len(worlds.world.violations) == 1


@pytest.mark.parametrize("name", [".", ".."])
async def test_no_request_is_made_for_a_name_that_leads_to_another_path(name: str) -> None:
    async with client("http://127.0.0.1:1") as dc:
        for asked in (dc.post_consumer_message(name, "1", "text"), dc.download(SMS, name), dc.delete(SMS, name)):
            with pytest.raises(Refused):
                await asked


async def test_a_receipt_for_a_recipient_whom_nobody_wrote_to_is_refused_for_good() -> None:
    async with two_worlds(app_secret=SECRET) as worlds, client(worlds.url) as dc:
        await known(worlds)
        with pytest.raises(Refused) as raised:
            await dc.post_receipts(SMS, [replace(DELIVERED, to_id="16504661140")])
        assert raised.value.code == "http 400 status 400"
        await dc.post_receipts(SMS, [DELIVERED])


FILE = b"--not a boundary--\r\n\x00\xff\r\n"


@pytest.mark.parametrize("filename", ["photo.png", "Übergröße.png", 'a"b\\c\r\nX: y.png', ""])
async def test_a_file_goes_up_comes_down_and_is_forgotten(filename: str) -> None:
    async with two_worlds(app_secret=SECRET) as worlds, client(worlds.url) as dc:
        media = await dc.upload(EMAIL, filename, "image/png", FILE, "trace")
        assert media == Media(media.id, f"genesys://nexus/{media.id}", media.filename, "image/png", len(FILE))
        assert media.filename in (filename, "a%22b_cX: y.png")
        assert await dc.download(EMAIL, media.id) == FILE
        await dc.delete(EMAIL, media.id)
        with pytest.raises(Refused) as raised:
            await dc.download(EMAIL, media.id)
        assert raised.value.code == "http 404 status 404"
        assert [violation.rule for violation in worlds.world.violations] == ["Media not found"]


async def test_a_media_type_that_is_not_allowed_is_refused_for_good() -> None:
    async with two_worlds(app_secret=SECRET) as worlds, client(worlds.url) as dc:
        with pytest.raises(Refused) as raised:
            await dc.upload(SMS, "x.exe", "application/x-msdownload", b"MZ")
        assert raised.value.code == "http 415 status 415"


@pytest.mark.parametrize(
    ("mode", "error"), [("500", OutcomeUnknown), ("lost_answer", OutcomeUnknown), ("silent", OutcomeUnknown)]
)
async def test_what_may_have_been_taken(mode: str, error: type[SendError]) -> None:
    async with two_worlds(app_secret=SECRET) as worlds, client(worlds.url) as dc:
        await worlds.control("/control", {"digital_channels": {"mode": mode, "count": 1}})
        with pytest.raises(error):
            await dc.post_consumer_message(SMS, "1", "text")
        assert len(worlds.world.seen) == (1 if mode == "lost_answer" else 0)
        assert await dc.post_consumer_message(SMS, "1", "text")


async def test_nobody_is_there() -> None:
    async with client("http://127.0.0.1:1") as dc:
        with pytest.raises(Unreachable):
            await dc.post_consumer_message(SMS, "1", "text")


# ---------------------------------------------------------------- answers of every shape


@dataclass(slots=True)
class Echo:
    """Answers whatever it is told to, and remembers the requests."""

    answer: Response
    requests: list[tuple[Request, bytes]] = field(default_factory=list)

    async def take(self, request: Request) -> Response:
        self.requests.append((request, await request.body()))
        return self.answer

    @property
    def last(self) -> tuple[Request, bytes]:
        return self.requests[-1]


@asynccontextmanager
async def answering(
    body: bytes = b'{"status":{"code":0}}', status: int = 200, headers: dict[str, str] | None = None, **settings: str
) -> AsyncIterator[tuple[DigitalChannels, Echo]]:
    echo = Echo(Response(body, status, headers=headers))
    app = Starlette(routes=[Route("/{path:path}", echo.take, methods=["GET", "POST", "DELETE"])])
    async with listening(app) as url, client(url, **settings) as dc:
        yield dc, echo


@pytest.mark.parametrize(
    ("status", "body", "ids"),
    [
        (200, b'{"status":{"code":0},"data":{"ids":["1613473893265-0"]}}', ["1613473893265-0"]),
        (200, b'{"status":{"code":0},"data":{"ids":[{"id":"1613473893265-0"}]}}', ["1613473893265-0"]),
        (200, b'{"status":{"code":0}}', []),
        (200, b'{"status":{"code":1,"message":"accepted"}}', []),
        (202, b'{"status":{"code":1}}', []),
        (200, b"", []),
        (204, b"", []),
        (200, b" \r\n", []),
        (200, b'{"status":"OK"}', []),
        (200, b"{}", []),
    ],
)
async def test_taken(status: int, body: bytes, ids: list[str]) -> None:
    async with answering(body, status) as (dc, _):
        assert await dc.post_consumer_message(SMS, "1", "text") == ids
        await dc.post_receipts(SMS, [DELIVERED])


NOT_TAKEN = [
    (200, b'{"status":{"code":2},"data":{"ids":["1"]},"errors":[{"code":1}]}', Refused, "status 2"),
    (200, b'{"status":{"code":500,"message":"Resource not found"}}', Refused, "status 500"),
    (200, b"<html>Please log in</html>", Unreadable, "http 200 without a status"),
    (400, b'{"status":{"code":400,"message":"Bad Request"}}', Refused, "http 400 status 400"),
    (400, b"{}", Refused, "http 400"),
    (400, b"{'message': 'Bad request'}", Refused, "http 400"),
    (400, b'{"error":"bad_request","error_description":"no"}', Refused, "http 400"),
    (401, b'{"message":"Unauthorized"}', AccountFault, "http 401"),
    (403, b"{'message': 'Forbidden'}", AccountFault, "http 403"),
    (404, b'{"status":{"code":404,"message":"Channel 1234567890 not found"}}', Refused, "http 404 status 404"),
    (408, b"", OutcomeUnknown, "http 408"),
    (413, b"", Refused, "http 413"),
    (415, b"{}", Refused, "http 415"),
    (429, b"", Throttled, "http 429"),
    (500, b'{"status":{"code":500}}', OutcomeUnknown, "http 500"),
    (502, b"<html>Bad Gateway</html>", OutcomeUnknown, "http 502"),
    (503, b"", Throttled, "http 503"),
    (504, b"", OutcomeUnknown, "http 504"),
    (500, b"\xff" * 3000, OutcomeUnknown, "http 500"),
]


@pytest.mark.parametrize(("status", "body", "error", "code"), NOT_TAKEN)
async def test_not_taken(status: int, body: bytes, error: type[SendError], code: str) -> None:
    async with answering(body, status) as (dc, _):
        for call in (consumer, receipts):
            with pytest.raises(error) as raised:
                await call(dc)
            assert type(raised.value) is error
            assert raised.value.code == code


@pytest.mark.parametrize(("said", "seconds"), [("7", 7.0), ("", None), ("soon", None)])
async def test_later_is_not_before_what_was_said(said: str, seconds: float | None) -> None:
    async with answering(b"", 429, {"Retry-After": said}) as (dc, _):
        with pytest.raises(Throttled) as raised:
            await dc.post_receipts(SMS, [DELIVERED])
        assert raised.value.retry_after == seconds


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"status":{"code":0},"data":{"mediaId":"1"}}', Unreadable),
        (b'{"status":{"code":0},"data":[]}', Unreadable),
        (b'{"status":{"code":0}}', Unreadable),
        (b'{"status":{"code":0},"data":{"mediaId":"1","url":"u","length":"many"}}', Unreadable),
        (b"", Unreadable),
        (b'{"status":{"code":415}}', Refused),
    ],
)
async def test_an_upload_that_cannot_be_named_afterwards(body: bytes, error: type[SendError]) -> None:
    async with answering(body) as (dc, _):
        with pytest.raises(error):
            await dc.upload(SMS, "a", "image/png", b"x")
    async with answering(b'{"status":{"code":0},"data":{"mediaId":"1","url":"u"}}') as (dc, _):
        assert await dc.upload(SMS, "a", "image/png", b"x") == Media("1", "u", "a", "image/png", 1)


@pytest.mark.parametrize(("status", "done"), [(200, True), (204, True), (202, True), (404, False), (500, False)])
async def test_a_delete_is_done_by_any_2xx(status: int, done: bool) -> None:
    async with answering(b"", status) as (dc, _):
        if done:
            await dc.delete(SMS, "1")
        else:
            with pytest.raises(SendError):
                await dc.delete(SMS, "1")


# ---------------------------------------------------------------- what is on the wire


Call = Callable[[DigitalChannels], Awaitable[Any]]


async def consumer(dc: DigitalChannels) -> None:
    await dc.post_consumer_message(SMS, "16504661149", "text", "05bb858a-3468-4c82-a8ce-3b1a9c4e4b67")


async def receipts(dc: DigitalChannels) -> None:
    await dc.post_receipts(SMS, [DELIVERED, FAILED], "05bb858a-3468-4c82-a8ce-3b1a9c4e4b67")


@pytest.mark.parametrize("call", [consumer, receipts])
async def test_the_headers_of_a_post(call: Call) -> None:
    async with answering(api_key="key-1") as (dc, echo):
        await call(dc)
    request, body = echo.last
    assert request.method == "POST"
    assert request.url.path == "/nexus/v3/channels/0123456789/messages"
    assert request.headers.getlist("x-hub-signature") == [sign(SECRET.encode(), body)]
    assert request.headers["x-ccid"] == CCID
    assert request.headers["x-b3-traceid"] == "05bb858a-3468-4c82-a8ce-3b1a9c4e4b67"
    assert request.headers["x-api-key"] == "key-1"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["content-length"] == str(len(body))


async def test_what_is_not_known_is_not_sent() -> None:
    async with answering() as (dc, echo):
        await dc.post_receipts(SMS, [DELIVERED])
    request, _ = echo.last
    assert "x-api-key" not in request.headers
    assert "x-b3-traceid" not in request.headers


@pytest.mark.parametrize(
    ("channel", "endpoint", "secret", "ccid"),
    [
        (SMS, "", SECRET, CCID),
        (SMS, "second", SECRET, CCID),  # a known channel speaks for itself
        (OWN, "", OWN_SECRET, OWN_CCID),
        ("nobody", "second", SECOND_SECRET, CCID),
        ("nobody", "main", SECRET, CCID),
        ("nobody", "no-such-endpoint", SECRET, CCID),
        ("nobody", "", SECRET, CCID),
    ],
)
async def test_who_signs_for_whom(channel: str, endpoint: str, secret: str, ccid: str) -> None:
    async with answering() as (dc, echo):
        await dc.post_receipts(channel, [DELIVERED], "", endpoint)
    request, body = echo.last
    assert request.headers["x-hub-signature"] == sign(secret.encode(), body)
    assert request.headers["x-ccid"] == ccid


@pytest.mark.parametrize(
    ("channel", "path"),
    [("a+b", b"a%2Bb"), ("ключ", b"%D0%BA%D0%BB%D1%8E%D1%87"), ("a/../b", b"a%2F..%2Fb"), ("a?b#c", b"a%3Fb%23c")],
)
async def test_no_channel_id_can_change_the_path(channel: str, path: bytes) -> None:
    async with answering() as (dc, echo):
        await dc.post_receipts(channel, [DELIVERED])
    assert echo.last[0].scope["raw_path"] == b"/nexus/v3/channels/" + path + b"/messages"


@pytest.mark.parametrize(("mode", "signed"), [("raw_body", None), ("file_bytes", FILE), ("empty", b"")])
async def test_what_an_upload_signs(mode: str, signed: bytes | None) -> None:
    async with answering(b'{"status":{"code":0},"data":{"mediaId":"1","url":"u"}}', media_signature=mode) as (dc, echo):
        await dc.upload(SMS, "a.png", "image/png", FILE)
    request, body = echo.last
    assert request.headers["x-hub-signature"] == sign(SECRET.encode(), body if signed is None else signed)
    boundary = request.headers["content-type"].removeprefix("multipart/form-data; boundary=")
    assert (
        body
        == (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n'
            "Content-Type: image/png\r\n\r\n"
        ).encode()
        + FILE
        + f"\r\n--{boundary}--\r\n".encode()
    )
    assert boundary.encode() not in FILE


@pytest.mark.parametrize(
    ("mode", "signed"), [("empty", b""), ("omit", None), ("path", b"/nexus/v3/channels/0123456789/media/a%20b")]
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_what_a_request_without_a_body_signs(mode: str, signed: bytes | None, method: str) -> None:
    async with answering(b"the file", empty_signature=mode) as (dc, echo):
        if method == "GET":
            assert await dc.download(SMS, "a b") == b"the file"
        else:
            await dc.delete(SMS, "a b")
    request, body = echo.last
    expected = [] if signed is None else [sign(SECRET.encode(), signed)]
    assert (request.method, body) == (method, b"")
    assert request.scope["raw_path"] == b"/nexus/v3/channels/0123456789/media/a%20b"
    assert request.headers.getlist("x-hub-signature") == expected
    assert request.headers["x-ccid"] == CCID


async def test_a_post_is_signed_whatever_the_setting_for_empty_bodies() -> None:
    async with answering(empty_signature="omit") as (dc, echo):
        await dc.post_receipts(SMS, [DELIVERED])
    assert "x-hub-signature" in echo.last[0].headers
