"""NATS JetStream, a real one: what a stream stores, what is stored once, and a server that is killed in mid-stream."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from pydantic import ValidationError

from dcbridge.errors import AccountFault, Deferred, OutcomeUnknown, Refused, SendError, Unreachable
from dcbridge.events.sinks import nats as ours
from dcbridge.events.sinks.nats import NatsSink
from dcbridge.events.sinks.options import SinkOptions
from tests.certificates import self_signed
from tests.events.brokers import NATS, NO_NATS, Nats
from tests.events.receivers import PUBLIC_URL, Receiver, an_event, receiving

needs_nats = pytest.mark.skipif(not NATS, reason=NO_NATS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    found = Nats(tmp_path_factory.mktemp("nats"))
    try:
        found.start()
        yield found
    finally:
        found.end()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Nats]:
    """One that a test starts itself, with options of its own."""
    found = Nats(tmp_path / "nats")
    yield found
    found.end()


@asynccontextmanager
async def sink(url: str, envelope: Any = "standard", **fields: Any) -> AsyncIterator[NatsSink]:
    given = {"kind": "nats", "servers": [url], "timeout": 10, **fields}
    found = NatsSink(ours.Nats.model_validate(given), SinkOptions("crm", envelope, PUBLIC_URL))
    try:
        yield found
    finally:
        await found.close()


@asynccontextmanager
async def stream(server: Nats, name: str, **settings: Any) -> AsyncIterator[JetStreamContext]:
    """A receiver's own connection, with a stream of that name over name.>."""
    async with await nats.connect(server.url) as client:
        js = client.jetstream()
        await js.add_stream(name=name, subjects=[f"{name}.>"], **settings)
        yield js


async def all_of(js: JetStreamContext, name: str) -> list[Msg]:
    """Everything that a stream stores."""
    count = (await js.stream_info(name)).state.messages
    reader = await js.subscribe(f"{name}.>", ordered_consumer=True)
    return [await reader.next_msg(timeout=10) for _ in range(count)]


async def refused(sink: NatsSink, **changes: Any) -> SendError:
    with pytest.raises(SendError) as found:
        await sink.deliver(an_event(**changes))
    return found.value


@needs_nats
async def test_a_stream_stores_what_was_delivered_and_the_same_event_once(server: Nats) -> None:
    async with stream(server, "plain") as js, sink(server.url, subject="plain.{media}.{event}") as out:
        await out.deliver(an_event())
        await out.deliver(an_event())
        await out.deliver(an_event(id="evt-2", name="Wrapped up."))
        one, two = await all_of(js, "plain")
    assert (one.subject, two.subject) == ("plain.chat.STARTED", "plain.chat.Wrapped_up_")
    assert one.headers is not None
    assert (one.headers["Nats-Msg-Id"], one.headers["webhook-id"]) == ("crm:evt_0f3a-1", "evt_0f3a-1")
    assert one.headers["Content-Type"] == "application/json"
    assert json.loads(one.data)["data"]["entity"] == dict(an_event().fields)


@needs_nats
@pytest.mark.parametrize("envelope", ["cloudevents-structured", "cloudevents-binary"])
async def test_cloudevents_are_read_by_their_own_library(server: Nats, envelope: str) -> None:
    event = an_event(interaction='ä "100%"')
    name = envelope.replace("-", "_")
    async with stream(server, name) as js, sink(server.url, envelope, subject=f"{name}.x") as out:
        await out.deliver(event)
        [message] = await all_of(js, name)
    assert message.headers is not None
    read = from_http_event(HTTPMessage(message.headers, message.data))  # the same names and encoding as in HTTP
    assert (read.get_id(), read.get_type()) == (event.id, "dcbridge.interaction.started")
    assert (read.get_subject(), read.get_time()) == (event.interaction, event.received_at)
    assert ("ce-id" in message.headers) == (envelope == "cloudevents-binary")


@needs_nats
async def test_what_a_stream_refuses(server: Nats) -> None:
    async with sink(server.url, subject="nobody.x") as out:
        error = await refused(out)
        assert (type(error), error.code) == (Unreachable, "no stream")
    async with stream(server, "narrow", max_msg_size=600, max_msgs=2, discard=nats.js.api.DiscardPolicy.NEW) as js:
        async with sink(server.url, subject="narrow.x") as out:
            await out.deliver(an_event(fields={}))
            error = await refused(out, id="evt-2", fields={"long": "x" * 600})
            assert (type(error), error.code) == (Refused, "10054")
            await out.deliver(an_event(id="evt-3", fields={}))
            error = await refused(out, id="evt-4", fields={})
            assert type(error) is Deferred  # full: somebody has to take something out
            await js.purge_stream("narrow")
            await out.deliver(an_event(id="evt-4", fields={}))
        async with sink(server.url, subject="narrow.x", stream="another") as out:
            error = await refused(out, id="evt-5", fields={})
            assert (type(error), error.code) == (AccountFault, "10060")
        async with sink(server.url, subject="narrow.x", stream="narrow") as out:
            await out.deliver(an_event(id="evt-5", fields={}))
    async with sink(server.url, subject="narrow.x") as out:
        error = await refused(out, fields={"long": "x" * 2_000_000})
        assert (type(error), error.code) == (Refused, "too large")


@needs_nats
async def test_a_server_that_is_killed_in_mid_stream_loses_nothing(server: Nats) -> None:
    """Each event is delivered until its sink says that it is; then the stream has every one of them, once."""
    wanted = [f"evt-{number}" for number in range(2000)]
    errors: list[SendError] = []
    places = asyncio.Semaphore(20)

    async def until_delivered(out: NatsSink, name: str) -> bool:
        async with places:
            while True:
                try:
                    return await out.deliver(an_event(id=name))
                except (Unreachable, OutcomeUnknown) as error:
                    errors.append(error)
                    await asyncio.sleep(0.1)

    async with stream(server, "mid"), sink(server.url, subject="mid.x", timeout=5) as out:
        tasks = [asyncio.ensure_future(until_delivered(out, name)) for name in wanted]
        await asyncio.gather(*tasks[:200])
        server.stop_the_clock(True)
        await asyncio.sleep(0.2)  # twenty are on the wire, and nobody will ever answer them
        server.kill()
        await asyncio.to_thread(server.start)
        await asyncio.gather(*tasks)
    async with await nats.connect(server.url) as client:
        stored = await all_of(client.jetstream(), "mid")
    came = [(message.headers or {})["webhook-id"] for message in stored]
    assert sorted(came) == sorted(wanted)
    assert OutcomeUnknown in {type(error) for error in errors}


@needs_nats
async def test_a_server_that_falls_silent_is_waited_for_no_longer_than_said(server: Nats) -> None:
    async with stream(server, "silent"), sink(server.url, subject="silent.x", timeout=1.5) as out:
        await out.deliver(an_event())
        server.stop_the_clock(True)
        try:
            error = await refused(out, id="evt-2")
            assert (type(error), error.code) == (OutcomeUnknown, "timeout")
            async with sink(server.url, subject="silent.x", timeout=1.5) as another:
                assert isinstance(await refused(another), Unreachable)
        finally:
            server.stop_the_clock(False)
        await out.deliver(an_event(id="evt-3"))


PERMISSIONS = """
authorization {
  users = [ { user: dc, password: right, permissions: { publish: ["ok.>", "$JS.>", "_INBOX.>"], subscribe: ">" } } ]
}
"""


@needs_nats
async def test_who_we_are_and_what_we_may(own_server: Nats, tmp_path: Path) -> None:
    (tmp_path / "nats.conf").write_text(PERMISSIONS)
    own_server.options = ("-c", str(tmp_path / "nats.conf"))
    own_server.start()
    async with await nats.connect(own_server.url, user="dc", password="right") as client:
        await client.jetstream().add_stream(name="ok", subjects=["ok.>", "forbidden.>"])
    for login in ({"username": "dc", "password": "wrong"}, {}, {"token": "x"}):
        async with sink(own_server.url, subject="ok.x", **login) as out:
            error = await refused(out)
            assert (type(error), error.code) == (AccountFault, "login")
    right = {"username": "dc", "password": "right"}
    async with sink(own_server.url, subject="ok.x", **right) as out:
        await out.deliver(an_event())
    async with sink(own_server.url, subject="forbidden.x", **right) as out:
        error = await refused(out)
        assert (type(error), error.code) == (AccountFault, "not permitted")


@needs_nats
async def test_tls_and_a_server_that_asks_for_our_certificate(own_server: Nats, tmp_path: Path) -> None:
    theirs, mine = self_signed(tmp_path, "theirs"), self_signed(tmp_path, "mine")
    own_server.options = (
        "--tlsverify", "--tlscert", str(theirs[0]), "--tlskey", str(theirs[1]), "--tlscacert", str(mine[0]),
    )  # fmt: skip
    own_server.start()
    files = {"ca_file": str(theirs[0]), "client_certificate": str(mine[0]), "client_key": str(mine[1])}
    url = own_server.url.replace("nats:", "tls:")
    async with sink(url, subject="x", **files) as out:
        assert (await refused(out)).code == "no stream"  # it let us in
    async with sink(url, subject="x", **{**files, "ca_file": str(mine[0])}) as out:
        error = await refused(out)
        assert (type(error), error.code) == (Unreachable, "tls")
    async with sink(url, subject="x", ca_file=str(theirs[0])) as out:
        assert isinstance(await refused(out), Unreachable | OutcomeUnknown)


@pytest.mark.parametrize("encrypted", [True, False])
async def test_a_password_is_not_told_to_a_server_that_wants_no_tls_where_the_url_does(encrypted: bool) -> None:
    heard = bytearray()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.9.10","headers":true,"max_payload":1048576}\r\n')
        while data := await reader.read(4096):
            heard.extend(data)
            if b"PING" in data:
                writer.write(b"PONG\r\n")
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        url = f"{'tls' if encrypted else 'nats'}://127.0.0.1:{port}"
        patience = 20 if encrypted else 3  # the one is refused at once, the other never hears that it was stored
        async with sink(url, username="dc", password="hidden-word", timeout=patience) as out:
            error = await refused(out)
    assert (b"hidden-word" in heard) is not encrypted
    assert (type(error), error.code) == ((Unreachable, "tls") if encrypted else (OutcomeUnknown, "timeout"))


async def test_nobody_listens_and_somebody_who_is_no_server() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        async with sink(f"nats://127.0.0.1:{bound.getsockname()[1]}") as out:
            assert isinstance(await refused(out), Unreachable)
    async with receiving(Receiver()) as web, sink(f"nats://127.0.0.1:{web.port}", timeout=1) as out:
        assert isinstance(await refused(out), Unreachable)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"servers": ["nats://one:4222", "tls://two"]}, ""),
        ({"servers": ["http://one"]}, "should be a whole URL, such as nats://"),
        ({"servers": ["nats://u:p@one"]}, "should have no user"),
        ({"servers": []}, "at least 1"),
        ({"username": "u", "password": "hidden"}, ""),
        ({"username": "u"}, "is missing: a user has both"),
        ({"password": "hidden"}, "is missing: a user has both"),
        ({"subject": "a.{what}"}, "should be one word in which"),
    ],
)
def test_fields(more: dict[str, Any], says: str) -> None:
    given = {"kind": "nats", "servers": ["nats://one"], **more}
    if not says:
        fields = ours.Nats.model_validate(given)
        assert "hidden" not in repr(fields) + fields.place
        return
    with pytest.raises(ValidationError, match=says):
        ours.Nats.model_validate(given)
