"""An RQ worker that carries many jobs at once in one event loop.

`rq worker -w workers.worker.RelayWorker --serializer rq.serializers.JSONSerializer outbound` and
`dcbridge worker` both run it. It keeps RQ's books (`rq info`, the started registry, birth, heartbeat
and death), and differs from the stock loop in four things:

* up to `concurrency` jobs are in flight, taken in batches by one script;
* SIGTERM sets a flag and nothing else: what is in flight finishes, within `drain_seconds`; a second
  one stops at once. The stock worker raises out of the handler and loses what it had just popped;
* a job that is lost here is no message lost: the ledger's sweep queues it again;
* only our own jobs are run (`job_data.py`), and RQ's command channel is not listened to.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, cast

import structlog
import uvloop
from redis.asyncio import Redis
from redis.exceptions import RedisError
from rq.worker import BaseWorker, WorkerStatus
from rq.worker_registration import REDIS_WORKER_KEYS

from dcbridge.config.loader import load
from dcbridge.config.models import Configuration
from dcbridge.ledger.jobs import EVENTS, OUTBOUND
from dcbridge.ledger.layout import require_sync
from dcbridge.ledger.lua import take_script
from dcbridge.runtime.gc_tuning import collect_on_growth, tune_gc
from dcbridge.runtime.metrics import VERSION, Metrics
from dcbridge.runtime.reload import Reload
from dcbridge.runtime.scrape import Scrape
from dcbridge.runtime.server import Listener, operator_app
from dcbridge.settings.process import Settings, read_settings
from dcbridge.store.connection import connect
from dcbridge.tracing import switch
from workers.announcing import Announcer
from workers.cleaning import keep_cleaning
from workers.context import WorkerContext, install, open_context
from workers.digests import keep_digests
from workers.job_data import LARGEST, RefusedJob, read_job, shown_id
from workers.nightly import keep_reconciling
from workers.reconciler import keep_sweeping
from workers.signals import keep_watching
from workers.text_back import keep_listening
from workers.work_items import keep_asking

log = structlog.get_logger()

BLOCK = 1.0  # seconds that an idle worker waits for a job before it looks at its flags
SOON = 0.05  # seconds until it looks again, while there is no place for one more event
HEARTBEAT = 15.0  # seconds
REMEMBERED = 30  # seconds without a heartbeat, to which RQ adds 60, until `rq info` no longer shows a killed worker
REMEMBERED_DONE = 10_000  # jobs of which RQ has not heard that they are done; older ones expire in its registry
WIP = 180.0  # seconds after which RQ may call a started job abandoned


class RelayWorker(BaseWorker):
    """See the module. `listen`: open the worker's operator listener; off for several on one port."""

    def __init__(
        self,
        *arguments: Any,
        settings: Settings | None = None,
        configuration: Configuration | None = None,
        listen: bool = False,
        **named: Any,
    ) -> None:
        super().__init__(*arguments, **named)
        require_sync(self.connection)
        self.worker_ttl = min(self.worker_ttl, REMEMBERED)
        self.settings = settings or read_settings(os.environ)[0]
        self.configuration = configuration or load(self.settings.config, os.environ)
        self._listen = listen
        self._burst = False
        self._running: set[asyncio.Task[None]] = set()
        self._signals = 0
        self._claims_as = secrets.token_hex(4)
        self._stop = asyncio.Event()
        self._changed = asyncio.Event()
        self._done: list[tuple[bytes, str]] = []
        self._failed = 0  # of them, by what RQ calls a failure: it was refused, or tripped us up
        self._delivering = 0  # events under way: half of the places at most

    def work(self, burst: bool = False, *_arguments: Any, **_named: Any) -> bool:
        """Run until SIGTERM or, with `burst`, until nothing is left. True when there was something to do.

        The stock loop's other options do not apply here and are not looked at.
        """
        self._burst = burst
        return uvloop.run(self._work())

    async def _work(self) -> bool:
        self._stop, self._changed = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop)
        if self.settings.tracing:
            switch.start("dcbridge-worker", VERSION, tell=self.settings.tracing_propagate)
        metrics = Metrics()
        async with open_context(self.settings, self.configuration, metrics, worker=self._claims_as) as ctx:
            install(ctx)
            tune_gc()
            queue_side = connect(self.settings, patience=BLOCK + self.settings.redis_timeout)
            reload = Reload(self.settings.config, os.environ, self.configuration, metrics, self.settings.reload_every)
            announcer = Announcer(ctx)
            helpers = [
                asyncio.create_task(self._keep_alive(announcer.announced)),
                asyncio.create_task(collect_on_growth()),
            ]
            listener = self._listener(ctx, metrics)
            try:
                if listener is not None:  # before anything is asked of Redis, which may be away
                    helpers.append(asyncio.create_task(listener.serve()))
                await ctx.ledger.script.outlast(ctx.announce)
                await ctx.ledger.script.outlast(ctx.ledger.leases.heartbeat)  # last, as in announcing.py
                helpers.append(asyncio.create_task(keep_sweeping(ctx, announcer)))
                helpers.append(asyncio.create_task(keep_cleaning(ctx)))
                helpers.append(asyncio.create_task(ctx.binds.keep()))
                helpers.append(asyncio.create_task(keep_asking(ctx)))
                helpers.append(asyncio.create_task(keep_watching(ctx)))
                helpers.append(asyncio.create_task(keep_listening(ctx)))
                helpers.append(asyncio.create_task(keep_reconciling(ctx)))
                helpers.append(asyncio.create_task(keep_digests(ctx)))
                helpers.append(asyncio.create_task(reload.keep_looking(ctx.change)))
                worked = await self._loop(ctx, queue_side)
                await self._drain()
            finally:
                for helper in helpers:
                    helper.cancel()
                await asyncio.gather(*helpers, return_exceptions=True)
                with suppress(RedisError, OSError):
                    await ctx.ledger.leases.release()
                    await self._flush(queue_side)
                with suppress(RedisError, OSError):
                    await asyncio.to_thread(self.register_death)
                await queue_side.aclose()
        await asyncio.to_thread(switch.stop)
        log.info("worker_stopped", left_in_flight=len(self._running))
        return worked

    def _listener(self, ctx: WorkerContext, metrics: Metrics) -> Listener | None:
        if not self._listen:
            return None

        async def ready() -> bool:
            return bool(await ctx.redis.ping())

        return Listener(
            operator_app(
                ready,
                Scrape(metrics, ctx.redis, self.settings, self.configuration, lambda: ctx.sinks.subscribers),
                self.settings.known_hosts,
            ),
            self.settings.worker_host,
            self.settings.worker_port,
            setting="DCBRIDGE_WORKER_PORT",
            limits=self.settings.limits(),
            ended=metrics.ended_by("operator"),
        )

    # ------------------------------------------------------------ the loop

    async def _loop(self, ctx: WorkerContext, redis: Redis) -> bool:
        take = redis.register_script(take_script())
        log.info("worker_started", queues=[q.name for q in self.queues], concurrency=self.settings.concurrency)
        worked, trouble = False, 0.0
        while not self._stop.is_set():
            self._changed.clear()
            room = self.settings.concurrency - len(self._running)
            names = self._open_queues(ctx)
            keys = [f"rq:queue:{name}" for name in names]
            if room <= 0 or not names:
                await self._changed.wait()
                continue
            try:
                idle = not self._running  # before it is asked: what ends meanwhile may have queued more
                # Both at once: they meet in one fsync, and who waits for a job does not wait for the books of RQ.
                jobs, told = await asyncio.gather(
                    self._take(take, room, b"", names), self._flush(redis), return_exceptions=True
                )
                if isinstance(jobs, BaseException):
                    raise jobs
                if isinstance(told, BaseException) and not jobs:
                    raise told
                if not jobs and self._burst:
                    if idle:
                        return worked
                    if self._running:
                        await self._changed.wait()
                    continue
                if jobs is None:  # suspended; a blocking pop would not look
                    with suppress(TimeoutError):
                        async with asyncio.timeout(BLOCK):
                            await self._stop.wait()
                    continue
                if not jobs and any(
                    self._most(queue.name) <= 0 for queue in self.queues
                ):  # a pop would wait for the other queues alone
                    with suppress(TimeoutError):
                        async with asyncio.timeout(SOON):
                            await self._changed.wait()
                    continue
                if not jobs:
                    found = await cast(Any, redis.blpop(keys, BLOCK))
                    if found is None:
                        continue
                    name = names[keys.index(found[0].decode())]
                    order = [name, *(n for n in names if n != name)]
                    jobs = await self._take(take, room, found[1], order) or []
                trouble = 0.0
            except (RedisError, OSError) as error:
                trouble = min(2.0, trouble * 2 or 0.1)
                log.warning("worker_waits_for_redis", error=type(error).__name__)
                with suppress(TimeoutError):
                    async with asyncio.timeout(trouble):
                        await self._stop.wait()
                continue
            for job_id, queue, data in jobs:
                worked = True
                self._delivering += queue == EVENTS
                task = asyncio.create_task(self._run(ctx, job_id, queue, data))
                self._running.add(task)
                task.add_done_callback(self._finished)
        return worked

    def _open_queues(self, ctx: WorkerContext) -> list[str]:
        """Those that may be taken from now: deliveries that hang must leave room for messages. Whoever sends also sends
        what only a worker with a session can.
        """
        names = [queue.name for queue in self.queues]
        if OUTBOUND in names:
            place = names.index(OUTBOUND)
            names[place:place] = ctx.binds.queues()
        return [name for name in names if self._most(name) > 0]

    def _most(self, name: str) -> int:
        """Jobs of a queue that may be taken now."""
        most = self.settings.concurrency
        return -(-most // 2) - self._delivering if name == EVENTS and len(self.queues) > 1 else most

    async def _take(
        self, take: Any, room: int, popped: bytes, names: list[str]
    ) -> list[tuple[bytes, str, bytes]] | None:
        """(job id, queue, data) of each, None while all work is suspended. An id is whatever somebody wrote there, and
        need not be text.
        """
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        queues = [word for name in names for word in (name, self._most(name))]
        rows = await take(args=[min(room, 64), self.name, now, int(time.time() + WIP), popped, LARGEST, *queues])
        return None if rows is None else [(row[0], row[1].decode(), row[2]) for row in rows]

    async def _run(self, ctx: WorkerContext, job_id: bytes, queue: str, data: bytes) -> None:
        try:
            function, argument = read_job(data)
            await function(argument)
        except RefusedJob as job:
            self._failed += 1
            _refused(ctx, job, job_id, queue)
        except (RedisError, OSError) as error:  # the ledger still holds it: a sweep queues it again
            log.warning("job_interrupted", job=shown_id(job_id), error=type(error).__name__)
        except Exception:
            self._failed += 1
            log.error("job_internal_error", job=shown_id(job_id), exc_info=True)
        finally:
            self._delivering -= queue == EVENTS
        self._done.append((job_id, queue))

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._changed.set()

    async def _flush(self, redis: Redis) -> None:
        """Tell RQ what is done, in one pipeline."""
        done, self._done = self._done, []
        failed, self._failed = self._failed, 0
        if not done:
            return
        started: dict[str, list[bytes]] = {}
        for job_id, queue in done:
            started.setdefault(queue, []).append(job_id + f":{self.name}".encode())
        async with redis.pipeline(transaction=False) as pipe:
            pipe.delete(*[b"rq:job:" + job_id for job_id, _ in done])
            for queue, members in started.items():
                pipe.zrem(f"rq:wip:{queue}", *members)
            pipe.hincrby(self.key, "successful_job_count", len(done) - failed)
            if failed:
                pipe.hincrby(self.key, "failed_job_count", failed)
            try:
                await pipe.execute()
            except (RedisError, OSError):  # some of it may have been done; only the two counts can notice
                self._done = [*done, *self._done][-REMEMBERED_DONE:]
                self._failed += failed
                raise

    # ------------------------------------------------------------ life and death

    def serialize(self) -> dict[str, Any]:
        """What RQ's registry holds of a worker, and what `dcbridge status` tells of it besides."""
        ours = {
            "dcbridge": VERSION,
            "concurrency": self.settings.concurrency,
            "claims_as": self._claims_as,
            "controls": 1,
        }
        return {**super().serialize(), **ours}

    async def _keep_alive(self, announced: asyncio.Event) -> None:
        """`announced`: the store did not know this worker, so RQ's registry may not either."""
        while True:
            announced.clear()
            try:
                await asyncio.to_thread(self._be_registered)
                with suppress(TimeoutError):
                    async with asyncio.timeout(HEARTBEAT):
                        await announced.wait()
            except (RedisError, OSError):
                await asyncio.sleep(1.0)

    def _be_registered(self) -> None:
        if self.connection.sismember(REDIS_WORKER_KEYS, self.key) and self.connection.hexists(self.key, "birth"):
            self.heartbeat()
            return
        self.connection.delete(self.key)  # a heartbeat into a registry that was emptied leaves half an entry
        cast(Any, self).register_birth()
        self.set_state(WorkerStatus.BUSY)

    async def _drain(self) -> None:
        """Let what is in flight finish. What does not keeps its lease in the ledger and is recovered there."""
        if not self._running:
            return
        log.info("worker_drains", in_flight=len(self._running))
        end = time.monotonic() + self.settings.drain_seconds
        while self._running and time.monotonic() < end and self._signals < 2:
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    await self._changed.wait()
        for task in self._running:
            task.cancel()

    def _asked_to_stop(self) -> None:
        self._signals += 1
        self._stop.set()
        self._changed.set()


def _refused(ctx: WorkerContext, job: RefusedJob, job_id: bytes, queue: str) -> None:
    """A job that is not one of ours is removed and told; the ledger queues whatever it was for again, if it was for
    anything. One that only a newer version knows is no fault: during an upgrade both versions take from the queues.
    """
    log.warning("job_refused", job=shown_id(job_id), queue=queue, reason=job.reason, path=job.path)
    if job.reason != "unknown_job":
        ctx.metrics.faults.labels("job_refused", queue).inc()
