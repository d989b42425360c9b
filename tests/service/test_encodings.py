"""Content-Encoding on every route: what is read, what is refused before it is stored, and what it may cost."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from typing import Any, cast

import httpx
import orjson
import pytest
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped] # it ships no types

from dcbridge.genesys.signature import sign
from tests.service.client import LIMIT, MAIL_SECRET, PUBLIC, SECRET, TOKEN, ServiceClient, sms
from tests.service.test_interactions_and_callbacks import INBOUND, stored_callbacks

EVENTS = {"operationId": "1", "data": {"entities": [{"event": "STARTED", "entity": {"id": "i-1"}}]}}
FORM = str(httpx.QueryParams(INBOUND)).encode()
REPORT = b"Message-ID: <1@x>\r\n\r\nreport \xff"


def raw_deflate(body: bytes) -> bytes:
    made = zlib.compressobj(wbits=-15)
    return made.compress(body) + made.flush()


ENCODINGS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("GZip", gzip.compress),
    ("x-gzip", gzip.compress),
    ("gzip ,", gzip.compress),
    ("identity, gzip", gzip.compress),
    ("gzip", lambda body: gzip.compress(body, 0)),
    ("gzip", lambda body: gzip.compress(body[:40]) + gzip.compress(body[40:])),
    ("gzip", lambda body: gzip.compress(body) + b"\0" * 512),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("identity", bytes),
    ("", bytes),
    ("gzip", bytes),  # a gateway unpacked it and kept the header
    ("deflate", bytes),
]


async def send(client: ServiceClient, route: str, body: bytes, encoding: str, wrong: bool = False) -> httpx.Response:
    """A body that is signed right as its route does it, or not."""
    headers = {"Content-Encoding": encoding} if encoding is not None else {}
    path = {"messages": "/webhooks/messages/main", "events": "/webhooks/interactions/events"}.get(route)
    if path:
        headers["X-Hub-Signature"] = sign(b"wrong" if wrong else SECRET.encode(), body)
    elif route == "mail":
        path, headers["Authorization"] = "/callbacks/mail/status", f"Bearer {MAIL_SECRET}{'x' * wrong}"
    else:
        path = "/callbacks/twilio/inbound"
        headers["X-Twilio-Signature"] = RequestValidator(TOKEN + "x" * wrong).compute_signature(PUBLIC + path, INBOUND)
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    return await client.http.post(path, content=body, headers=headers)


PLAIN = {"messages": orjson.dumps(sms()), "events": orjson.dumps(EVENTS), "mail": REPORT, "twilio": FORM}


@pytest.mark.parametrize(("encoding", "pack"), ENCODINGS)
@pytest.mark.parametrize("route", PLAIN)
async def test_a_packed_body_is_read(
    client: ServiceClient, route: str, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    for body in (pack(PLAIN[route]), PLAIN[route]):  # and it is the same whatever it was packed in
        answer = await send(client, route, body, encoding if body != PLAIN[route] else "")
        assert answer.status_code == 200
    assert await client.dead_letters() == []
    if route == "messages":
        assert (await client.entry()).state == "accepted"
        assert (await client.books()).in_flight == 1
    elif route == "events":
        assert answer.json()["data"]["ids"] == [{"id": "i-1"}]
        [(_, kept)] = cast(list[tuple[bytes, dict[bytes, bytes]]], await client.redis.xrange("dcb:interactions"))
        assert kept[b"body"] == PLAIN[route]
    else:
        [(_, stored)] = await stored_callbacks(client)
        assert stored.body == PLAIN[route]
        assert "content-encoding" not in stored.headers


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "gzip, br", "*", "x" * 200])
@pytest.mark.parametrize("route", PLAIN)
async def test_an_encoding_that_is_not_read_is_refused_before_it_is_stored(
    client: ServiceClient, route: str, encoding: str
) -> None:
    answer = await send(client, route, PLAIN[route], encoding)
    assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "gzip, deflate")
    assert set(answer.json()) == {"error"}
    assert await client.redis.dbsize() == 0
    refused = await send(client, route, PLAIN[route], encoding, wrong=True)
    assert (refused.status_code, "accept-encoding" in refused.headers) == (401, False)
    assert (await send(client, route, PLAIN[route], "")).status_code == 200


async def test_two_headers_are_one_list(client: ServiceClient) -> None:
    body = gzip.compress(PLAIN["messages"])
    signed = ("X-Hub-Signature", sign(SECRET.encode(), body))
    encodings = [("Content-Encoding", "identity"), ("Content-Encoding", "gzip")]
    answer = await client.http.post("/webhooks/messages/main", content=body, headers=[signed, *encodings])
    assert answer.json() == {"messageId": "1613474523265-0"}


def filled(size: int) -> bytes:
    body = orjson.dumps(sms())
    return body + b" " * (size - len(body))


@pytest.mark.parametrize(("size", "status"), [(LIMIT, 200), (LIMIT + 1, 413), (50_000_000, 413)])
@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", raw_deflate)])
async def test_what_is_unpacked_may_be_as_long_as_a_body(
    client: ServiceClient, size: int, status: int, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    body = pack(filled(size))[: LIMIT - 1]  # of the largest, as much as a body may have: still a bomb
    answer = await send(client, "messages", body, encoding)
    assert answer.status_code == status
    assert bool(await client.redis.dbsize()) == (status == 200)


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(PLAIN["messages"])[:-9],
        gzip.compress(PLAIN["messages"])[:-1] + b"\x07",
        gzip.compress(PLAIN["messages"]) + b"more",
        gzip.compress(b"") * 100,
        gzip.compress(b"no json"),
        b"\x1f\x8b",
        b"",
    ],
    ids=["cut", "damaged", "more behind it", "a hundred members", "no JSON", "a beginning", "nothing"],
)
async def test_what_cannot_be_unpacked_is_kept_as_any_body_that_is_not_json(client: ServiceClient, body: bytes) -> None:
    answer = await send(client, "messages", body, "gzip")
    assert (answer.status_code, list(answer.json())) == (200, ["messageId"])
    [letter] = await client.dead_letters()
    assert letter[b"reason"] == b"520 the body is not JSON"


async def test_the_signature_covers_the_bytes_as_they_came(client: ServiceClient) -> None:
    plain = PLAIN["messages"]
    headers: dict[str, Any] = {"Content-Encoding": "gzip", "X-Hub-Signature": sign(SECRET.encode(), plain)}
    answer = await client.http.post("/webhooks/messages/main", content=gzip.compress(plain), headers=headers)
    assert answer.status_code == 401
    assert await client.redis.dbsize() == 0
