"""A callback that asks for a request: a worker sends it until it is accepted, and gives up after a while."""

from __future__ import annotations

import pytest

from dcbridge.ledger import NewTask
from dcbridge.providers.callback import pack
from tests.ledger.ledger_bench import Bench
from tests.providers import test_aws_sms
from tests.workers.far_side import FarSide, Reply, saying
from workers.callbacks import FOLLOW_WAITS, read_callback

ASKED = test_aws_sms.callback(kind="SubscriptionConfirmation", Token="a1b2", SubscribeURL="https://evil.example/")
PATH = f"/sns/?Action=ConfirmSubscription&TopicArn={test_aws_sms.TOPIC.replace(':', '%3A')}&Token=a1b2"


async def told(side: FarSide) -> None:
    assert await side.context.ledger.tasks.put([NewTask("b-1", "callback", "", pack("aws", ASKED), "trace")])


async def state(side: FarSide) -> str:
    await read_callback(side.context, "b-1")
    return (await side.context.ledger.tasks.entry("b-1")).state


async def test_a_subscription_is_confirmed_once(side: FarSide) -> None:
    side.provider.usual = saying(200, b"<ConfirmSubscriptionResponse/>")
    await told(side)
    assert [await state(side), await state(side)] == ["done", "done"]
    assert side.provider.asked == [PATH]


@pytest.mark.parametrize("lost", [saying(503), saying(400, b"x")], ids=["503", "400"])
async def test_it_is_tried_again_until_it_is_accepted(side: FarSide, lost: Reply) -> None:
    side.provider.usual = saying(200)
    side.provider.replies = [lost, lost]
    await told(side)
    bench = Bench(side.redis)
    for wait in FOLLOW_WAITS[:2]:
        assert await state(side) == "waiting"
        assert await state(side) == "waiting"  # not yet
        await bench.pass_time(wait + 0.1)
    assert await state(side) == "done"
    assert side.provider.asked == [PATH] * 3


async def test_it_is_a_dead_letter_in_the_end(side: FarSide) -> None:
    side.provider.usual = saying(403)
    await told(side)
    bench = Bench(side.redis)
    for wait in FOLLOW_WAITS:
        assert await state(side) == "waiting"
        await bench.pass_time(wait + 0.1)
    assert await state(side) == "dead"
    assert side.counted("dcbridge_errors_total", kind="callback_unreadable", name="aws") == 1
