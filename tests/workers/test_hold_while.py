"""A channel that waits while the contact centre is busy, through a worker."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.config.genesys import Genesys
from dcbridge.config.statistics import HoldWhile
from dcbridge.ledger.reports import conversations
from dcbridge.ledger.signals import NewSignal
from tests.workers.far_side import SMS, far_side
from tests.workers.test_quiet_hours import queued, sends, turn
from tests.workers.test_reconciler_and_inbound import inbound_callback, read_one
from workers.reconciler import sweep

WATCH = {"sales-wait": {"name": "AverageWaitingTime", "object": {"type": "Queue", "id": "VQ_Sales"}}}
STATISTICS = {"base_url": "https://g.example.com", "statistics": {"mode": "engagement", "watch": WATCH}}


async def test_messages_wait_in_their_lanes_and_answers_do_not(redis: Redis, redis_server: EmbeddedRedis) -> None:
    async with far_side(redis, redis_server.url) as side:
        configuration = side.context.configuration
        hold = HoldWhile(statistic="sales-wait", above=600)
        channel = configuration.channels[SMS].model_copy(update={"hold_while": hold})
        changes = {"channels": {**configuration.channels, SMS: channel}, "genesys": Genesys.model_validate(STATISTICS)}
        side.context = replace(side.context, configuration=configuration.model_copy(update=changes))
        await side.context.announce()
        signals = side.context.ledger.signals
        lead = signals.lead("statistics")
        assert await lead.hold(15.0)
        await signals.put(lead, [NewSignal("sales-wait", 900.0)])

        assert await sends(side, "m-1") == ("accepted", "", "w-")
        assert await sends(side, "m-2", to="14155550100") == ("accepted", "", "w-")
        assert side.provider.heard == []
        lanes = await conversations.lanes_of(redis, (await redis.time())[0] + 1, [SMS], {SMS: "twilio"}, 10)
        assert [one.why for one in lanes.heads] == ["statistic"] * 2
        await queued(side)
        await read_one(side, inbound_callback(text="hello"))  # whoever writes is answered
        [ref] = await queued(side)
        assert await turn(side, ref) == ("sent", "", "")
        assert len(side.provider.heard) == 1

        await signals.put(lead, [NewSignal("sales-wait", 600.0)])
        for name in cast(list[bytes], await redis.zrange("dcb:lines", 0, -1)):
            await redis.zadd("dcb:lines", {name.decode(): 1})
        await sweep(side.context)
        [other] = await queued(side)
        assert await turn(side, other) == ("sent", "", "")
