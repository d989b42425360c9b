"""Events delivered per second to five subscribers by one worker, beside as many bare POSTs from the same client.

Bare is the sink and its connections with nothing around them: no ledger, no queue, no turns. It is
the most that the rest could ever reach.
"""

from __future__ import annotations

import asyncio
import http.client
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson
import psutil
import uvloop
import yaml
from redis.asyncio import Redis

from benchmarks.stage import Stage, Wrong
from benchmarks.table import Line, column
from dcbridge.cli.dev.embedded_redis import free_port
from dcbridge.config.loader import load
from dcbridge.events.event import StoredEvent, for_ledger, split
from dcbridge.events.sinks import Subscriber, open_sink
from dcbridge.ledger import Ledger

SIGNS = "whsec_YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXoxMjM0NTY="  # a secret of nobody
SUBSCRIBERS = tuple(f"well-{n}" for n in range(1, 6))
IN_FLIGHT = 40  # requests under way to each
AT_ONCE = 100  # events to a write, when the ledger is filled without the service
PATIENCE = 180.0


@dataclass(frozen=True, slots=True)
class Size:
    """Events that wait when the worker starts; each goes to every subscriber."""

    count: int = 3_000


SMALL = Size(count=60)


def events(count: int) -> list[StoredEvent]:
    """One batch each, as Digital Channels tells of an interaction that starts."""
    found = []
    for _ in range(count):
        interaction = str(uuid.uuid4())
        entity = {
            "id": interaction,
            "mediaType": "chat",
            "interactionSubtype": "InboundNew",
            "selfUri": f"NexusURL/nexus/v3/chat/sessions/49a0ed5c-77b8-4091-a0c2-1d904ff709b0/{interaction}",
        }
        body = orjson.dumps(
            {"operationId": str(uuid.uuid4()), "data": {"entities": [{"event": "STARTED", "entity": entity}]}}
        )
        found += split("main", body, datetime.now(UTC), "5767ea58-1511-4a98-bc56")[0]
    return found


class EventStage(Stage):
    """A Redis, receivers, and a bridge.yaml with five subscribers."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.receivers = free_port()
        path = folder / "bridge.yaml"
        told = yaml.safe_load(path.read_text())
        told["interactions"] = {"main": {"secrets": told["endpoints"]["main"]["secrets"]}}
        told["subscribers"] = {
            name: {
                "sink": {
                    "kind": "http",
                    "url": f"http://127.0.0.1:{self.receivers}/well/{name}",
                    "secrets": [SIGNS],
                    "allow": ["127.0.0.1"],
                },
                "pace": {"in_flight": IN_FLIGHT},
            }
            for name in SUBSCRIBERS
        }
        path.write_text(yaml.safe_dump(told))

    def start_receivers(self) -> None:
        self.start("receivers", "-m", "benchmarks.receivers", str(self.receivers))
        self.wait_for("receivers", f"http://127.0.0.1:{self.receivers}/counts")

    @property
    def subscribers(self) -> dict[str, Subscriber]:
        return dict(load(self.folder / "bridge.yaml", self.environ).subscribers)

    def heard(self) -> int:
        """Requests so far, to all of them."""
        connection = http.client.HTTPConnection("127.0.0.1", self.receivers, timeout=30.0)
        connection.request("GET", "/counts")
        counts = orjson.loads(connection.getresponse().read())
        connection.close()
        return sum(counts.values())

    async def put(self, kept: list[StoredEvent]) -> None:
        """As a splitter does."""
        subscribers = self.subscribers
        async with Redis(port=self.redis.port) as connection:
            events = Ledger.of(self.settings, connection).events
            for start in range(0, len(kept), AT_ONCE):
                await events.put([for_ledger(one, subscribers) for one in kept[start : start + AT_ONCE]])


def bare(folder: Path, count: int) -> dict[str, float]:
    """As many POSTs by the sinks alone, from this process."""
    with EventStage(folder) as stage:
        stage.start_receivers()
        began, cpu = time.perf_counter(), time.process_time()
        uvloop.run(_post(stage.subscribers, events(count)))
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        _check(stage.heard(), count)
        return {"rate": count * len(SUBSCRIBERS) / seconds, "cpu": cpu / count / len(SUBSCRIBERS) * 1000, "redis": 0.0}


async def _post(subscribers: dict[str, Subscriber], kept: list[StoredEvent]) -> None:
    async def speak(name: str, sink_of: Subscriber) -> None:
        sink = open_sink(name, sink_of, "http://127.0.0.1")
        rest: Iterator[StoredEvent] = iter(kept)

        async def one_after_another() -> None:
            for one in rest:
                await sink.deliver(one.event)

        await asyncio.gather(*(one_after_another() for _ in range(IN_FLIGHT)))
        await sink.close()

    await asyncio.gather(*(speak(name, one) for name, one in subscribers.items()))


def fan_out(folder: Path, count: int) -> dict[str, float]:
    """The same through ledger, queues and one worker. Raises Wrong unless each came once to each."""
    whole = count * len(SUBSCRIBERS)
    with EventStage(folder) as stage:
        stage.start_receivers()
        asyncio.run(stage.put(events(count)))
        before = stage._info("cpu")
        stage.start_worker("worker", in_flight=2 * IN_FLIGHT * len(SUBSCRIBERS))
        worker = psutil.Process(stage.processes["worker"].pid)
        seen: list[tuple[float, int, float]] = []  # seconds, requests, processor seconds of the worker
        deadline = time.monotonic() + PATIENCE
        while not seen or seen[-1][1] < whole:
            if time.monotonic() > deadline:
                raise Wrong(f"{seen[-1][1]} of {whole} deliveries in {PATIENCE:g} s")
            stage.must_run("worker")
            time.sleep(0.1)
            times = worker.cpu_times()
            seen.append((time.monotonic(), stage.heard(), times.user + times.system))
        after = stage._info("cpu")
        stage.end("worker")
        _check(stage.heard(), count)
    inner = [one for one in seen if 0.1 * whole <= one[1] <= 0.9 * whole] or seen
    began = next(one for one in seen if one[1])
    first, last = (inner[0], inner[-1]) if len(inner) > 1 else (began, seen[-1])
    redis = sum(after[name] - before[name] for name in ("used_cpu_user", "used_cpu_sys"))
    return {
        "rate": (last[1] - first[1]) / max(1e-9, last[0] - first[0]),
        "cpu": (seen[-1][2] - began[2]) / max(1, whole - began[1]) * 1000,
        "redis": redis / whole * 1000,
    }


def _check(heard: int, count: int) -> None:
    if heard != count * len(SUBSCRIBERS):
        raise Wrong(f"{count} events to {len(SUBSCRIBERS)} subscribers: {heard} requests")


def measure(folder: Path, runs: int, size: Size = Size()) -> list[Line]:
    """Bare and whole in turn."""
    alone, whole = [], []
    for run in range(runs):
        alone.append(bare(folder / f"bare-{run}", size.count))
        whole.append(fan_out(folder / f"fan-out-{run}", size.count))

    def line(what: str, name: str, digits: int, *, beside: bool = True) -> Line:
        base = ("bare POSTs", column(alone, name)) if beside else ("", ())
        return Line(what, column(whole, name), digits, *base)

    return [
        line("events delivered by one worker to five subscribers, /s", "rate", 0),
        line("… processor time of the worker for each delivery, ms", "cpu", 3),
        line("… processor time of Redis for each delivery, ms", "redis", 3, beside=False),
    ]
