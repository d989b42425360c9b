"""A consumer's mail that a company posts is answered 200 when it is stored, and not before."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import orjson
import pytest
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.config.loader import parse
from sandbox.wires.mail_base import as_form
from tests.service.client import CONFIGURATION, ServiceClient, open_service

SECRET, CARE = "a-secret-of-posted-mail", "care@posted.example.com"
ADDED = f"""
  posted.example.com:
    type: email
    provider: post
    endpoint: main
    inbound: {{addresses: [{CARE}]}}
"""
GUN_KEY = "the-signing-key-of-mailgun"
GRID_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1"
    "flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g=="
)
POST = f"""providers:
  post: {{kind: postmark, server_token: a-token-of-a-server, callback_secret: {SECRET}}}
  gun: {{kind: mailgun, api_key: a-key-of-a-domain, domain: posted.example.com, signing_keys: {GUN_KEY}}}
  grid: {{kind: sendgrid, api_key: a-key-of-an-account, public_key: {GRID_KEY}}}
"""
MAIL = f"From: ana@example.com\r\nTo: {CARE}\r\nSubject: Order\r\nMessage-ID: <1@example.com>\r\n\r\nHello\r\n"


async def test_a_mail_that_cannot_be_stored_is_not_answered_200(own_redis: EmbeddedRedis) -> None:
    configured = parse(CONFIGURATION.replace("providers:\n", POST) + ADDED.removeprefix("\n"), {})
    said = {
        "OriginalRecipient": CARE,
        "RawEmail": MAIL,
        "Headers": [{"Name": "Return-Path", "Value": "<ana@example.com>"}],
    }
    body, path = orjson.dumps(said), f"/callbacks/post/inbound/{SECRET}"
    headers = {"Content-Type": "application/json"}
    async with open_service(own_redis.url, configured, redis_timeout=1.0) as client:
        own_redis.kill()
        answer = await client.http.post(path, content=body, headers=headers)
        assert (answer.status_code, answer.headers.get("retry-after")) == (503, "5")
        own_redis.start()
        assert await client.redis.zcard("dcb:tasks:mail") == 0
        for _ in range(2):  # the same mail, which the company posts again
            assert (await client.http.post(path, content=body, headers=headers)).status_code == 200
        assert len([key async for key in client.redis.scan_iter("dcb:t:*")]) == 1


HERE = "/callbacks/{}/inbound"
JSON = {"Content-Type": "application/json"}


def of_postmark() -> tuple[str, dict[str, str], bytes]:
    said = {"OriginalRecipient": CARE, "RawEmail": MAIL + "x" * 50_000, "Headers": []}
    return f"{HERE.format('post')}/{SECRET}", JSON, orjson.dumps(said)


def of_mailgun() -> tuple[str, dict[str, str], bytes]:
    moment, token = str(int(time.time())).encode(), b"t" * 50
    signature = hmac.digest(GUN_KEY.encode(), moment + token, "sha256").hex().encode()
    kind, body = as_form({"recipient": CARE.encode(), "sender": b"ana@example.com", "body-mime": MAIL.encode(),
                          "timestamp": moment, "token": token, "signature": signature})  # fmt: skip
    return f"{HERE.format('gun')}/mime", {"Content-Type": kind}, body


# Who has no secret: where it posts, what it shows, how much it says that it will send, and how much of it comes.
FLOODS = {
    "postmark, another secret": (f"{HERE.format('post')}/not-{SECRET}", "", 200_000, 100),
    "postmark, no secret": (HERE.format("post"), "Authorization: Basic eDp5\r\n", 200_000, 100),
    "mailgun, declared and not sent": (f"{HERE.format('gun')}/mime", "", 260_000, 1),
    "mailgun, sent but for its end": (f"{HERE.format('gun')}/mime", "", 260_000, 250_000),
    "sendgrid, no signature": (HERE.format("grid"), "", 130_000, 120_000),
    "sendgrid, a signature of nothing": (
        HERE.format("grid"),
        f"X-Twilio-Email-Event-Webhook-Signature: {'A' * 96}\r\nX-Twilio-Email-Event-Webhook-Timestamp: {{now}}\r\n",
        130_000,
        120_000,
    ),
}


@asynccontextmanager
async def strangers(client: ServiceClient, flood: str, count: int) -> AsyncIterator[list[asyncio.StreamReader]]:
    """Connections whose requests never end: large ones, and then smaller ones for what is left."""
    path, shows, declared, sent = FLOODS[flood]
    url, opened = client.http.base_url, []
    for number in range(count):
        reader, writer = await asyncio.open_connection(url.host, url.port)
        shown, smaller = shows.format(now=int(time.time())), number // 2
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\n{shown}Content-Length: {declared >> smaller}\r\n\r\n"
        writer.write(head.encode() + b"x" * (sent >> smaller))
        opened.append((reader, writer))
    await asyncio.sleep(0.7)  # they have come, and are spared no longer
    yield [reader for reader, _ in opened]
    for _, writer in opened:
        writer.close()


@pytest.fixture(scope="module")
def small() -> dict[str, int]:
    """Room for two mails at one time."""
    return {"mail_limit": 1 << 16, "mail_memory": 1 << 20, "body_limit": 1 << 16}


@pytest.mark.parametrize("flood", FLOODS)
async def test_who_has_no_secret_keeps_no_mail_out(
    redis: Redis, redis_server: EmbeddedRedis, small: dict[str, int], flood: str
) -> None:
    await redis.ping()
    configured = parse(CONFIGURATION.replace("providers:\n", POST) + ADDED.removeprefix("\n"), {})
    async with open_service(redis_server.url, configured, **small) as client, strangers(client, flood, 30):
        for path, headers, body in (of_postmark(), of_mailgun(), of_postmark()):
            answer = await client.http.post(path, content=body, headers=headers)
            assert answer.status_code == 200, (path, answer.text)


async def test_who_is_ended_for_another_is_answered_that_it_may_come_again(
    redis: Redis, redis_server: EmbeddedRedis, small: dict[str, int]
) -> None:
    await redis.ping()
    configured = parse(CONFIGURATION.replace("providers:\n", POST) + ADDED.removeprefix("\n"), {})
    flood = "mailgun, sent but for its end"
    async with open_service(redis_server.url, configured, **small) as client, strangers(client, flood, 2) as readers:
        path, headers, body = of_postmark()
        assert (await client.http.post(path, content=body, headers=headers)).status_code == 200
        answers = [asyncio.create_task(reader.readuntil(b"\r\n\r\n")) for reader in readers]
        done, late = await asyncio.wait(answers, timeout=2, return_when=asyncio.FIRST_COMPLETED)
        assert len(late) == 1, "only as many as were needed"
        [said] = [one.result() for one in done]
        assert said.startswith(b"HTTP/1.1 503")
        assert b"retry-after" in said.lower()
        for one in late:
            one.cancel()


async def test_a_mail_without_its_secret_is_refused_before_it_is_kept(
    redis: Redis, redis_server: EmbeddedRedis, small: dict[str, int]
) -> None:
    await redis.ping()
    configured = parse(CONFIGURATION.replace("providers:\n", POST) + ADDED.removeprefix("\n"), {})
    async with open_service(redis_server.url, configured, **small) as client:
        _, headers, body = of_postmark()
        wrong = [HERE.format("post"), f"{HERE.format('post')}/another-secret-than-ours", HERE.format("grid")]
        answers: list[httpx.Response] = [await client.http.post(path, content=body, headers=headers) for path in wrong]
        assert [answer.status_code for answer in answers] == [401, 401, 401]
        said = {"route": "callback", "name": "post", "verdict": "no secret matches"}
        assert client.counted("dcbridge_signatures_total", **said) == 1
