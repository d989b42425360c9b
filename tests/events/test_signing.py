"""Signatures and envelopes, read by the libraries of those who wrote the specifications."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shutil
import subprocess
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from pydantic import SecretStr

from dcbridge.errors import OutcomeUnknown
from dcbridge.events.sinks.base import Event
from dcbridge.events.sinks.signing import key_of, signature
from tests.events.receivers import PUBLIC_URL, SECRET, Got, Receiver, an_event, http_fields, http_sink, receiving

OTHER = "whsec_" + base64.b64encode(bytes(range(32))).decode()
THIRD = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()


async def delivered(event: Event, times: int = 1, **how: object) -> list[Got]:
    async with receiving(Receiver()) as receiver:
        envelope = how.pop("envelope", "standard")
        fields = http_fields(f"{receiver.url}hooks?key=1", **how)
        async with http_sink(fields, envelope=envelope) as sink:
            for _ in range(times):
                await sink.deliver(event)
    return receiver.got


def test_the_published_example_of_the_specification() -> None:
    key = key_of(SecretStr(SECRET))
    made = signature([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("envelope", ["standard", "cloudevents-structured", "cloudevents-binary"])
async def test_receivers_verify_with_the_old_and_the_new_secret_and_with_no_other(envelope: str) -> None:
    [got] = await delivered(an_event(), secrets=[SECRET, OTHER], envelope=envelope)
    for secret in (SECRET, OTHER):
        assert standardwebhooks.Webhook(secret).verify(got.body, got.headers) == json.loads(got.body)
        from svix.webhooks import Webhook  # takes a second, and every worker of pytest imports every file

        Webhook(secret).verify(got.body, got.headers)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(THIRD).verify(got.body, got.headers)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(SECRET).verify(got.body + b" ", got.headers)
    from svix.webhooks import Webhook, WebhookVerificationError

    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(got.body, {**got.headers, "webhook-id": "evt_0f3a-2"})


async def test_another_attempt_has_the_same_id_and_body_and_a_time_of_its_own() -> None:
    async with receiving(Receiver()) as receiver, http_sink(http_fields(receiver.url)) as sink:
        await sink.deliver(an_event())
        first = int(receiver.got[0].headers["webhook-timestamp"])
        await asyncio.sleep(first + 1.01 - datetime.now(UTC).timestamp())  # the header has whole seconds
        await sink.deliver(an_event())
    one, two = receiver.got
    assert (one.headers["webhook-id"], one.body) == (two.headers["webhook-id"], two.body)
    assert one.headers["webhook-id"] == "evt_0f3a-1"
    assert int(two.headers["webhook-timestamp"]) > first
    assert one.headers["webhook-signature"] != two.headers["webhook-signature"]


async def test_the_standard_envelope() -> None:
    [got] = await delivered(an_event())
    assert got.line == "POST /hooks?key=1 HTTP/1.1"
    assert got.headers["content-type"] == "application/json"
    assert json.loads(got.body) == {
        "type": "interaction.started",
        "timestamp": "2026-11-22T04:05:06.789000Z",
        "data": {
            "id": "evt_0f3a-1",
            "event": "STARTED",
            "endpoint": "events",
            "interactionId": "8e09e19f-b8ba-4db0-b6e7-dfc8a7776176",
            "mediaType": "chat",
            "interactionSubtype": "InboundNew",
            "sequence": 1,
            "receivedAt": "2026-11-22T04:05:06.789000Z",
            "entity": dict(an_event().fields),
        },
    }


@pytest.mark.parametrize(
    ("name", "own", "type_"),
    [
        ("FINISHED", False, "interaction.finished"),
        ("Wrapped Up: ünlike", False, "interaction.wrapped_up___nlike"),
        ("", False, "interaction.unnamed"),
        ("subscriber.disabled", False, "interaction.subscriber_disabled"),  # nobody outside can speak for us
        ("subscriber.disabled", True, "subscriber.disabled"),
    ],
)
async def test_types_are_words_divided_by_full_stops(name: str, own: bool, type_: str) -> None:
    [got] = await delivered(an_event(name=name, own=own))
    whole = json.loads(got.body)
    assert (whole["type"], whole["data"]["event"]) == (type_, name)


async def test_an_event_about_ourselves_says_what_it_has_to_say() -> None:
    [got] = await delivered(
        an_event(name="subscriber.disabled", own=True, interaction="", endpoint="", fields={"name": "crm", "id": "x"})
    )
    assert json.loads(got.body)["data"] == {"id": "evt_0f3a-1", "event": "subscriber.disabled", "name": "crm"}


ODD = 'ä "100%" 8e09/e19f'


@pytest.mark.parametrize("envelope", ["cloudevents-structured", "cloudevents-binary"])
@pytest.mark.parametrize("interaction", ["8e09e19f-b8ba", ODD])
async def test_cloudevents_own_library_reads_ours(envelope: str, interaction: str) -> None:
    event = an_event(interaction=interaction, endpoint="main-1")
    [got] = await delivered(event, envelope=envelope)
    read = from_http_event(HTTPMessage(headers=got.headers, body=got.body))
    assert read.get_attributes() == {
        "specversion": "1.0",
        "id": "evt_0f3a-1",
        "source": f"{PUBLIC_URL}/webhooks/interactions/main-1",
        "type": "dcbridge.interaction.started",
        "subject": interaction,
        "partitionkey": interaction,
        "sequence": "0000000001",
        "time": event.received_at,
        "datacontenttype": "application/json",
    }
    assert read.get_data() == {
        "id": "evt_0f3a-1",
        "event": "STARTED",
        "endpoint": "main-1",
        "interactionId": interaction,
        "mediaType": "chat",
        "interactionSubtype": "InboundNew",
        "sequence": 1,
        "receivedAt": "2026-11-22T04:05:06.789000Z",
        "entity": dict(event.fields),
    }
    assert ("ce-id" in got.headers) == (envelope == "cloudevents-binary")


async def test_a_cloudevent_about_ourselves_comes_from_the_bridge() -> None:
    event = an_event(name="subscriber.disabled", own=True, interaction="", endpoint="", sequence=0)
    [got] = await delivered(event, envelope="cloudevents-binary")
    read = from_http_event(HTTPMessage(headers=got.headers, body=got.body))
    assert set(read.get_attributes()) == {"specversion", "id", "source", "type", "time", "datacontenttype"}
    assert (read.get_source(), read.get_type()) == (PUBLIC_URL, "dcbridge.subscriber.disabled")


@pytest.mark.parametrize(
    ("secret", "says"),
    [
        (SECRET, ""),
        (SECRET.removeprefix("whsec_"), "should begin with whsec_"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS!", "should be base64"),
        ("whsec_" + base64.b64encode(bytes(24)).decode(), ""),
        ("whsec_" + base64.b64encode(bytes(23)).decode(), "24 to 64 bytes, and holds 23"),
        ("whsec_" + base64.b64encode(bytes(64)).decode(), ""),
        ("whsec_" + base64.b64encode(bytes(65)).decode(), "24 to 64 bytes, and holds 65"),
        ("whsec_" + base64.b64encode(bytes(25)).decode().rstrip("="), ""),  # some make them without the padding
    ],
)
def test_a_secret_is_what_the_specification_says(secret: str, says: str) -> None:
    if not says:
        assert len(key_of(SecretStr(secret))) >= 24
        return
    with pytest.raises(ValueError, match=says) as refused:
        key_of(SecretStr(secret))
    assert secret.removeprefix("whsec_")[:8] not in str(refused.value)


@pytest.mark.parametrize("wrong", ["", "a.b", "a b", "a\r\nb", "x" * 129, "ä"])
def test_an_id_is_a_word(wrong: str) -> None:
    assert an_event(id="x" * 128).id
    with pytest.raises(ValueError, match="id has"):
        an_event(id=wrong)


def test_a_time_has_a_zone() -> None:
    with pytest.raises(ValueError, match="time zone"):
        an_event(received_at=datetime(2026, 11, 22))  # noqa: DTZ001 (the point)


async def test_the_receiver_in_the_documentation_reads_what_is_sent() -> None:
    page = (Path(__file__).parents[2] / "docs" / "subscribers.md").read_text()
    found = re.search(r"```python\n(from http.server.*?)```", page, re.DOTALL)
    assert found
    written: dict[str, Any] = {}
    exec(found[1], written)  # noqa: S102 (our own page)
    server = written["ThreadingHTTPServer"](("127.0.0.1", 0), written["Receiver"])
    server.handle_error = lambda *_: None  # what it cannot verify it would print
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    serving.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/"
        secret = re.findall(r"whsec_\w+", found[1])
        async with http_sink(http_fields(url, secrets=secret, allow=["127.0.0.1"])) as sink:
            for _ in range(2):
                await sink.deliver(an_event())
        assert written["seen"] == {"evt_0f3a-1"}
        async with http_sink(http_fields(url, secrets=[OTHER], allow=["127.0.0.1"])) as sink:
            with pytest.raises(OutcomeUnknown):
                await sink.deliver(an_event(id="evt_other"))
        assert written["seen"] == {"evt_0f3a-1"}
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_the_shell_in_the_documentation_makes_the_signature_that_is_said_there() -> None:
    page = (Path(__file__).parents[2] / "docs" / "subscribers.md").read_text()
    found = re.search(r"```sh\n(SECRET=(\S+).*? (evt_\w+) (\d+) '(.*?)'.*?)```\s+It prints `(\S+)`", page, re.DOTALL)
    assert found
    script, secret, event_id, seconds, body, said = found.groups()
    ran = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == said
    assert f"v1,{said}" == standardwebhooks.Webhook(secret).sign(
        event_id, datetime.fromtimestamp(int(seconds), UTC), body
    )
    assert f"v1,{said}" == signature([key_of(SecretStr(secret))], event_id, int(seconds), body.encode())
