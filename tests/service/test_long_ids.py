"""Ids of any length, from everybody outside: what becomes of them in Redis, in answers, in metrics and in log lines."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import Any, cast

import orjson
import pytest
from redis.asyncio import Redis
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]  # ships no types

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.errors import Refused
from dcbridge.genesys import payloads
from dcbridge.providers.base import Turn
from tests.service.client import PUBLIC, TOKEN, ServiceClient, open_service, sms

LENGTH = 900_000
LONG = "x" * LENGTH
SHORT = 600  # bytes; no name of a key, and no field but whole payloads, is longer
WHOLE = {"p", "raw", "body"}  # fields that hold what came as it came


@pytest.fixture
async def wide(redis: Redis, redis_server: EmbeddedRedis) -> AsyncIterator[ServiceClient]:
    async with open_service(redis_server.url, body_limit=1 << 20) as opened:
        yield opened


async def long_places(redis: Redis) -> list[str]:
    """Where something long is stored, other than a payload."""
    found = [key[:40].decode() async for key in redis.scan_iter() if len(key) > SHORT]
    async for key in redis.scan_iter():
        kind = await redis.type(key)
        held: dict[bytes, bytes] = {}
        if kind == b"hash":
            held = await cast(Awaitable[dict[bytes, bytes]], redis.hgetall(key))
        elif kind == b"zset":
            held = dict.fromkeys(cast(list[bytes], await redis.zrange(key, 0, -1)), b"")
        elif kind == b"list":
            held = dict.fromkeys(await cast(Awaitable[list[bytes]], redis.lrange(key, 0, -1)), b"")
        elif kind == b"set":
            held = dict.fromkeys(await cast(Awaitable[set[bytes]], redis.smembers(key)), b"")
        for name, value in held.items():
            if len(name) > SHORT or (len(value) > SHORT and name.decode() not in WHOLE):
                found.append(f"{key.decode()[:40]} {name.decode()[:40]}")
    return found


def longest_label(client: ServiceClient) -> int:
    metrics = client.ctx.metrics.registry.collect()
    return max(len(label) for metric in metrics for sample in metric.samples for label in sample.labels.values())


def changed(place: str, value: Any) -> dict[str, Any]:
    message = sms()
    inner = message
    *path, last = place.split(".")
    for name in path:
        inner = inner[name]
    inner[last] = value
    return message


ROWS: dict[str, tuple[str, Any, str]] = {
    "channel": ("channel.id", LONG, "520 channel.id is longer than 200 characters"),
    "channel of 201": ("channel.id", "x" * 201, "520 channel.id is longer than 200 characters"),
    "message": ("channel.messageId", LONG, "messageId is longer than 400 characters"),
    "message of 401": ("channel.messageId", "x" * 401, "messageId is longer than 400 characters"),
    "sender": ("channel.from.id", LONG, "channel.from.id is longer than 400 characters"),
    "sender as a text": ("channel.from", LONG, "channel.from.id is longer than 400 characters"),
}


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside a good one"])
async def test_an_id_that_is_too_long_is_a_problem_of_its_message_and_no_key(
    wide: ServiceClient, row: str, beside: bool
) -> None:
    place, value, problem = ROWS[row]
    bad = changed(place, value)
    answer = await wide.webhook([sms("good"), bad] if beside else bad)
    assert answer.status_code == 200
    assert len(answer.content) < SHORT
    assert await long_places(wide.redis) == []
    letters = await wide.dead_letters()
    assert value.encode() in letters[0][b"raw"]  # nothing is lost
    assert (letters[0][b"reason"].decode(), len(letters)) == (problem, 1)
    assert longest_label(wide) < SHORT
    if beside:
        assert (await wide.entry("good")).state == "accepted"


@pytest.mark.parametrize(
    ("place", "value"),
    [("channel.id", "x" * 200), ("channel.messageId", "x" * 400), ("channel.from.id", "x" * 400),
     ("channel.to.id", "x" * 400), ("channel.messageId", 12345678901234567)],
)  # fmt: skip
async def test_the_longest_ids_are_none_of_that(wide: ServiceClient, place: str, value: Any) -> None:
    await wide.webhook(changed(place, value))
    letters = await wide.dead_letters()
    assert [letter[b"reason"] for letter in letters if b"longer" in letter[b"reason"]] == []
    assert await long_places(wide.redis) == []


@pytest.mark.parametrize("place", ["to", "to.id"])
async def test_a_recipient_that_is_too_long_leaves_the_others_alone(wide: ServiceClient, place: str) -> None:
    bad: Any = LONG if place == "to" else {"id": LONG, "name": "X"}
    message = changed("channel.to", ["16504661149", bad, "16504661150"])
    assert (await wide.webhook(message)).status_code == 200
    assert await long_places(wide.redis) == []
    entries = [key async for key in wide.redis.scan_iter(match="dcb:m:*")]
    ends = [await cast(Awaitable[dict[bytes, bytes]], wide.redis.hgetall(key)) for key in entries]
    assert sorted(entry[b"to"].decode() for entry in ends) == [
        "(longer than 400 characters)",
        "16504661149",
        "16504661150",
    ]


@pytest.mark.parametrize("kind", ["twilio", "mail"])
async def test_no_provider_sends_to_what_stands_for_it(kind: str, wide: ServiceClient) -> None:
    email = {"type": "Email", "subject": "s", "content": [{"type": "text", "text": "t"}]}
    message = changed("channel.to.id", LONG) | (email if kind == "mail" else {})
    message["channel"]["from"]["id"] = "16504661148" if kind == "twilio" else "no-reply@company.com"
    [one] = payloads.read_webhook(orjson.dumps(message), "main")
    assert one.problem is None
    provider = wide.ctx.providers[kind]
    [part] = provider.parts(one.copies[0])
    with pytest.raises(Refused):
        provider.build_request(Turn(one.copies[0], part, 0.0))


@pytest.mark.parametrize("place", ["id", "event", "mediaType", "operationId"])
async def test_ids_of_a_batch(wide: ServiceClient, place: str) -> None:
    entity: dict[str, Any] = {"event": "STARTED", "entity": {"id": "i", "mediaType": "sms"}}
    body: dict[str, Any] = {"operationId": "o", "data": {"entities": [entity]}}
    (entity if place == "event" else body if place == "operationId" else entity["entity"])[place] = LONG
    answer = await wide.webhook(body, path="/webhooks/interactions/events")
    assert answer.status_code == 200
    assert len(answer.content) < SHORT
    assert await long_places(wide.redis) == []
    _, [told] = payloads.read_interactions(orjson.dumps(body))
    assert max(map(len, (told.interaction, told.name, told.media, told.subtype))) < 401


@pytest.mark.parametrize(
    "path", ["/webhooks/messages/%s", "/webhooks/interactions/%s", "/callbacks/%s/status", "/callbacks/twilio/%s"]
)
async def test_names_in_a_url(wide: ServiceClient, path: str) -> None:
    answer = await wide.http.post(path % ("x" * 7000), content=b"{}")
    assert answer.status_code in (404, 414)
    assert await wide.redis.dbsize() == 0
    assert longest_label(wide) < SHORT


@pytest.mark.parametrize("trace", ["x" * 65, "x" * 7000, "a b", "a/b"])
async def test_a_trace_id_that_is_none_is_made_up(wide: ServiceClient, trace: str) -> None:
    await wide.webhook(sms(), headers={"X-B3-TraceId": trace})
    assert len((await wide.entry()).trace_id) == 32


@pytest.mark.parametrize("name", ["MessageSid", "From", "To", "MessageStatus", "ErrorCode", "Body"])
@pytest.mark.parametrize("kind", ["status", "inbound"])
async def test_ids_of_a_callback(wide: ServiceClient, name: str, kind: str) -> None:
    form = {"MessageSid": "SM" + "0" * 32, "From": "+16504661149", "To": "+16504661150", "MessageStatus": "sent"}
    form |= {"Body": "hi", name: "x" * 200_000}
    url = f"{PUBLIC}/callbacks/twilio/{kind}"
    signature = RequestValidator(TOKEN).compute_signature(url, form)
    answer = await wide.http.post(f"/callbacks/twilio/{kind}", data=form, headers={"X-Twilio-Signature": signature})
    assert answer.status_code == 200
    assert await long_places(wide.redis) == []
