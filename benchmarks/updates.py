"""How many delivery updates one worker applies a second where a company sends a hundred in a callback, and one by one.

The messages are sent already, and the callbacks wait. Each update ends its message, so the worker posts receipts too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
from redis.asyncio import Redis

from benchmarks.messages import CHANNEL
from benchmarks.stage import SECRET, Launch, Stage, Wrong, cold
from benchmarks.table import Line, column
from dcbridge.ledger import Ledger, NewTask
from dcbridge.messages import message_ref
from dcbridge.providers.base import Callback
from dcbridge.providers.callback import pack

AT_ONCE = 500  # claims to a write
PATIENCE = 120.0  # seconds
_BULK = """
  bulk:
    kind: infobip
    base_url: http://127.0.0.1:1
    api_key: {secret}
    callback_secret: {secret}
channels:
"""


@dataclass(frozen=True, slots=True)
class Size:
    """`updates` in callbacks of `batch`."""

    updates: int = 10_000
    batch: int = 100
    launch: Launch = cold


SMALL = Size(updates=600, batch=20)


async def _sent(stage: Stage, refs: Sequence[str]) -> None:
    """Every message taken by its company."""
    async with Redis(port=stage.redis.port) as redis:
        ledger = Ledger.of(stage.settings, redis)

        async def one(ref: str) -> None:
            token = ledger.leases.token()
            if not (await ledger.messages.claim(ref, token, 60.0)).ours:
                raise Wrong(f"{ref} cannot be claimed")
            await ledger.messages.submitted(ref, token, 0, 1, f"{ref}.0", delivered=False, confirm_within=3600.0)

        for begin in range(0, len(refs), AT_ONCE):
            await asyncio.gather(*map(one, refs[begin : begin + AT_ONCE]))


def _callback(refs: Sequence[str]) -> bytes:
    said = [{"messageId": f"{ref}.0", "status": {"groupId": 3, "id": 5}, "error": {"id": 0}} for ref in refs]
    body = orjson.dumps({"results": said})
    return pack("bulk", Callback("status", "POST", "http://127.0.0.1/callbacks/bulk/status", b"", {}, body))


async def _told(stage: Stage, refs: Sequence[str], batch: int) -> None:
    tasks = [
        NewTask(f"b-{begin}", "callback", "", _callback(refs[begin : begin + batch]), "trace")
        for begin in range(0, len(refs), batch)
    ]
    async with Redis(port=stage.redis.port) as redis:
        ledger = Ledger.of(stage.settings, redis)
        for begin in range(0, len(tasks), AT_ONCE):
            await ledger.tasks.put(tasks[begin : begin + AT_ONCE])


def _run(folder: Path, size: Size, batch: int) -> dict[str, float]:
    """One worker, from its first update to its last."""
    with Stage(folder, launch=size.launch) as stage:
        written = (folder / "bridge.yaml").read_text().replace("\nchannels:\n", _BULK.format(secret=SECRET))
        (folder / "bridge.yaml").write_text(written.replace("    provider: twilio\n", "    provider: bulk\n"))
        stage.start_worlds(0)
        stage.fill_fast("u", size.updates)
        refs = [message_ref(CHANNEL, f"u-{n}") for n in range(size.updates)]
        asyncio.run(_sent(stage, refs))
        asyncio.run(_told(stage, refs, batch))
        stage.start_worker()
        begin, first = _until(stage, 1)
        cpu = stage.sample().cpu["worker"]
        end, last = _until(stage, size.updates)
        books = asyncio.run(stage.books())
        if books.difference or books.delivered != size.updates or last <= first:
            raise Wrong(f"{size.updates} updates, {books}")
        spent = stage.sample().cpu["worker"] - cpu
        return {"rate": (last - first) / (end - begin), "cpu": spent / (last - first) * 1000}


def _until(stage: Stage, count: int) -> tuple[float, int]:
    """The moment at which so many were delivered, and how many."""
    deadline = time.monotonic() + PATIENCE
    with stage.look() as connection:
        while True:
            stage.must_run("worker")
            found = connection.hget(f"dcb:books:{CHANNEL}", "delivered")
            done = int(found) if isinstance(found, bytes) else 0
            if done >= count:
                return time.monotonic(), done
            if time.monotonic() > deadline:
                raise Wrong(f"{done} of {count} updates were applied in {PATIENCE:g} s")
            time.sleep(0.005)


def measure(folder: Path, runs: int, size: Size = Size()) -> list[Line]:
    """In batches and one by one, in turn."""
    many, single = [], []
    for run in range(runs):
        many.append(_run(folder / f"many-{run}", size, size.batch))
        single.append(_run(folder / f"single-{run}", size, 1))

    def line(what: str, name: str, digits: int, aim: str = "") -> Line:
        return Line(what, column(many, name), digits, "one in a callback", column(single, name), aim)

    return [
        line(f"delivery updates applied, {size.batch} in a callback, one worker, /s", "rate", 0, "≥ 2,000"),
        line("… processor time of the worker for each, receipts too, ms", "cpu", 3),
    ]
