"""Statistics at work: one worker watches them for all, and no value outlives what is known of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import httpx
import pytest
from redis.asyncio import Redis

from dcbridge.config.statistics import Statistics
from dcbridge.genesys import statistics
from dcbridge.interfaces import Interfaces, SharedToken
from dcbridge.ledger import Ledger
from dcbridge.ledger.signals import Lead, LostLead, NewSignal, Signal
from dcbridge.ledger.vault import Vault
from dcbridge.notifications import FASTEST, LONGEST, Backoff
from dcbridge.runtime.metrics import Metrics
from dcbridge.transport.sender import Sender
from dcbridge.transport.session_sender import SessionSender
from sandbox.app import build_app
from sandbox.config import GenesysAccount
from sandbox.world import World
from tests import stampede
from tests.listening import listening
from tests.sandbox.two_worlds import CONFIG
from workers.leader import keep_leading
from workers.signals import Watcher

ACCOUNT = GenesysAccount(api_key="the-api-key", client_secret="the-client-secret")
WAIT = {"name": "AverageWaitingTime", "object": {"type": "Queue", "id": "VQ_Sales"}}
OURS = {"name": "AverageWaitingTime", "type": "Queue", "id": "VQ_Sales"}


@dataclass
class Side:
    """A contact centre, and a ledger."""

    world: World
    url: str
    redis: Redis
    ledger: Ledger
    http: httpx.AsyncClient
    sender: Sender
    metrics: Metrics = field(default_factory=Metrics)

    async def turn(self, value: object, **more: Any) -> None:
        answer = await self.http.post(f"{self.url}/sandbox/statistic", json={**OURS, "value": value, **more})
        assert answer.status_code == 200, answer.text

    async def service(self, **what: Any) -> None:
        assert (await self.http.post(f"{self.url}/sandbox/service", json=what)).status_code == 200

    async def signal(self, watch: str = "sales-wait") -> Signal:
        return (await self.ledger.signals.read(watch))[watch]

    async def value(self, watch: str = "sales-wait") -> float | None:
        return (await self.signal(watch)).fresh(60.0)

    async def own_events(self) -> list[str]:
        found = cast(list[tuple[bytes, dict[bytes, bytes]]], await self.redis.xrange("dcb:interactions"))
        return [fields[b"own"].decode() for _, fields in found]

    def steps(self, step: str) -> float:
        return self.metrics.registry.get_sample_value("dcbridge_genesys_statistics_steps_total", {"step": step}) or 0.0

    @asynccontextmanager
    async def watching(self, **changes: Any) -> AsyncIterator[None]:
        """One worker's watch, with these settings."""
        wanted = Statistics.model_validate({"watch": {"sales-wait": WAIT}, **changes})
        token = SharedToken(stampede.credentials(self.url), self.ledger, Vault(stampede.KEY), self.sender, self.metrics)
        interfaces = Interfaces("the-api-key", token, self.sender, self.ledger, self.metrics)
        api = statistics.Statistics(f"{self.url}/statistics/v3", f"{self.url}/engagement/v3")

        async def watch(lead: Lead) -> None:
            async with SessionSender(longest=LONGEST, connect_timeout=5.0) as sender:
                through = interfaces.through(sender)
                await Watcher(wanted, api, through, sender, self.ledger.signals, self.metrics, lead).run()

        task = asyncio.create_task(keep_leading(self.ledger, "statistics", watch))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await token.close()


@pytest.fixture
async def side(redis: Redis) -> AsyncIterator[Side]:
    app = build_app(replace(CONFIG, genesys=ACCOUNT))
    async with listening(app) as url, Sender() as sender, httpx.AsyncClient(trust_env=False) as http:
        side = Side(app.state.world, url, redis, Ledger(redis, keep=60, keep_dead=60), http, sender)
        side.world.switches.statistics.held = 5.0
        await side.turn(120)
        yield side
        assert [*side.world.violations] == []


async def until(found: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while True:
            if await found():
                return
            await asyncio.sleep(0.02)


async def becomes(side: Side, value: float | None, watch: str = "sales-wait") -> None:
    async def is_so() -> bool:
        return await side.value(watch) == value

    await until(is_so)


@pytest.mark.parametrize("payload", ["nested", "flat"])
async def test_values_are_told(side: Side, payload: str) -> None:
    side.world.switches.statistics.payload = payload
    async with side.watching():
        await becomes(side, 120.0)  # of the subscription's own answer
        await side.turn(300)
        await becomes(side, 300.0)
        await side.turn({"state": "Ready"})  # no number
        await becomes(side, None)
        await side.turn(5)
        await becomes(side, 5.0)
    assert side.world.counts["statistics.subscriptions"] == 1


async def test_a_service_that_is_unavailable_has_no_value_until_it_is_back(side: Side) -> None:
    async with side.watching():
        await becomes(side, 120.0)
        await side.service(state="SLEEPY")  # a word that is in no document
        await side.turn(130)
        await becomes(side, 130.0)
        await side.service(state="UNAVAILABLE")
        await becomes(side, None)
        assert await side.own_events() == ["statistics.unavailable"]
        await side.turn(600)  # it has dropped the subscription: this is told to nobody
        await side.service(state="AVAILABLE")
        await becomes(side, 600.0)
        assert await side.own_events() == ["statistics.unavailable", "statistics.available"]
    assert side.steps("unknown_state") == 1
    assert side.world.counts["statistics.subscriptions"] == 2


async def test_a_session_that_is_forgotten_is_opened_again(side: Side) -> None:
    async with side.watching():
        await becomes(side, 120.0)
        await side.service(restart=True)
        await side.turn(90)
        await becomes(side, 90.0)
        side.world.switches.turn({"statistics": {"polls": "unknown_client", "count": 1}})
        await side.turn(80)  # ends the connect that is held
        await until(lambda: _is(side.world.counts["cometd.handshakes"] == 3))
        await side.turn(70)
        await becomes(side, 70.0)


async def _is(found: bool) -> bool:
    return found


@pytest.mark.parametrize("polls", ["drop", "401"])
async def test_what_is_missed_while_a_connect_fails_is_asked_for(side: Side, polls: str) -> None:
    async with side.watching():
        await becomes(side, 120.0)
        if polls == "401":  # the token is old enough to be given up
            token = SharedToken(
                stampede.credentials(side.url), side.ledger, Vault(stampede.KEY), side.sender, Metrics()
            )
            await side.redis.hset(f"dcb:token:{token.id}", "since", 0)
        side.world.switches.turn({"statistics": {"polls": polls, "count": 1}})
        await side.turn(90)  # the connect that is held is answered; the next one fails
        await becomes(side, 90.0)
        await side.turn(95)
        await becomes(side, 95.0)
    assert side.world.counts["cometd.handshakes"] == 1  # the same session
    assert side.world.counts["statistics.values"] == (1 if polls == "drop" else 0)


async def test_events_on_the_answer_to_a_subscribe_count(side: Side) -> None:
    """They are about the service: a subscription there is none yet."""
    side.world.switches.turn({"statistics": {"events_on": "subscribe"}})
    async with side.watching():
        await becomes(side, 120.0)


async def test_a_server_that_wants_no_client_is_left_alone(side: Side) -> None:
    side.world.switches.turn({"statistics": {"polls": "none"}})
    async with side.watching():
        await until(lambda: _is(side.steps("stopped") == 1))
        await until(lambda: _has_told(side, "statistics.unavailable"))
        assert await side.value() is None


async def _has_told(side: Side, name: str) -> bool:
    return name in await side.own_events()


async def test_waits_double_where_nothing_is_well_for_long() -> None:
    backoff, at_once = Backoff(0.001, 0.002), Backoff(0.001, 0.002, settled=0.0)
    for count in range(1, 4):
        for one in (backoff, at_once):
            await one.wait()
            one.good()  # a connect that was answered, before the session was lost
        assert (backoff.failed, at_once.failed) == (count, 0)


async def test_a_server_that_holds_no_connect_is_not_asked_without_a_pause(side: Side) -> None:
    side.world.switches.statistics.held = 0.0
    async with side.watching():
        await becomes(side, 120.0)
        began, before = time.monotonic(), side.world.counts["cometd.connects"]
        await until(lambda: _is(time.monotonic() > began + 5 * FASTEST))
        connects = side.world.counts["cometd.connects"] - before
        assert 1 <= connects <= (time.monotonic() - began) / FASTEST + 1


async def test_a_value_that_does_not_change_is_asked_for_again(side: Side) -> None:
    async with side.watching(fresh_for=2.0):
        await becomes(side, 120.0)
        await until(lambda: _is(side.world.counts["statistics.values"] >= 2))
        assert (await side.signal()).fresh(2.0) == 120.0


async def test_a_value_is_as_old_as_its_timestamp_says(side: Side) -> None:
    await side.turn(500, timestamp=1490830620000)
    async with side.watching():
        await until(lambda: _is(side.steps("subscription") == 1))
        assert (await side.signal()).age > 1e8
        assert await side.value() is None
        await side.turn(7)
        await becomes(side, 7.0)


async def test_the_age_may_count_from_when_it_was_received(side: Side) -> None:
    await side.turn(500, timestamp=1490830620000)
    async with side.watching(age_by="received"):
        await becomes(side, 500.0)


@pytest.mark.parametrize("mode", ["peek", "engagement"])
async def test_values_that_are_asked_for(side: Side, mode: str) -> None:
    async with side.watching(mode=mode, every=15.0):
        await becomes(side, 120.0)
    grants = side.world.counts["grants.client_credentials"]
    assert grants == (1 if mode == "peek" else 0)  # Engagement asks for no token


async def test_estimated_waits_of_queues(side: Side) -> None:
    await side.http.post(f"{side.url}/sandbox/statistic", json={"queue": "VQ_Sales", "value": 240})
    async with side.watching(watch={}, waits=["VQ_Sales", "VQ_Other"]):
        await becomes(side, 240.0, "ewt/VQ_Sales")
        assert await side.value("ewt/VQ_Other") is None


async def test_a_crossing_is_told_once_a_minute_at_most(side: Side) -> None:
    crossed = {"above": 600, "back_below": 500}
    async with side.watching(watch={"sales-wait": {**WAIT, "crossed": crossed}}):
        await becomes(side, 120.0)
        for value in (600, 601, 550, 700, 400):  # 550 is no way back; 400 comes too soon
            await side.turn(value)
            await becomes(side, float(value))
        assert await side.own_events() == ["statistic.crossed"]
        await side.redis.hset("dcb:signal:sales-wait", "told", 0)  # a minute later
        await side.turn(450)
        await becomes(side, 450.0)
        assert await side.own_events() == ["statistic.crossed"] * 2
    (_, first), (_, second) = cast(Any, await side.redis.xrange("dcb:interactions"))
    facts = [(one[b"direction"], one[b"value"], one[b"threshold"]) for one in (first, second)]
    assert facts == [(b"above", b"601", b"600"), (b"below", b"450", b"500")]


async def test_two_workers_watch_once(side: Side) -> None:
    async with side.watching(), side.watching():
        await becomes(side, 120.0)
        await side.turn(60)
        await becomes(side, 60.0)
    assert side.world.counts["statistics.subscriptions"] == 1


async def test_another_worker_goes_on_where_one_ends(side: Side) -> None:
    async with side.watching():
        await becomes(side, 120.0)
    await side.turn(60)
    assert not await side.redis.exists("dcb:lead:statistics")
    async with side.watching():
        await becomes(side, 60.0)


async def test_whoever_has_lost_the_lead_writes_nothing(side: Side) -> None:
    signals = side.ledger.signals
    old, new = signals.lead("statistics"), signals.lead("statistics")
    assert await old.hold(15.0)
    assert not await new.hold(15.0)
    await signals.put(old, [NewSignal("sales-wait", 1.0)])
    await side.redis.delete("dcb:lead:statistics")  # its lease has ended
    assert await new.hold(15.0)
    for write in (signals.put(old, [NewSignal("sales-wait", 2.0)]), signals.unavailable(old, "x", ["sales-wait"])):
        with pytest.raises(LostLead):
            await write
    assert await side.value() == 1.0
    await old.end()
    await signals.put(new, [NewSignal("sales-wait", 3.0)])
    assert await side.value() == 3.0


async def test_a_lead_that_is_lost_ends_the_work_at_once(side: Side) -> None:
    ended, begun = asyncio.Event(), asyncio.Event()

    async def work(lead: Lead) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    task = asyncio.create_task(keep_leading(side.ledger, "some", work, lease=0.3))
    async with asyncio.timeout(30):
        await begun.wait()
        await side.redis.set("dcb:lead:some", "another")
        await ended.wait()
    assert await side.redis.get("dcb:lead:some") == b"another"
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
