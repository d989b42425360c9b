"""Batches become events and events reach subscribers: the worker's jobs, with real receivers behind real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.config.loader import parse
from dcbridge.ledger.reports.books import SubscriberBooks, read
from tests.listening import listening
from tests.workers.far_side import Reply, hang_up, saying, settings
from workers import jobs, reconciler
from workers.context import WorkerContext, install, open_context

CONFIGURATION = """
public_url: http://127.0.0.1:8080
digital_channels: {{base_url: http://127.0.0.1/nexus/v3, contact_center_id: 0ff723ff-6c6f-44e0-9ce3-ce579337eadd}}
endpoints: {{main: {{secrets: [the-app-secret-of-now]}}}}
interactions: {{main: {{secrets: [the-app-secret-of-now]}}}}
providers: {{twilio: {{kind: twilio, account_sid: AC0123456789abcdef0123456789abcdef, auth_token: 0123456789abcdef}}}}
channels: {{"0123456789": {{type: sms, provider: twilio}}}}
breaker: {{failures: 3, first: 0.2, most: 0.5}}
subscribers:
{subscribers}
"""
SECRET = "whsec_YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY="
SINK = "{{kind: http, url: '{url}/{name}', secrets: [" + SECRET + "], allow: [127.0.0.1], timeout: 20}}"
WELL = saying(200)


@dataclass(slots=True)
class Receiver:
    """One subscriber's other side: `replies` are used up in turn, then `usual`."""

    usual: Reply = WELL
    replies: list[Reply] = field(default_factory=list)
    heard: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    async def answer(self, request: Request) -> Response:
        self.heard.append((request.headers["webhook-id"], orjson.loads(await request.body())))
        return await (self.replies.pop(0) if self.replies else self.usual)(request)

    @property
    def events(self) -> list[str]:
        return [body["data"]["event"] for _, body in self.heard]

    @property
    def ids(self) -> list[str]:
        return [webhook_id for webhook_id, _ in self.heard]


@dataclass(slots=True)
class World:
    """A worker's context, and the receivers by name."""

    context: WorkerContext
    receivers: dict[str, Receiver]

    def __getitem__(self, name: str) -> Receiver:
        return self.receivers[name]

    async def tell(self, *events: tuple[str, str], operation: str = "op-1", endpoint: str = "main") -> None:
        """A batch as the service takes it: (interaction, event)…"""
        entities = [
            {"event": event, "entity": {"id": interaction, "mediaType": "chat"} if interaction else {}}
            for interaction, event in events
        ]
        body = orjson.dumps({"operationId": operation, "data": {"entities": entities}})
        await self.context.ledger.events.put_batch(f"{endpoint}-{operation}", endpoint, "trace", body)

    async def work(self) -> None:
        """Run every job there is, as a worker does, until nothing is left but what waits for its time."""
        while True:
            await reconciler.sweep(self.context)
            if await self.context.redis.lpop("rq:queue:inbound"):
                await jobs.split("interactions")
                continue
            waiting: Any = await self.context.redis.lpop("rq:queue:events", 1000)
            if not waiting:
                return
            await asyncio.gather(*(jobs.deliver(job.decode()[8:].rpartition("-")[0]) for job in waiting))

    async def until(self, found: Callable[[], bool]) -> None:
        """Work and wait in turn."""
        for _ in range(400):
            await self.work()
            if found():
                return
            await asyncio.sleep(0.05)
        raise AssertionError({name: one.events for name, one in self.receivers.items()})

    async def books(self, name: str) -> SubscriberBooks:
        return next(one for one in (await read(self.context.redis)).subscribers if one.name == name)

    def counted(self, name: str, /, **labels: str) -> float:
        return self.context.metrics.registry.get_sample_value(name, labels) or 0.0

    async def letters(self) -> list[tuple[str, str, bytes]]:
        found = self.context.ledger.dead_letters
        ids = await found.ids()
        return [(one.what, one.reason, await found.raw(one.id) or b"") async for one in found.read(ids) if one]


@asynccontextmanager
async def world(redis: Redis, url: str, genesys: str = "", **subscribers: str) -> AsyncIterator[World]:
    """`subscribers`: what bridge.yaml says of each, besides its sink; `genesys`: its lines about that."""
    await redis.flushall()
    receivers = {name: Receiver() for name in subscribers}
    routes = [Route(f"/{name}", one.answer, methods=["POST"]) for name, one in receivers.items()]
    async with listening(Starlette(routes=routes)) as there:
        lines = [
            f"  {name}: {{sink: {SINK.format(url=there, name=name)}{', ' if more else ''}{more}}}"
            for name, more in subscribers.items()
        ]
        configuration = parse(CONFIGURATION.format(subscribers="\n".join(lines)) + genesys, {})
        async with open_context(settings(url), configuration) as context:
            install(context)
            await context.announce()
            yield World(context, receivers)


async def test_every_event_reaches_every_subscriber_once(redis: Redis, redis_server: EmbeddedRedis) -> None:
    async with world(redis, redis_server.url, crm="", lake="") as w:
        await w.tell(("i-1", "STARTED"), ("i-2", "STARTED"))
        await w.tell(("i-1", "FINISHED"), operation="op-2")
        await w.work()
        await w.tell(("i-1", "FINISHED"), operation="op-2")
        await w.work()
        assert sorted(w["crm"].events) == ["FINISHED", "STARTED", "STARTED"]
        assert set(w["crm"].ids) == set(w["lake"].ids)
        assert len(set(w["crm"].ids)) == 3
        body = next(body for _, body in w["crm"].heard if body["data"]["event"] == "FINISHED")
        assert (body["type"], body["data"]["interactionId"], body["data"]["sequence"]) == (
            "interaction.finished", "i-1", 2,
        )  # fmt: skip
        assert body["data"]["entity"] == {"id": "i-1", "mediaType": "chat"}
        for name in ("crm", "lake"):
            books = await w.books(name)
            assert (books.accepted, books.delivered, books.waiting, books.difference) == (3, 3, 0, 0)
            assert w.counted("dcbridge_deliveries_total", subscriber=name, outcome="delivered") == 3
            assert w.counted("dcbridge_event_seconds_count", subscriber=name) == 3


async def test_a_replay_reaches_a_stream_that_remembers_the_event(redis: Redis, redis_server: EmbeddedRedis) -> None:
    stream = f"  lake: {{sink: {{kind: redis-stream, url: '{redis_server.url}', stream: copies}}}}"
    async with world(redis, redis_server.url, crm="") as w:
        await w.context.change(parse(CONFIGURATION.format(subscribers=stream), {}))
        await w.tell(("i-1", "STARTED"))
        await w.work()
        [event_id] = await w.context.ledger.events.ids()
        assert await redis.xlen("copies") == 1
        assert await w.context.ledger.deliveries.replay("lake", {event_id: ""}) == ["new"]
        await w.work()
        rows: Any = await redis.xrange("copies")
        assert [entry[b"id"].decode() for _, entry in rows] == [event_id] * 2
        assert (await w.books("lake")).delivered == 2


async def test_filters_choose(redis: Redis, redis_server: EmbeddedRedis) -> None:
    async with world(redis, redis_server.url, ends="events: [finished]", email="media: [email]", off="on: false") as w:
        await w.tell(("i-1", "STARTED"), ("i-1", "FINISHED"))
        await w.work()
        assert {name: one.events for name, one in w.receivers.items()} == {"ends": ["FINISHED"], "email": [], "off": []}


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (saying(500), "outcome_unknown"),
        (hang_up, "outcome_unknown"),
        (saying(409), "deferred"),
        (saying(503), "outcome_unknown"),
    ],
)
async def test_what_was_not_taken_goes_again_under_the_same_id(
    redis: Redis, redis_server: EmbeddedRedis, reply: Reply, outcome: str
) -> None:
    async with world(redis, redis_server.url, crm="retry: {waits: [0.01, 0.01], jitter: 0}", lake="") as w:
        w["crm"].replies = [reply]
        await w.tell(("i-1", "STARTED"))
        await w.until(lambda: len(w["crm"].ids) == 2)
        assert set(w["crm"].ids) == set(w["lake"].ids)
        assert len(w["lake"].ids) == 1
        assert w.counted("dcbridge_deliveries_total", subscriber="crm", outcome=outcome) == 1
        assert w.counted("dcbridge_deliveries_total", subscriber="crm", outcome="delivered") == 1
        assert (await w.books("crm")).difference == 0


async def test_the_last_attempt_ends_as_a_dead_letter_and_an_event_for_the_operator(
    redis: Redis, redis_server: EmbeddedRedis
) -> None:
    async with world(
        redis, redis_server.url, crm="retry: {waits: [0.01], jitter: 0}", ops="events: [delivery.dead]"
    ) as w:
        w["crm"].usual = saying(422)
        await w.tell(("i-1", "STARTED"))
        await w.until(lambda: bool(w["ops"].ids))
        assert len(w["crm"].ids) == 2
        [(what, reason, raw)] = await w.letters()
        assert (what, reason) == ("delivery", "422")
        assert b"i-1" in raw
        assert w["ops"].events == ["delivery.dead"]
        told = w["ops"].heard[0][1]["data"]
        assert (told["entity"]["subscriber"], told["entity"]["code"], told["interactionId"]) == ("crm", "422", "i-1")
        assert told["entity"]["eventId"] == w["crm"].ids[0]


async def test_an_event_that_is_refused_is_not_tried_again(redis: Redis, redis_server: EmbeddedRedis) -> None:
    async with world(redis, redis_server.url, crm="") as w:
        w["crm"].usual = saying(413)
        await w.tell(("i-1", "STARTED"))
        await w.work()
        assert len(w["crm"].ids) == 1
        assert [what for what, _, _ in await w.letters()] == ["delivery"]
        assert not (await w.books("crm")).breaker_open


async def test_gone_disables_at_once_and_keeps_the_backlog(redis: Redis, redis_server: EmbeddedRedis) -> None:
    async with world(
        redis, redis_server.url, crm="pace: {in_flight: 1}", ops="events: [subscriber.disabled, subscriber.enabled]"
    ) as w:
        w["crm"].replies = [saying(410)]
        await w.tell(("i-1", "STARTED"), ("i-2", "STARTED"))
        await w.work()
        await w.work()
        assert len(w["crm"].ids) == 1
        books = await w.books("crm")
        assert (books.disabled_for > 0, books.why, books.waiting) == (True, "410", 2)
        assert await w.context.ledger.subscribers.enable("crm")
        await w.work()
        await w.work()
        assert sorted(w["crm"].ids[1:]) == sorted(set(w["crm"].ids))
        assert w["ops"].events == ["subscriber.disabled", "subscriber.enabled"]


async def test_later_is_obeyed_for_the_whole_subscriber_and_spends_no_attempt(
    redis: Redis, redis_server: EmbeddedRedis
) -> None:
    async with world(redis, redis_server.url, crm="pace: {in_flight: 1}, retry: {waits: []}") as w:
        w["crm"].replies = [saying(429, Retry_After="3")]
        await w.tell(("i-1", "STARTED"), ("i-2", "STARTED"))
        await w.work()
        assert len(w["crm"].ids) == 1
        assert 2000 < await redis.pttl("dcb:pause:subscribers/crm") <= 3000
        assert (await w.books("crm")).waiting == 2
        assert await w.letters() == []


async def test_a_subscriber_that_fails_gets_probes_and_then_everything(
    redis: Redis, redis_server: EmbeddedRedis
) -> None:
    async with world(redis, redis_server.url, crm="pace: {in_flight: 2}, retry: {waits: [0.01, 0.01, 0.01]}") as w:
        w["crm"].replies = [saying(500)] * 4
        await w.tell(*((f"i-{n}", "STARTED") for n in range(12)))
        await w.work()
        before = len(w["crm"].ids)
        assert 3 <= before <= 4
        assert (await w.books("crm")).breaker_open
        await w.until(lambda: len(w["crm"].ids) == 12 + 4)
        books = await w.books("crm")
        assert (books.delivered, books.dead, books.breaker_open, books.difference) == (12, 0, False, 0)


async def test_a_fault_calls_a_person_and_holds_everything_back(redis: Redis, redis_server: EmbeddedRedis) -> None:
    async with world(redis, redis_server.url, crm="pace: {in_flight: 1}") as w:
        w["crm"].usual = saying(401)
        await w.tell(("i-1", "STARTED"), ("i-2", "STARTED"))
        await w.work()
        assert len(w["crm"].ids) == 1
        assert (await w.books("crm")).breaker_open
        assert w.counted("dcbridge_errors_total", kind="account_fault", name="crm") == 1


async def test_order_is_kept_where_it_is_asked_for(redis: Redis, redis_server: EmbeddedRedis) -> None:
    async with world(
        redis, redis_server.url, crm="ordered: true, retry: {waits: [0.05, 0.05]}", lake="retry: {waits: [600]}"
    ) as w:
        for name in ("crm", "lake"):
            w[name].replies = [saying(500)]
        await w.tell(("i-1", "STARTED"))
        await w.work()
        await w.tell(("i-1", "FINISHED"), operation="op-2")
        await w.until(lambda: "FINISHED" in w["crm"].events)
        assert w["crm"].events == ["STARTED", "STARTED", "FINISHED"]
        assert w["lake"].events == ["STARTED", "FINISHED"]


async def test_a_gap_is_told_to_those_who_asked(redis: Redis, redis_server: EmbeddedRedis) -> None:
    async with world(redis, redis_server.url, crm="", ops="events: [interaction.gap]") as w:
        await w.tell(("i-1", "FINISHED"))
        await w.work()
        await w.work()
        assert w["crm"].events == ["FINISHED"]
        [(_, body)] = w["ops"].heard
        assert body["type"] == "interaction.gap"
        assert body["data"]["interactionId"] == "i-1"
        assert body["data"]["entity"]["kind"] == "finished_first"
        assert (await read(redis)).counts["gap_finished_first"] == 1


async def test_an_entity_without_a_name_is_counted_and_kept(redis: Redis, redis_server: EmbeddedRedis) -> None:
    async with world(redis, redis_server.url, crm="") as w:
        await w.tell(("", ""), ("i-1", "STARTED"))
        await w.work()
        assert w["crm"].events == ["STARTED"]
        assert [what for what, _, _ in await w.letters()] == ["interaction-entity"]
        assert w.counted("dcbridge_errors_total", kind="entity_nameless", name="main") == 1


async def test_a_batch_that_trips_us_up_does_not_stop_those_behind_it(
    redis: Redis, redis_server: EmbeddedRedis
) -> None:
    async with world(redis, redis_server.url, crm="") as w:
        deep = b'{"event": "X", "entity": {"id": "i-0", "a": ' + b"[" * 990 + b"]" * 990 + b"}}"
        await w.context.ledger.events.put_batch("b-0", "main", "trace", b'{"data": {"entities": [' + deep + b"]}}")
        await w.context.ledger.events.put_batch("b-1", "main", "trace", b"\xff no JSON")
        await w.tell(("i-1", "STARTED"))
        await w.work()
        assert w["crm"].events[-1] == "STARTED"
        assert "interaction-batch" in [what for what, _, _ in await w.letters()]
        assert (await read(redis)).interaction_batches == 0


async def test_a_subscriber_that_another_worker_knows_is_left_to_it(redis: Redis, redis_server: EmbeddedRedis) -> None:
    async with world(redis, redis_server.url, crm="", lake="") as w:
        everybody = w.context.sinks.subscribers
        await w.tell(("i-1", "STARTED"))
        await jobs.split("interactions")
        w.context.sinks.change({"lake": everybody["lake"]})
        await w.work()
        assert (len(w["crm"].ids), len(w["lake"].ids)) == (0, 1)
        books = await w.books("crm")
        assert (books.waiting, books.dead, books.breaker_open) == (1, 0, False)


async def test_changed_subscribers_count_at_once_and_what_is_under_way_ends_as_it_began(
    redis: Redis, redis_server: EmbeddedRedis
) -> None:
    async with world(redis, redis_server.url, crm="", lake="") as w:
        arrived, go = asyncio.Event(), asyncio.Event()

        async def slowly(_request: Request) -> Response:
            arrived.set()
            await go.wait()
            return Response()

        w["crm"].replies = [slowly]
        crm, lake = (w.context.sinks.subscribers[name] for name in ("crm", "lake"))
        await w.tell(("i-1", "STARTED"))
        await jobs.split("interactions")
        under_way = asyncio.create_task(w.work())
        await arrived.wait()
        await w.context.change(w.context.configuration.with_subscribers({"crm": lake.model_copy(), "new": crm}))
        go.set()
        await under_way
        assert w["crm"].events == ["STARTED"]
        await w.tell(("i-1", "FINISHED"), operation="op-2")
        await w.work()
        assert w["crm"].events == ["STARTED", "FINISHED"]  # by the name of "new"
        assert w["lake"].events.count("FINISHED") == 1  # by the name of "crm"
        assert (await w.books("crm")).difference == 0
