"""A consumer's mail that lies in a bucket of S3: fetched when its notification is believed, stored, and then answered.

The bucket believes what AWS' own library signs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.responses import Response

from dcbridge.cli.dev.companies import COMPANIES
from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.config.loader import parse
from sandbox.config import SandboxConfig
from sandbox.wires.sns import Topic
from sandbox.world import World
from tests.listening import listening
from tests.service.client import CONFIGURATION, ServiceClient, open_service
from tests.transport.bucket import KEY_ID, REGION, SECRET, FakeBucket, fake_bucket, fault

ARN, CARE = "arn:aws:sns:eu-west-1:123456789012:mail", "care@ses.example.com"
KEY = COMPANIES["ses"].secrets["private_key"]()
ADDED = f"  ses.example.com: {{type: email, provider: ses, endpoint: main, inbound: {{addresses: [{CARE}]}}}}\n"
_NOTHING = SandboxConfig(
    app_secret="", contact_center_id="", twilio_account_sid="", twilio_auth_token="", mail_callback_secret=""
)
HEAD = f"From: ana@example.com\r\nTo: {CARE}\r\nSubject: Order\r\nMessage-ID: <1@example.com>\r\n\r\n".encode()
LARGE = HEAD + b"x" * 400_000


@dataclass
class Side:
    """The service, and what AWS has of it."""

    client: ServiceClient
    topic: Topic
    bucket: FakeBucket

    async def told(self, key: str = "in/1", to: str = CARE, **changes: object) -> tuple[int, dict[str, str]]:
        """What a notification about an object is answered."""
        action = {"type": "S3", "topicArn": ARN, "bucketName": "mails", "objectKey": key, **changes}
        said = {"notificationType": "Received", "mail": {"source": "ana@example.com"},
                "receipt": {"recipients": [to], "action": action}}  # fmt: skip
        call = self.topic.publish("", said)
        answer = await self.client.http.post("/callbacks/ses/inbound", content=call.body, headers=call.headers)
        return answer.status_code, dict(answer.headers)

    async def stored(self) -> int:
        return len([key async for key in self.client.redis.scan_iter("dcb:t:*")])


@asynccontextmanager
async def aws(redis: Redis, url: str, more: str = "", **settings: object) -> AsyncIterator[Side]:
    await redis.ping()
    topic = Topic(World(_NOTHING), KEY, ARN, "/sns")
    async with fake_bucket() as (bucket, place), listening(Starlette(routes=topic.routes())) as there:
        provider = f"""\
  ses: {{kind: ses, region: {REGION}, access_key_id: {KEY_ID}, secret_access_key: {SECRET}, configuration_set: c,
    topic_arns: ["{ARN}"], sns_url: "{there}/sns", mail_bucket: mails, mail_bucket_url: "{place}"{more}}}
"""
        configured = parse(CONFIGURATION.replace("providers:\n", f"providers:\n{provider}") + ADDED, {})
        async with open_service(url, configured, **settings) as client:
            yield Side(client, topic, bucket)


@pytest.mark.parametrize("key", ["in/1", "in/a b+c%2F=ü~/..x", "a//b"])
async def test_a_large_mail_is_fetched_and_stored_once(redis: Redis, redis_server: EmbeddedRedis, key: str) -> None:
    async with aws(redis, redis_server.url) as side:
        side.bucket.objects[f"/bucket/{key}"] = LARGE
        assert [(await side.told(key))[0] for _ in range(2)] == [200, 200]
        assert (await side.stored(), side.bucket.wrong, len(side.bucket.objects)) == (1, [], 1)
        [blob] = [one async for one in redis.scan_iter("dcb:blob:*")]
        assert await redis.get(blob) == LARGE


async def test_one_that_is_to_be_deleted_is_deleted_when_it_is_stored(
    redis: Redis, redis_server: EmbeddedRedis
) -> None:
    async with aws(redis, redis_server.url, ", mail_delete: true") as side:
        side.bucket.objects["/bucket/in/1"] = LARGE
        assert (await side.told())[0] == 200
        assert (await side.stored(), side.bucket.objects) == (1, {})
        assert (await side.told())[0] == 200, "a notification that comes again finds it gone"
        assert side.bucket.asked == ["GET", "DELETE", "GET"]
        side.bucket.objects["/bucket/in/2"] = LARGE + b"y"
        side.bucket.faults = [Response(LARGE + b"y"), fault(403, "AccessDenied")]
        assert (await side.told("in/2"))[0] == 200, "one that cannot be deleted is stored all the same"


@pytest.mark.parametrize(
    ("faults", "status", "code"),
    [
        ([fault(503, "SlowDown"), "cut"], 200, ""),
        ([fault(403, "AccessDenied")], 503, "AccessDenied"),
        ([fault(404, "NoSuchKey")], 503, ""),
        ([fault(404, "NoSuchBucket")], 503, "NoSuchBucket"),
        ([fault(301, "PermanentRedirect")], 503, "PermanentRedirect"),
        ([fault(500, "InternalError")] * 4, 503, ""),
    ],
    ids=str,
)
async def test_a_bucket_that_gives_nothing(
    redis: Redis, redis_server: EmbeddedRedis, faults: list[object], status: int, code: str
) -> None:
    async with aws(redis, redis_server.url) as side:
        side.bucket.objects["/bucket/in/1"] = LARGE
        side.bucket.faults = list(faults)  # type: ignore[arg-type]
        answered, headers = await side.told()
        assert (answered, headers.get("retry-after")) == (status, "5" if status == 503 else None)
        assert await side.stored() == (status == 200)
        assert side.client.counted("dcbridge_errors_total", kind="account_fault", name="ses") == bool(code)
        assert (await side.told())[0] == 200
        assert await side.stored() == 1


async def test_what_is_not_fetched(redis: Redis, redis_server: EmbeddedRedis) -> None:
    async with aws(redis, redis_server.url, mail_limit=1 << 16, mail_memory=1 << 20) as side:
        side.bucket.objects["/bucket/in/1"] = LARGE
        assert (await side.told())[0] == 413, "too large; it stays in the bucket"
        side.bucket.asked.clear()
        assert (await side.told(to="nobody@example.com"))[0] == 200
        for change in ({"bucketName": "others"}, {"bucketName": 7}, {"objectKey": ""}, {"objectKey": "a/../../b"},
                       {"objectKey": "x" * 1025}, {"objectKey": "a\nb"}, {"type": "Lambda"}):  # fmt: skip
            assert (await side.told(**change))[0] == 503, change
        assert side.bucket.asked == []
        assert await side.stored() == 0
