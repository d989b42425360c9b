"""Calls by text, driven by hypothesis: texts, lost answers, slots that others take, and workers that die anywhere."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.config.booking import Texts
from dcbridge.ledger.script import Script
from tests.workers.booking_side import BookingSide, booking_side
from tests.workers.far_side import CONSUMER, SMS
from workers import bookings

TEXTS = Texts()


class Died(BaseException):
    """The worker was killed here."""


class DyingScript(Script):
    """A script whose worker dies before, or just after, the n-th verb that it is asked for."""

    left = 0
    before = True

    async def record(self, *words: Any, bulk: bool = False) -> Any:
        self.left -= 1
        if self.left == 0 and self.before:
            raise Died
        answer = await super().record(*words, bulk=bulk)
        if self.left == 0:
            raise Died
        return answer


def machine(side: BookingSide, loop: asyncio.AbstractEventLoop) -> type[RuleBasedStateMachine]:
    def run(work: Coroutine[Any, Any, Any]) -> Any:
        return loop.run_until_complete(work)

    class Conversation(RuleBasedStateMachine):
        @initialize()
        def begin(self) -> None:
            run(self._begin())

        async def _begin(self) -> None:
            await side.side.redis.flushdb()
            await side.context.announce()
            side.world.reset()
            side.told_before, self.texts = 0, list[str]()

        async def _once(self) -> None:
            """The jobs of a worker that lives."""
            for task in await side.waiting("book"):
                entry = await side.context.ledger.tasks.entry(task)
                if entry.state == "running":  # of one that died
                    await side.context.ledger.tasks.retry(task, entry.token, 0.0, "lease ended")
            await side.works()
            self.texts += await side.told()

        @rule(text=st.sampled_from(["call me", "1", "2", "cancel call", "again", "hello"]))
        def writes(self, text: str) -> None:
            run(self._writes(text))

        async def _writes(self, text: str) -> None:
            before = len(side.world.calls)
            asked = await side.context.ledger.bookings.question(bookings.key_of(side.context, SMS, CONSUMER))
            await side.hears(text)
            expected = len(await side.waiting("book"))
            if text == "hello" or (text in "12" and not asked):
                assert expected == 0
            await self._once()
            assert len(side.world.calls) <= before + 1
            assert await side.waiting("book") == []

        @rule(
            text=st.sampled_from(["call me", "call me", "1", "again", "cancel call"]),
            verb=st.sampled_from([1, 2, 2, 3, 3, 3, 4]),  # its claim, before its request, after it, its end
            before=st.booleans(),
        )
        def writes_and_the_worker_dies(self, text: str, verb: int, before: bool) -> None:
            run(self._dies(text, verb, before))

        async def _dies(self, text: str, verb: int, before: bool) -> None:
            await side.hears(text)
            ledger = side.context.ledger
            script = ledger.script
            dying = DyingScript.__new__(DyingScript)
            dying.__dict__.update(script.__dict__)
            dying.left, dying.before = verb, before
            ledger.tasks._script = ledger.bookings._script = dying
            try:
                await side.works()
            except Died:
                pass
            finally:
                ledger.tasks._script = ledger.bookings._script = script
            await self._once()
            assert await side.waiting("book") == []

        @rule(mode=st.sampled_from(["lost_answer", "500", "not_json"]))
        def answers_go_wrong(self, mode: str) -> None:
            side.switch.mode, side.switch.only, side.switch.count = mode, "create", 1

        @rule(now=st.booleans())
        def the_queue_changes(self, now: bool) -> None:
            side.switch.immediate = now

        @rule()
        def others_take_what_was_offered(self) -> None:
            run(self._take())

        async def _take(self) -> None:
            key = bookings.key_of(side.context, SMS, CONSUMER)
            question = await side.context.ledger.bookings.question(key)
            for part in question.replace(b"[", b",").replace(b"]", b",").split(b","):
                if part.isdigit() and len(part) == 13:
                    side.world.full.add(int(part) / 1000)

        @rule()
        def an_agent_calls(self) -> None:
            for call in side.alive:
                call.state = "completed"
            run(side.watches())

        @invariant()
        def no_text_has_two_calls(self) -> None:
            refs = Counter(call.data["dcbRef"] for call in side.world.calls.values())
            assert all(count == 1 for count in refs.values())

        @invariant()
        def a_second_call_follows_from_an_unknown_outcome_alone(self) -> None:
            said = getattr(self, "texts", [])
            assert len(side.alive) <= 1 + said.count(TEXTS.unknown)

    return Conversation


def test_no_text_is_booked_twice(redis_server: EmbeddedRedis) -> None:
    """Whatever is written, lost or killed: two calls for one text never, and two at a time only where we said so."""
    loop = asyncio.new_event_loop()
    try:
        redis = Redis.from_url(redis_server.url)
        opened = booking_side(redis, redis_server)
        side = loop.run_until_complete(opened.__aenter__())
        try:
            run_state_machine_as_test(
                machine(side, loop),
                settings=settings(
                    max_examples=10, stateful_step_count=12, deadline=None,
                    suppress_health_check=[HealthCheck.too_slow],
                ),
            )  # fmt: skip
        finally:
            loop.run_until_complete(opened.__aexit__(None, None, None))
            loop.run_until_complete(redis.aclose())
    finally:
        loop.close()
