"""How long a search takes beside what is remembered and what waits: one line of JSON for each figure.

    python -m benchmarks.search [--remembered 1000000] [--waiting 50000] [--scan]

A Redis of its own. Messages that ended on the last seven days are written as the ledger leaves them; the waiting
ones are accepted by it, on a channel that is paused. A million of the first and 50,000 of the second take 1 GB. Each
search is asked for its first page of 50, `TIMES` times; printed are the median and the most, in ms, the processor time
of one, and how many messages it has looked at. Pages of the console are written as often, without a socket. `--scan`
measures what `dcbridge trace --search` does as well, which looks at every key.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from typing import cast

import httpx
import uvloop
from pydantic import SecretStr
from redis.asyncio import Redis
from starlette.requests import Request

from benchmarks.stage import Wrong, leave_nothing_running
from benchmarks.store import say
from dcbridge.address_tokens import address_token
from dcbridge.cli.dev.embedded_redis import EmbeddedRedis, free_port
from dcbridge.config.loader import parse
from dcbridge.config.reference import EXAMPLE
from dcbridge.console.app import console_app
from dcbridge.console.context import ConsoleContext, Person, Role, SignedIn, Way
from dcbridge.ledger import Ledger, NewMessage
from dcbridge.ledger.controls import Target, What
from dcbridge.ledger.index import MARGIN, Index
from dcbridge.ledger.lua import read_lua
from dcbridge.ledger.reports.index import Page, Query, find
from dcbridge.ledger.reports.search import everything
from dcbridge.messages import message_ref
from dcbridge.runtime.metrics import Metrics
from dcbridge.settings.process import DAY, Settings

KEY = b"the key of tokens of a benchmark"
NUMBERS = 300_000  # consumers
KEEP = 7 * DAY
CHANNELS = {"large": 0.7, "middle": 0.25, "other": 0.049, "small": 0.001}  # and their share
STATES = {"delivered": 0.975, "failed": 0.015, "unconfirmed": 0.009, "removed": 0.001}
BACKUP = 0.0005  # share of those that went through another provider
PAUSED = "paused"
TIMES = 20
WEBHOOK = 100  # messages that are accepted at once
FILLED = 500  # that one script writes


def number(of: int) -> str:
    return f"1650{of:07d}"


def rows(count: int, now: float) -> Iterator[tuple[str, ...]]:
    """As search.lua takes them, the oldest first; the same in each run but for the time."""
    rng = random.Random(14)
    channels, states = list(CHANNELS), list(STATES)
    for n in range(count):
        [channel] = rng.choices(channels, list(CHANNELS.values()))
        [state] = rng.choices(states, list(STATES.values()))
        provider = "backup" if rng.random() < BACKUP else f"of-{channel}"
        at = int((now - KEEP * 0.99 * (1 - n / count)) * 1000)
        ref = hashlib.blake2b(str(n).encode(), digest_size=12).hexdigest()
        yield ref, state, channel, provider, str(at), address_token(KEY, number(rng.randrange(NUMBERS)))


async def fill(redis: Redis, remembered: int, waiting: int) -> Ledger:
    """All of them."""
    script = redis.register_script(read_lua(Path(__file__).parent / "search.lua"))
    written = rows(remembered, time.time())
    while some := list(islice(written, FILLED)):
        await script(args=[int(KEEP * 1000), *(word for row in some for word in row)])
    ledger = Ledger(redis, keep=KEEP, keep_dead=KEEP, index=Index(KEEP + MARGIN, KEY))
    await ledger.pacing.announce({PAUSED: "of-paused 0 1 0 0 1 0"})
    await ledger.controls.begin(Target(What.CHANNEL, PAUSED), by="benchmark")
    for first in range(0, waiting, WEBHOOK):
        await ledger.messages.accept([_waiting(n) for n in range(first, min(waiting, first + WEBHOOK))])
    return ledger


def _waiting(n: int) -> NewMessage:
    ref = message_ref(PAUSED, f"waiting-{n}")
    return NewMessage(ref, ref, PAUSED, f"waiting-{n}", "us", number(n), b'{"text":"hello"}', "trace", DAY)


def searches(now: float) -> dict[str, Query]:
    """By what they are for."""
    noon = now - 3.5 * DAY
    return {
        "the newest": Query(),
        "a channel": Query("large"),
        "a channel with one message in a thousand": Query("small"),
        "a provider": Query(provider="of-large"),
        "a provider with one message in two thousand": Query(provider="backup"),
        "failed": Query(state="failed"),
        "failed on a channel": Query("middle", state="failed"),
        "removed on a channel with one message in a thousand": Query("small", state="removed"),
        "delivered on a channel": Query("large", state="delivered"),
        "ten minutes, some days ago": Query(after=noon, before=noon + 600),
        "ten minutes of a channel, some days ago": Query("large", after=noon, before=noon + 600),
        "a number": Query(number=address_token(KEY, number(4711)), consumers=True),
        "a number that nobody has": Query(number=address_token(KEY, "1999"), consumers=True),
        "waiting": Query(state="accepted"),
        "nothing found: a provider on another channel": Query("large", "of-middle"),
        "nothing found: waiting with a provider": Query(state="accepted", provider="backup"),
        "nothing found: delivered, failed nowhere": Query("small", "of-large"),
    }


async def measure(
    redis: Redis, *, remembered: int, waiting: int, scan: bool = False, times: int = TIMES
) -> dict[str, Page]:
    """Print the figures; the first page of each search."""
    empty = await _memory(redis)
    await fill(redis, remembered, 0)
    filled = await _memory(redis)
    say(
        "memory of Redis for each remembered message, its place in the index included",
        (filled - empty) / remembered,
        "B",
    )
    lists = [key async for key in redis.scan_iter("dcb:ix*", count=10_000)]
    of_index = sum([await redis.memory_usage(key, samples=0) or 0 for key in lists])
    say("… of which the index is", of_index / remembered, "B")
    await fill(redis, 0, waiting)
    say("memory of Redis for each waiting message", (await _memory(redis) - filled) / max(1, waiting), "B")
    say("memory of Redis", await _memory(redis) / 2**20, "MiB")
    pages = {}
    for name, query in searches(time.time()).items():
        took, spent = [], await _cpu(redis)
        for _ in range(times):
            began = time.perf_counter()
            pages[name] = await find(redis, query)
            took.append((time.perf_counter() - began) * 1000)
        _say_times(name, took, await _cpu(redis) - spent)
        say(f"{name}: found", len(pages[name].refs), "")
        say(f"{name}: looked at", pages[name].looked, "")
    await _pages(redis, times)
    if scan:
        began = time.perf_counter()
        async for _ in everything(redis, ("ln",)):
            pass
        say("every key, as trace --search does", time.perf_counter() - began, "s")
    return pages


# ---------------------------------------------------------------- pages of the console

PAGES = (
    "/",
    "/messages",
    "/messages?channel=large",
    "/messages?state=failed",
    "/messages?state=accepted",
    "/conversations",
)


class _Everybody:
    """Whoever asks may look."""

    async def who(self, request: Request) -> SignedIn:
        return SignedIn(Person("benchmark", Role.ADMIN, "benchmark"), "token")


async def _pages(redis: Redis, times: int) -> None:
    """How long the console takes to write a page, without a socket."""
    settings = Settings(token_key=SecretStr(KEY.decode()))
    environ = dict.fromkeys(re.findall(r"\$\{(\w+)\}", EXAMPLE), "x" * 32) | {
        "CRM_SIGNING_SECRET": "whsec_" + "QUFB" * 10
    }
    configuration = parse(EXAMPLE.replace("file:/run/secrets/app_secret", "y" * 32), environ)
    context = ConsoleContext(
        settings, Ledger.of(settings, redis), Metrics(), lambda: configuration, cast(tuple[Way, ...], (_Everybody(),))
    )
    transport = httpx.ASGITransport(console_app(context), client=("127.0.0.1", 50000))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8090") as client:
        for path in PAGES:
            await client.get(path)  # it reads its templates
            took, spent = [], await _cpu(redis)
            for _ in range(times):
                began = time.perf_counter()
                answer = await client.get(path)
                took.append((time.perf_counter() - began) * 1000)
                if answer.status_code != 200:
                    raise Wrong(f"GET {path} was answered {answer.status_code}")
            _say_times(f"GET {path}", took, await _cpu(redis) - spent)


def _say_times(name: str, took: Sequence[float], spent: float) -> None:
    say(f"{name}: median", median(took), "ms")
    say(f"{name}: most", max(took), "ms")
    say(f"{name}: processor time of this process and Redis", spent / len(took) * 1000, "ms")


async def _cpu(redis: Redis) -> float:
    """Seconds of a processor that this process and Redis have taken."""
    spent = await redis.info("cpu")
    return float(spent["used_cpu_user"] + spent["used_cpu_sys"]) + time.process_time()


async def _memory(redis: Redis) -> int:
    return int((await redis.info("memory"))["used_memory"])


async def run(folder: Path, remembered: int, waiting: int, scan: bool) -> None:
    server = EmbeddedRedis(folder / "redis", free_port())
    server.start()
    try:
        async with Redis.from_url(server.url) as redis:
            await redis.config_set("appendonly", "no")  # what is measured is read
            await measure(redis, remembered=remembered, waiting=waiting, scan=scan)
    finally:
        server.stop()


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.search", description=(__doc__ or "").splitlines()[0])
    options.add_argument("--remembered", type=int, default=1_000_000, help="messages that have ended")
    options.add_argument("--waiting", type=int, default=50_000, help="messages that wait")
    options.add_argument("--scan", action="store_true", help="measure a look at every key as well")
    asked = options.parse_args()
    leave_nothing_running()
    with tempfile.TemporaryDirectory(prefix="dcbridge-bench-") as name:
        uvloop.run(run(Path(name), asked.remembered, asked.waiting, asked.scan))


if __name__ == "__main__":
    main()
