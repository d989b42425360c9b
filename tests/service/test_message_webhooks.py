"""POST /webhooks/messages/{endpoint}: what is answered, what is stored, what is counted."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.config.loader import parse
from dcbridge.config.signing import signing_secrets
from dcbridge.genesys.signature import sign
from dcbridge.ledger.services import secret_mark
from tests.service.client import (
    CONFIGURATION,
    LIMIT,
    OLDER,
    OTHER,
    OWN,
    OWN_CHANNEL,
    RETIRED,
    SECOND,
    SECRET,
    SMS,
    ServiceClient,
    open_service,
    sms,
)

EMAIL: dict[str, Any] = {
    "channel": {
        "id": "company.com",
        "type": "email",
        "from": {"id": "no-reply@company.com"},
        "to": [{"id": "recipient-1@mail.com"}, {"id": "recipient-2@mail.com"}],
        "messageId": "f7acbac6-68db-4031-aec2-4bbd02627c4b",
    },
    "type": "Email",
    "subject": "Subject",
    "content": [{"type": "text", "text": "Plain text email body"}],
}


# ---------------------------------------------------------------- the documented way


async def test_the_documented_sms_is_answered_when_it_is_stored(client: ServiceClient) -> None:
    answer = await client.webhook(sms(), headers={"X-B3-TraceId": "05bb858a-3468-4c82-a8ce-3b1a9c4e4b67"})
    assert (answer.status_code, answer.json()) == (200, {"messageId": "1613474523265-0"})
    assert answer.headers["content-type"] == "application/json"
    entry = await client.entry()
    assert (entry.state, entry.to_id, entry.sender_id) == ("accepted", "16504661149", SMS)
    assert entry.trace_id == "05bb858a-3468-4c82-a8ce-3b1a9c4e4b67"
    assert (await client.books()).queued == {"outbound": 1, "receipts": 0, "inbound": 0, "events": 0}


async def test_the_documented_email_is_one_entry_for_each_recipient(client: ServiceClient) -> None:
    answer = await client.webhook(EMAIL)
    assert answer.json() == {"messageId": "f7acbac6-68db-4031-aec2-4bbd02627c4b"}
    [books] = (await client.books()).channels
    assert (books.channel_id, books.accepted, books.in_flight) == ("company.com", 2, 2)


async def test_a_redelivery_gets_the_same_answer_and_is_stored_once(client: ServiceClient) -> None:
    answers = [await client.webhook(sms()) for _ in range(3)]
    assert {answer.content for answer in answers} == {b'{"messageId":"1613474523265-0"}'}
    [books] = (await client.books()).channels
    assert (books.accepted, books.redelivered) == (1, 2)
    assert (
        client.counted("dcbridge_http_requests_total", route="messages_webhook", name="main", outcome="redelivered")
        == 2
    )


async def test_several_messages_are_all_named(client: ServiceClient) -> None:
    for body in ([sms("1"), sms("2")], {"messages": [sms("3"), sms("4")]}):
        answer = await client.webhook(body)
        first, second = answer.json()["messages"]
        assert answer.json()["messageId"] == first["messageId"]
        assert int(second["messageId"]) == int(first["messageId"]) + 1
    assert (await client.books()).in_flight == 4


async def test_a_message_without_an_id_is_given_one_and_recognised_again(client: ServiceClient) -> None:
    first, again = await client.webhook(sms(None)), await client.webhook(sms(None))
    assert first.content == again.content
    assert (await client.entry(first.json()["messageId"])).state == "accepted"
    assert (await client.books()).in_flight == 1


# ---------------------------------------------------------------- who may knock


@pytest.mark.parametrize(
    ("path", "secret", "body", "status"),
    [
        ("/webhooks/messages/main", SECRET, sms(), 200),
        ("/webhooks/messages/main", OLDER, sms(), 200),
        ("/webhooks/messages/main", RETIRED, sms(), 401),
        ("/webhooks/messages/main", SECRET + "x", sms(), 401),
        ("/webhooks/messages/main", OTHER, sms(), 401),
        ("/webhooks/messages/second", OTHER, sms(channel=SECOND), 200),
        ("/webhooks/messages/second", SECRET, sms(channel=SECOND), 401),
        ("/webhooks/messages/main", OWN, sms(channel=OWN_CHANNEL), 200),
        ("/webhooks/messages/main", SECRET, sms(channel=OWN_CHANNEL), 401),
        ("/webhooks/messages/main", OWN, sms(), 401),
        ("/webhooks/messages/main", OWN, [sms(channel=OWN_CHANNEL), sms()], 401),
        ("/webhooks/messages/main", SECRET, [sms(channel=OWN_CHANNEL), sms()], 401),
        ("/webhooks/messages/main", OWN, [sms(channel=OWN_CHANNEL), sms("2", channel=OWN_CHANNEL)], 200),
        ("/webhooks/messages/main", SECRET, b"no json", 200),
        ("/webhooks/messages/main", OWN, b"no json", 401),
        ("/webhooks/messages/main", SECRET, b"", 200),
        ("/webhooks/messages/nowhere", SECRET, sms(), 404),
    ],
)
async def test_who_may_knock_where(client: ServiceClient, path: str, secret: str, body: object, status: int) -> None:
    answer = await client.webhook(body, path=path, secret=secret)
    assert answer.status_code == status
    stored = await client.redis.dbsize()
    assert (stored > 0) == (status == 200)
    assert "retry-after" not in answer.headers


MANY = "".join(
    f"  many-{n}: {{type: sms, provider: twilio, endpoint: main, secrets: [a-secret-of-{n:04}, {OWN}]}}\n"
    for n in range(40)
)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "packed"])
@pytest.mark.parametrize("filler", [0, 100_000], ids=["short", "long"])
async def test_who_may_knock_where_many_channels_have_secrets(
    redis: Redis, redis_server: EmbeddedRedis, filler: int, pack: Callable[[bytes], bytes]
) -> None:
    await redis.ping()  # the fixture empties the server
    rows: list[tuple[str, Any, int]] = [
        (SECRET, sms(), 200),
        (OLDER, sms(), 200),
        (RETIRED, sms(), 401),
        (SECRET, [sms("1"), sms("2")], 200),
        ("a-secret-of-0007", sms(channel="many-7"), 200),
        ("a-secret-of-0008", sms(channel="many-7"), 401),
        (OWN, sms(channel="many-7"), 200),
        (OWN, [sms(str(n), channel=f"many-{n}") for n in range(40)], 200),
        (OWN, [sms("1", channel="many-7"), sms("2")], 401),
        (SECRET, [sms("1", channel="many-7"), sms("2")], 401),
        (SECRET, sms(channel="many-7"), 401),
        ("a-secret-of-0007", [sms("1", channel="many-7"), sms("2", channel="many-8")], 401),
        ("a-secret-of-0007", sms(), 401),
        (SECRET, sms(channel="nobody"), 200),
        (SECRET, "no object", 200),
        ("a-secret-of-0007", "no object", 401),
    ]
    async with open_service(redis_server.url, parse(CONFIGURATION + MANY, {}), body_limit=1 << 20) as client:
        for secret, value, status in rows:
            body = pack(orjson.dumps(value) + b" " * filler)
            headers: dict[str, str | None] = {"Content-Encoding": "gzip"} if pack is gzip.compress else {}
            answer = await client.webhook(body, secret=secret, headers=headers)
            assert (answer.status_code, value) == (status, value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32-be"])
@pytest.mark.parametrize("text", ["x", "\ud83d", "x" * 100_000, "\ud83d" * 20_000])
async def test_a_channels_own_secret_in_every_encoding(
    redis: Redis, redis_server: EmbeddedRedis, encoding: str, text: str
) -> None:
    await redis.ping()
    async with open_service(redis_server.url, parse(CONFIGURATION + MANY, {}), body_limit=1 << 20) as client:
        body = json.dumps(sms(channel="many-7", text=text)).encode(encoding)
        assert (await client.webhook(body, secret="a-secret-of-0007")).status_code == 200
        assert (await client.webhook(body, secret="a-secret-of-0008")).status_code == 401
        assert (await client.entry(channel="many-7")).state == "accepted"


async def test_each_use_of_a_secret_is_counted_by_its_place(client: ServiceClient) -> None:
    for secret in (SECRET, OLDER, OLDER, RETIRED, "nobody's"):
        await client.webhook(sms(), secret=secret)
    assert client.counted("dcbridge_secret_uses_total", name="main", secret="0") == 1
    assert client.counted("dcbridge_secret_uses_total", name="main", secret="1") == 2
    counted = {
        verdict: client.counted("dcbridge_signatures_total", route="webhook", name="main", verdict=verdict)
        for verdict in ("valid", "matches a retired secret", "no secret matches", "missing")
    }
    assert counted == {"valid": 3, "matches a retired secret": 1, "no secret matches": 1, "missing": 0}


async def test_which_secrets_are_still_used_is_told_without_them(client: ServiceClient) -> None:
    presence, before = client.ctx.presence, time.time()
    presence.knows((one.at, one.value) for one in signing_secrets(client.ctx.configuration))
    for secret in (OLDER, RETIRED, "nobody's"):
        await client.webhook(sms(), secret=secret)
    await client.webhook(sms(channel=OWN_CHANNEL), secret=OWN)
    await client.webhook(b"[]", path="/webhooks/interactions/events", secret=RETIRED)
    used = {place for place, at in presence.used.items() if at >= before}
    main = {("main", secret_mark(one.encode())) for one in (OLDER, RETIRED, OWN)}
    assert used == main | {("interactions/events", secret_mark(RETIRED.encode()))}


@pytest.mark.parametrize("depth", [2, 300, 1000])
async def test_a_stranger_is_told_no_whatever_the_body(client: ServiceClient, depth: int) -> None:
    answer = await client.webhook(b"[" * depth + b"]" * depth, secret="nobody's")
    assert (answer.status_code, answer.json()) == (401, {"error": "X-Hub-Signature is missing or wrong"})


async def test_a_header_twice_or_not_at_all(client: ServiceClient) -> None:
    raw = orjson.dumps(sms())
    right = ("X-Hub-Signature", sign(SECRET.encode(), raw))
    for headers, status in (([], 401), ([right, right], 401), ([right], 200)):
        answer = await client.http.post("/webhooks/messages/main", content=raw, headers=headers)
        assert answer.status_code == status


# ---------------------------------------------------------------- what cannot be carried


@pytest.mark.parametrize(
    ("body", "reason", "detail"),
    [
        (sms(text=5), "520", "text is not a text"),
        (sms(text=""), "520", "text is missing or empty"),
        ({**sms(), "text": None, "type": "RichMedia"}, "510", "nothing in the message can be sent"),
        (sms(channel="nobody"), "530", "the channel is not configured"),
    ],
)
async def test_what_can_be_named_fails_with_a_receipt_and_is_kept(
    client: ServiceClient, body: dict[str, Any], reason: str, detail: str
) -> None:
    answer = await client.webhook(body)
    assert (answer.status_code, answer.json()) == (200, {"messageId": "1613474523265-0"})
    channel = body["channel"]["id"]
    entry = await client.entry(channel=channel)
    assert (entry.state, entry.reason, entry.detail) == ("failed", reason, detail)
    [owed] = await client.ctx.ledger.receipts.take(channel, 10, 60.0)
    assert (owed.status, owed.reason, owed.to_id, owed.sender_id) == ("Failed", reason, "16504661149", channel)
    [letter] = await client.dead_letters()
    assert orjson.loads(letter[b"raw"]) == body
    assert (await client.books()).difference == 0
    assert await client.ctx.ledger.unconfigured.endpoint_of("nobody") == ("main" if channel == "nobody" else "")


NOTHING: list[bytes] = [b"[]", b'{"messages":[]}']
NAMELESS: list[bytes] = [
    b"", b"no json", b"\xff\xfe\x00", b"[" * 2000, b"{'channel': 1}", b"text=1", b"null", b'"text"', b"{}",
    b'{"channel":{"messageId":"7"}}', b'{"channel":{"id":"0123456789","messageId":"7"}}',
]  # fmt: skip


@pytest.mark.parametrize("body", NOTHING + NAMELESS)
async def test_what_cannot_be_named_is_kept_as_it_came(client: ServiceClient, body: bytes) -> None:
    for _ in range(2):  # and once, however often it comes
        answer = await client.webhook(body)
        assert answer.status_code == 200
        assert answer.json()["messageId"]
    [letter] = await client.dead_letters()
    assert letter[b"raw"] == body
    assert letter[b"reason"].startswith(b"520 ")
    assert (await client.books()).queued["receipts"] == 0


async def test_a_bad_message_does_not_take_its_good_neighbours_along(client: ServiceClient) -> None:
    answer = await client.webhook([sms("1"), 7, sms("3", text=5), sms("4")])
    assert [message["messageId"] for message in answer.json()["messages"]][::3] == ["1", "4"]
    [books] = (await client.books()).channels
    assert (books.accepted, books.failed, books.in_flight) == (3, 1, 2)
    assert len(await client.dead_letters()) == 2


# ---------------------------------------------------------------- sizes


def sized(size: int) -> bytes:
    body = orjson.dumps(sms())
    return body + b" " * (size - len(body))


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    for place in range(0, len(body), 1000):
        yield body[place : place + 1000]


@pytest.mark.parametrize(("size", "status"), [(LIMIT, 200), (LIMIT + 1, 413)])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_body_may_be_as_long_as_the_limit(
    client: ServiceClient, size: int, status: int, streamed: bool
) -> None:
    body = sized(size)
    headers = {"X-Hub-Signature": sign(SECRET.encode(), body)}
    content = _chunks(body) if streamed else body
    answer = await client.http.post("/webhooks/messages/main", content=content, headers=headers)
    assert ("content-length" in answer.request.headers) != streamed
    assert answer.status_code == status
    assert (await client.webhook(sms("next"))).status_code == 200


@pytest.mark.parametrize("declared", ["99999999999999999999", "4097"])
async def test_a_body_that_is_declared_too_long_is_not_waited_for(client: ServiceClient, declared: str) -> None:
    host, port = str(client.http.base_url.host), client.http.base_url.port
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"POST /webhooks/messages/main HTTP/1.1\r\nHost: x\r\nContent-Length: %s\r\n\r\n" % declared.encode())
    await writer.drain()
    status = await reader.readline()
    writer.close()
    assert status.split()[1] in (b"413", b"400")  # the HTTP parser refuses a length beyond 64 bits itself


# ---------------------------------------------------------------- traces


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("05bb858a-3468-4c82-a8ce-3b1a9c4e4b67", True),
        ("463ac35c9f6413ad", True),
        ("a.b_c:d-e", True),
        ("x" * 64, True),
        ("x" * 65, False),
        ("two words", False),
        ('"quoted"', False),
        ("<script>", False),
        ("{event}", False),
        ("a%0ab", False),
        ("", False),
        (None, False),
    ],
)
async def test_a_trace_is_kept_where_it_is_harmless(client: ServiceClient, given: str | None, kept: bool) -> None:
    await client.webhook(sms(), headers={"X-B3-TraceId": given})
    trace = (await client.entry()).trace_id
    assert (trace == given) if kept else (len(trace) == 32 and trace.isalnum() and trace != given)


async def test_bytes_that_are_no_text_in_a_trace(redis: Redis, client: ServiceClient) -> None:
    raw = orjson.dumps(sms())
    headers = [(b"X-Hub-Signature", sign(SECRET.encode(), raw).encode()), (b"X-B3-TraceId", b"\xff\xfe\x80")]
    answer = await client.http.post("/webhooks/messages/main", content=raw, headers=headers)
    assert answer.status_code == 200
    assert (await client.entry()).trace_id.isalnum()


async def test_the_secret_of_one_endpoint_opens_no_channel_of_another(client: ServiceClient) -> None:
    """Another tenant could otherwise send as that channel, or take its messageIds in advance."""
    answer = await client.webhook(sms(channel=SECOND))
    assert (answer.status_code, bool(await client.entry(channel=SECOND))) == (200, False)
    [letter] = await client.dead_letters()
    assert letter[b"reason"] == b"530 the channel belongs to another endpoint than main"
    answer = await client.webhook(sms(channel=SECOND), path="/webhooks/messages/second", secret=OTHER)
    assert (answer.status_code, (await client.entry(channel=SECOND)).state) == (200, "accepted")


@pytest.mark.parametrize(
    ("body", "entries"),
    [
        ([0] * 501, 0),
        ([sms(f"m-{n}") for n in range(501)], 0),
        ([sms(f"m-{n}") for n in range(500)], 500),
    ],
    ids=["many that are nothing", "one too many", "as many as may be"],
)
async def test_a_list_without_end_is_kept_whole_and_holds_up_nobody(
    redis_server: EmbeddedRedis, redis: Redis, body: object, entries: int
) -> None:
    await redis.ping()  # the fixture empties the server
    async with open_service(redis_server.url, body_limit=1 << 20) as client:
        answer = await client.webhook(body)
        assert answer.status_code == 200
        letters = await client.dead_letters()
        assert [letter[b"raw"] for letter in letters] == ([] if entries else [orjson.dumps(body)])
        assert (await client.books()).in_flight == entries
