"""The addresses of callbacks: which kinds a provider has, a secret in the path, and the most bytes of a body."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.config.loader import parse
from dcbridge.providers.callback import callback_lane, unpack
from tests.providers.test_telnyx import ID, KEY, PUBLIC, event, report
from tests.service.client import CONFIGURATION, ServiceClient, open_service

SECRET = "0123456789abcdef-of-the-path"
MORE = f"""\
providers:
  infobip: {{kind: infobip, base_url: "http://127.0.0.1:1", api_key: key, callback_secret: {SECRET}}}
  vonage: {{kind: vonage, api_key: key, api_secret: s, signature_secret: t}}
  azure: {{kind: azure-sms, base_url: "http://127.0.0.1:1", access_key: a2V5, callback_secret: {SECRET}}}
  telnyx: {{kind: telnyx, api_key: key, public_key: "{PUBLIC}"}}
"""


@pytest.fixture
async def client(redis: Redis, redis_server: EmbeddedRedis) -> AsyncIterator[ServiceClient]:
    configured = parse(CONFIGURATION.replace("providers:\n", MORE), {})
    async with open_service(redis_server.url, configured, body_limit=1 << 20) as opened:
        yield opened


async def stored(client: ServiceClient) -> list[dict[bytes, bytes]]:
    found: Any = [await client.redis.hgetall(key) for key in await client.redis.keys("dcb:t:*")]
    return list(found)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("infobip/status", 401),
        (f"infobip/status/{SECRET}", 200),
        (f"infobip/status/{SECRET}0", 401),
        (f"infobip/status/{SECRET[:-1]}", 401),
        ("infobip/status/é", 401),
        (f"infobip/inbound/{SECRET}", 200),
        (f"infobip/events/{SECRET}", 404),
        (f"infobip/status/{SECRET}/", 404),
        ("telnyx/events", 401),
        ("telnyx/status", 404),
        (f"telnyx/events/{SECRET}", 404),
        (f"twilio/status/{SECRET}", 404),
        ("twilio/events", 404),
        (f"nobody/status/{SECRET}", 404),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_which_addresses_there_are(client: ServiceClient, method: str, path: str, status: int) -> None:
    answer = await client.http.request(method, f"/callbacks/{path}", content=b"{}" if method == "POST" else None)
    assert answer.status_code == status
    assert len(await stored(client)) == (status == 200)


async def test_a_secret_in_the_path_is_neither_stored_nor_logged_nor_counted(
    client: ServiceClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """tests/flows/test_companies.py reads what the processes themselves write."""
    for secret in (SECRET, SECRET + "-wrong"):
        await client.http.post(f"/callbacks/infobip/status/{secret}?m=1", content=b"{}")
    await client.http.post("/callbacks/infobip/status", headers={"Authorization": f"Bearer {SECRET}"}, content=b"[]")
    written_by_ingress = {"X-Original-URI": f"/callbacks/infobip/inbound/{SECRET}?m=1", "X-Forwarded-For": "::1"}
    await client.http.post(f"/callbacks/infobip/inbound/{SECRET}", headers=written_by_ingress, content=b"{}")
    [one, other, third] = [unpack(task[b"p"])[1] for task in await stored(client)]
    assert {one.url, other.url, third.url} == {
        "https://bridge.example.com/callbacks/infobip/status?m=1",
        "https://bridge.example.com/callbacks/infobip/status",
        "https://bridge.example.com/callbacks/infobip/inbound",
    }
    assert (one.secret, other.secret, third.secret) == ("", "", "")
    assert sum("x-forwarded-for" in callback.headers for callback in (one, other, third)) == 1
    written = capsys.readouterr()
    said = f"{written.out}{written.err}{await stored(client)}"
    said += str([[repr(sample) for sample in family.samples] for family in client.ctx.metrics.registry.collect()])
    assert "infobip" in said
    assert SECRET not in said


@pytest.mark.parametrize(
    ("path", "most"), [("telnyx/events", 1 << 18), ("vonage/status", 1 << 15), ("vonage/inbound", 1 << 15)]
)
async def test_a_kind_may_have_a_limit_of_its_own(client: ServiceClient, path: str, most: int) -> None:
    """Whatever DCBRIDGE_BODY_LIMIT says. Vonage signs what is in a form, which has to be read before it is believed."""
    for size, status in ((most + 1, 413), (most, 401)):
        answer = await client.http.post(f"/callbacks/{path}", content=b"x" * size)
        assert answer.status_code == status
    assert (await client.http.post("/callbacks/twilio/status", content=b"x" * (most + 1))).status_code == 401


WROTE = {
    "id": ID,
    "text": "Hello",
    "from": {"phone_number": "+16504661149"},
    "to": [{"phone_number": "+12025550123"}],
}


@pytest.mark.parametrize(
    ("body", "in_order"),
    [
        (event("message.received", WROTE), True),
        (report("delivered"), False),
        (event("message.received", {"id": ID}), False),
        (b"[", False),
    ],
)
async def test_what_consumers_write_is_read_in_order_at_an_address_for_both(
    client: ServiceClient, body: bytes, in_order: bool
) -> None:
    """And delivery updates are not: one that waits for its id would hold up what consumers write."""
    moment = str(int(time.time()))
    signature = base64.b64encode(KEY.sign(moment.encode() + b"|" + body).signature).decode()
    headers = {"telnyx-signature-ed25519": signature, "telnyx-timestamp": moment}
    answer = await client.http.post("/callbacks/telnyx/events", content=body, headers=headers)
    assert answer.status_code == 200
    [task] = await stored(client)
    assert task[b"ln"].decode() == (callback_lane("telnyx", "inbound") if in_order else "")


ASKED = {"webhook-request-origin": "eventgrid.azure.net", "webhook-request-rate": "120"}


@pytest.mark.parametrize("path", ["azure/events", f"azure/events/{SECRET}0"])
async def test_a_handshake_without_the_secret_is_refused(client: ServiceClient, path: str) -> None:
    answer = await client.http.request("OPTIONS", f"/callbacks/{path}", headers=ASKED)
    assert (answer.status_code, "webhook-allowed-origin" in answer.headers) == (401, False)
    answer = await client.http.request("OPTIONS", f"/callbacks/azure/events/{SECRET}", headers=ASKED)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["webhook-allowed-origin"] == "eventgrid.azure.net"
    assert await stored(client) == []


async def test_a_handshake_in_a_body_is_answered_with_what_it_asks_for(client: ServiceClient) -> None:
    event = {"eventType": "Microsoft.EventGrid.SubscriptionValidationEvent", "data": {"validationCode": "c-1"}}
    for path, status, said in ((f"azure/events/{SECRET}0", 401, None), (f"azure/events/{SECRET}", 200, "c-1")):
        answer = await client.http.post(f"/callbacks/{path}", json=[event])
        assert (answer.status_code, answer.json().get("validationResponse")) == (status, said)
