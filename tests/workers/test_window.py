"""More messages have a place than their window has room: those that wait are sent once, or not by whoever lost them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.config.loader import parse
from dcbridge.config.windows import ahead
from dcbridge.ledger.controls import Target, What
from dcbridge.smpp.pdu import Command, Header
from tests.transport.test_smpp import Smsc, answers
from tests.workers.test_binds import CONFIGURATION, Side, beside, bound, until
from workers import outbound
from workers.context import WorkerContext


@pytest.mark.parametrize(
    ("window", "per_second", "more"),
    [(1, 0, 1), (10, 0, 10), (100, 0, 100), (5000, 0, 200), (0, 0, 0), (100, 100, 25), (100, 1, 1), (10, 1000, 10)],
)
def test_as_many_more_as_the_window_has_and_of_a_rate_what_is_due_soon(window: int, per_second: int, more: int) -> None:
    assert ahead(window, per_second) == more
    pace = f"pace: {{in_flight: {window}, per_second: {per_second}}}"
    configuration = parse(CONFIGURATION.format(port=1, binds=1).replace("enquire_every: 1", pace), {})
    assert configuration.limits()["0123456789"].startswith(f"acme {per_second} 1 {window + more} 0 1 0")
    assert configuration.windows()["acme"] == window


def test_a_provider_without_a_window_has_the_places_that_its_pace_says() -> None:
    account = "{kind: smtp, host: h, port: 25, pace: {in_flight: 7}}"
    written = CONFIGURATION.format(port=1, binds=1).replace("\nchannels:", f"\n  mail: {account}\nchannels:")
    written += '  "0123456780": {type: email, provider: mail}\n'
    assert parse(written, {}).limits()["0123456780"].startswith("mail 0 1 7 ")


async def _first_is_silent(smsc: Smsc, header: Header, body: bytes) -> None:
    if header.command != Command.SUBMIT_SM or len(smsc.statuses(Command.SUBMIT_SM)) > 1:
        await answers(smsc, header, body)


@pytest.mark.parametrize(
    ("meanwhile", "sent", "state"),
    [({}, 1, "sent"), ({"tok": "another"}, 0, "sending"), ({"s": "failed"}, 0, "failed")],
    ids=["still its own", "another has claimed it", "it has ended"],
)
async def test_who_waited_long_for_the_window_asks_whether_the_message_is_still_its_own(
    redis: Redis, redis_server: EmbeddedRedis, meanwhile: dict[Any, Any], sent: int, state: str
) -> None:
    async with beside(redis, redis_server.url, _first_is_silent) as side:
        worker = await _with_a_window_of_one(side)
        first, second = await side.accept(worker, "m-1"), await side.accept(worker, "m-2", to="16504661150")
        sending = asyncio.create_task(outbound.send(worker, first))
        await until(lambda: side.smscs[0].statuses(Command.SUBMIT_SM))
        waiting = asyncio.create_task(outbound.send(worker, second))
        await _claimed(worker, second)
        await asyncio.sleep(worker.settings.worker_silence)
        if meanwhile:
            await redis.hset(f"dcb:m:{second}", mapping=meanwhile)
        [number] = [header.sequence for header, _ in side.smscs[0].heard if header.command == Command.SUBMIT_SM]
        side.smscs[0].say(Command.SUBMIT_SM_RESP, number, b"late\0")
        await asyncio.gather(sending, waiting)
        assert len(side.smscs[0].statuses(Command.SUBMIT_SM)) == 1 + sent
        entry = await worker.ledger.messages.entry(second)
        assert (entry.state, entry.total_attempts) == (state, 1)


async def test_who_waits_for_the_window_does_not_send_what_an_operator_has_stopped(
    redis: Redis, redis_server: EmbeddedRedis
) -> None:
    async with beside(redis, redis_server.url, _first_is_silent) as side:
        worker = await _with_a_window_of_one(side)
        first, second = await side.accept(worker, "m-1"), await side.accept(worker, "m-2", to="16504661150")
        sending = asyncio.create_task(outbound.send(worker, first))
        await until(lambda: side.smscs[0].statuses(Command.SUBMIT_SM))
        waiting = asyncio.create_task(outbound.send(worker, second))
        await _claimed(worker, second)
        await worker.ledger.controls.begin(Target(What.PROVIDER, "acme"), by="ann")
        await asyncio.sleep(0.2)
        [number] = [header.sequence for header, _ in side.smscs[0].heard if header.command == Command.SUBMIT_SM]
        side.smscs[0].say(Command.SUBMIT_SM_RESP, number, b"late\0")
        await asyncio.gather(sending, waiting)
        assert len(side.smscs[0].statuses(Command.SUBMIT_SM)) == 1
        entry = await worker.ledger.messages.entry(second)
        assert (entry.state, entry.total_attempts) == ("accepted", 0)


async def test_a_session_that_ends_leaves_those_that_wait_for_the_next_one(
    redis: Redis, redis_server: EmbeddedRedis
) -> None:
    async with beside(redis, redis_server.url, _first_is_silent) as side:
        worker = await _with_a_window_of_one(side)
        refs = [await side.accept(worker, f"m-{n}", to=f"1650466115{n}") for n in range(2)]
        sending = [asyncio.create_task(outbound.send(worker, refs[0]))]
        await until(lambda: side.smscs[0].statuses(Command.SUBMIT_SM))
        sending.append(asyncio.create_task(outbound.send(worker, refs[1])))
        await _claimed(worker, refs[1])
        side.smscs[0].writer.transport.abort()
        await asyncio.gather(*sending)
        entries = [await worker.ledger.messages.entry(ref) for ref in refs]
        assert [(entry.state, entry.last_code) for entry in entries] == [
            ("unknown", "connection lost"), ("retry", "no session"),
        ]  # fmt: skip
        assert len(side.smscs[0].statuses(Command.SUBMIT_SM)) == 1


async def _with_a_window_of_one(side: Side) -> WorkerContext:
    worker = await side.worker(
        "first", more="pace: {in_flight: 1}", worker_silence=1.0, reconcile_every=0.1, read_timeout=10.0, lease=30.0
    )
    await until(lambda: bound(worker))
    return worker


async def _claimed(worker: WorkerContext, ref: str) -> None:
    async with asyncio.timeout(20):
        while True:
            if (await worker.ledger.messages.entry(ref)).state == "sending":
                return
            await asyncio.sleep(0.02)
