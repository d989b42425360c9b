"""What messages that a limit holds back cost, and how long others wait beside them: one line of JSON for each figure.

    python -m benchmarks.held [--held 60000] [--limit pace|in_flight] [--seconds 20]

A Redis of its own, and one process that speaks to the ledger as a service and a worker do. Each request to a provider
takes 0.2 s. `--held` messages come in, as fast as they are accepted, on a channel that lets one go each second (`pace`)
or has one request under way (`in_flight`). Ten times a second an interactive message comes on a channel of the same
provider, and one on a channel of another.

Printed are, in ms, the median, the 99th percentile and the most of the time from when an interactive message was due at
the ledger until it was claimed, while the held ones arrive and beside them. In between nothing arrives: printed are the
commands that Redis runs in a second, those of its scripts included, and the share of one processor in % that this
process and Redis take. This and the last phase take `--seconds` each.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, cast

import uvloop
from redis.asyncio import Redis

from benchmarks.load import percentile
from benchmarks.stage import Stage, Wrong, leave_nothing_running
from benchmarks.store import say
from dcbridge.ledger import Ledger, NewMessage
from dcbridge.ledger.jobs import JOBS
from dcbridge.ledger.sweep import SWEEP
from dcbridge.messages import message_ref

HELD = "held"
INTERACTIVE = {"same": "same provider", "other": "other provider"}  # channel -> what it is called
LIMITS = {  # of the channel whose messages are held, see pacing.lua
    "pace": "acme 0 1 0 1 1 0",
    "in_flight": "acme 0 1 0 0 1 1",
}
NO_LIMITS = {"same": "acme 0 1 0 0 1 0", "other": "another 0 1 0 0 1 0"}
QUEUE = f"rq:queue:{JOBS['send'].queue}"

WEBHOOK = 100  # messages that are accepted at once
JOBS_AT_ONCE = 64
ANSWER = 0.2  # seconds that a request takes
GAP = 0.1  # seconds between two interactive messages on a channel
LEASE, TIME_TO_LIVE, CONFIRM_WITHIN = 60.0, 14_400.0, 90_000.0  # seconds
AT_REST = 16.0  # seconds: whether a job is lost is looked at after 15
PATIENCE = 60.0  # seconds until the queue is empty, or an interactive message is claimed


def message(channel: str, number: int) -> NewMessage:
    """Each one is a conversation of its own."""
    name = f"{channel}-{number}"
    ref = message_ref(channel, name)
    return NewMessage(ref, ref, channel, name, channel, name, b"{}", "trace", TIME_TO_LIVE)


class Bridge:
    """What a service and a worker do with the ledger, and nothing else of them."""

    def __init__(self, stage: Stage, redis: Redis) -> None:
        self.redis = redis
        self._service = Ledger.of(stage.settings, redis)
        self._worker = Ledger.of(stage.settings, redis, worker="bench")
        self._pause = stage.settings.reconcile_every
        self._due: dict[str, float] = {}  # ref of an interactive message that is not claimed yet -> when it was due
        self._waits: dict[str, list[float]] = {channel: [] for channel in INTERACTIVE}
        self._written = 0

    async def announce(self, limit: str) -> None:
        await self._worker.leases.heartbeat()
        await self._worker.pacing.announce({HELD: limit, **NO_LIMITS})

    # ------------------------------------------------------------ the service

    async def accept_held(self, count: int) -> float:
        """The seconds that it took."""
        began = time.monotonic()
        for first in range(0, count, WEBHOOK):
            await self._service.messages.accept([message(HELD, n) for n in range(first, min(count, first + WEBHOOK))])
        return time.monotonic() - began

    async def converse(self, seconds: float, beside: asyncio.Task[float] | None = None) -> dict[str, list[float]]:
        """Interactive messages at fixed times for so long, and until `beside` is done; seconds of each, by channel."""
        for waits in self._waits.values():
            waits.clear()
        began = due = time.monotonic()
        async with asyncio.TaskGroup() as accepting:
            while due - began < seconds or (beside is not None and not beside.done()):
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                for channel in INTERACTIVE:
                    one = message(channel, self._written)
                    self._due[one.ref] = due
                    accepting.create_task(self._service.messages.accept([one]))
                self._written += 1
                due += GAP
        deadline = time.monotonic() + PATIENCE
        while self._due:
            if time.monotonic() > deadline:
                raise Wrong(f"{len(self._due)} interactive messages were not claimed after {PATIENCE:g} s")
            await asyncio.sleep(0.05)
        return self._waits

    # ------------------------------------------------------------ the worker

    async def work(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as running:
            running.create_task(self._sweep())
            while True:
                for job in await self._jobs():
                    running.create_task(self._send(job))

    async def _jobs(self) -> list[str]:
        first = await cast(Awaitable[list[bytes] | None], self.redis.blpop([QUEUE], timeout=1))
        if first is None:
            return []
        more = await cast(Awaitable[list[bytes] | None], self.redis.lpop(QUEUE, JOBS_AT_ONCE - 1))
        found = [job.decode() for job in (first[1], *(more or ()))]
        await self.redis.delete(*(f"rq:job:{job}" for job in found))
        return found

    async def _send(self, job: str) -> None:
        ref, token = job.split("-")[1], self._worker.leases.token()
        claimed = await self._worker.messages.claim(ref, token, LEASE)
        if not claimed.ours:
            return
        if (due := self._due.pop(ref, None)) is not None:
            self._waits[claimed.entry.channel_id].append(time.monotonic() - due)
        await asyncio.sleep(ANSWER)
        await self._worker.messages.submitted(
            ref, token, 0, 1, f"id-{ref}", delivered=False, confirm_within=CONFIRM_WITHIN
        )

    async def _sweep(self) -> None:
        while True:
            for _ in range(100):
                if (await self._worker.sweep.report()).looked < SWEEP:
                    break
            await asyncio.sleep(self._pause)


async def at_rest(redis: Redis) -> None:
    """Until no job is left in the queue, and those who were in it have been looked at."""
    deadline = time.monotonic() + PATIENCE
    while await redis.llen(QUEUE):
        if time.monotonic() > deadline:
            raise Wrong(f"the queue is not empty after {PATIENCE:g} s")
        await asyncio.sleep(0.1)
    await asyncio.sleep(AT_REST)


async def say_idle(redis: Redis, seconds: float) -> None:
    async def redis_cpu() -> float:
        spent: dict[str, Any] = await redis.info("cpu")
        return float(spent["used_cpu_user"] + spent["used_cpu_sys"])

    await redis.config_resetstat()
    began, own, its = time.monotonic(), time.process_time(), await redis_cpu()
    await asyncio.sleep(seconds)
    stats: dict[str, dict[str, Any]] = await redis.info("commandstats")
    own, its, seconds = time.process_time() - own, await redis_cpu() - its, time.monotonic() - began
    say("nothing arrives, Redis commands", sum(int(one["calls"]) for one in stats.values()) / seconds, "/s")
    say("nothing arrives, processor of this process", 100 * own / seconds, "%")
    say("nothing arrives, processor of Redis", 100 * its / seconds, "%")


def say_waits(when: str, waits: dict[str, list[float]]) -> None:
    for channel, called in INTERACTIVE.items():
        for name, share in (("p50", 0.5), ("p99", 0.99), ("most", 1.0)):
            what = f"interactive, {called}, {when}, {name} of {len(waits[channel])}"
            say(what, percentile(waits[channel], share) * 1000, "ms")


async def measure(stage: Stage, held: int, limit: str, seconds: float) -> None:
    async with Redis(port=stage.redis.port) as redis, asyncio.TaskGroup() as running:
        bridge = Bridge(stage, redis)
        await bridge.announce(LIMITS[limit])
        worker = running.create_task(bridge.work())
        arriving = running.create_task(bridge.accept_held(held))
        say_waits("while the held ones arrive", await bridge.converse(0.0, arriving))
        say(f"{held} held ones accepted", arriving.result(), "s")
        await at_rest(redis)
        say("messages that wait", await redis.zcard(f"dcb:line:c-{HELD}"), "")
        await say_idle(redis, seconds)
        say_waits("beside the held ones", await bridge.converse(seconds))
        worker.cancel()


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.held", description=(__doc__ or "").splitlines()[0])
    options.add_argument("--held", type=int, default=60_000, help="messages that are held")
    options.add_argument("--limit", choices=list(LIMITS), default="pace", help="by what")
    options.add_argument(
        "--seconds", type=float, default=20.0, help="in which nothing arrives, and as many beside the held ones"
    )
    asked = options.parse_args()
    leave_nothing_running()
    with tempfile.TemporaryDirectory(prefix="dcbridge-bench-") as name, Stage(Path(name)) as stage:
        uvloop.run(measure(stage, asked.held, asked.limit, asked.seconds))


if __name__ == "__main__":
    main()
