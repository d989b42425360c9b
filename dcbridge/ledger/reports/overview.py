"""What runs and what is held back: workers, queues, providers and paces, at one moment.

Each figure is a length, an end of a list or a field: the cost grows with the number of workers,
providers and channels, never with the number of messages. Durations are in seconds, by Redis' clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from dcbridge.ledger import controls, moment
from dcbridge.ledger.controls import Control, What
from dcbridge.ledger.jobs import QUEUES
from dcbridge.ledger.quiet import read_line
from dcbridge.ledger.routes import Order, Speed, order_of, speed_of

# Seconds without a heartbeat (one comes every 15) after which a worker is not counted on. One that claims under a
# name of its own (leases.lua) is known to be silent much sooner.
SILENT = 45.0
UNCONFIGURED = 100  # channels without configuration that are told of
STARTED = 10_000  # started jobs of a queue that are read, to tell how many each worker has


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker as RQ's registry has it. `silent` when it should have been heard of since."""

    name: str
    host: str
    pid: int
    queues: tuple[str, ...]
    version: str  # of dcbridge; "" for RQ's stock worker
    alive_for: float
    last_heard: float  # seconds ago
    silent: bool
    in_flight: int
    concurrency: int  # 0 where it does not say
    obeys: bool = True  # it knows pauses of channels and conversations; an older version does not


@dataclass(frozen=True, slots=True)
class Queue:
    """One of RQ's queues: jobs that wait, how long the first of them has, and jobs that workers have."""

    name: str
    depth: int
    oldest_age: float
    started: int


@dataclass(frozen=True, slots=True)
class Pace:
    """The limits of a provider's account or of a channel; 0 is none."""

    per_second: float
    burst: int
    cap: int
    booked_ahead: float  # seconds until a message that comes now would have its turn
    in_flight: int  # requests under way, counted where there is a cap
    held: int  # messages that wait in the line of this limit


@dataclass(frozen=True, slots=True)
class Pause:
    """What a provider asked for that is left alone: seconds, the code of its answer, and how long ago it began."""

    asked: float = 0.0
    code: str = ""
    since: float = 0.0


@dataclass(frozen=True, slots=True)
class Provider:
    """One account: may it be spoken to? `why` is the code that opened its breaker."""

    name: str
    open: bool
    why: str
    open_for: float
    next_probe_in: float
    failing: int  # conversations whose last attempt failed for no fault of the message
    openings: int  # times that its breaker opened during the last hour
    opened_by: str  # the code that opened it last, during the last hour
    parked: int
    oldest_parked_age: float
    paused_for: float  # seconds for which it is still left alone, because it asked for that
    pause: Pause
    pace: Pace
    order: Order | None = None  # what an operator wants of it
    speed: Speed = field(default_factory=Speed)  # of its delivery updates, where a channel has it beside another
    stopped: bool = False  # by an operator; then `paused_for` says nothing


@dataclass(frozen=True, slots=True)
class Quiet:
    """Messages of a channel that wait for quiet hours to end; seconds until the first of them may go."""

    messages: int
    opens_in: float


@dataclass(frozen=True, slots=True)
class Overview:
    """`at` in seconds since 1970. `paces`: channel id -> its own limits, for channels that have some."""

    at: float
    workers: tuple[Worker, ...]
    queues: tuple[Queue, ...]
    providers: tuple[Provider, ...]
    paces: Mapping[str, Pace]
    suspended: bool  # `rq suspend`: workers take nothing
    # Channels that no worker is configured for -> seconds for which messages have waited.
    unconfigured: Mapping[str, float] = field(default_factory=dict)
    quiet: Mapping[str, Quiet] = field(default_factory=dict)  # by channel
    controls: tuple[Control, ...] = ()  # what an operator has stopped
    ahead: float = 0.0  # seconds that the ledger's time is ahead of Redis' clock, which stepped back
    store_age: float = 0.0  # seconds since this store was first swept; 0 where it never was

    @property
    def alive(self) -> int:
        """Workers that can be counted on."""
        return sum(not worker.silent for worker in self.workers)

    @property
    def uncovered(self) -> tuple[str, ...]:
        """Queues that no worker takes from."""
        covered = {queue for worker in self.workers if not worker.silent for queue in worker.queues}
        return tuple(name for name in QUEUES if name not in covered)


async def read(redis: Redis, providers: Iterable[str] = (), *, by_worker: bool = True) -> Overview:
    """Four round trips, six where something is stopped. `providers`: names to tell of though no worker has written
    limits for them yet.

    Without `by_worker` nobody asks which worker has which job in flight.
    """
    async with redis.pipeline(transaction=False) as pipe:
        pipe.smembers("rq:workers")
        pipe.hgetall("dcb:limits")
        pipe.get("dcb:store")
        pipe.zrange("dcb:lines", 0, -1)
        keys, lines, store, waiting = await pipe.execute()
    time = await moment.read(redis)
    now, real = time.at, time.at - time.ahead
    stopped = await controls.read(redis)
    by_hand = {one.target.name for one in stopped if one.target.what == What.PROVIDER}
    limits = {name.decode(errors="replace"): one for name, line in sorted(lines.items()) if (one := _limits(line))}
    accounts = dict.fromkeys(providers, _NONE) | {one.provider: one.account for one in limits.values()}
    own = {channel: one.own for channel, one in limits.items() if one.own != _NONE}
    nights = {line: night for line in waiting if (night := read_line(line.decode(errors="replace")))}
    keys = sorted(keys)
    async with redis.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.hgetall(key)
        for queue in QUEUES:
            pipe.llen(f"rq:queue:{queue}")
            pipe.lindex(f"rq:queue:{queue}", 0)
            pipe.zcard(f"rq:wip:{queue}")
            pipe.zrange(f"rq:wip:{queue}", 0, STARTED - 1 if by_worker else 0)
        for name in accounts:
            _ask_provider(pipe, name, now)
        for channel in own:
            _ask_pace(pipe, f"c-{channel}", now)
        for line in nights:
            pipe.zcard(b"dcb:line:" + line)
        pipe.exists("rq:suspended")
        pipe.zrange("dcb:unconfigured", 0, UNCONFIGURED - 1, withscores=True)
        answers: Iterator[Any] = iter(await pipe.execute())
    hashes: list[dict[bytes, bytes]] = [next(answers) for _ in keys]
    jobs = [(next(answers), next(answers), next(answers), next(answers)) for _ in QUEUES]
    ages, alive = await _ages(
        redis, [head for _, head, _, _ in jobs], [one.get(b"claims_as", b"") for one in hashes], real
    )
    started = Counter(member.rpartition(b":")[2].decode() for *_, members in jobs for member in members)
    return Overview(
        at=now,
        workers=tuple(
            _worker(key.decode().rpartition(":")[2], fields, started, lives, real)
            for key, fields, lives in zip(keys, hashes, alive, strict=True)
            if fields and b"death" not in fields
        ),
        providers=tuple(
            _provider(name, answers, account, now, stopped=name in by_hand) for name, account in accounts.items()
        ),
        paces={channel: _pace(answers, limit, now) for channel, limit in own.items()},
        quiet=_quiet(nights.values(), answers, now),
        controls=tuple(stopped),
        suspended=bool(next(answers)),
        unconfigured={name.decode(): max(0.0, now - since / 1000) for name, since in next(answers)},
        ahead=time.ahead,
        store_age=max(0.0, now - float(store_since) / 1000) if (store_since := _since_of(store)) else 0.0,
        queues=tuple(
            Queue(name, depth, age, wip) for name, (depth, _, wip, _), age in zip(QUEUES, jobs, ages, strict=True)
        ),
    )


def _quiet(nights: Iterable[tuple[str, float]], answers: Iterator[Any], now: float) -> dict[str, Quiet]:
    found: dict[str, Quiet] = {}
    for channel, opens_at in nights:
        opens_in = max(0.0, opens_at - now)
        known = found.get(channel, Quiet(0, opens_in))
        found[channel] = Quiet(known.messages + next(answers), min(known.opens_in, opens_in))
    return found


# ---------------------------------------------------------------- workers and queues


def _worker(
    name: str, fields: Mapping[bytes, bytes], started: Mapping[str, int], lives: bytes | None, now: float
) -> Worker:
    """`lives`: when it last said so itself, by the watched time; None where it does not. `now`: by Redis' clock."""
    text = {key.decode(errors="replace"): value.decode(errors="replace") for key, value in fields.items()}
    heard = max(0.0, now - _moment(text.get("last_heartbeat", "")))
    return Worker(
        name=name,
        host=text.get("hostname", ""),
        pid=_number(text.get("pid")),
        queues=tuple(one for one in text.get("queues", "").split(",") if one),
        version=text.get("dcbridge", ""),
        alive_for=max(0.0, now - _moment(text.get("birth", ""))),
        last_heard=heard,
        silent=heard > SILENT or ("claims_as" in text and lives is None),
        in_flight=started.get(name, 0),
        concurrency=_number(text.get("concurrency")),
        obeys=text.get("controls") == "1",
    )


def _word(value: bytes | None) -> int:
    return int(value) if value and value.isdigit() else 0


def _since_of(store: bytes | None) -> int:
    """ms: of "<name> <ms>"."""
    return _word((store or b"").rpartition(b" ")[2])


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0


def _moment(iso: str) -> float:
    """RQ's "2026-11-22T02:03:54.123456Z" in seconds since 1970; 0 for none."""
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError:
        return 0.0
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


async def _ages(
    redis: Redis, heads: Sequence[bytes | None], names: Sequence[bytes], now: float
) -> tuple[list[float], list[bytes | None]]:
    """How long each job has waited (0 for none, or when it was taken meanwhile); what each worker says of itself."""
    async with redis.pipeline(transaction=False) as pipe:
        for head in heads:
            pipe.hget(f"rq:job:{head.decode() if head else ''}", "enqueued_at")
        for name in names:
            pipe.get(f"dcb:alive:{name.decode()}")
        found: list[bytes | None] = await pipe.execute()
    since = [_moment((one or b"").decode()) for one in found[: len(heads)]]
    return [max(0.0, now - moment) if moment else 0.0 for moment in since], found[len(heads) :]


# ---------------------------------------------------------------- providers and paces


@dataclass(frozen=True, slots=True)
class _Limit:
    per_second: float
    burst: int
    cap: int


@dataclass(frozen=True, slots=True)
class _Limits:
    provider: str
    account: _Limit
    own: _Limit


_NONE = _Limit(0.0, 1, 0)
HOUR = 3600.0  # seconds


def _limits(line: bytes) -> _Limits | None:
    """A line of dcb:limits, as `Configuration.limits` writes it; None for one that cannot be read."""
    try:
        provider, *words = [*line.decode().split(), *("0", "1", "0") * 2][:7]
        account, own = (_Limit(float(a), int(b), int(c)) for a, b, c in (words[:3], words[3:]))
    except ValueError:
        return None
    return _Limits(provider, account, _NONE if not (own.per_second or own.cap) else own)


def _ask_provider(pipe: Pipeline, name: str, now: float) -> None:
    pipe.hmget(f"dcb:breaker:{name}", "since", "why", "probe")
    pipe.get(f"dcb:pause:{name}")
    pipe.zcard(f"dcb:failing:{name}")
    pipe.zcount(f"dcb:openings:{name}", int((now - HOUR) * 1000), "+inf")
    pipe.zrange(f"dcb:openings:{name}", -1, -1)
    pipe.hmget(f"dcb:paused:{name}", "asked", "code", "since")
    pipe.zcard(f"dcb:parked:{name}")
    pipe.zrange(f"dcb:parked:{name}", 0, 0, withscores=True)
    for kind in ("steer", "speed", "slow"):
        pipe.hgetall(f"dcb:{kind}:{name}")
    _ask_pace(pipe, f"p-{name}", now)


def _ask_pace(pipe: Pipeline, key: str, now: float) -> None:
    pipe.get(f"dcb:tat:{key}")
    pipe.zcount(f"dcb:flight:{key}", int(now * 1000), "+inf")
    pipe.zcard(f"dcb:line:{key}")


def _provider(name: str, answers: Iterator[Any], limit: _Limit, now: float, *, stopped: bool) -> Provider:
    (since, why, probe), till, failing, openings, opening, (asked, code, began), parked, oldest = (
        next(answers) for _ in range(8)
    )
    order, counted, slow = (next(answers) for _ in range(3))
    paused_for = max(0.0, float(till) / 1000 - now) if till and (began or not stopped) else 0.0
    pause = Pause()
    if paused_for:
        asked_ms = float(asked) if asked else paused_for * 1000
        at = float(began) / 1000 if began else now
        pause = Pause(asked_ms / 1000, (code or b"").decode(errors="replace"), max(0.0, now - at))
    return Provider(
        name=name,
        open=since is not None,
        why=(why or b"").decode(errors="replace"),
        open_for=max(0.0, now - _word(since) / 1000) if since else 0.0,
        next_probe_in=max(0.0, _word(probe) / 1000 - now) if probe else 0.0,
        failing=failing,
        openings=openings,
        opened_by=opening[0].decode(errors="replace").partition(" ")[2] if openings and opening else "",
        parked=parked,
        oldest_parked_age=max(0.0, now - oldest[0][1] / 1000) if oldest else 0.0,
        paused_for=paused_for,
        pause=pause,
        pace=_pace(answers, limit, now),
        order=order_of(order, now),
        speed=speed_of(counted, slow, now),
        stopped=stopped,
    )


def _pace(answers: Iterator[Any], limit: _Limit, now: float) -> Pace:
    arrival, in_flight, held = (next(answers) for _ in range(3))
    step = 1 / limit.per_second if limit.per_second else 0.0
    next_arrival = max(float(arrival) / 1000 if arrival else 0.0, now) + step * (1 + held)
    ahead = next_arrival - limit.burst * step - now if limit.per_second else 0.0
    return Pace(limit.per_second, limit.burst, limit.cap, max(0.0, ahead), in_flight, held)
