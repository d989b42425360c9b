"""The client of Open Messaging: what follows from each answer, and from which hosts a file is read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import quote

import pytest
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dcbridge.config.loader import parse
from dcbridge.errors import AccountFault, OutcomeUnknown, Refused, SendError, Throttled, Undecodable
from dcbridge.genesys.payloads import CLOUD_MEDIA
from dcbridge.ledger import Ledger
from dcbridge.ledger.uploads import Uploaded
from dcbridge.messages import Receipt, ReceiptStatus
from dcbridge.open_messaging import OpenMessaging
from dcbridge.platforms import Platforms
from dcbridge.runtime.metrics import Metrics
from dcbridge.transport.sender import Sender
from tests.config.test_genesys_cloud import CLOUD, ID
from tests.workers.far_side import Reply, saying, settings

TAKEN = saying(200, {"id": "given", "type": "Text"})
RECEIPT = Receipt(ID, "m-1", ID, "+16504661149", ReceiptStatus.DELIVERED)


@dataclass(slots=True)
class CloudSide:
    """Genesys Cloud, which answers what a test tells it. `heard`: path and Authorization of each request."""

    platform: OpenMessaging = field(init=False)
    url: str = ""
    replies: list[Reply] = field(default_factory=list)
    heard: list[tuple[str, str]] = field(default_factory=list)
    grants: int = 0

    async def token(self, _request: Request) -> Response:
        self.grants += 1
        return await saying(200, {"access_token": f"t{self.grants}", "token_type": "bearer", "expires_in": 86399})(
            _request
        )

    async def answer(self, request: Request) -> Response:
        self.heard.append((request.url.path, request.headers.get("authorization", "")))
        return await (self.replies.pop(0) if self.replies else TAKEN)(request)

    async def read(self, url: str) -> bytes:
        media_id = CLOUD_MEDIA + quote(url.removeprefix("https://"), safe="/")
        async with self.platform.file(ID, media_id, 1000) as answer:
            return await answer.whole()


@pytest.fixture
async def side(redis: Redis) -> AsyncIterator[CloudSide]:
    from tests.listening import listening

    made = CloudSide()
    routes = [
        Route("/login/oauth/token", made.token, methods=["POST"]),
        Route("/{path:path}", made.answer, methods=["GET", "POST"]),
    ]
    async with listening(Starlette(routes=routes)) as url, Sender(read_timeout=2.0) as sender:
        made.url = url
        text = CLOUD.replace("region: mypurecloud.ie", f"base_url: {url}, login_url: {url}/login")
        configuration = parse(text, {"S": "0123456789abcdef0123"})
        ledger = Ledger(redis, keep=1000.0, keep_dead=1000.0)
        platforms = Platforms(configuration, settings("redis://unused"), sender, ledger, Metrics(), quiet=True)
        made.platform = platforms.organization("main")
        yield made
        await platforms.close()


BROKEN = {"message": "text of a person", "code": "bad.request", "status": 400, "contextId": "c", "errors": []}


@pytest.mark.parametrize(
    ("reply", "error", "code"),
    [
        (saying(400, BROKEN), Refused, "http 400"),
        (saying(404, {**BROKEN, "status": 404, "code": "not.found"}), Refused, "http 404"),
        (saying(403, {**BROKEN, "status": 403}), AccountFault, "http 403"),
        (saying(500, b"<html>"), OutcomeUnknown, "http 500"),
        (saying(503, {"status": 503}), OutcomeUnknown, "http 503"),
        (saying(200, b"<html>"), Undecodable, "http 200, body not readable: no JSON object"),
        (saying(302, location="https://elsewhere.example.com/"), AccountFault, "http 302"),
        (saying(200, {"status": {"code": 5}}), None, ""),
        (saying(202), None, ""),
    ],
)
async def test_what_follows_from_an_answer(
    side: CloudSide, reply: Reply, error: type[SendError] | None, code: str
) -> None:
    side.replies = [reply]
    if error is None:
        await side.platform.post_receipts(ID, [RECEIPT])
        return
    with pytest.raises(error) as raised:
        await side.platform.post_receipts(ID, [RECEIPT])
    assert raised.value.code == code
    assert len(side.heard) == 1


async def test_401_renews_the_token_once(side: CloudSide, redis: Redis) -> None:
    await side.platform.post_receipts(ID, [RECEIPT])
    [key] = await redis.keys("dcb:token:*")
    await redis.hset(key, "since", "1")  # it was granted long ago
    side.replies = [saying(401, {"status": 401})]
    assert await side.platform.post_consumer_message(ID, "16504661149", "Hi") == ["given"]
    assert [authorization for _, authorization in side.heard] == ["Bearer t1", "Bearer t1", "Bearer t2"]
    side.replies = [saying(401), saying(401)]
    with pytest.raises(AccountFault):
        await side.platform.post_receipts(ID, [RECEIPT])


async def test_a_rate_limit_holds_up_every_request_of_the_client(side: CloudSide) -> None:
    side.replies = [saying(429, {"status": 429}, retry_after="30")]
    for _ in range(2):
        with pytest.raises(Throttled) as raised:
            await side.platform.post_consumer_message(ID, "16504661149", "Hi")
        assert 25 < (raised.value.retry_after or 0) <= 30
    assert len(side.heard) == 1


async def test_a_file_is_read_with_the_token_and_where_it_has_moved_without(side: CloudSide) -> None:
    side.replies = [saying(200, b"picture")]
    assert await side.read(f"{side.url}/api/v2/downloads/x") == b"picture"
    side.replies = [saying(302, location=f"{side.url}/store?signature=s"), saying(200, b"moved")]
    assert await side.read(f"{side.url}/api/v2/downloads/x") == b"moved"
    assert [one for _, one in side.heard] == ["Bearer t1", "Bearer t1", ""]


@pytest.mark.parametrize("path", ["/", "/api/v2/users", "/x/api/v2/downloads/x", "/api/v2/downloads/%2e%2e/users/me"])
async def test_another_path_gets_no_token(side: CloudSide, path: str) -> None:
    side.replies = [saying(200, b"picture")]
    assert await side.read(f"{side.url}{path}") == b"picture"
    assert [one for _, one in side.heard] == [""]


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example.com/x",
        "https://api.mypurecloud.ie.evil.example.com/x",
        "https://user@127.0.0.1/x",
        "https://127.0.0.1/x",
        "{url}@evil.example.com/x",
        "{elsewhere}/x",
    ],
)
async def test_a_file_at_another_host_is_not_asked_for(side: CloudSide, url: str) -> None:
    elsewhere = side.url.replace("127.0.0.1", "localhost")
    with pytest.raises(Refused, match="wrong host"):
        await side.read(url.format(url=side.url, elsewhere=elsewhere))
    assert side.heard == []


@pytest.mark.parametrize("location", ["{elsewhere}/x", "http://169.254.169.254/x", "http://[::1]/x", "ftp://x/y", ""])
async def test_a_file_that_moves_to_a_private_address_is_not_followed(side: CloudSide, location: str) -> None:
    elsewhere = side.url.replace("127.0.0.1", "localhost")
    where = location.format(elsewhere=elsewhere)
    side.replies = [saying(302, location=where), saying(302, location=where)]
    with pytest.raises(Refused):
        await side.read(f"{side.url}/api/v2/downloads/x")
    assert all(one == "Bearer t1" or not location for _, one in side.heard)


@pytest.mark.parametrize("status", [404, 410, 403, 500])
async def test_a_file_that_is_not_there(side: CloudSide, status: int) -> None:
    side.replies = [saying(status)]
    with pytest.raises(SendError) as raised:
        await side.read(f"{side.url}/api/v2/downloads/x")
    assert isinstance(raised.value, Refused) == (status in (404, 410))


async def test_a_consumers_file_is_kept_here_and_shown_by_a_link(side: CloudSide, redis: Redis) -> None:
    media = await side.platform.upload(ID, "a.png", "image/png", b"picture")
    assert media.url.startswith("https://bridge.example.com/m/")
    [key] = await redis.keys("dcb:blob:g-*")
    assert await redis.get(key) == b"picture"
    file = Uploaded(media.id, media.url, "a.png", "image/png", 7)
    [shown] = side.platform.carrying([file]) or ()
    assert shown["attachment"]["url"] == media.url
    assert side.platform.carrying([file, file]) is None
    await side.platform.delete(ID, media.id)
    assert await redis.get(key) is None
    with pytest.raises(Refused):
        async with side.platform.file(ID, media.id, 10):
            pass
    with pytest.raises(AccountFault, match="no space"):  # it is too large for Redis, and there is no folder
        await side.platform.upload(ID, "a.png", "image/png", bytes((1 << 20) + 1))
    assert side.heard == []
