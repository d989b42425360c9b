"""Events in a ledger whose clock can be put forward, and what a test looks at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from redis.asyncio import Redis

from dcbridge.ledger import TaskClaim
from dcbridge.ledger.deliveries import Failure
from dcbridge.ledger.events import Batch, NewEvent
from dcbridge.ledger.reports.books import SubscriberBooks, read
from tests.ledger.ledger_bench import Bench

BACKLOG = 800.0
CRM, LAKE = "crm", "lake"
CONTENT = b'{"name": "STARTED"}'


class EventsBench(Bench):
    """Two subscribers, with two places in flight each."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis)
        self.events = self.ledger.events
        self._count = 0

    async def subscribers(self, *names: str, rate: float = 0.0, in_flight: int = 2, keep: float = BACKLOG) -> None:
        lines = {f"subscribers/{name}": f"subscribers/{name} {rate:g} 1 {in_flight} 0 1 0" for name in names}
        await self.ledger.pacing.announce(lines)
        await self.ledger.subscribers.announce(dict.fromkeys(names, keep))

    async def put_event(
        self,
        *names: str,
        event: str = "",
        interaction: str = "",
        part: str = "",
        lane: str = "",
        age: float = 0.0,
    ) -> str:
        """One event for these subscribers, received `age` seconds ago; its id."""
        self._count += 1
        event = event or f"evt_{self._count:024x}"
        received = await self.now() - int(age * 1000)
        lanes = {name: f"{lane}-{name}" if lane else "" for name in names}
        await self.events.put([NewEvent(event, received, interaction, part, CONTENT, lanes)])
        return event

    async def now(self) -> int:
        seconds, micros = await self.redis.time()
        return int(seconds) * 1000 + int(micros) // 1000

    async def claim(self, event: str, name: str = CRM, token: str = "w.mine") -> TaskClaim:
        return await self.ledger.deliveries.claim(f"{event}-{name}", token, 60.0)

    async def why(self, event: str, name: str = CRM) -> str:
        return (await self.claim(event, name)).why

    async def delivered(self, event: str, name: str = CRM) -> str:
        return await self.ledger.deliveries.delivered(f"{event}-{name}")

    async def failed(self, event: str, name: str = CRM, token: str = "w.mine", **changes: Any) -> str:
        fields: dict[str, Any] = {
            "code": "500", "delay": 5.0, "means": "sick", "spends": True, "threshold": 3, "first": 5.0, "most": 8.0,
            "disable_after": 0.0,
        }  # fmt: skip
        return await self.ledger.deliveries.failed(f"{event}-{name}", token, Failure(**(fields | changes)))

    async def jobs(self) -> list[str]:
        """Deliveries that have a job, in order."""
        return await self.queued("events")

    async def turn(self, name: str = CRM) -> list[str]:
        """Deliveries that wait for their turn, in order."""
        return [one.decode() for one in cast(list[bytes], await self.redis.zrange(f"dcb:turn:{name}", 0, -1))]

    async def books(self, name: str = CRM) -> SubscriberBooks:
        return next(one for one in (await read(self.redis)).subscribers if one.name == name)

    async def told(self) -> list[tuple[str, Mapping[str, str]]]:
        """Events of our own that wait to be split: name and facts."""
        rows: Any = await self.redis.xrange("dcb:interactions")
        entries = [Batch(row[0].decode(), row[1]) for row in rows]
        return [(e.own, e.facts) for e in entries if e.own]

    async def counted(self, name: str) -> int:
        return (await read(self.redis)).counts.get(name, 0)

    async def sweep_all(self) -> None:
        await self.ledger.sweep.run()
        await self.events.sweep()

    async def pass_time(self, seconds: float) -> None:
        await super().pass_time(seconds)
        ms = int(seconds * 1000)
        for pattern in ("dcb:flight:*", "dcb:turn:*", "dcb:backlog:*", "dcb:events", "dcb:alone"):
            for key in await self.keys(pattern):
                rows: Any = await self.redis.zrange(key, 0, -1, withscores=True)
                for member, score in rows:
                    await self.redis.zadd(key, {member: score - ms})
        for key in await self.keys("dcb:t:*"):
            for field in ("sl", "le"):
                if await self.redis.hexists(key, field):
                    await self.redis.hincrby(key, field, -ms)
        for key in [*await self.keys("dcb:breaker:*"), *await self.keys("dcb:s:*")]:
            for field in ("probe", "since", "bad", "off", "ok"):
                if await self.redis.hexists(key, field):
                    await self.redis.hincrby(key, field, -ms)
        for key in [*await self.keys("dcb:tat:*"), *await self.keys("dcb:pause:*")]:
            value = float(cast(bytes, await self.redis.get(key)))
            await self.redis.set(key, value - ms, keepttl=True)
        for key in [*await self.keys("dcb:splitter"), *await self.keys("dcb:split-woken"), *await self.keys("dcb:i:*")]:
            left = await self.redis.pttl(key)
            if left > 0:
                await self.redis.pexpire(key, left - ms)
