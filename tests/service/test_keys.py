"""Keys that a provider publishes: fetched once, kept, and never asked for more often than is good."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.config.loader import parse
from service.keys import A_MINUTE, FAILED_FOR, FRESH_FOR, Keys, NoKey
from tests.listening import listening
from tests.providers import test_aws_sms
from tests.service.client import CONFIGURATION, open_service


@dataclass
class Host:
    status: int = 200
    body: bytes = b"a key"
    delay: float = 0.0
    now: float = 0.0
    asked: Counter[str] = field(default_factory=Counter)

    async def answer(self, request: Request) -> Response:
        self.asked[request.url.path] += 1
        await asyncio.sleep(self.delay)
        return Response(self.body, self.status)


@asynccontextmanager
async def host(**changes: object) -> AsyncIterator[tuple[Host, Keys, str]]:
    one = Host(**changes)  # type: ignore[arg-type]
    keys = Keys(lambda: one.now)
    async with listening(Starlette(routes=[Route("/{path:path}", one.answer)])) as url:
        try:
            yield one, keys, url
        finally:
            await keys.close()


def wanted(url: str, name: str = "1") -> httpx.Request:
    return httpx.Request("GET", f"{url}/{name}.pem")


async def test_all_callbacks_of_a_moment_share_one_request() -> None:
    async with host(delay=0.1) as (one, keys, url):
        first = asyncio.create_task(keys.get(wanted(url)))
        others = [asyncio.create_task(keys.get(wanted(url))) for _ in range(20)]
        await asyncio.sleep(0.02)
        first.cancel()
        assert set(await asyncio.gather(*others)) == {b"a key"}
        assert await keys.get(wanted(url)) == b"a key"
        assert one.asked == {"/1.pem": 1}


async def test_a_key_is_read_again_after_a_while_and_the_old_one_is_good_until_then() -> None:
    async with host() as (one, keys, url):
        await keys.get(wanted(url))
        one.now, one.body = FRESH_FOR + 1, b"the next"
        assert await keys.get(wanted(url)) == b"the next"
        one.now, one.status = 3 * FRESH_FOR, 503
        assert await keys.get(wanted(url)) == await keys.get(wanted(url)) == b"the next"
        assert one.asked["/1.pem"] == 3


@pytest.mark.parametrize("changes", [{"status": 404}, {"status": 302}, {"body": b""}, {"body": b"x" * 70_000}])
async def test_a_key_that_cannot_be_had_is_not_asked_for_again_for_a_while(changes: dict[str, object]) -> None:
    async with host(**changes) as (one, keys, url):
        for one.now, asked in ((0, 1), (FAILED_FOR - 1, 1), (FAILED_FOR + 1, 2)):
            with pytest.raises(NoKey):
                await keys.get(wanted(url))
            assert one.asked["/1.pem"] == asked
        one.status, one.body, one.now = 200, b"a key", 3 * FAILED_FOR
        assert await keys.get(wanted(url)) == b"a key"


async def test_a_host_that_is_away_is_no_key() -> None:
    keys = Keys()
    with pytest.raises(NoKey):
        await keys.get(httpx.Request("GET", "http://127.0.0.1:1/1.pem"))
    await keys.close()


async def test_few_keys_are_asked_for_in_a_minute_whatever_a_stranger_names() -> None:
    async with host() as (one, keys, url):
        for number in range(A_MINUTE):
            await keys.get(wanted(url, str(number)))
        with pytest.raises(NoKey):
            await keys.get(wanted(url, "one more"))
        assert await keys.get(wanted(url, "0")) == b"a key"  # what is kept needs no request
        one.now = 61
        assert await keys.get(wanted(url, "one more")) == b"a key"
        assert sum(one.asked.values()) == A_MINUTE + 1


CALLBACK = "/callbacks/aws/events"


async def test_a_notification_is_taken_with_the_certificate_that_it_names(
    redis: Redis, redis_server: EmbeddedRedis
) -> None:
    async with host(status=503, body=test_aws_sms.certificate()) as (one, _, url):
        more = (
            f"providers:\n  aws: {{kind: aws-sms, region: eu-west-1, access_key_id: AKIA1, secret_access_key: s,"
            f" configuration_set: c, sns_url: {url}/sns, topic_arns: ['{test_aws_sms.TOPIC}']}}\n"
        )
        configured = parse(CONFIGURATION.replace("providers:\n", more), {})
        async with open_service(redis_server.url, configured) as client:
            said = test_aws_sms.callback(test_aws_sms.RECEIVED).body
            answer = await client.http.post(CALLBACK, content=said)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")  # SNS sends it again
            one.status = 200
            other = test_aws_sms.callback(test_aws_sms.RECEIVED, changed={
                "SigningCertURL": f"https://x/SimpleNotificationService-{'1' * 32}.pem"}).body  # fmt: skip
            wrong = other.replace(b'"Message":"', b'"Message":" ')
            answers = [await client.http.post(CALLBACK, content=body) for body in (wrong, b"{}", other, other)]
            assert [answer.status_code for answer in answers] == [401, 401, 200, 200]
            assert len(await client.redis.keys("dcb:t:b-*")) == 1
            assert sum(one.asked.values()) == 2
