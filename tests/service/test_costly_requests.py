"""What a request without a right signature costs: hardly more than to read it, whatever stands in it."""

from __future__ import annotations

import gzip
import time
from collections.abc import AsyncIterator, Callable

import pytest
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.config.loader import parse
from tests.service.client import CONFIGURATION, ServiceClient, open_service

MB = 1 << 20
SIGNED = {"X-Hub-Signature": "sha1=" + "0" * 40}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
TWILIO = FORM | {"X-Twilio-Signature": "A" * 27 + "="}
SETTINGS = {"X-Twilio-Webhooks-Signature-Settings": "a=b," * 4000}
MESSAGES, EVENTS, STATUS = "/webhooks/messages/main", "/webhooks/interactions/events", "/callbacks/twilio/status"
# More channels with secrets of their own than are tried without a look at the body.
MANY = "".join(
    f"  many-{n}: {{type: sms, provider: twilio, endpoint: main, secrets: [secret-{n:016}]}}\n" for n in range(40)
)


def fill(unit: bytes) -> bytes:
    return (unit * (MB // len(unit) + 1))[: MB - 8]


def listed(count: int, item: bytes) -> bytes:
    return b"[" + b",".join(item.replace(b"%", b"%d" % n) for n in range(count)) + b"]"


TO_300 = b'{"channel":{"id":"own","to":' + listed(300, b'"%"') + b"}}"
HASHED = f"{STATUS}?bodySHA256={'0' * 64}"
# The bodies are made by the test that sends them.
ROWS: dict[str, tuple[str, dict[str, str], Callable[[], bytes]]] = {
    "a list of nothing, no signature": (MESSAGES, {}, lambda: listed(MB // 3 - 9, b"{}")),
    "145,000 messages, no signature": (MESSAGES, {}, lambda: listed(145_000, b"[{}]")),
    "a list of nothing": (MESSAGES, SIGNED, lambda: listed(MB // 3 - 9, b"{}")),
    "145,000 messages": (MESSAGES, SIGNED, lambda: listed(145_000, b"[{}]")),
    "35,000 channels": (MESSAGES, SIGNED, lambda: listed(35_000, b'{"channel":{"id":"%"}}')),
    "450 messages to 300 each": (MESSAGES, SIGNED, lambda: listed(450, TO_300)),
    "120,000 recipients": (MESSAGES, SIGNED, lambda: b'{"channel":{"id":"own","to":' + listed(120_000, b'"%"') + b"}}"),
    "lone surrogates": (MESSAGES, SIGNED, lambda: b'["\\ud800",' + b"[]," * (MB // 3 - 9) + b"{}]"),
    "UTF-16": (MESSAGES, SIGNED, lambda: ("[" + "[]," * (MB // 6 - 9) + "{}]").encode("utf-16")),
    "large numbers": (MESSAGES, SIGNED, lambda: b"[1" + b"0" * (MB - 99) + b"]"),
    "no JSON": (MESSAGES, SIGNED, lambda: fill(b"x")),
    "deep": (MESSAGES, SIGNED, lambda: b"[" * 500_000 + b"]" * 500_000),
    "wide where it is deep": (MESSAGES, SIGNED, lambda: b"[" * 250 + b",".join([b"[]"] * 20_000) + b"]" * 250),
    "another algorithm": (MESSAGES, {"X-Hub-Signature": "sha512=" + "0" * 128}, lambda: fill(b"x")),
    "packed": (MESSAGES, SIGNED | {"Content-Encoding": "gzip"}, lambda: gzip.compress(listed(MB // 3 - 9, b"{}"), 1)),
    "events": (EVENTS, SIGNED, lambda: b'{"data":{"entities":' + listed(MB // 3 - 99, b"{}") + b"}}"),
    "a form of short pairs": (STATUS, TWILIO, lambda: fill(b"a=1&")),
    "a form of other pairs": (STATUS, TWILIO, lambda: b"&".join(b"%x=1" % n for n in range(120_000))),
    "a form of nothing": (STATUS, TWILIO, lambda: fill(b"&")),
    "a form of escapes": (STATUS, TWILIO, lambda: fill(b"%41%42&")),
    "a form of one value": (STATUS, TWILIO, lambda: fill(b"%41")),
    "a form as long as is read": (STATUS, TWILIO, lambda: fill(b"%41")[: 1 << 18]),
    "a form with a signature of the wrong shape": (STATUS, FORM | {"X-Twilio-Signature": "x"}, lambda: fill(b"a=1&")),
    "a form without a signature": (STATUS, FORM, lambda: fill(b"a=1&")),
    "a packed form": (STATUS, TWILIO | {"Content-Encoding": "gzip"}, lambda: gzip.compress(fill(b"a=1&"), 1)),
    "a form for another company": (STATUS, FORM | {"X-SignalWire-Signature": "A" * 27 + "="}, lambda: fill(b"a=1&")),
    "JSON that a hash would sign": (HASHED, TWILIO | {"Content-Type": "text/json"}, lambda: fill(b"x")),
    "settings of a signature": (STATUS, TWILIO | SETTINGS, lambda: fill(b"x")),
    "a mail report": ("/callbacks/mail/status", {"Authorization": "Bearer x"}, lambda: fill(b"x")),
}  # fmt: skip


@pytest.fixture(params=[False, True], ids=["few secrets", "many secrets"])
async def wide(
    request: pytest.FixtureRequest, redis: Redis, redis_server: EmbeddedRedis
) -> AsyncIterator[ServiceClient]:
    configured = parse(CONFIGURATION + MANY * request.param, {})
    async with open_service(redis_server.url, body_limit=MB, configured=configured) as opened:
        yield opened


async def seconds(client: ServiceClient, path: str, headers: dict[str, str], body: bytes) -> float:
    """Processor time of this process, which both asks and answers; the best of three."""
    found = []
    for _ in range(3):
        began = time.process_time()
        answer = await client.http.post(path, content=body, headers=headers)
        found.append(time.process_time() - began)
        assert answer.status_code == 401
    return min(found)


@pytest.mark.parametrize("row", ROWS)
async def test_it_costs_little_more_than_to_read_it(wide: ServiceClient, row: str) -> None:
    path, headers, body_of = ROWS[row]
    body = body_of()
    read = await seconds(wide, "/callbacks/mail/status", {}, fill(b"x"))  # read, and refused by a header
    assert await seconds(wide, path, headers, body) < 5 * read + 0.1
    assert await wide.redis.dbsize() == 0
