"""RabbitMQ, a real one: what a queue holds, what is refused, and a broker that is killed in mid-stream."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from cloudevents.core.bindings.rabbitmq import RabbitMQMessage, from_binary, from_structured
from cloudevents.core.formats.json import JSONFormat
from pydantic import ValidationError

from dcbridge.errors import AccountFault, Deferred, OutcomeUnknown, SendError, Unreachable
from dcbridge.events.sinks.amqp import Amqp, AmqpSink
from dcbridge.events.sinks.options import SinkOptions
from tests.events.brokers import EPMD, NO_RABBITMQ, RABBITMQ, Rabbit
from tests.events.receivers import PUBLIC_URL, Receiver, an_event, receiving

needs_rabbitmq = pytest.mark.skipif(not (RABBITMQ and EPMD), reason=NO_RABBITMQ)


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rabbit]:
    server = Rabbit(tmp_path_factory.mktemp("rabbit"))
    try:
        server.start()
        yield server
    finally:
        server.end()


@asynccontextmanager
async def sink(url: str, envelope: Any = "standard", **fields: Any) -> AsyncIterator[AmqpSink]:
    found = AmqpSink(
        Amqp.model_validate({"kind": "amqp", "url": url, "timeout": 10, **fields}),
        SinkOptions("crm", envelope, PUBLIC_URL),
    )
    try:
        yield found
    finally:
        await found.close()


@asynccontextmanager
async def channel(rabbit: Rabbit) -> AsyncIterator[AbstractChannel]:
    """A receiver's own connection."""
    connection = await aio_pika.connect(rabbit.url)
    async with connection:
        yield await connection.channel()


async def all_of(channel: AbstractChannel, queue: str) -> list[AbstractIncomingMessage]:
    """Everything that a queue holds, taken."""
    found = await channel.declare_queue(queue, durable=True)
    messages = []
    while (message := await found.get(fail=False)) is not None:
        await message.ack()
        messages.append(message)
    return messages


async def refused(sink: AmqpSink) -> SendError:
    with pytest.raises(SendError) as found:
        await sink.deliver(an_event())
    return found.value


@needs_rabbitmq
async def test_a_queue_holds_what_was_delivered(rabbit: Rabbit) -> None:
    event = an_event()
    async with channel(rabbit) as mine, sink(rabbit.url, routing_key="plain") as out:
        await mine.declare_queue("plain", durable=True)
        await out.deliver(event)
        [message] = await all_of(mine, "plain")
    assert (message.message_id, message.type, message.app_id) == (event.id, "interaction.started", "dcbridge")
    assert message.content_type == "application/json"
    assert message.delivery_mode is aio_pika.DeliveryMode.PERSISTENT
    assert message.timestamp == event.received_at.replace(microsecond=0)
    assert b'"interactionId":"8e09e19f' in message.body


@needs_rabbitmq
@pytest.mark.parametrize("envelope", ["cloudevents-structured", "cloudevents-binary"])
async def test_cloudevents_are_read_by_their_own_library(rabbit: Rabbit, envelope: str) -> None:
    event = an_event(interaction='ä "100%"')
    async with channel(rabbit) as mine, sink(rabbit.url, envelope, routing_key=envelope) as out:
        await mine.declare_queue(envelope, durable=True)
        await out.deliver(event)
        [message] = await all_of(mine, envelope)
    headers = {name: str(value) for name, value in message.headers.items()}
    came = RabbitMQMessage(headers, message.content_type, message.body)
    read = from_binary(came, JSONFormat()) if envelope == "cloudevents-binary" else from_structured(came, JSONFormat())
    assert (read.get_id(), read.get_type()) == (event.id, "dcbridge.interaction.started")
    assert (read.get_subject(), read.get_time()) == (event.interaction, event.received_at)
    assert bool(headers) == (envelope == "cloudevents-binary")


@needs_rabbitmq
async def test_a_routing_key_made_of_the_event_reaches_the_queues_that_bound_it(rabbit: Rabbit) -> None:
    fields = {"exchange": "interactions", "routing_key": "{endpoint}.{media}.{subtype}.{event}"}
    async with channel(rabbit) as mine, sink(rabbit.url, **fields) as out:
        exchange = await mine.declare_exchange("interactions", aio_pika.ExchangeType.TOPIC, durable=True)
        chats = await mine.declare_queue("chats", durable=True)
        await chats.bind(exchange, "*.chat.#")
        await out.deliver(an_event())
        await out.deliver(an_event(id="evt-2", media="chat", subtype="a.b*#", name=""))
        with pytest.raises(Deferred, match="unroutable"):
            await out.deliver(an_event(id="evt-3", media="email"))  # nobody bound it: kept, not dropped
        await out.deliver(an_event(id="evt-4"))
        keys = {message.message_id: message.routing_key for message in await all_of(mine, "chats")}
    assert keys == {
        "evt_0f3a-1": "events.chat.InboundNew.STARTED",
        "evt-2": "events.chat.a_b__.none",
        "evt-4": "events.chat.InboundNew.STARTED",
    }


@needs_rabbitmq
async def test_what_a_person_must_mend_and_after_it_is_mended(rabbit: Rabbit) -> None:
    port = rabbit.port
    async with sink(f"amqp://guest:wrong@127.0.0.1:{port}/") as out:
        error = await refused(out)
        assert (type(error), error.code) == (AccountFault, "login")
    async with sink(f"amqp://guest:guest@127.0.0.1:{port}/no-such-host") as out:
        error = await refused(out)
        assert (type(error), error.code) == (AccountFault, "virtual host")
    async with sink(rabbit.url, exchange="later", routing_key="x") as out, channel(rabbit) as mine:
        assert isinstance(await refused(out), AccountFault)
        exchange = await mine.declare_exchange("later", aio_pika.ExchangeType.FANOUT, durable=True)
        queue = await mine.declare_queue("later", durable=True)
        await queue.bind(exchange)
        await out.deliver(an_event())
        assert len(await all_of(mine, "later")) == 1
        await exchange.delete()
        error = await refused(out)  # gone in mid-stream: the broker closes the channel
        assert isinstance(error, OutcomeUnknown)
        assert isinstance(await refused(out), AccountFault)


@needs_rabbitmq
async def test_a_full_queue_that_says_no_is_asked_again_later(rabbit: Rabbit) -> None:
    async with channel(rabbit) as mine, sink(rabbit.url, routing_key="small") as out:
        await mine.declare_queue("small", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
        await out.deliver(an_event())
        error = await refused(out)
        assert (type(error), error.code) == (Deferred, "not confirmed")


@needs_rabbitmq
async def test_a_broker_that_is_killed_in_mid_stream_loses_nothing(rabbit: Rabbit) -> None:
    """Each event is delivered until its sink says that it is; then the queue has every one of them."""
    wanted = [f"evt-{number}" for number in range(1000)]
    errors: list[SendError] = []
    places = asyncio.Semaphore(20)

    async def until_delivered(out: AmqpSink, name: str) -> None:
        async with places:
            while True:
                try:
                    await out.deliver(an_event(id=name))
                    return
                except (Unreachable, OutcomeUnknown) as error:
                    errors.append(error)
                    await asyncio.sleep(0.2)

    async with channel(rabbit) as mine:
        await mine.declare_queue("stream", durable=True)
    async with sink(rabbit.url, routing_key="stream", timeout=5) as out:
        tasks = [asyncio.ensure_future(until_delivered(out, name)) for name in wanted]
        await asyncio.gather(*tasks[:100])
        rabbit.stop_the_clock(True)
        await asyncio.sleep(0.2)  # twenty are on the wire, and nobody will ever answer them
        rabbit.kill()
        await asyncio.to_thread(rabbit.start)
        await asyncio.gather(*tasks)
    async with channel(rabbit) as mine:
        came = [message.message_id for message in await all_of(mine, "stream")]
    assert set(came) == set(wanted)
    assert OutcomeUnknown in {type(error) for error in errors}


@needs_rabbitmq
async def test_a_broker_that_falls_silent_is_waited_for_no_longer_than_said(rabbit: Rabbit) -> None:
    async with channel(rabbit) as mine, sink(rabbit.url, routing_key="silent", timeout=1) as out:
        await mine.declare_queue("silent", durable=True)
        await out.deliver(an_event())
        rabbit.stop_the_clock(True)
        try:
            error = await refused(out)
            assert (type(error), error.code) == (OutcomeUnknown, "timeout")
            async with sink(rabbit.url, timeout=1) as another:
                error = await refused(another)
                assert (type(error), error.code) == (Unreachable, "connect timeout")
        finally:
            rabbit.stop_the_clock(False)
        await out.deliver(an_event(id="evt-2"))


async def test_nobody_listens_and_somebody_who_is_no_broker() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        async with sink(f"amqp://127.0.0.1:{bound.getsockname()[1]}/") as out:
            assert isinstance(await refused(out), Unreachable)
    async with receiving(Receiver()) as web, sink(f"amqp://127.0.0.1:{web.port}/", timeout=1) as out:
        assert isinstance(await refused(out), Unreachable)
    async with sink("amqp://nowhere.invalid/", timeout=5) as out:
        assert isinstance(await refused(out), Unreachable)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"url": "amqp://u:p@h/v"}, ""),
        ({"url": "amqps://u:p@h:5671/v"}, ""),
        ({"url": "http://h/"}, "should be a whole URL, such as amqps://"),
        ({"url": "amqp:///v"}, "should be a whole URL"),
        ({"routing_key": "a.{media}"}, ""),
        ({"routing_key": "a.{channel}"}, "should be one word in which"),
        ({"routing_key": "a {media}"}, "should be one word in which"),
        ({"routing_key": "a.{media"}, "should be one word in which"),
    ],
)
def test_fields(more: dict[str, str], says: str) -> None:
    given = {"kind": "amqp", "url": "amqps://user:hidden@rabbit.example.com/v", **more}
    if not says:
        fields = Amqp.model_validate(given)
        assert "hidden" not in repr(fields) + fields.place
        return
    with pytest.raises(ValidationError, match=says):
        Amqp.model_validate(given)
