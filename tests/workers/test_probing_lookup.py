"""A lookup that is the probe of an open breaker, and asks nothing."""

from __future__ import annotations

import asyncio

from tests.ledger.ledger_bench import Bench
from tests.workers.far_side import FarSide, saying
from tests.workers.test_asking import CHANNEL, Asked
from workers import outbound


async def test_a_question_without_anything_to_ask_tells_nothing_of_a_provider_that_was_away(side: FarSide) -> None:
    """The answer to the send could not be read, so there is no id; the messages that wait would all go at once."""
    await side.context.ledger.pacing.announce(side.context.configuration.limits())
    asked = Asked(side, Bench(side.redis), [])
    asked.side.provider.replies = [saying(201, b"?")]
    ref = await asked.side.accept(channel=CHANNEL)
    await outbound.send(asked.side.context, ref)
    assert (await asked.bench.state(ref), (await asked.side.entry(ref)).provider_id(0)) == ("sent", "")
    await asked.pass_time(700)
    ledger, redis = asked.side.context.ledger, asked.side.redis
    await ledger.pacing.record_failure("asked", ref, "20003", at_once=True, threshold=1, first=0.001, most=60.0)
    await asyncio.sleep(0.01)
    assert await asked.ask(ref) == "sent"
    assert asked.side.provider.asked == []
    assert await redis.exists("dcb:breaker:asked") == 1
