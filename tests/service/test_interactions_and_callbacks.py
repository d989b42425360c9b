"""The Interactions webhook, the providers' callbacks, and every request that is for neither."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, cast

import httpx
import orjson
import pytest
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]  # ships no types

from dcbridge.providers.callback import unpack
from tests.service.client import MAIL_SECRET, OLDER, PUBLIC, RETIRED, SECRET, TOKEN, ServiceClient, sms

EVENTS = "/webhooks/interactions/events"


def batch(operation: str | None = "op-1", *events: tuple[str, str]) -> dict[str, Any]:
    entities = [
        {"event": event, "entity": {"id": interaction}} for interaction, event in events or [("i-1", "STARTED")]
    ]
    return ({"operationId": operation} if operation else {}) | {"data": {"entities": entities}}


async def kept(client: ServiceClient) -> list[bytes]:
    entries: Any = await client.redis.xrange("dcb:interactions")
    return [fields[b"body"] for _, fields in entries if b"body" in fields]  # others are events of dcbridge's own


# ---------------------------------------------------------------- interactions


async def test_a_batch_is_answered_as_documented_and_kept_as_it_came(client: ServiceClient) -> None:
    raw = orjson.dumps(batch("op-1", ("i-1", "STARTED"), ("i-2", "FINISHED"))) + b"\n"
    answer = await client.webhook(raw, path=EVENTS)
    assert answer.status_code == 200
    assert answer.json() == {"status": {"code": 0}, "data": {"ids": [{"id": "i-1"}, {"id": "i-2"}]}}
    assert await kept(client) == [raw]


@pytest.mark.parametrize(
    ("first", "second", "times"),
    [
        (batch(), batch(), 1),
        (orjson.dumps(batch()), orjson.dumps(batch(), option=orjson.OPT_INDENT_2), 1),  # not its bytes: its operation
        (batch("op-1"), batch("op-2"), 2),
        (batch("op-1"), batch("op-1", ("i-1", "FINISHED")), 2),
        (batch("op-1"), batch("op-1", ("i-2", "STARTED")), 2),
        (batch(None), batch(None), 1),
        (batch(None), batch(None, ("i-1", "FINISHED")), 2),
    ],
)
async def test_a_redelivery_is_its_operation_again(
    client: ServiceClient, first: object, second: object, times: int
) -> None:
    for body in (first, second, first):
        answer = await client.webhook(body, path=EVENTS)
        assert answer.status_code == 200
    assert len(await kept(client)) == times


@pytest.mark.parametrize("body", [{}, [], {"data": None}, {"operationId": "x", "data": {"entities": [{}, 5]}}])
async def test_odd_batches_are_taken(client: ServiceClient, body: object) -> None:
    answer = await client.webhook(body, path=EVENTS)
    assert (answer.status_code, answer.json()) == (200, {"status": {"code": 0}, "data": {"ids": []}})
    assert len(await kept(client)) == 1


async def test_a_batch_that_is_no_json_is_a_dead_letter_and_still_200(client: ServiceClient) -> None:
    for _ in range(2):
        assert (await client.webhook(b"\xffno", path=EVENTS)).status_code == 200
    [letter] = await client.dead_letters()
    assert (letter[b"raw"], letter[b"what"]) == (b"\xffno", b"interaction batch")
    assert await kept(client) == []


@pytest.mark.parametrize(("secret", "status"), [(SECRET, 200), (OLDER, 200), (RETIRED, 401), ("x", 401)])
async def test_who_may_tell_of_interactions(client: ServiceClient, secret: str, status: int) -> None:
    assert (await client.webhook(batch(), path=EVENTS, secret=secret)).status_code == status
    assert len(await kept(client)) == (status == 200)
    place = {SECRET: "0", OLDER: "1"}.get(secret, "9")
    assert client.counted("dcbridge_secret_uses_total", name="interactions/events", secret=place) == (status == 200)


# ---------------------------------------------------------------- Twilio's callbacks

STATUS = {"MessageSid": "SM1", "MessageStatus": "delivered", "AccountSid": "AC1"}
INBOUND = {"MessageSid": "SM2", "From": "+16504661149", "To": "+15557650123", "Body": "Grüße 😀 & more"}


async def callback(
    client: ServiceClient, path: str, form: dict[str, str], *, token: str = TOKEN, method: str = "POST", **headers: str
) -> httpx.Response:
    """As Twilio's own library signs it, for the public URL."""
    query = f"&{httpx.QueryParams(form)}" if method == "GET" else ""
    url = f"{path}{query}"
    signature = RequestValidator(token).compute_signature(PUBLIC + url, form if method == "POST" else {})
    given = {"X-Twilio-Signature": signature, "Content-Type": "application/x-www-form-urlencoded"} | headers
    if method == "GET":
        return await client.http.get(url, headers=given)
    return await client.http.request(method, url, content=str(httpx.QueryParams(form)).encode(), headers=given)


async def stored_callbacks(client: ServiceClient) -> list[Any]:
    found = []
    async for key in client.redis.scan_iter("dcb:t:*"):
        payload = await cast(Awaitable[bytes | None], client.redis.hget(key, "p"))
        assert payload is not None
        found.append(unpack(payload))
    return found


async def test_a_status_callback_is_stored_byte_for_byte(client: ServiceClient) -> None:
    path = "/callbacks/twilio/status?m=0123456789abcdef01234567&p=0"
    answer = await callback(client, path, STATUS, Cookie="a=b", Authorization="Basic eDp5")
    assert (answer.status_code, answer.content) == (200, b"")
    [(name, stored)] = await stored_callbacks(client)
    assert (name, stored.kind, stored.method, stored.url) == ("twilio", "status", "POST", PUBLIC + path)
    assert stored.body == str(httpx.QueryParams(STATUS)).encode()
    assert stored.query == b"m=0123456789abcdef01234567&p=0"
    assert not {"cookie", "authorization"} & stored.headers.keys()
    assert stored.headers["x-twilio-signature"]
    assert (await client.books()).queued["inbound"] == 1
    client.ctx.providers["twilio"].verify(stored)  # it can be verified again, later


async def test_a_consumers_message_gets_twiml(client: ServiceClient) -> None:
    answer = await callback(client, "/callbacks/twilio/inbound", INBOUND)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/xml; charset=utf-8")
    assert answer.text.endswith("<Response/>")


async def test_a_repeated_callback_is_stored_once_and_answered_alike(client: ServiceClient) -> None:
    for form, path in ((STATUS, "/callbacks/twilio/status?m=1"), (INBOUND, "/callbacks/twilio/inbound")):
        first, again = [await callback(client, path, form) for _ in range(2)]
        assert (first.status_code, first.content) == (again.status_code, again.content) == (200, first.content)
    assert len(await stored_callbacks(client)) == 2
    repeated = {"route": "provider_callback", "name": "twilio", "outcome": "repeated"}
    assert client.counted("dcbridge_http_requests_total", **repeated) == 2


async def test_another_status_of_the_same_message_is_another_callback(client: ServiceClient) -> None:
    for status in ("sent", "delivered"):
        await callback(client, "/callbacks/twilio/status?m=1", STATUS | {"MessageStatus": status})
    assert len(await stored_callbacks(client)) == 2


async def test_inbound_callbacks_of_a_provider_wait_in_line_and_updates_do_not(client: ServiceClient) -> None:
    for number in range(3):
        await callback(client, "/callbacks/twilio/inbound", INBOUND | {"MessageSid": f"SM{number}"})
    assert (await client.books()).queued["inbound"] == 1
    for number in range(3):
        await callback(client, "/callbacks/twilio/status?m=1", STATUS | {"MessageSid": f"SM{number}"})
    assert (await client.books()).queued["inbound"] == 4


async def test_a_get_callback_is_verified_and_stored(client: ServiceClient) -> None:
    path = "/callbacks/twilio/status?m=1"
    answer = await callback(client, path, STATUS, method="GET")
    assert answer.status_code == 200
    [(_, stored)] = await stored_callbacks(client)
    assert (stored.method, stored.body) == ("GET", b"")
    assert b"MessageStatus=delivered" in stored.query


@pytest.mark.parametrize(
    ("path", "form", "token", "status"),
    [
        ("/callbacks/twilio/status?m=1", STATUS, TOKEN, 200),
        ("/callbacks/twilio/status?m=1", STATUS, TOKEN + "x", 401),
        ("/callbacks/twilio/elsewhere", STATUS, TOKEN, 404),
        ("/callbacks/nobody/status", STATUS, TOKEN, 404),
        ("/callbacks/Twilio/status", STATUS, TOKEN, 404),
        ("/callbacks/mail/status", STATUS, TOKEN, 401),
    ],
)
async def test_who_may_call_back(
    client: ServiceClient, path: str, form: dict[str, str], token: str, status: int
) -> None:
    assert (await callback(client, path, form, token=token)).status_code == status
    assert len(await stored_callbacks(client)) == (status == 200)


@pytest.mark.parametrize(
    ("secret", "status"), [(f"Bearer {MAIL_SECRET}", 200), (f"Bearer {MAIL_SECRET}s", 401), ("", 401)]
)
async def test_a_mail_report_comes_with_its_secret(client: ServiceClient, secret: str, status: int) -> None:
    body = b"Message-ID: <1@x>\r\n\r\nreport \xff"
    headers = {"Authorization": secret} if secret else {}
    for _ in range(2):
        answer = await client.http.post("/callbacks/mail/status", content=body, headers=headers)
        assert answer.status_code == status
    stored = await stored_callbacks(client)
    assert [one.body for _, one in stored] == [body] * (status == 200)


# ---------------------------------------------------------------- everything else


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/", 404, None),
        ("GET", "/healthz", 404, None),  # the operator's listener is another one
        ("GET", "/metrics", 404, None),
        ("POST", "/webhooks/messages", 404, None),
        ("POST", "/webhooks/messages/main/more", 404, None),
        ("POST", "/webhooks/messages/main/", 404, None),
        ("POST", "/webhooks/messages/%2e%2e", 404, None),
        ("POST", "/webhooks/messages/ma%69n", 401, None),  # the same name, written otherwise
        ("GET", "/webhooks/messages/main", 405, "POST"),
        ("PUT", "/webhooks/messages/main", 405, "POST"),
        ("GET", EVENTS, 405, "POST"),
        ("DELETE", "/callbacks/twilio/status", 405, "GET, HEAD, OPTIONS, POST"),
        ("OPTIONS", "/callbacks/twilio/status", 405, "GET, HEAD, POST"),  # for who begins with a handshake
        ("POST", "/webhooks/interactions/main", 404, None),  # an endpoint of messages only
        ("POST", "/webhooks/messages/events", 404, None),
        ("GET", "/callbacks/twilio/status", 401, None),
    ],
)
async def test_plain_answers(client: ServiceClient, method: str, path: str, status: int, allow: str | None) -> None:
    answer = await client.http.request(method, path, content=orjson.dumps(sms()) if method == "POST" else None)
    assert answer.status_code == status
    assert ", ".join(sorted(answer.headers.get("allow", "").split(", "))) == (allow or "")
    assert set(answer.json()) == {"error"}
    assert "server" not in answer.headers
    assert await client.redis.dbsize() == 0


# ---------------------------------------------------------------- metrics


async def test_nothing_that_a_stranger_writes_becomes_a_label(client: ServiceClient) -> None:
    def series() -> set[str]:
        return {line.partition(" ")[0] for line in text().splitlines() if not line.startswith("#")}

    def text() -> str:
        return client.ctx.metrics.render(books, client.ctx.configuration.channels).decode()

    async def knock(canary: str) -> None:
        headers: dict[str, str | None] = {"X-B3-TraceId": canary, "User-Agent": canary, "Host": canary}
        for path in (f"/webhooks/messages/{canary}", f"/webhooks/interactions/{canary}", f"/{canary}"):
            await client.webhook(sms(), path=path, headers=headers)
            await client.http.get(path)
        await callback(client, f"/callbacks/{canary}/status", {"MessageSid": canary})
        await callback(client, f"/callbacks/twilio/{canary}", {"MessageSid": canary})
        await callback(client, "/callbacks/twilio/inbound", {"MessageSid": canary, "From": canary, "Body": canary})
        await client.webhook(sms(canary, channel=f"channel-{canary}", text=canary, to=canary))
        await client.webhook(sms(canary, text=canary, to=canary), headers={"X-Hub-Signature": f"{canary}=00"})
        await client.webhook({"operationId": canary, "data": {"entities": [{"event": canary}]}}, path=EVENTS)

    await knock("canary-one")
    books = await client.books()
    before = series()
    await knock("canary-two")
    books = await client.books()
    assert series() == before
    assert "canary" not in text()
    assert 'dcbridge_books_total{channel="(unknown)",state="accepted"} 2.0' in text()
