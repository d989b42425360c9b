"""Sessions of workers: who holds one, who sends, what arrives, and what an SMSC sends again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
from redis.asyncio import Redis

from dcbridge import intake
from dcbridge.cli.dev.embedded_redis import EmbeddedRedis, free_port
from dcbridge.config.loader import parse
from dcbridge.ledger import NewTask
from dcbridge.ledger.sessions import queue_of
from dcbridge.providers.callback import unpack
from dcbridge.smpp import pdu
from dcbridge.smpp.pdu import Command, Header
from tests.ledger.ledger_bench import Bench
from tests.transport.test_smpp import Smsc, answers, listening
from tests.workers.far_side import settings
from workers import binds, callbacks, outbound
from workers.context import WorkerContext, open_context

CHANNEL = "0123456789"
CONFIGURATION = """
public_url: http://127.0.0.1:8080
digital_channels:
  base_url: http://127.0.0.1:1/nexus/v3
  contact_center_id: 0ff723ff-6c6f-44e0-9ce3-ce579337eadd
endpoints:
  main: {{secrets: [the-app-secret-of-now]}}
providers:
  acme: {{kind: smpp, host: 127.0.0.1, port: {port}, system_id: x, binds: {binds}, enquire_every: 1}}
channels:
  "0123456789": {{type: sms, provider: acme, number: "+15557650123"}}
"""
HELLO = pdu.write_message(pdu.Message(source="16504661149", destination="15557650123", text=b"yes"))


class Side:
    """Workers beside one SMSC. `smscs`: its connections, the oldest first."""

    def __init__(self, redis: Redis, url: str, port: int, smscs: list[Smsc], stack: AsyncExitStack) -> None:
        self.redis, self.url, self.port, self.smscs, self.stack = redis, url, port, smscs, stack

    async def worker(self, name: str, count: int = 1, *, more: str = "", **changes: Any) -> WorkerContext:
        """One that keeps its sessions. `more`: of the account."""
        written = CONFIGURATION.format(port=self.port, binds=count)
        configuration = parse(written.replace("enquire_every: 1", f"enquire_every: 1, {more}") if more else written, {})
        ctx = await self.stack.enter_async_context(
            open_context(settings(self.url, **changes), configuration, worker=name)
        )
        await ctx.announce()
        await ctx.ledger.leases.heartbeat()
        keeping = asyncio.create_task(ctx.binds.keep())

        async def stop() -> None:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping

        self.stack.push_async_callback(stop)
        ctx.binds.stop = stop  # type: ignore[attr-defined]
        return ctx

    async def accept(self, ctx: WorkerContext, message_id: str = "m-1", to: str = "16504661149") -> str:
        body = (
            '{"channel":{"id":"0123456789","type":"sms","from":{"id":"0123456789"},"to":{"id":"' + to + '"},'
            f'"messageId":"{message_id}"}},"type":"Text","text":"Hello"}}'
        )
        copies = intake.read(ctx.configuration, "main", body.encode(), "trace").copies
        await ctx.ledger.messages.accept(copies)
        return copies[0].ref

    async def arrived(self) -> list[bytes]:
        """The units that wait to be read."""
        found = []
        for key in sorted(await self.redis.keys("dcb:t:b-*")):
            payload: Any = await self.redis.hget(key, "p")
            found.append(unpack(payload)[1].body[pdu.HEADER :])
        return found


async def until(found: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while True:
            if found():
                return
            await asyncio.sleep(0.02)


@asynccontextmanager
async def beside(redis: Redis, url: str, does: Any = answers, **changes: Any) -> AsyncIterator[Side]:
    async with listening(does, **changes) as (port, smscs), AsyncExitStack() as stack:
        yield Side(redis, url, port, smscs, stack)


@pytest.fixture
async def side(redis: Redis, redis_server: EmbeddedRedis) -> AsyncIterator[Side]:
    async with beside(redis, redis_server.url) as opened:
        yield opened


def bound(ctx: WorkerContext) -> bool:
    return ctx.binds.queues() == [queue_of("acme")]


# ---------------------------------------------------------------- who holds one


async def test_a_worker_without_a_session_passes_a_message_on(side: Side) -> None:
    first = await side.worker("first")
    await until(lambda: bound(first))
    second = await side.worker("second")
    ref, bench = await side.accept(first), Bench(side.redis)
    assert await bench.pop_job() == ref
    await outbound.send(second, ref)
    entry = await first.ledger.messages.entry(ref)
    assert (entry.state, entry.attempts, entry.total_attempts) == ("accepted", 0, 0)
    assert (await bench.queued(), await bench.queued("outbound-acme")) == ([], [ref])
    await outbound.send(first, ref)
    entry = await first.ledger.messages.entry(ref)
    assert (entry.state, entry.total_attempts, entry.provider_id(0)) == ("sent", 1, "id-2")
    assert not bound(second)


async def test_a_claim_that_is_another_workers_is_not_passed_on(side: Side) -> None:
    worker = await side.worker("first")
    ref = await side.accept(worker)
    await worker.ledger.messages.claim(ref, "first.a", 60.0)
    assert await worker.ledger.sessions.pass_on(ref, "second.b", "acme") == "stale"
    assert (await worker.ledger.messages.entry(ref)).state == "sending"


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (2, 2), (5, 3)])
async def test_as_many_workers_hold_one_as_there_may_be(side: Side, count: int, expected: int) -> None:
    workers = [await side.worker(f"w{n}", count) for n in range(3)]
    await until(lambda: sum(map(bound, workers)) == expected)
    await asyncio.sleep(0.1)
    assert sum(map(bound, workers)) == expected == len(side.smscs)


async def test_another_worker_takes_the_place_of_one_that_stops(side: Side) -> None:
    first = await side.worker("first")
    await until(lambda: bound(first))
    second = await side.worker("second")
    await first.binds.stop()  # type: ignore[attr-defined]
    assert side.smscs[0].heard[-1][0].command == Command.UNBIND
    await until(lambda: bound(second))


async def test_the_lease_of_a_killed_worker_ends(side: Side) -> None:
    worker = await side.worker("first")
    for name, may in (("dead", True), ("other", False)):
        worker.ledger.sessions._worker = type(worker.ledger.sessions._worker)(name, 1)
        assert (await worker.ledger.sessions.hold("smsc", 1, 0.3, up=True))[0] == may
    await asyncio.sleep(0.4)
    assert await worker.ledger.sessions.hold("smsc", 1, 0.3, up=False) == (True, 0)


async def test_a_session_that_ends_is_begun_again(side: Side) -> None:
    worker = await side.worker("first")
    await until(lambda: bound(worker))
    side.smscs[0].writer.transport.abort()
    await until(lambda: len(side.smscs) == 2 and bound(worker))


async def test_a_refused_bind_is_a_fault_that_stops_the_account(redis: Redis, redis_server: EmbeddedRedis) -> None:
    async with beside(redis, redis_server.url, bind_status=0x0E) as side:
        worker = await side.worker("first")
        ref = await side.accept(worker)
        await outbound.send(worker, ref)
        entry = await worker.ledger.messages.entry(ref)
        assert (entry.state, entry.last_code) == ("retry", "bind 0x0E")
        assert await redis.exists("dcb:breaker:acme")


async def test_an_smsc_that_is_away_is_unreachable_and_its_return_closes_the_breaker(
    redis: Redis, redis_server: EmbeddedRedis
) -> None:
    port = free_port()
    async with AsyncExitStack() as stack:
        side = Side(redis, redis_server.url, port, [], stack)
        worker = await side.worker("first")
        ref = await side.accept(worker)
        await outbound.send(worker, ref)
        assert (await worker.ledger.messages.entry(ref)).last_code == "connect"
        await redis.hset("dcb:breaker:acme", mapping={"since": 1, "why": "connect", "wait": 60000, "probe": 9e15})
        server = await asyncio.start_server(_bind_only, "127.0.0.1", port)
        async with server:
            await until(lambda: bound(worker))
            async with asyncio.timeout(10):
                while True:
                    if not await redis.exists("dcb:breaker:acme"):
                        break
                    await asyncio.sleep(0.05)
            await worker.binds.stop()  # type: ignore[attr-defined]


async def _bind_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(asyncio.IncompleteReadError):
        while True:
            header = pdu.read_header(await reader.readexactly(pdu.HEADER))
            await reader.readexactly(header.length - pdu.HEADER)
            if not header.is_response:
                writer.write(pdu.unit(header.command | 0x80000000, header.sequence))
    writer.close()


# ---------------------------------------------------------------- what arrives


async def test_what_arrives_is_stored_once_for_each_time_that_it_was_written(side: Side) -> None:
    worker = await side.worker("first")
    await until(lambda: bound(worker))
    for number in (1, 2):
        side.smscs[0].say(Command.DELIVER_SM, number, HELLO)
    await until(lambda: side.smscs[0].statuses(Command.DELIVER_SM_RESP) == [0, 0])
    assert await side.arrived() == [HELLO, HELLO]


async def test_what_an_smsc_sends_again_after_a_session_broke_is_one(side: Side) -> None:
    """It never read the answer. A third one is a consumer who writes it again."""
    worker = await side.worker("first")
    await until(lambda: bound(worker))
    side.smscs[0].say(Command.DELIVER_SM, 1, HELLO)
    await until(lambda: side.smscs[0].statuses(Command.DELIVER_SM_RESP) == [0])
    side.smscs[0].writer.transport.abort()
    await until(lambda: len(side.smscs) == 2 and bound(worker))
    for number in (1, 2):
        side.smscs[1].say(Command.DELIVER_SM, number, HELLO)
    await until(lambda: side.smscs[1].statuses(Command.DELIVER_SM_RESP) == [0, 0])
    assert await side.arrived() == [HELLO, HELLO]


async def test_what_it_has_read_the_answer_of_is_no_repetition(side: Side) -> None:
    worker = await side.worker("first")
    await until(lambda: bound(worker))
    side.smscs[0].say(Command.DELIVER_SM, 1, HELLO)
    async with asyncio.timeout(20):
        while True:
            await asyncio.sleep(0.05)
            if side.smscs[0].heard and not await side.redis.keys("dcb:arrived:*") and await side.arrived():
                break
    side.smscs[0].writer.transport.abort()
    await until(lambda: len(side.smscs) == 2 and bound(worker))
    side.smscs[1].say(Command.DELIVER_SM, 1, HELLO)
    await until(lambda: side.smscs[1].statuses(Command.DELIVER_SM_RESP) == [0])
    assert await side.arrived() == [HELLO, HELLO]


async def test_the_same_words_in_two_sessions_are_two_messages(side: Side) -> None:
    """A consumer writes the same twice within a second, and the SMSC takes its sessions in turn."""
    workers = [await side.worker(name, 2) for name in ("first", "second")]
    await until(lambda: all(map(bound, workers)))
    for smsc in side.smscs:
        smsc.say(Command.DELIVER_SM, 1, HELLO)
    await until(lambda: [smsc.statuses(Command.DELIVER_SM_RESP) for smsc in side.smscs] == [[0], [0]])
    assert await side.arrived() == [HELLO, HELLO]


async def test_what_a_broken_session_has_not_read_and_another_one_brings_is_one(side: Side) -> None:
    workers = [await side.worker(name, 2) for name in ("first", "second")]
    await until(lambda: all(map(bound, workers)))
    side.smscs[0].say(Command.DELIVER_SM, 1, HELLO)
    await until(lambda: side.smscs[0].statuses(Command.DELIVER_SM_RESP) == [0])
    side.smscs[0].writer.transport.abort()
    side.smscs[1].say(Command.DELIVER_SM, 1, HELLO)
    await until(lambda: side.smscs[1].statuses(Command.DELIVER_SM_RESP) == [0])
    assert await side.arrived() == [HELLO]


async def test_while_it_cannot_be_told_whether_it_is_a_repetition_the_smsc_keeps_it(
    redis: Redis, redis_server: EmbeddedRedis
) -> None:
    """A session that hangs: whether its answer was read is known when it ends."""

    async def hangs(smsc: Smsc, header: Header, body: bytes) -> None:
        if smsc is not made[0]:
            await answers(smsc, header, body)

    async with listening(hangs) as (port, made), AsyncExitStack() as stack:
        side = Side(redis, redis_server.url, port, made, stack)
        workers = [await side.worker(name, 2, read_timeout=9.0, lease=30.0) for name in ("first", "second")]
        await until(lambda: all(map(bound, workers)))
        made[0].say(Command.DELIVER_SM, 1, HELLO)
        await until(lambda: made[0].statuses(Command.DELIVER_SM_RESP) == [0])
        made[1].say(Command.DELIVER_SM, 1, HELLO)
        await until(lambda: made[1].statuses(Command.DELIVER_SM_RESP) == [pdu.TEMPORARY])
        assert await side.arrived() == [HELLO]
        made[0].writer.transport.abort()
        made[1].say(Command.DELIVER_SM, 2, HELLO)
        await until(lambda: made[1].statuses(Command.DELIVER_SM_RESP) == [pdu.TEMPORARY, 0])
        assert await side.arrived() == [HELLO]


async def test_an_answer_that_was_read_while_redis_was_away_is_remembered(own_redis: EmbeddedRedis) -> None:
    """Otherwise the same words in another session, minutes later, would be taken for a repetition."""
    async with Redis.from_url(own_redis.url) as redis, beside(redis, own_redis.url) as side:
        worker = await side.worker("first", redis_timeout=0.5)
        await until(lambda: bound(worker))
        side.smscs[0].say(Command.DELIVER_SM, 1, HELLO)
        await until(lambda: side.smscs[0].statuses(Command.DELIVER_SM_RESP) == [0])
        own_redis.stop()
        asked = len(side.smscs[0].statuses(Command.ENQUIRE_LINK))
        await until(lambda: len(side.smscs[0].statuses(Command.ENQUIRE_LINK)) > asked + 1)
        own_redis.start()
        async with asyncio.timeout(20):
            while True:
                if not await redis.keys("dcb:arrived:*"):
                    break
                await asyncio.sleep(0.05)


async def test_while_redis_is_away_the_smsc_keeps_what_it_has(own_redis: EmbeddedRedis) -> None:
    async with Redis.from_url(own_redis.url) as redis, beside(redis, own_redis.url) as side:
        worker = await side.worker("first", redis_timeout=0.5)
        await until(lambda: bound(worker))
        own_redis.stop()
        side.smscs[0].say(Command.DELIVER_SM, 1, HELLO)
        await until(lambda: side.smscs[0].statuses(Command.DELIVER_SM_RESP) == [pdu.TEMPORARY])
        assert bound(worker)
        own_redis.start()
        side.smscs[0].say(Command.DELIVER_SM, 2, HELLO)
        async with asyncio.timeout(20):
            while 0 not in side.smscs[0].statuses(Command.DELIVER_SM_RESP):
                side.smscs[0].say(Command.DELIVER_SM, 3, HELLO)
                await asyncio.sleep(0.3)
        assert await side.arrived() != []


async def test_a_receipt_may_come_before_the_answer_to_its_message(redis: Redis, redis_server: EmbeddedRedis) -> None:
    async def early(smsc: Smsc, header: Header, body: bytes) -> None:
        if header.command != Command.SUBMIT_SM:
            return await answers(smsc, header, body)
        said = pdu.Message("1", "2", b"id:17 stat:DELIVRD err:000", esm_class=pdu.RECEIPT)
        smsc.say(Command.DELIVER_SM, 99, pdu.write_message(said))
        await asyncio.sleep(0.1)
        smsc.say(Command.SUBMIT_SM_RESP, header.sequence, b"17\0")
        return None

    async with beside(redis, redis_server.url, early) as side:
        worker = await side.worker("first")
        await until(lambda: bound(worker))
        ref, bench = await side.accept(worker), Bench(redis)
        sending = asyncio.create_task(outbound.send(worker, ref))
        await until(lambda: side.smscs[0].statuses(Command.DELIVER_SM_RESP) == [0])
        job = await bench.pop_job("inbound")
        assert job is not None
        await callbacks.read_callback(worker, job)
        await sending
        await bench.pass_time(2)
        await callbacks.read_callback(worker, job)
        assert (await worker.ledger.messages.entry(ref)).state == "delivered"


async def test_what_may_have_been_stored_is_stored_under_the_same_name(side: Side) -> None:
    """The answer of Redis was lost: the SMSC sends it again in the same session."""
    worker = await side.worker("first")
    sessions, task = worker.ledger.sessions, NewTask("b-1", "callback", "", b"x")
    assert [await sessions.arrive("acme", 9.0, "digest", "s1", task) for _ in range(2)] == ["new", "again"]


def test_a_lease_outlives_two_looks() -> None:
    assert binds.LEASE > 2 * binds.LOOK
