"""A consumer's mail that a company posts is answered 200 when it is stored, and not before."""

from __future__ import annotations

import orjson

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.config.loader import parse
from tests.service.client import CONFIGURATION, open_service

SECRET, CARE = "a-secret-of-posted-mail", "care@posted.example.com"
ADDED = f"""
  posted.example.com:
    type: email
    provider: post
    endpoint: main
    inbound: {{addresses: [{CARE}]}}
"""
POST = f"providers:\n  post: {{kind: postmark, server_token: a-token-of-a-server, callback_secret: {SECRET}}}\n"
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
