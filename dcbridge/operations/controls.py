"""What an operator may do to messages, for the command line and for HTTP: name it, find it, do it, and write it down.

Finding goes through what is in flight of each channel, in pages, so that others have their turn. Whatever changes a
message is one verb of the ledger, which looks at its state again: a run may be ended at any moment, and repeated.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from dcbridge.config.models import Channel, Configuration
from dcbridge.ledger import Ledger, lane_of, moment
from dcbridge.ledger.controls import AT_ONCE, CANCELLED, REJECTED, Control, Target, What
from dcbridge.ledger.fields import MessageEntry, State
from dcbridge.ledger.reports import books, overview, search
from dcbridge.messages import channel_of, message_ref, own_books
from dcbridge.operations.session import Progress, unwatched
from dcbridge.operations.wording import format_age, utc
from dcbridge.providers.phone import spellings
from dcbridge.settings.problems import did_you_mean

WORDS = 200  # characters of a reason, or of a name of whoever acts
LONGEST = 30 * 86400.0  # seconds that a pause may have; one without an end has none
WAITING = (State.ACCEPTED, State.RETRY)
OPEN = (*WAITING, State.SENDING, State.UNKNOWN)
_COPIES = 100  # recipients of one message that are looked for
_REF = re.compile(r"(own-)?[0-9a-f]{24}(-[0-9]{1,3})?")
_LANE = re.compile(r"[0-9a-f]{18}")


class UnknownName(ValueError):
    """What was named is not there. The words are for a person."""


@dataclass(frozen=True, slots=True)
class Who:
    """Who acts, and why."""

    by: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which messages in flight. Times in seconds since 1970, by when they were accepted; "" and None are any."""

    channel: str = ""
    provider: str = ""
    states: tuple[State, ...] = OPEN
    after: float | None = None
    before: float | None = None

    def __str__(self) -> str:
        words = [f"channel {self.channel}"] * bool(self.channel) + [f"provider {self.provider}"] * bool(self.provider)
        words += [" or ".join(self.states)] * (self.states != OPEN)
        moments = (("after", self.after), ("before", self.before))
        words += [f"accepted {word} {_utc(at)}" for word, at in moments if at is not None]
        return ", ".join(words) or "all"


def _utc(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


# ---------------------------------------------------------------- pauses


def target(configuration: Configuration, what: What, name: str) -> Target:
    """One that bridge.yaml knows. Raises UnknownName. Of a conversation see `conversation`."""
    known: Sequence[str] | None = None
    match what:
        case What.PROVIDER:
            known = sorted(configuration.providers)
        case What.SUBSCRIBER:
            known = sorted(configuration.subscribers)
        case What.CHANNEL | What.HOLD:
            known = sorted(configuration.channels)
        case _:
            known = None
    if known is not None and name not in known:
        kind = "channel" if what == What.HOLD else what.value
        near = did_you_mean(name, known)
        listed = ", ".join(known[:20]) or "none"
        raise UnknownName(f"there is no {kind} {name}; known: {listed}" + (f"; {near}" if near else ""))
    return Target(what, name)


async def conversation(ledger: Ledger, configuration: Configuration, named: str, channel: str = "") -> Target:
    """By the reference of one of its messages, by its lane, or by the consumer's address on `channel`."""
    if channel:
        target(configuration, What.CHANNEL, channel)
        return Target(What.CONVERSATION, await _lane(ledger, channel, configuration.channels[channel], named))
    if _LANE.fullmatch(named):
        return Target(What.CONVERSATION, named)
    entry = await ledger.messages.entry(named) if _REF.fullmatch(named) else None
    if not entry or not entry.lane:
        raise UnknownName(
            "no message has this reference; give one of dcbridge trace, or --channel and the consumer's address"
        )
    return Target(What.CONVERSATION, entry.lane)


async def _lane(ledger: Ledger, channel_id: str, channel: Channel, address: str) -> str:
    """Its digest is of the address as the platform writes it; a person types any spelling. The one that is paused, or
    else one in which something waits, or else that of the platform's documents.
    """
    usual = address
    if channel.type == "sms":
        usual = channel.consumer(address)
        if channel.platform == "open_messaging" and usual.isdecimal():
            usual = f"+{usual}"
    lanes = [lane_of(channel_id, one) for one in (usual, *spellings(address, channel.default_region))]
    paused = {one.target.name for one in await ledger.controls.all() if one.target.what == What.CONVERSATION}
    if found := next((lane for lane in lanes if lane in paused), ""):
        return found
    for lane in lanes:
        if await search.in_lane(ledger.redis, lane, 1):
            return lane
    return lanes[0]


async def resume(ledger: Ledger, of: Target, who: Who) -> tuple[bool, int]:
    """End a pause, also one that the provider asked for: was it paused, and how many messages are looked at now."""
    was = await ledger.controls.end(of, by=who.by, why=who.why)
    if of.what not in (What.PROVIDER, What.SUBSCRIBER):
        return was, 0
    account = of.name if of.what == What.PROVIDER else f"subscribers/{of.name}"
    asked, woken = await ledger.pauses.end(account)
    return was or asked, woken


async def stopping(ledger: Ledger, entry: MessageEntry, provider: str) -> list[Control]:
    """What an operator has stopped that keeps a message, or those before it, from being sent."""
    if entry.state not in WAITING:
        return []
    about = [Target(What.ALL), Target(What.CHANNEL, entry.channel_id), Target(What.CONVERSATION, entry.lane)]
    about += [Target(What.PROVIDER, provider)] + [Target(What.HOLD, entry.channel_id)] * (
        entry.released is None and not entry.is_own
    )
    return [one for one in await ledger.controls.all() if one.target in about]


# ---------------------------------------------------------------- pauses in words


DONE = {What.HOLD: "held for review", What.ALL: "drained", What.WORKER: "drained"}  # others: paused


def named(target: Target) -> str:
    """As the subject of a sentence; the digest of a conversation says nothing."""
    match target.what:
        case What.CONVERSATION:
            return "this conversation"
        case What.ALL:
            return "this installation"
        case What.HOLD:
            return f"channel {target.name}"
        case _:
            return str(target)


def ends_it(target: Target) -> str:
    """The command that ends it, behind `dcbridge`."""
    return f"resume {target}"


def told(one: Control, at: float) -> str:
    """One line of `dcbridge status`, and of `dcbridge trace`: what, who, since when, why, until when, how to end it."""
    name = f"conversation {one.target.name}" if one.target.what == What.CONVERSATION else named(one.target)
    word = DONE.get(one.target.what, "paused")
    until = f", until {utc(one.until)[:19]}Z" if one.until else ""
    still = "; time to live stands still" if one.stands_still else ""
    why = f": {one.why}" if one.why else ""
    age = format_age(max(0.0, at - one.since))
    return (
        f"{name} is {word} by {one.by} for {age}{until}{why}{still};"
        f" {one.waiting:,} wait{'s' if one.waiting == 1 else ''}; dcbridge {ends_it(one.target)} ends it"
    )


# ---------------------------------------------------------------- which messages


async def refs_of(ledger: Ledger, configuration: Configuration, named: str, channel: str = "") -> list[str]:
    """Of one message by our reference, or all copies of one by its messageId. Raises UnknownName."""
    if not channel and _REF.fullmatch(named) and await ledger.messages.entry(named):
        return [named]
    channels = [channel] if channel else sorted({*configuration.channels, *await search.channels(ledger.redis)})
    found: list[str] = []
    for name in channels:
        found += await search.messages(ledger.redis, [message_ref(name, named, n) for n in range(_COPIES)])
    if not found:
        raise UnknownName("no message has this reference or messageId")
    return found


async def find(
    ledger: Ledger, configuration: Configuration, chosen: Filter, looked: Progress = unwatched
) -> dict[str, tuple[str, str]]:
    """Reference -> channel and state, of all that match now. Raises UnknownName for a channel nobody wrote to."""
    known = await search.channels(ledger.redis)
    if chosen.channel and chosen.channel not in known | configuration.channels.keys():
        target(configuration, What.CHANNEL, chosen.channel)  # raises, and lists those that there are
    found: dict[str, tuple[str, str]] = {}
    named = [chosen.channel, own_books(chosen.channel)] if chosen.channel else sorted(known)
    for channel in named:
        one = configuration.channel(channel_of(channel))
        usual = one.provider if one else ""
        async for refs in ledger.controls.open(channel):
            for ref, entry in zip(refs, await ledger.messages.entries(refs), strict=True):
                if _matches(entry, chosen, usual):
                    found[ref] = (channel, entry.state)
            looked(len(refs))
    return found


def _matches(entry: MessageEntry, chosen: Filter, usual: str) -> bool:
    at = entry.accepted_at / 1000
    return (
        entry.state in chosen.states
        and (not chosen.provider or (entry.provider or usual) == chosen.provider)
        and (chosen.after is None or at >= chosen.after)
        and (chosen.before is None or at < chosen.before)
    )


async def now(ledger: Ledger) -> float:
    """The ledger's time: what is accepted from now on is not what somebody has just looked at."""
    return (await moment.read(ledger.redis)).at


# ---------------------------------------------------------------- what is done to them


async def cancel(
    ledger: Ledger, refs: Sequence[str], of: str, who: Who, done: Progress = unwatched, *, rejected: bool = False
) -> Counter[str]:
    """End these as Failed 500; how many by what `Controls.cancel` answers. `of`: what was asked for, for the record."""
    detail, action = (REJECTED, "reject") if rejected else (CANCELLED, "cancel")
    return await _all(ledger, refs, action, of, who, done, lambda some: ledger.controls.cancel(some, detail))


async def retry(
    ledger: Ledger, refs: Sequence[str], of: str, who: Who, done: Progress = unwatched, *, with_unknown: bool = False
) -> Counter[str]:
    """Try these now; how many by what `Controls.retry` answers."""
    ask: Callable[[Sequence[str]], Awaitable[list[str]]] = lambda some: ledger.controls.retry(  # noqa: E731
        some, with_unknown=with_unknown
    )
    return await _all(ledger, refs, "retry", of, who, done, ask)


async def release(ledger: Ledger, refs: Sequence[str], of: str, who: Who, done: Progress = unwatched) -> Counter[str]:
    """Let these of a channel that is held go."""
    return await _all(ledger, refs, "release", of, who, done, ledger.controls.release)


async def _all(
    ledger: Ledger,
    refs: Sequence[str],
    action: str,
    of: str,
    who: Who,
    done: Progress,
    ask: Callable[[Sequence[str]], Awaitable[list[str]]],
) -> Counter[str]:
    """The record says that it began, before anything is changed, and what came of it."""
    counts: Counter[str] = Counter()
    if len(refs) > 1:
        await ledger.controls.note(who.by, action, of, who.why, f"began, of {len(refs)}")
    for start in range(0, len(refs), AT_ONCE):
        some = refs[start : start + AT_ONCE]
        counts.update(await ask(some))
        done(len(some))
    said = ", ".join(f"{count} {word}" for word, count in counts.most_common())
    await ledger.controls.note(who.by, action, of, who.why, said or "none matched")
    return counts


# ---------------------------------------------------------------- drain


@dataclass(frozen=True, slots=True)
class UnderWay:
    """What a process must not be stopped in the middle of, or what others still owe."""

    requests: int  # to providers, and other jobs that workers have
    receipts: int  # owed to Digital Channels
    tasks: int  # callbacks, consumer messages and deliveries that wait
    queued: int  # jobs in the queues

    @property
    def is_nothing(self) -> bool:
        return not any(asdict(self).values())


async def under_way(ledger: Ledger) -> UnderWay:
    """At this moment."""
    seen = await overview.read(ledger.redis)
    found = await books.read(ledger.redis)
    return UnderWay(
        requests=sum(queue.started for queue in seen.queues),
        receipts=sum(one.receipts_waiting for one in found.channels),
        tasks=sum(found.tasks.values()),
        queued=sum(queue.depth for queue in seen.queues),
    )


async def worker(ledger: Ledger, named: str) -> overview.Worker:
    """One that is registered, by its name, its host, or its host and process id. Raises UnknownName."""
    found = [
        one
        for one in (await overview.read(ledger.redis)).workers
        if named in (one.name, one.host, f"{one.host}:{one.pid}")
    ]
    if len(found) != 1:
        raise UnknownName(f"{len(found) or 'no'} workers go by this name; dcbridge status --json has their names")
    return found[0]


def as_json(control: Control) -> Mapping[str, Any]:
    """For machines: times in seconds since 1970."""
    return {"what": control.target.what.value, "name": control.target.name} | {
        name: value for name, value in asdict(control).items() if name != "target"
    }
