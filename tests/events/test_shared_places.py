"""Several subscribers at one place: each gets every event, the place is told of, and a repetition is kept once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nats
import pytest
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.config.loader import parse
from dcbridge.events.sinks import Event, Subscriber, open_sink
from dcbridge.events.sinks.targets import shared
from tests.events.brokers import NATS, NO_NATS, Nats
from tests.events.minimal import BRIDGE
from tests.events.receivers import PUBLIC_URL, SECRET, an_event

THREE = ("crm", "lake", "wallboard")
EVENTS = [an_event(id=f"evt-{number}") for number in range(5)]


async def deliver(events: list[Event], sink: dict[str, Any], *names: str, envelope: str = "standard") -> list[bool]:
    """All events to each of the subscribers; whether the other side said that it had them."""
    said = []
    for name in names:
        opened = open_sink(name, Subscriber.model_validate({"sink": sink, "envelope": envelope}), PUBLIC_URL)
        try:
            said += [await opened.deliver(event) for event in events]
        finally:
            await opened.close()
    return said


@pytest.mark.skipif(not NATS, reason=NO_NATS)
async def test_three_subscribers_at_one_jetstream_and_every_event_three_times(tmp_path: Path) -> None:
    server = Nats(tmp_path)
    server.start()
    try:
        async with await nats.connect(server.url) as client:
            js = client.jetstream()
            await js.add_stream(name="all", subjects=["interactions.>"])

            async def stored() -> int:
                return (await js.stream_info("all")).state.messages

            sink = {"kind": "nats", "servers": [server.url]}
            assert await deliver(EVENTS, sink, *THREE) == [False] * 15
            assert await stored() == 15
            assert await deliver(EVENTS, sink, "crm") == [True] * 5  # as after an answer that got lost
            assert await stored() == 15
            again = [an_event(id=one.id, replayed=1_795_320_306_000) for one in EVENTS]
            assert await deliver(again, sink, "crm") == [False] * 5  # somebody asked for it
            assert await deliver(again, sink, "crm") == [True] * 5
            assert await stored() == 20
            structured = "cloudevents-structured"
            reader = await js.subscribe("interactions.>", ordered_consumer=True)
            await deliver([an_event(id="evt-ce")], sink, "lake", envelope=structured)
            messages = [await reader.next_msg(timeout=10) for _ in range(21)]
        headers = [message.headers or {} for message in messages]
        assert {one["webhook-id"] for one in headers[:20]} == {one.id for one in EVENTS}
        assert [one["Nats-Msg-Id"] for one in headers[::5]][:4] == [
            "crm:evt-0", "lake:evt-0", "wallboard:evt-0", "crm:evt-0:1795320306000",
        ]  # fmt: skip
        assert json.loads(messages[-1].data)["id"] == "evt-ce"  # a CloudEvent's id is the event's
    finally:
        server.end()


async def test_three_subscribers_at_one_redis_stream_and_every_event_three_times(
    redis: Redis, redis_server: EmbeddedRedis
) -> None:
    sink = {"kind": "redis-stream", "url": redis_server.url, "stream": "events"}
    assert await deliver(EVENTS, sink, *THREE) == [False] * 15
    assert await redis.xlen("events") == 15
    assert await deliver(EVENTS, sink, *THREE) == [True] * 15
    assert await redis.xlen("events") == 15
    again = [an_event(id=one.id, replayed=7) for one in EVENTS]
    assert await deliver(again, sink, *THREE) == [False] * 15
    entries: Any = await redis.xrange("events")
    assert {entry[b"id"].decode() for _, entry in entries} == {one.id for one in EVENTS}


HTTP = {"kind": "http", "url": "https://crm.example.com/hook?x=1", "secrets": [SECRET]}
STREAM = {"kind": "redis-stream", "url": "redis://cache.example.com/0", "stream": "events"}
AMQP = {"kind": "amqp", "url": "amqps://u:p@rabbit.example.com/", "exchange": "events"}
JETSTREAM = {"kind": "nats", "servers": ["nats://one.example.com", "nats://two.example.com:4222"]}
KAFKA = {"kind": "kafka", "servers": ["k1:9092", "k2:9092"], "topic": "events"}


@pytest.mark.parametrize(
    ("one", "more", "same"),
    [
        (HTTP, {}, True),
        (HTTP, {"url": "https://CRM.example.com:443/hook?x=1"}, True),
        (HTTP, {"secrets": ["whsec_YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY="]}, True),
        (HTTP, {"url": "https://crm.example.com/hook?x=2"}, False),
        (HTTP, {"url": "https://crm.example.com/hooks?x=1"}, False),
        (HTTP, {"url": "https://crm.example.com:8443/hook?x=1"}, False),
        (STREAM, {}, True),
        (STREAM, {"url": "redis://user:word@CACHE.example.com:6379"}, True),
        (STREAM, {"url": "redis://cache.example.com/1"}, False),
        (STREAM, {"stream": "others"}, False),
        (STREAM, {"url": "http://what is this"}, False),
        (AMQP, {}, True),
        (AMQP, {"url": "amqps://other:word@rabbit.example.com:5671"}, True),
        (AMQP, {"url": "amqps://u:p@rabbit.example.com/vhost"}, False),
        (AMQP, {"exchange": ""}, False),
        (AMQP, {"routing_key": "interactions.chat.STARTED"}, True),
        (AMQP, {"routing_key": "elsewhere"}, False),
        (JETSTREAM, {}, True),
        (JETSTREAM, {"servers": ["nats://two.example.com"]}, True),
        (JETSTREAM, {"servers": ["nats://three.example.com"]}, False),
        (JETSTREAM, {"subject": "interactions.chat.STARTED"}, True),
        (JETSTREAM, {"subject": "interactions.chat"}, False),
        (JETSTREAM, {"subject": 7}, False),
        (KAFKA, {}, True),
        (KAFKA, {"servers": ["k2:9092", "k3:9092"]}, True),
        (KAFKA, {"servers": ["k2:9093"]}, False),
        (KAFKA, {"topic": "others"}, False),
        (KAFKA, HTTP, False),
        (KAFKA, {"kind": "pigeon"}, False),
    ],
)
def test_who_shares_a_place(one: dict[str, Any], more: dict[str, Any], same: bool) -> None:
    pairs = list(shared({"a": {"sink": one}, "b": {"sink": {**one, **more}}}))
    assert pairs == ([("b", "a")] if same else [])


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ({}, {}, True),
        ({"events": ["STARTED"]}, {}, True),
        ({"events": ["STARTED"]}, {"events": ["FINISHED"]}, False),
        ({"events": ["STARTED"]}, {"events": ["finished", "started"]}, True),
        ({"events": ["*", "interaction.gap"]}, {"events": ["FINISHED"]}, True),
        ({"media": ["chat"]}, {"media": ["email"]}, False),
        ({"media": ["Chat"]}, {"media": ["chat"]}, True),
        ({"subtypes": ["InboundNew"]}, {"subtypes": ["Outbound"]}, False),
        ({"on": False}, {}, False),
        ({"media": "chat"}, {"media": "email"}, True),  # unreadable: refused elsewhere
    ],
)
def test_subscribers_parted_by_their_filters_share_nothing(
    one: dict[str, Any], other: dict[str, Any], meet: bool
) -> None:
    pairs = list(shared({"a": {"sink": KAFKA, **one}, "b": {"sink": KAFKA, **other}}))
    assert pairs == ([("b", "a")] if meet else [])


def test_a_shared_place_is_a_warning_that_names_both() -> None:
    text = (
        BRIDGE
        + """
subscribers:
  crm: {sink: {kind: redis-stream, url: "redis://10.0.0.1/0", stream: events}}
  lake: {sink: {kind: redis-stream, url: "redis://10.0.0.1/0", stream: events}, media: [chat]}
"""
    )
    [warning] = [str(one) for one in parse(text, {}).warnings if "subscribers" in str(one)]
    assert 'subscribers.lake.sink: is the place of subscriber "crm" as well' in warning
