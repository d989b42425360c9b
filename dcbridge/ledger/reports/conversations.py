"""Which conversations wait, for whom, and why: a bounded look, however many messages there are.

A lane of a conversation waits for its head, and there is no list of all lanes. Heads are found from
both ends of what Redis has in order: the oldest in flight, the oldest that wait for a provider, and
what is to be looked at next. What would take a look at every message is told from a random choice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from redis.asyncio import Redis

from dcbridge.ledger.fields import Field, MessageEntry, State, TaskEntry, TaskState
from dcbridge.ledger.quiet import read_line

T = TypeVar("T")

READ = 500  # entries of one channel that are read for its states; one with fewer in flight is told exactly
LOOKED = 2000  # members that are looked at for the heads of their lanes, at most
OF_EACH = 200  # of them, from one index at one look
ENOUGH = 20  # lanes that one channel has to show
PAGES = 5  # looks into it, where most of the oldest have left their lanes and only wait for a delivery update
KEYS = 10_000  # keys that are looked at to tell how many lanes there are
_CHUNK = 500  # commands to a round trip

WHY = {
    "queued": "a free worker",
    "under way": "a response",
    "retry": "its next attempt",
    "unknown": "an update, a status lookup, or the policy",
    "paced": "its turn by the rate limit",
    "held": "a free place in flight",
    "parked": "the breaker to close",
    "paused": "a pause to end",  # that the provider asked for
    "no provider": "any of its providers",
    "quiet": "its consumer's quiet hours to end",
    "statistic": "a statistic of the contact centre to fall",
    "stopped": "an operator to resume it",
    "unconfigured": "a worker that has its channel configured",
    "due": "the next sweep",
    "forgotten": "nothing: no sweep will find it",
}

_WAITS = (State.ACCEPTED, State.SENDING, State.RETRY, State.UNKNOWN, TaskState.WAITING, TaskState.RUNNING)
_IN_A_LANE = {state.encode() for state in _WAITS}


@dataclass(frozen=True, slots=True)
class Head:
    """What a conversation waits for. `due_in`: seconds until somebody looks at it next, below 0 when that is over."""

    id: str  # our reference of a message, or the id of a task
    what: str  # "message", "callback" or "consumer"
    state: str
    channel_id: str
    age: float
    behind: int  # how many wait for it
    attempts: int
    code: str  # what its last attempt ended with
    why: str  # what it waits for itself, one of WHY
    due_in: float
    to: str  # private: for a token, and never shown


@dataclass(frozen=True, slots=True)
class Lanes:
    """`count` is an estimate unless `exact`; `longest`: members of the longest that was seen."""

    count: int
    exact: bool
    longest: int
    heads: tuple[Head, ...]  # the oldest first; behind them those whose consumers have quiet hours


async def states_of(redis: Redis, in_flight: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Messages in flight by state, of each of these channels; an estimate where there are more than READ."""
    async with redis.pipeline(transaction=False) as pipe:
        for channel, count in in_flight.items():
            if count <= READ:
                pipe.zrange(f"dcb:open:{channel}", 0, READ - 1)
            else:
                pipe.zrandmember(f"dcb:open:{channel}", READ)
        chosen: list[list[bytes]] = await pipe.execute()
    found: dict[str, dict[str, int]] = {}
    for (channel, count), refs in zip(in_flight.items(), chosen, strict=True):
        states = Counter(
            (state or b"gone").decode(errors="replace")
            for (state,) in await _fields(redis, map(_message, refs), MessageEntry.state)
        )
        scale = count / len(refs) if count > READ and refs else 1.0
        found[channel] = {state: round(number * scale) for state, number in states.most_common()}
    return found


async def lanes_of(
    redis: Redis,
    now: float,
    channels: Sequence[str],
    provider_of: Mapping[str, str],
    heads: int,
    only: Container[str] | None = None,
    providers: Sequence[str] = (),
) -> Lanes:
    """All lanes, and the `heads` oldest of their heads.

    `channels`: those with messages in flight, the oldest first. `provider_of`: channel id -> its first provider;
    `providers`: all that there are.
    `only`: heads of other channels are not told of.
    """
    seen = await _lanes_near(redis, channels, providers or sorted(set(provider_of.values())))
    count, exact, longest = await _count(redis)
    first = await _pipelined(redis, seen, lambda pipe, lane: pipe.lindex(f"dcb:lane:{lane}", 0))
    lengths = await _pipelined(redis, seen, lambda pipe, lane: pipe.llen(f"dcb:lane:{lane}"))
    members = [(head.decode(), length) for head, length in zip(first, lengths, strict=True) if head]
    fields = MessageEntry.accepted_at, MessageEntry.channel_id, MessageEntry.line
    facts = await _fields(redis, (member for member, _ in members), *fields)
    oldest = sorted(  # those in quiet hours last: nothing can be done about them
        ((line or b"").startswith((b"n-", b"w-")), int(at), member, length)
        for (member, length), (at, channel, line) in zip(members, facts, strict=True)
        if at and (only is None or (channel or b"").decode() in only)
    )[:heads]
    told = [await head_of(redis, now, member, length, provider_of) for _, _, member, length in oldest]
    return Lanes(
        max(count, len(members)), exact, max([longest, *lengths]), tuple(head for head in told if head is not None)
    )


# ---------------------------------------------------------------- where heads are found


async def _lanes_near(redis: Redis, channels: Sequence[str], providers: Sequence[str]) -> list[str]:
    """Lanes of the members that have waited longest, each once."""
    found: dict[str, None] = {}
    room = LOOKED
    indexes = [(f"dcb:parked:{provider}", "m:") for provider in providers]
    indexes += [(f"dcb:line:p-{provider}", "m:") for provider in providers]
    indexes += [(f"dcb:line:{kind}-{channel}", "m:") for channel in channels for kind in "cru"]
    indexes += [(f"dcb:tasks:{job}", "t:") for job in ("callback", "consumer")]
    indexes.append(("dcb:due", ""))
    for key, prefix in indexes:
        members = await _await(redis.zrange(key, 0, OF_EACH - 1))
        found |= dict.fromkeys(await _lanes_of(redis, [prefix + one.decode() for one in members]))
    for channel in channels:
        for page in range(PAGES):
            refs = await _await(redis.zrange(f"dcb:open:{channel}", page * OF_EACH, (page + 1) * OF_EACH - 1))
            lanes = await _lanes_of(redis, list(map(_message, refs)))
            found |= dict.fromkeys(lanes)
            room -= len(refs)
            if len(set(lanes)) >= ENOUGH or len(refs) < OF_EACH:
                break
        if room <= 0:
            break
    return list(found)


async def _lanes_of(redis: Redis, members: Sequence[str]) -> list[str]:
    rows = await _fields(redis, members, MessageEntry.state, MessageEntry.lane)
    return [lane.decode() for state, lane in rows if lane and state in _IN_A_LANE]


async def _count(redis: Redis) -> tuple[int, bool, int]:
    """How many lanes there are, whether that is exact, and the length of the longest that was seen."""
    total = await redis.dbsize()
    lanes: set[bytes] = set()
    looked = cursor = 0
    while looked < KEYS:
        cursor, keys = await redis.scan(cursor, count=1000)
        looked += len(keys)
        lanes.update(key for key in cast(list[bytes], keys) if key.startswith(b"dcb:lane:"))
        if not cursor:
            break
    lengths = await _pipelined(redis, sorted(lanes)[:_CHUNK], lambda pipe, lane: pipe.llen(lane))
    count = len(lanes) if not cursor else round(len(lanes) * total / looked)
    return count, not cursor, max(lengths, default=0)


# ---------------------------------------------------------------- one head


async def head_of(redis: Redis, now: float, member: str, length: int, provider_of: Mapping[str, str]) -> Head | None:
    """What one member waits for, of which `length - 1` others wait; None where it is not there any more."""
    async with redis.pipeline(transaction=False) as pipe:
        pipe.hgetall(f"dcb:{member}")
        pipe.zscore("dcb:due", member)
        raw, due = await pipe.execute()
        entry = MessageEntry(raw) if member.startswith("m:") else TaskEntry(raw)
        if not entry.state:
            return None
        channel, ref = entry.channel_id, member[2:]
        provider = (entry.provider if isinstance(entry, MessageEntry) else "") or provider_of.get(channel, "")
        pipe.zscore(f"dcb:parked:{provider}", ref)
        pipe.get(f"dcb:pause:{provider}")
        pipe.zrank(f"dcb:line:{_line_of(entry)}", ref)
        pipe.hget("dcb:limits", channel)
        for key in (f"p-{provider}", f"c-{channel}"):
            pipe.zcount(f"dcb:flight:{key}", int(now * 1000), "+inf")
            pipe.get(f"dcb:tat:{key}")
        parked, pause, place, line, *paces = await pipe.execute()
    turn = _Turn(place, line.decode() if line else "", paces, now)
    paused = float(pause) / 1000 > now if pause else False
    why = _why(entry, now * 1000, parked=parked is not None, paused=paused, full=turn.full)
    night, due_in = read_line(_line_of(entry)), due / 1000 - now if due is not None else 0.0
    if night is not None:
        due_in = night[1] - now
    elif why == "paced" and place is not None:
        due_in = turn.comes_in
    return Head(
        id=ref,
        what=entry.job if isinstance(entry, TaskEntry) else "message",
        state=entry.state,
        channel_id=channel,
        age=max(0.0, now - entry.accepted_at / 1000),
        behind=length - 1,
        attempts=entry.attempts if isinstance(entry, TaskEntry) else entry.total_attempts or entry.attempts,
        code=entry.last_code,
        why=why if due is not None else "forgotten",
        due_in=due_in,
        to="" if isinstance(entry, TaskEntry) else entry.to_id,
    )


@dataclass(frozen=True, slots=True)
class _Turn:
    """Of a message that waits in a line: its place, the limits of its channel, what is booked and under way."""

    place: int | None
    line: str
    paces: Sequence[Any]
    now: float

    @property
    def _limits(self) -> list[tuple[float, int, int, bytes | None]]:
        """The provider's and the channel's: messages a second, requests at one time, under way, booked until."""
        words = self.line.split()
        return [
            (float(words[at]), int(words[at + 2]), self.paces[n], self.paces[n + 1])
            for at, n in ((1, 0), (4, 2))
            if len(words) > at + 2
        ]

    @property
    def full(self) -> bool:
        return any(cap and under_way >= cap for _, cap, under_way, _ in self._limits)

    @property
    def comes_in(self) -> float:
        """Seconds, by the slower of its rates; it may be later where others share them."""
        waits = [
            max(0.0, float(booked or 0) / 1000 - self.now) + (self.place or 0) / rate
            for rate, _, _, booked in self._limits
            if rate
        ]
        return max(waits, default=0.0)


def _line_of(entry: MessageEntry | TaskEntry) -> str:
    return "" if isinstance(entry, TaskEntry) else entry.line


def _why(entry: MessageEntry | TaskEntry, now_ms: float, *, parked: bool, paused: bool, full: bool = False) -> str:
    """What a head waits for, in one of WHY; the order is that in which workers find out (lines.lua)."""
    state, line = entry.state, _line_of(entry)
    if state in (State.SENDING, TaskState.RUNNING):
        return "under way"
    if state == State.UNKNOWN:
        return "unknown"
    if (entry.not_before or 0) > now_ms:
        return "retry"
    if parked:
        return "parked"
    if line.startswith("u-"):
        return "unconfigured"
    if line.startswith("r-"):
        return "no provider"
    if line.startswith("n-"):
        return "quiet"
    if line.startswith("w-"):
        return "statistic"
    if line.startswith("k-"):
        return "stopped"
    if line:
        return "paused" if paused else "held" if full else "paced"
    if isinstance(entry, MessageEntry) and entry.held_by:
        return "held"
    if (entry.slot or 0) > now_ms:
        return "paced"
    if entry.queued_at:
        return "queued"
    return "paused" if paused else "due"


# ---------------------------------------------------------------- reading many


def _message(ref: bytes) -> str:
    return f"m:{ref.decode()}"


async def _fields(redis: Redis, members: Iterable[str], *fields: Field[Any]) -> list[list[bytes | None]]:
    """These fields of each member, in order; None for what is not there."""
    names = [one.wire for one in fields]
    return await _pipelined(redis, list(members), lambda pipe, member: pipe.hmget(f"dcb:{member}", names))


async def _pipelined(redis: Redis, ones: Sequence[T], ask: Any) -> list[Any]:
    """One command about each, in round trips that let others have their turn."""
    found: list[Any] = []
    for start in range(0, len(ones), _CHUNK):
        async with redis.pipeline(transaction=False) as pipe:
            for one in ones[start : start + _CHUNK]:
                ask(pipe, one)
            found += await pipe.execute()
    return found


def _await(answer: object) -> Awaitable[list[bytes]]:
    return cast(Awaitable[list[bytes]], answer)
