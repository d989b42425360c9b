"""A wait that is said to a consumer is true at this moment, or it is not said."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.config.answer_checks import check
from dcbridge.config.answers import LONGEST_WAIT, AnswerRule
from dcbridge.config.genesys import Genesys
from dcbridge.ledger.signals import NewSignal, Signal
from tests.workers.test_answers import answering, own_refs
from tests.workers.test_reconciler_and_inbound import inbound_callback, read_one
from workers import outbound
from workers.waits import in_words

RULE = {"when": ["wait"], "say": "About {wait:sales-wait}.", "else": "As soon as we can."}
QUEUE = {"when": ["queue"], "say": "About {ewt:VQ_Sales}.", "else": "As soon as we can."}
WATCH = {"sales-wait": {"name": "AverageWaitingTime", "object": {"type": "Queue", "id": "VQ_Sales"}}}
STATISTICS = {"watch": WATCH, "waits": ["VQ_Sales"], "mode": "engagement", "fresh_for": 60}

numbers = st.floats(allow_nan=True, allow_infinity=True)


@given(st.none() | numbers, numbers, st.booleans(), st.floats(0.001, 86400.0))
@example(30.0, 60.0, True, 60.0)
@example(30.0, 60.001, True, 60.0)
@example(30.0, -0.001, True, 60.0)
def test_no_number_is_said_that_is_not_fresh(value: float | None, age: float, good: bool, fresh_for: float) -> None:
    words = in_words(Signal(value, age, good), fresh_for)
    if words is None:
        return
    assert good
    assert 0 <= age <= fresh_for
    assert value is not None
    assert 0 <= value < 86400
    assert len(words) <= LONGEST_WAIT
    parts = words.split()
    minutes = sum(int(n) * {"h": 60, "min": 1}[unit] for n, unit in zip(parts[::2], parts[1::2], strict=True))
    assert minutes == max(1, math.ceil(value / 60))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "1 min"), (60, "1 min"), (60.5, "2 min"), (3540, "59 min"), (3541, "1 h"), (3601, "1 h 1 min"),
        (86340, "23 h 59 min"), (86341, None), (-1, None), (math.nan, None),
    ],
)  # fmt: skip
def test_a_wait_in_words(seconds: float, words: str | None) -> None:
    assert in_words(Signal(seconds, 0.0, True), 60.0) == words


async def test_the_answer_has_the_wait_or_other_words(redis: Redis, redis_server: EmbeddedRedis) -> None:
    async with answering(redis, redis_server, RULE, QUEUE, repeats=9, a_day=50) as side:
        genesys = Genesys.model_validate({"base_url": "https://g.example.com", "statistics": STATISTICS})
        configuration = side.context.configuration.model_copy(update={"genesys": genesys})
        side.context = replace(side.context, configuration=configuration)
        signals, names = side.context.ledger.signals, ("sales-wait", "ewt/VQ_Sales")
        lead = signals.lead("statistics")
        assert await lead.hold(15.0)

        async def answers(*expected: str) -> None:
            """To both questions."""
            for word in ("wait", "queue"):
                sid = f"SM{len(side.provider.heard)}"
                await read_one(side, inbound_callback(text=word, sid=sid), f"b-{sid}")
                await outbound.send(side.context, (await own_refs(side))[-1])
            said = [parse_qs(one.decode())["Body"][0] for one in side.provider.heard[-2:]]
            assert said == [*expected]

        await answers("As soon as we can.", "As soon as we can.")  # nothing is known
        await signals.put(lead, [NewSignal(name, 300.0, 0.0) for name in names])
        await answers("About 5 min.", "About 5 min.")
        await signals.unavailable(lead, "service", names)
        await answers("As soon as we can.", "As soon as we can.")
        await signals.put(lead, [NewSignal(names[0], 600.0, 0.0), NewSignal(names[1], None)])
        await answers("About 10 min.", "As soon as we can.")
        await redis.hset("dcb:signal:sales-wait", "at", str(int(time.time() * 1000) - 61_000))
        await answers("As soon as we can.", "As soon as we can.")


@pytest.mark.parametrize(
    ("say", "genesys", "refused"),
    [
        ("{wait:sales-wait}", {"statistics": STATISTICS}, False),
        ("{wait:sales-wait}", {}, True),
        ("{wait:sales_wait}", {"statistics": STATISTICS}, True),
        ("{ewt:VQ_Sales}", {"statistics": STATISTICS}, False),
        ("{ewt:VQ_Other}", {"statistics": STATISTICS}, True),
        ("{ewt:sales-wait}", {"statistics": STATISTICS}, True),
    ],
)
def test_a_placeholder_names_what_is_watched(say: str, genesys: dict[str, Any], refused: bool) -> None:
    rule = {"when": ["wait"], "say": say}
    assert AnswerRule.model_validate(rule)
    found = [*check({"genesys": genesys, "channels": {"1": {"type": "sms", "answers": [rule]}}})]
    assert bool([one for one in found if one[3]]) == refused, found
