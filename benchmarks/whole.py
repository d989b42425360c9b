"""The whole path on one machine: signed webhook, answer, relay, delivery update, receipt; everything shares the cores.

This process is Digital Channels and the provider at once, on one clock. First it keeps so many messages
under way that the bridge is always busy, and counts what comes out; then it offers half of that at fixed
times, whatever the answers do, and measures what each message waits for.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

import uvloop

from benchmarks.load import Connections, Result, at_rate, percentile
from benchmarks.messages import http_post, signed
from benchmarks.relay import IN_FLIGHT, PATIENCE, PROVIDER_MS
from benchmarks.stage import OURS, SECRET, STOCK, Between, Launch, Stage, Wrong, cold
from benchmarks.table import Line, column
from benchmarks.worlds import World

CONNECTIONS, UPDATE_CONNECTIONS = 64, 32
# They are open before the worker has started, which takes long on a busy machine: the service is not to close them.
KEPT_OPEN = {"DCBRIDGE_HEAD_TIMEOUT": "600", "DCBRIDGE_IDLE_TIMEOUT": "600"}


@dataclass(frozen=True, slots=True)
class Size:
    """Seconds counted at the limit and at half of it, after `warm` seconds that are not."""

    seconds: float = 8.0
    warm: float = 2.0
    stock_seconds: float = 6.0
    under_way: int = 1_000  # messages; the stock worker gets `stock_under_way`
    stock_under_way: int = 20
    launch: Launch = cold


SMALL = Size(seconds=1.0, warm=0.2, stock_seconds=3.0, under_way=50, stock_under_way=5)


class Outside:
    """Digital Channels and the provider, and what they have seen."""

    def __init__(self, stage: Stage, label: str) -> None:
        self.world = World(PROVIDER_MS / 1000)
        self.world.on_asked, self.world.on_taken, self.world.on_receipts = self._asked, self._taken, self._moved
        self.webhooks = Connections(stage.public, CONNECTIONS)
        self.updates = Connections(stage.public, UPDATE_CONNECTIONS)
        self.answers, self.told = Result(), Result()
        self.sent: dict[str, float] = {}  # when each message's webhook was due, by time.perf_counter()
        self.waits: list[float] = []  # seconds from there to the provider's request
        self._public = f"http://127.0.0.1:{stage.public}"
        self._requests: Iterator[tuple[str, bytes]] = signed(SECRET.encode(), label, conversations=5_000)
        self._most = 0
        self._settled = asyncio.Event()

    async def open(self, port: int) -> None:
        await self.world.serve(port)
        await self.webhooks.open()
        await self.updates.open()

    async def close(self) -> None:
        await self.webhooks.close()
        await self.updates.close()
        await self.world.close()

    # ------------------------------------------------------------ Digital Channels

    def keep_under_way(self, count: int) -> None:
        """From now on, that many messages are without a receipt at any time; 0 sends nothing more."""
        self._most = count
        self._moved()

    def next(self, due: float) -> bytes:
        message_id, request = next(self._requests)
        self.sent[message_id] = due
        return request

    def _moved(self) -> None:
        """Something was answered or a receipt came."""
        while self.webhooks.free and len(self.sent) - len(self.world.delivered) < self._most:
            self.webhooks.post(self.next(time.perf_counter()), self._answered)
        steps = (len(self.world.delivered), self.answers.statuses.total(), self.told.statuses.total())
        if set(steps) == {len(self.sent)}:
            self._settled.set()
        else:
            self._settled.clear()

    def _answered(self, status: int, seconds: float) -> None:
        self.answers.note(status, seconds)
        self._moved()

    # ------------------------------------------------------------ the provider

    def _asked(self, message_id: str) -> None:
        self.waits.append(time.perf_counter() - self.sent[message_id])

    def _taken(self, body: bytes, number: int) -> None:
        form = dict(parse_qsl(body.decode()))
        request = status_callback(self._public, form, f"SM{number:032d}")
        self.updates.post(request, self._was_told)

    def _was_told(self, status: int, seconds: float) -> None:
        self.told.note(status, seconds)
        self._moved()

    # ------------------------------------------------------------ what was seen

    def forget_times(self) -> None:
        self.answers.latencies.clear()
        self.waits.clear()

    async def delivers(self, already: int = 0) -> None:
        """Return when a receipt came, at once where there are some `already`. Raises Wrong when none does."""
        count, deadline = len(self.world.delivered), time.monotonic() + PATIENCE
        while not already and len(self.world.delivered) == count:
            if time.monotonic() > deadline:
                counts = f"{self.world.view()}, webhooks {self.answers.statuses}, updates {self.told.statuses}"
                raise Wrong(f"no receipt in {PATIENCE:g} s: {counts}")
            await asyncio.sleep(0.01)

    async def all_told(self) -> None:
        """Wait for the last receipt. Raises Wrong unless each message went every step of the way once."""
        self.keep_under_way(0)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._settled.wait(), PATIENCE)
        self.check()

    def check(self) -> None:
        """See `all_told`."""
        seen = self.world.view()
        counts = {name: int(seen[name]) for name in ("requests", "asked", "taken", "receipts", "delivered")}
        for name, result in (("webhooks", self.answers), ("updates", self.told)):
            counts |= {f"{name} answered": result.statuses.total(), f"{name} answered 200": result.statuses[200]}
        if set(counts.values()) != {len(self.sent)}:
            raise Wrong(f"of {len(self.sent)} messages: {counts}, {self.answers.statuses}, {self.told.statuses}")


def status_callback(public: str, form: dict[str, str], sid: str) -> bytes:
    """The request by which Twilio says that a message was delivered."""
    url = form["StatusCallback"].partition("#")[0]
    fields = {
        "AccountSid": "AC00000000000000000000000000000000",
        "ApiVersion": "2010-04-01",
        "From": form["From"].replace("+", "%2B"),
        "MessageSid": sid,
        "MessageStatus": "delivered",
        "SmsSid": sid,
        "SmsStatus": "delivered",
        "To": form["To"].replace("+", "%2B"),
    }
    body = "&".join(f"{name}={value}" for name, value in fields.items()).encode()
    text = url + "".join(name + value for name, value in fields.items()).replace("%2B", "+")  # they are in order
    digest = hmac.new(SECRET.encode(), text.encode(), hashlib.sha1).digest()
    headers = {
        "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
        "X-Twilio-Signature": base64.b64encode(digest).decode(),
    }
    return http_post(url.removeprefix(public), body, headers)


# ---------------------------------------------------------------- runs


async def _at_the_limit(stage: Stage, outside: Outside, under_way: int, warm: float, seconds: float) -> Between:
    outside.keep_under_way(under_way)
    await outside.delivers()
    await asyncio.sleep(warm)
    outside.forget_times()
    first = stage.sample(outside.world.view())
    await asyncio.sleep(seconds)
    await outside.delivers(len(outside.world.delivered) - int(first.delivered))
    return Between(first, stage.sample(outside.world.view()))


async def _at_half(outside: Outside, rate: float, seconds: float) -> Result:
    """Open loop: an answer's time counts from when its request was due."""
    outside.forget_times()
    result = await at_rate(outside.webhooks, outside.next, rate, max(1, int(rate * seconds)))
    outside.answers.statuses += result.statuses
    return result


async def _run(stage: Stage, label: str, size: Size) -> dict[str, float]:
    outside = Outside(stage, label)
    await outside.open(stage.worlds)
    try:
        between = await _at_the_limit(stage, outside, size.under_way, size.warm, size.seconds)
        answers = list(outside.answers.latencies)
        await outside.all_told()
        half = await _at_half(outside, between.rate / 2, size.seconds)
        await outside.all_told()
    finally:
        await outside.close()
    return {
        "messages": len(outside.sent),
        "rate": between.rate,
        "answer p99": percentile(answers, 0.99) * 1000,
        "half answer p99": percentile(half.latencies, 0.99) * 1000,
        "half provider p50": percentile(outside.waits, 0.5) * 1000,
        "half provider p99": percentile(outside.waits, 0.99) * 1000,
        **{f"{name} cpu": between.cpu_ms(name) for name in ("service", "worker", "redis", "worlds")},
    }


async def _run_stock(stage: Stage, label: str, size: Size) -> dict[str, float]:
    """As far as it comes in that time; what is left is left."""
    outside = Outside(stage, label)
    await outside.open(stage.worlds)
    try:
        between = await _at_the_limit(stage, outside, size.stock_under_way, 0.0, size.stock_seconds)
    finally:
        outside.keep_under_way(0)
        await outside.close()
    return {"rate": between.rate, "worker cpu": between.cpu_ms("worker")}


def once(folder: Path, size: Size, command: Sequence[str] = OURS) -> dict[str, float]:
    """Redis, a service, one worker and this process."""
    with Stage(folder, KEPT_OPEN, confirmed=True, launch=size.launch) as stage:
        stage.start("service", "-m", "dcbridge", "serve")
        stage.start_worker("worker", command, IN_FLIGHT)
        stage.wait_for("service", f"http://127.0.0.1:{stage.operator}/readyz")
        run = _run if command == OURS else _run_stock
        return uvloop.run(run(stage, folder.name, size))


def measure(folder: Path, runs: int, size: Size = Size()) -> list[Line]:
    """Our worker beside RQ's own loop behind the same service."""
    stock, ours = [], []
    for run in range(runs):
        stock.append(once(folder / f"whole-stock-{run}", size, STOCK))
        ours.append(once(folder / f"whole-{run}", size))

    def line(what: str, name: str, digits: int, aim: str = "", *, beside: bool = False) -> Line:
        base = ("rq's SimpleWorker", column(stock, name)) if beside else ("", ())
        return Line(what, column(ours, name), digits, *base, aim)

    carried = tuple(1000 / spent for spent in column(ours, "redis cpu"))
    return [
        line("whole path on one machine: webhook, relay, update, receipt, /s", "rate", 0, "≥ 500", beside=True),
        line("… webhook answered within, at that rate, p99, ms", "answer p99", 1, "≤ 100"),
        line("… webhook answered within, at half of it, p99, ms", "half answer p99", 1),
        line("… from the webhook to the provider's request, at half of it, p50, ms", "half provider p50", 1),
        line("… from the webhook to the provider's request, at half of it, p99, ms", "half provider p99", 1, "≤ 1,000"),
        line("… processor time of the service for each message, ms", "service cpu", 3),
        line("… processor time of the worker for each message, ms", "worker cpu", 3, beside=True),
        line("… processor time of Redis for each message, ms", "redis cpu", 3),
        Line("… on paper: as many would keep one Redis busy, /s", carried),
        line("… processor time of the load and the simulated parties for each message, ms", "worlds cpu", 3),
    ]
