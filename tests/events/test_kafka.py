"""Kafka, against librdkafka's pretended cluster: what a record holds, its place, and a broker that stalls."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event
from confluent_kafka import Consumer, Message, TopicPartition
from pydantic import ValidationError

from dcbridge.errors import AccountFault, OutcomeUnknown, Refused, SendError, Unreachable
from dcbridge.events.sinks.kafka import Kafka, KafkaSink
from dcbridge.events.sinks.options import SinkOptions
from tests.certificates import self_signed
from tests.events.kafka_cluster import Cluster
from tests.events.receivers import PUBLIC_URL, Receiver, an_event, receiving, server_tls


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    found = Cluster()
    try:
        found.start()
        yield found
    finally:
        found.end()


@asynccontextmanager
async def sink(server: str, topic: str, envelope: Any = "standard", **fields: Any) -> AsyncIterator[KafkaSink]:
    given = {"kind": "kafka", "servers": [server], "topic": topic, "security": "plaintext", "timeout": 20, **fields}
    found = KafkaSink(Kafka.model_validate(given), SinkOptions("crm", envelope, PUBLIC_URL))
    try:
        yield found
    finally:
        await found.close()


def all_of(cluster: Cluster, topic: str) -> list[Message]:
    """Every record of a topic, partition by partition."""
    reader = Consumer({"bootstrap.servers": cluster.server, "group.id": "tests", "log_level": 0})
    try:
        partitions = reader.list_topics(topic, timeout=20).topics[topic].partitions
        ends = {
            number: reader.get_watermark_offsets(TopicPartition(topic, number), timeout=20) for number in partitions
        }
        reader.assign([TopicPartition(topic, number, low) for number, (low, _) in ends.items()])
        count = sum(high - low for low, high in ends.values())
        found = reader.consume(count, timeout=30) if count else []
        assert len(found) == count
        return sorted(found, key=lambda message: (message.partition() or 0, message.offset() or 0))
    finally:
        reader.close()


def headers(message: Message) -> dict[str, bytes]:
    return dict(cast(list[tuple[str, bytes]], message.headers() or []))


async def refused(sink: KafkaSink, **changes: Any) -> SendError:
    with pytest.raises(SendError) as found:
        await sink.deliver(an_event(**changes))
    return found.value


async def test_a_record(cluster: Cluster) -> None:
    event = an_event()
    async with sink(cluster.server, "plain") as out:
        await out.deliver(event)
    [message] = await asyncio.to_thread(all_of, cluster, "plain")
    assert message.key() == event.interaction.encode()
    assert headers(message) == {"content-type": b"application/json", "webhook-id": event.id.encode()}
    assert b'"type":"interaction.started"' in (message.value() or b"")


@pytest.mark.parametrize("envelope", ["cloudevents-structured", "cloudevents-binary"])
async def test_cloudevents_are_read_by_their_own_library(cluster: Cluster, envelope: str) -> None:
    event = an_event(interaction='ä "100%"')
    async with sink(cluster.server, envelope, envelope) as out:
        await out.deliver(event)
    [message] = await asyncio.to_thread(all_of, cluster, envelope)
    read = from_kafka_event(KafkaMessage(headers(message), message.key(), message.value() or b""))
    assert (read.get_id(), read.get_type()) == (event.id, "dcbridge.interaction.started")
    assert (read.get_subject(), read.get_time()) == (event.interaction, event.received_at)
    assert ("ce_id" in headers(message)) == (envelope == "cloudevents-binary")


async def test_the_events_of_one_interaction_are_in_one_partition_and_in_order(cluster: Cluster) -> None:
    async with sink(cluster.server, "ordered") as out:
        for turn in range(5):
            for interaction in range(20):
                await out.deliver(an_event(id=f"evt-{interaction}-{turn}", interaction=f"i-{interaction}"))
        await asyncio.gather(*(out.deliver(an_event(id=f"evt-{n}-x", interaction=f"x-{n}")) for n in range(200)))
    messages = await asyncio.to_thread(all_of, cluster, "ordered")
    assert len(messages) == 300
    assert len({message.partition() for message in messages}) > 1
    for interaction in range(20):
        mine = [message for message in messages if message.key() == f"i-{interaction}".encode()]
        assert [headers(message)["webhook-id"] for message in mine] == [
            f"evt-{interaction}-{turn}".encode() for turn in range(5)
        ]
        assert len({message.partition() for message in mine}) == 1


async def test_a_broker_that_stalls_for_a_while_gets_each_record_once(cluster: Cluster) -> None:
    """Within the sink's patience nobody hears of it."""
    async with sink(cluster.server, "stalled", timeout=60) as out:
        await out.deliver(an_event(id="evt-first"))
        cluster.stop_the_clock(True)
        try:
            some = (an_event(id=f"evt-{number}", interaction=f"i-{number}") for number in range(300))
            tasks = [asyncio.ensure_future(out.deliver(event)) for event in some]
            await asyncio.sleep(0.5)
            assert not any(task.done() for task in tasks)
        finally:
            cluster.stop_the_clock(False)
        await asyncio.gather(*tasks)
    ids = [headers(message)["webhook-id"].decode() for message in await asyncio.to_thread(all_of, cluster, "stalled")]
    assert sorted(ids) == sorted(["evt-first", *(f"evt-{n}" for n in range(300))])


async def test_a_broker_that_stays_silent_is_waited_for_no_longer_than_said(cluster: Cluster) -> None:
    async with sink(cluster.server, "silent", timeout=4) as out:
        await out.deliver(an_event())
        cluster.stop_the_clock(True)
        try:
            error = await refused(out, id="evt-2")
            assert (type(error), error.code) == (OutcomeUnknown, "_MSG_TIMED_OUT")
        finally:
            cluster.stop_the_clock(False)
        while True:  # the client finds out by itself that the broker is back
            try:
                await out.deliver(an_event(id="evt-3"))
                break
            except (OutcomeUnknown, Unreachable):
                continue
    ids = {headers(message)["webhook-id"] for message in await asyncio.to_thread(all_of, cluster, "silent")}
    assert {b"evt_0f3a-1", b"evt-3"} <= ids


async def test_a_record_that_is_too_large(cluster: Cluster) -> None:
    async with sink(cluster.server, "large") as out:
        error = await refused(out, fields={"long": "x" * 2_000_000})
        assert (type(error), error.code) == (Refused, "MSG_SIZE_TOO_LARGE")
        await out.deliver(an_event(fields={"long": "x" * 200_000}))


async def test_nobody_listens_and_somebody_who_is_no_broker() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        async with sink(f"127.0.0.1:{bound.getsockname()[1]}", "x", timeout=4) as out:
            assert isinstance(await refused(out), Unreachable)
    async with receiving(Receiver()) as web, sink(f"127.0.0.1:{web.port}", "x", timeout=4) as out:
        assert isinstance(await refused(out), Unreachable | OutcomeUnknown)


async def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    async with receiving(receiver := Receiver(), tls=server_tls(certificate, key, receiver)):
        server = f"127.0.0.1:{receiver.port}"
        async with sink(server, "x", security="tls", timeout=4) as out:
            error = await refused(out)
            assert (type(error), error.code) == (Unreachable, "_SSL")
        async with sink(server, "x", security="tls", ca_file=str(tmp_path / "absent.pem")) as out:
            error = await refused(out)
            assert (type(error), error.code) == (AccountFault, "tls files")


async def test_a_sink_that_is_closed_gives_up_what_is_under_way(cluster: Cluster) -> None:
    async with sink(cluster.server, "closed", timeout=600) as out:
        await out.deliver(an_event())
        cluster.stop_the_clock(True)
        try:
            waiting = asyncio.ensure_future(out.deliver(an_event(id="evt-2")))
            await asyncio.sleep(0.2)
            await out.close()
            with pytest.raises(OutcomeUnknown):
                await waiting
        finally:
            cluster.stop_the_clock(False)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({}, ""),
        ({"servers": ["[::1]:9092", "k-2.example.com:9092"]}, ""),
        ({"servers": ["kafka.example.com"]}, "should be a host and a port"),
        ({"servers": ["kafka://k:9092"]}, "should be a host and a port"),
        ({"topic": "a b"}, "should match pattern"),
        ({"mechanism": "PLAIN"}, "is missing: SASL has"),
        ({"mechanism": "PLAIN", "username": "u", "password": "hidden"}, ""),
        ({"mechanism": "GSSAPI", "username": "u", "password": "hidden"}, "PLAIN"),
    ],
)
def test_fields(more: dict[str, Any], says: str) -> None:
    given = {"kind": "kafka", "servers": ["kafka.example.com:9092"], "topic": "interactions", **more}
    if not says:
        fields = Kafka.model_validate(given)
        assert "hidden" not in repr(fields) + fields.place
        return
    with pytest.raises(ValidationError, match=says):
        Kafka.model_validate(given)
