"""A worker that books calls, with the sandbox's Genesys behind it: what a consumer writes and is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from redis.asyncio import Redis

from dcbridge.cli.dev.embedded_redis import EmbeddedRedis
from dcbridge.config.answers import AnswerRule
from dcbridge.config.booking import OnFailed
from dcbridge.config.consent import Consent
from dcbridge.config.genesys import Genesys
from dcbridge.config.own_messages import OwnMessages
from dcbridge.interfaces import Interfaces
from dcbridge.ledger.fields import TaskState
from sandbox.app import build_app
from sandbox.config import GenesysAccount
from sandbox.records import BookedCall
from sandbox.switches import EngagementSwitch
from sandbox.world import World
from tests.ledger.ledger_bench import Bench
from tests.listening import listening
from tests.sandbox.two_worlds import CONFIG
from tests.workers.far_side import SMS, FarSide, far_side
from tests.workers.test_reconciler_and_inbound import inbound_callback, read_one
from workers import booking_watch, bookings
from workers.context import WorkerContext

RULE = {"when": ["call me"], "then": "stop", "book": {"service": "Sales", "timezone": "UTC"}}


@dataclass(slots=True)
class BookingSide:
    side: FarSide
    world: World
    texts: list[str] = field(default_factory=list)  # ids of texts that were sent
    told_before: int = 0

    @property
    def context(self) -> WorkerContext:
        return self.side.context

    @property
    def switch(self) -> EngagementSwitch:
        return self.world.switches.engagement

    @property
    def calls(self) -> list[BookedCall]:
        return list(self.world.calls.values())

    @property
    def alive(self) -> list[BookedCall]:
        return [one for one in self.calls if not one.state]

    async def writes(self, text: str, sid: str = "") -> list[str]:
        """What the consumer is told by it; nothing where the agent gets it alone."""
        await self.hears(text, sid)
        await self.works()
        return await self.told()

    async def hears(self, text: str, sid: str = "") -> None:
        """Read the callback, and do not yet book."""
        self.texts.append(sid or f"SM{len(self.texts)}")
        payload = inbound_callback(text=text.replace(" ", "+"), sid=self.texts[-1])
        await read_one(self.side, payload, f"b-{len(self.texts)}")

    async def works(self) -> None:
        """Do all bookings that wait for nothing but a worker."""
        for task in await self.waiting("book"):
            await bookings.book(self.context, task)

    async def watches(self) -> None:
        """Look after all calls, whenever they are due."""
        for task in await self.waiting("watch"):
            await self.side.redis.hdel(f"dcb:t:{task}", "nb")
            await booking_watch.watch(self.context, task)

    async def waiting(self, job: str) -> list[str]:
        found = [key.removeprefix("dcb:t:") for key in await Bench(self.side.redis).keys("dcb:t:*")]
        entries = await self.context.ledger.tasks.entries(found)
        its = [(one.accepted_at, name) for name, one in zip(found, entries, strict=True)
               if one.job == job and one.state in (TaskState.WAITING, TaskState.RUNNING)]  # fmt: skip
        return [name for _, name in sorted(its)]

    async def told(self) -> list[str]:
        """The texts since this was asked last."""
        keys = [key.removeprefix("dcb:m:") for key in await Bench(self.side.redis).keys("dcb:m:*")]
        own = [(entry.accepted_at, key) for key in keys if (entry := await self.side.entry(key)).is_own]
        found = []
        for _, key in sorted(own):
            payload = await self.side.redis.get(f"dcb:p:{key}")
            assert isinstance(payload, bytes)
            found.append(str(orjson.loads(payload)["text"]))
        new, self.told_before = found[self.told_before :], len(found)
        return new

    async def for_the_agent(self) -> int:
        return len(await Bench(self.side.redis).keys("dcb:t:c-*"))

    def counted(self, result: str) -> float:
        return self.side.counted("dcbridge_bookings_total", channel=SMS, result=result)


@asynccontextmanager
async def booking_side(
    redis: Redis, server: EmbeddedRedis, book: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[BookingSide]:
    """`book`: changes of the rule's."""
    app = build_app(replace(CONFIG, genesys=GenesysAccount(api_key="the-api-key")))
    async with far_side(redis, server.url, **settings) as side, listening(app) as url:
        rule = {**RULE, "book": {**RULE["book"], **(book or {})}}  # type: ignore[dict-item]
        answers = (AnswerRule.model_validate(rule),)
        failed = OnFailed.model_validate({"book": {"service": "Sales"}})
        configuration = side.context.configuration
        many = OwnMessages(a_day=100, repeats=20)
        channel = configuration.channels[SMS].model_copy(
            update={"answers": answers, "own_messages": many, "on_failed": failed}
        )
        genesys = Genesys.model_validate({"base_url": url, "api_key": "the-api-key", "engagement": {}})
        how = Consent(enforce="always")
        changed = configuration.model_copy(
            update={"channels": {**configuration.channels, SMS: channel}, "genesys": genesys, "consent": how}
        )
        ctx = side.context
        interfaces = Interfaces("the-api-key", None, ctx.sender, ctx.ledger, ctx.metrics)
        side.context = replace(ctx, configuration=changed, interfaces=interfaces, consent_words=how.words())
        await side.context.announce()
        yield BookingSide(side, app.state.world)
        assert [one.rule for one in app.state.world.violations] == []
        await asyncio.sleep(0)
