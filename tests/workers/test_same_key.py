"""A provider that knows a second request for the first one: what is unknown is sent again at once, with its key."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import cast

import orjson
import pytest

from tests.ledger.ledger_bench import Bench
from tests.workers.far_side import FarSide, Reply, hang_up, saying
from workers import outbound
from workers.reconciler import sweep

ACCEPTED = saying(202, {"value": [{"messageId": "m-1", "httpStatusCode": 202, "successful": True}]})
UNKNOWN = (hang_up, saying(503), saying(202, {"value": [{"httpStatusCode": 500, "successful": False}]}))


async def counts(side: FarSide) -> dict[str, int]:
    found = await cast(Awaitable[dict[bytes, bytes]], side.redis.hgetall("dcb:counts"))
    return {name.decode(): int(value) for name, value in found.items() if name.startswith(b"unknown")}


async def settled(side: FarSide, ref: str) -> str:
    await sweep(side.context)
    return (await side.entry(ref)).state


@pytest.mark.parametrize("lost", UNKNOWN, ids=["hung up", "503", "of this recipient"])
async def test_an_unknown_outcome_is_sent_again_at_once_whatever_the_policy_says(side: FarSide, lost: Reply) -> None:
    side.provider.replies, side.provider.usual = [lost], ACCEPTED
    ref = await side.accept(channel="azure")
    await outbound.send(side.context, ref)
    assert ((await side.entry(ref)).state, await side.wait_of(ref) <= 0) == ("unknown", True)
    await asyncio.sleep(1.1)  # the time of a first request is written in seconds
    assert await settled(side, ref) == "retry"
    await outbound.send(side.context, ref)
    assert (await side.entry(ref)).state == "sent"
    first, second = side.provider.heard
    assert first == second
    assert await counts(side) == {"unknown": 1, "unknown_same_key": 1}
    assert await side.difference() == 0


async def test_each_further_attempt_waits_as_others_do(side: FarSide) -> None:
    side.provider.usual, bench = hang_up, Bench(side.redis)
    ref = await side.accept(channel="azure")
    for low, high in ((-1, 0), (0.5, 2), (2.5, 6), (4.5, 10)):
        await outbound.send(side.context, ref)
        assert low < await side.wait_of(ref) <= high
        await bench.pass_time(10)
        assert await settled(side, ref) == "retry"


async def test_after_its_time_the_channels_policy_counts(side: FarSide) -> None:
    side.provider.usual, bench = hang_up, Bench(side.redis)
    ref = await side.accept(channel="azure")
    await outbound.send(side.context, ref)
    await bench.pass_time(299)
    assert await settled(side, ref) == "retry"
    await bench.pass_time(2)
    await outbound.send(side.context, ref)
    assert 69 < await side.wait_of(ref) <= 70  # unknown_grace: a report may still come
    await bench.pass_time(71)
    assert await settled(side, ref) == "failed"
    assert await counts(side) == {"unknown": 2, "unknown_same_key": 1, "unknown_fail": 1}


async def test_a_message_that_waited_long_has_its_time_from_its_first_request(side: FarSide) -> None:
    side.provider.replies, side.provider.usual = [saying(429), hang_up], ACCEPTED
    ref = await side.accept(channel="azure")
    bench = Bench(side.redis)
    await outbound.send(side.context, ref)  # it was not taken
    await bench.pass_time(400)
    await outbound.send(side.context, ref)
    assert await settled(side, ref) == "retry"
    await outbound.send(side.context, ref)
    times = [orjson.loads(body)["smsRecipients"][0]["repeatabilityFirstSent"] for body in side.provider.heard]
    assert times[1] == times[2]
    assert (await side.entry(ref)).state == "sent"
