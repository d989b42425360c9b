"""POST /triggers/{name}: signed as `standardwebhooks`, a library of others, signs; once for each id; bounded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest
import standardwebhooks
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.config.loader import parse
from dcbridge.ledger.consent import NOW, ConsumerTokens
from dcbridge.messages import own_books
from dcbridge.own_messages import own_id
from tests.service.client import CONFIGURATION, SMS, ServiceClient, open_service

NEW, OLD = "whsec_" + "A" * 43 + "=", "whsec_" + "B" * 43 + "="
OTHER = "whsec_" + "C" * 43 + "="
YAML = f"""{CONFIGURATION}
consent: {{enforce: always}}
triggers:
  textback:
    channel: "{SMS}"
    text: "{{name}}, you called us. We call back at {{at}}."
    secrets: [{NEW}, {OLD}]
  seldom: {{channel: "{SMS}", text: "Hello {{name}}", secrets: [{NEW}], per_minute: 2}}
"""
CALL: dict[str, Any] = {"id": "call-1", "to": "+16504661149", "vars": {"name": "Ana", "at": 16}}
SENT = {"message": own_id("trigger textback call-1"), "outcome": "queued"}


@pytest.fixture
async def client(redis: Redis, redis_server: EmbeddedRedis) -> AsyncIterator[ServiceClient]:
    async with open_service(redis_server.url, parse(YAML, {})) as opened:
        yield opened


async def call(client: ServiceClient, body: object = CALL, name: str = "textback", **given: Any) -> httpx.Response:
    """`given`: the secret, the time of the call, and headers instead of its own; None leaves one out."""
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    at = datetime.now(UTC) + timedelta(seconds=given.get("away", 0))
    signed = standardwebhooks.Webhook(given.get("secret", NEW)).sign("msg_1", at, raw.decode(errors="replace"))
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signed}
    headers |= given.get("headers", {})
    return await client.http.post(f"/triggers/{name}", content=raw, headers={k: v for k, v in headers.items() if v})


async def test_a_call_becomes_one_message_in_books_of_its_own(client: ServiceClient) -> None:
    answer = await call(client)
    assert (answer.status_code, answer.json()) == (202, SENT)
    again = await call(client, away=2)
    assert (again.status_code, again.json()) == (202, SENT | {"outcome": "again"})
    entry = await client.entry(SENT["message"])
    assert (entry.state, entry.is_own, entry.channel_id, entry.to_id) == ("accepted", True, SMS, "16504661149")
    assert (entry.cause, entry.expires_at) == ("trigger textback call-1", entry.accepted_at + 3_600_000)
    payload: Any = await client.redis.get(f"dcb:p:{entry.payload_ref}")
    assert orjson.loads(payload)["text"] == "Ana, you called us. We call back at 16."
    [books] = (await client.books()).channels
    assert (books.channel_id, books.accepted, books.in_flight) == (own_books(SMS), 1, 1)
    assert client.counted("dcbridge_triggers_total", trigger="textback", result="again") == 1


WHO: list[tuple[dict[str, Any], int]] = [
    ({"secret": OLD}, 202),
    ({"secret": OTHER}, 401),
    ({"away": -290}, 202),
    ({"away": -310}, 401),
    ({"away": 310}, 401),
    ({"headers": {"webhook-signature": None}}, 401),
    ({"headers": {"webhook-id": None}}, 401),
    ({"headers": {"webhook-id": "msg_2"}}, 401),
    ({"headers": {"webhook-timestamp": "9" * 400}}, 401),
    ({"headers": {"webhook-timestamp": "now"}}, 401),
    ({"headers": {"webhook-signature": "v1," + "A" * 3000}}, 401),
    ({"headers": {"webhook-signature": "v2,abc"}}, 401),
    ({"name": "nobody"}, 404),
]


async def test_who_may_call(client: ServiceClient) -> None:
    for n, (given, status) in enumerate(WHO):
        await client.redis.flushall()
        answer = await call(client, CALL | {"id": f"call-{n}"}, **given)
        assert answer.status_code == status, given
        assert len(await client.redis.keys("dcb:m:*")) == (status == 202), given


async def test_several_signatures_are_those_of_a_rotation(client: ServiceClient) -> None:
    raw, at = orjson.dumps(CALL), datetime.now(UTC)
    made = [standardwebhooks.Webhook(secret).sign("msg_1", at, raw.decode()) for secret in (OTHER, OLD)]
    answer = await call(client, headers={"webhook-signature": " ".join(made)})
    assert answer.status_code == 202
    assert client.counted("dcbridge_secret_uses_total", name="trigger/textback", secret="1") == 1


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"id": None}, "id: should be a text of 1 to 100 characters"),
    ({"id": ""}, "id: should be"),
    ({"id": "x" * 101}, "id: should be"),
    ({"id": "with space"}, "id: should be"),
    ({"id": 5}, "id: should be"),
    ({"to": None}, "to: should be a phone number"),
    ({"to": "somebody"}, "to: should be a phone number"),
    ({"to": "12345"}, "to: should be a phone number"),
    ({"to": "+" + "1" * 1000}, "to: should be a phone number"),
    ({"to": ["+16504661149"]}, "to: should be a phone number"),
    ({"vars": None}, "vars: should be an object"),
    ({"vars": []}, "vars: should be an object"),
    ({"vars": {str(n): "x" for n in range(21)}}, "vars: should be an object of at most 20"),
    ({"vars": {"name": "Ana"}}, "vars.at: is missing"),
    ({"vars": {"name": "Ana", "at": 1.5}}, "vars.at: should be a text of at most 100 characters"),
    ({"vars": {"name": "Ana", "at": True}}, "vars.at: should be"),
    ({"vars": {"name": "Ana", "at": "x" * 101}}, "vars.at: should be"),
    ({"vars": {"name": "Ana", "at": "a\nb"}}, "vars.at: has a character that no text has"),
    ({"vars": {"name": "ê" * 100, "at": "ê" * 100}}, "vars: the text takes more than 3 SMS"),
    ({"var": {}}, "has a field that is not known: there are id, to, vars"),
]


async def test_what_cannot_be_sent_is_named(client: ServiceClient) -> None:
    for changes, says in WRONG:
        answer = await call(client, CALL | changes)
        assert answer.status_code == 400, changes
        assert answer.json()["error"].startswith(says), answer.text
    assert await client.redis.keys("dcb:m:*") == []


async def test_bodies_are_bounded(client: ServiceClient) -> None:
    for body, status in (
        (b"no json", 400), (b"[]", 400), (b"[" * 3000, 400), (b" " * 5000, 413), (b"", 400), (b"\xff", 401),
    ):  # fmt: skip
        answer = await call(client, body)
        assert answer.status_code == status, body[:9]


async def test_an_id_belongs_to_its_content(client: ServiceClient) -> None:
    assert (await call(client)).status_code == 202
    other = await call(client, CALL | {"vars": {"name": "Ben", "at": 16}})
    assert (other.status_code, other.json()["reason"]) == (409, "other_content")
    assert (await call(client, CALL | {"vars": {"at": 16, "name": "Ana", "more": 1}})).json()["outcome"] == "again"
    assert (await call(client, CALL | {"to": "+16504661148"})).status_code == 409


async def test_a_consumer_who_opted_out_gets_none(client: ServiceClient) -> None:
    scope = client.ctx.configuration.consent_scopes[SMS]
    token = ConsumerTokens(b"0123456789abcdef").of(client.ctx.configuration.consumer_key(SMS, "16504661149"))
    await client.ctx.ledger.consent.stop(scope, token, NOW, "operator")
    answer = await call(client)
    assert (answer.status_code, answer.json()) == (409, {"error": "the consumer opted out", "reason": "opted_out"})
    assert await client.redis.keys("dcb:m:*") == []


async def test_a_trigger_takes_so_many_a_minute(client: ServiceClient) -> None:
    calls = [
        await call(client, {"id": f"c-{n}", "to": "+16504661149", "vars": {"name": str(n)}}, "seldom") for n in range(3)
    ]
    assert [one.status_code for one in calls] == [202, 202, 429]
    assert 1 <= int(calls[2].headers["retry-after"]) <= 60
    assert (await call(client, secret=OTHER, name="seldom")).status_code == 401
    assert (await call(client)).status_code == 202  # another trigger


async def test_while_redis_is_away_it_is_sent_again(own_redis: EmbeddedRedis) -> None:
    async with open_service(own_redis.url, parse(YAML, {}), redis_timeout=3.0) as client:
        own_redis.kill()
        answer = await call(client)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        own_redis.start()
        assert (await call(client)).json() == SENT
