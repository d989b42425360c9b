"""POST /webhooks/open-messaging/{endpoint}: signed by Genesys Cloud, stored once, and only messages are stored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.config.loader import parse
from dcbridge.genesys import cloud
from dcbridge.replay import Replay
from sandbox.open_messaging import signed
from tests.genesys.test_cloud import INTEGRATION, TEXT
from tests.service.client import ServiceClient, open_service, sms

SECRET, OLDER, RETIRED, OWN = "the-secret-of-now-1", "the-secret-before-1", "the-retired-secret-1", "one-channel-has-it"
SECOND, UNKNOWN = "11111111-2222-4333-8444-555555555555", "99999999-2222-4333-8444-555555555555"
CONFIGURATION = f"""
public_url: https://bridge.example.com
digital_channels: {{base_url: "http://127.0.0.1:1/nexus/v3", contact_center_id: 0ff723ff-6c6f-44e0-9ce3-ce579337eadd}}
genesys_cloud:
  main: {{region: mypurecloud.ie, client_id: c, client_secret: 0123456789abcdef}}
endpoints:
  main: {{secrets: [the-app-secret-of-now]}}
  cloud: {{secrets: [{SECRET}, {OLDER}], retired_secrets: [{RETIRED}]}}
providers:
  twilio: {{kind: twilio, account_sid: AC0123456789abcdef0123456789abcdef, auth_token: the-auth-token-of-twilio}}
channels:
  "0123456789": {{type: sms, provider: twilio, number: "+15557650123"}}
  {INTEGRATION}: {{platform: open_messaging, endpoint: cloud, type: sms, provider: twilio, number: "+15557650124"}}
  {SECOND}: {{platform: open_messaging, endpoint: cloud, type: sms, provider: twilio, number: "+15557650125",
    secrets: [{OWN}]}}
"""
OTHER = "{secrets: [0123456789abcdef]}"
PATH = "/webhooks/open-messaging/cloud"


@pytest.fixture
async def client(redis: Redis, redis_server: EmbeddedRedis) -> AsyncIterator[ServiceClient]:
    async with open_service(redis_server.url, parse(CONFIGURATION, {})) as opened:
        yield opened


async def post(
    client: ServiceClient, body: object = TEXT, secret: str = SECRET, path: str = PATH, header: str = cloud.HEADER
) -> httpx.Response:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return await client.http.post(path, content=raw, headers={header: signed(secret, raw)})


def of(channel: str, **changes: Any) -> dict[str, Any]:
    return {**TEXT, "channel": {**TEXT["channel"], "id": channel}, **changes}


def counted(client: ServiceClient, outcome: str) -> float:
    labels = {"route": "open_messaging_webhook", "name": "cloud", "outcome": outcome}
    return client.counted("dcbridge_http_requests_total", **labels)


async def test_a_message_is_stored_once_and_answered_alike(client: ServiceClient) -> None:
    for _ in range(2):
        answer = await post(client)
        assert (answer.status_code, answer.json()) == (200, {"messageId": TEXT["id"]})
    entry = await client.entry(TEXT["id"], INTEGRATION)
    assert (entry.state, entry.to_id) == ("accepted", "+16504661149")
    assert (counted(client, "accepted"), counted(client, "redelivered")) == (1, 1)


@pytest.mark.parametrize(
    ("secret", "channel", "status"),
    [
        (SECRET, INTEGRATION, 200),
        (OLDER, INTEGRATION, 200),
        (RETIRED, INTEGRATION, 401),
        (OWN, SECOND, 200),
        (OWN, INTEGRATION, 401),
        (SECRET, SECOND, 401),
    ],
)
async def test_secrets_rotate_and_a_channel_may_have_its_own(
    client: ServiceClient, secret: str, channel: str, status: int
) -> None:
    assert (await post(client, of(channel), secret)).status_code == status
    assert await client.redis.exists("dcb:open:" + channel) == (status == 200)


@pytest.mark.parametrize(
    ("path", "header"),
    [
        ("/webhooks/open-messaging/main", cloud.HEADER),
        ("/webhooks/messages/cloud", cloud.HEADER),
        ("/webhooks/messages/cloud", "X-Hub-Signature"),
        ("/webhooks/open-messaging/nowhere", cloud.HEADER),
    ],
)
async def test_an_endpoint_is_of_one_platform(client: ServiceClient, path: str, header: str) -> None:
    assert (await post(client, path=path, header=header)).status_code == 404


async def test_the_header_of_digital_channels_signs_nothing_here(client: ServiceClient) -> None:
    refused = await post(client, header="X-Hub-Signature")
    assert (refused.status_code, refused.json()) == (401, {"error": "X-Hub-Signature-256 is missing or wrong"})
    old = await client.webhook(sms(), secret="the-app-secret-of-now")
    assert (old.status_code, old.json()) == (200, {"messageId": "1613474523265-0"})


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"type": "Event", "events": [{"eventType": "Typing"}]}, "an event"),
        ({"type": "Receipt", "status": "Failed"}, "a receipt"),
        ({"direction": "Inbound"}, "an inbound message"),
    ],
)
async def test_what_is_no_message_is_counted_and_not_stored(
    client: ServiceClient, changes: dict[str, Any], outcome: str
) -> None:
    assert (await post(client, TEXT | changes, RETIRED)).status_code == 401
    assert (await post(client, of(SECOND, **changes), SECRET)).status_code == 401
    answer = await post(client, TEXT | changes)
    assert (answer.status_code, answer.json()) == (200, {})
    assert counted(client, outcome) == 1
    assert (await client.redis.keys("dcb:m:*"), await client.dead_letters()) == ([], [])


async def test_what_cannot_be_carried_ends_as_failed_or_is_a_dead_letter(client: ServiceClient) -> None:
    assert (await post(client, of(INTEGRATION, text=""))).status_code == 200
    entry = await client.entry(TEXT["id"], INTEGRATION)
    assert (entry.state, entry.reason) == ("failed", "510")
    assert (await post(client, of(UNKNOWN))).status_code == 200
    assert (await client.entry(TEXT["id"], UNKNOWN)).state == "failed"
    for body in (b"no JSON", of("", id="nameless") | {"channel": 7}):
        assert (await post(client, body)).status_code == 200
    letters = await client.dead_letters()
    assert {one[b"reason"].decode()[:3] for one in letters} >= {"520"}


async def test_a_dead_letter_is_read_again_as_its_endpoint_reads(client: ServiceClient) -> None:
    """One of a channel that belongs to another endpoint, until it does not any more."""
    there = f"{INTEGRATION}: {{platform: open_messaging, endpoint: "
    text = CONFIGURATION.replace(f"{there}cloud", f"{there}other").replace(
        "  cloud: {", f"  other: {OTHER}\n  cloud: {{"
    )
    elsewhere = parse(text, {})
    async with open_service(client.ctx.settings.redis_url.get_secret_value(), elsewhere) as other:
        assert (await post(other)).status_code == 200
        assert await other.books() == await client.books()
    letters = client.ctx.ledger.dead_letters
    [letter] = [one async for one in letters.read(await letters.ids()) if one]
    said = await Replay(client.ctx.ledger, client.ctx.configuration).one(letter)
    assert (said.done, said.says) == (True, "accepted, and will be sent")
    assert (await client.entry(TEXT["id"], INTEGRATION)).state == "accepted"
