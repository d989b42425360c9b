"""What `dcbridge status` finds: one look at everything, the problems in it, and the same as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dcbridge.ledger.nights import Compared
from dcbridge.ledger.reports import books as ledger_books
from dcbridge.ledger.reports import conversations, overview
from dcbridge.ledger.reports.books import Books, ChannelBooks
from dcbridge.ledger.reports.conversations import Head, Lanes
from dcbridge.ledger.reports.overview import Overview, Provider
from dcbridge.ledger.services import Service, together
from dcbridge.messages import channel_of
from dcbridge.operations.controls import as_json as controls_as_json
from dcbridge.operations.controls import told
from dcbridge.operations.mailboxes import MailboxStatus, mailboxes
from dcbridge.operations.session import Session
from dcbridge.operations.wording import format_age, utc
from dcbridge.runtime.logs import Tokens
from dcbridge.settings.problems import counted
from dcbridge.settings.process import Settings
from dcbridge.store.connection import NOTES, redis_problems

CHANNELS = 20  # channels whose messages are looked at, those with the oldest first
LATELY = 120.0  # seconds for which a worker that was killed is worth a word; RQ's registry has it for eight minutes
NEW = 30.0  # seconds that a worker must be older than the store, to have seen another one
NEWS = 86400.0  # seconds for which a store that was empty is worth a word
STEP = 5.0  # seconds of a step back of Redis' clock that are worth a word
RECENT = 1800.0  # seconds for which refused signatures, new dead letters and several versions are worth a word
LATE = 60.0  # seconds that a receipt may be owed, or a job may wait, before that is worth a word


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for; None for all of it."""

    channel: str | None = None
    provider: str | None = None
    heads: int = 10

    @property
    def everything(self) -> bool:
        return self.channel is None and self.provider is None

    def has_channel(self, channel: str, providers_of: Mapping[str, Sequence[str]]) -> bool:
        return self.channel in (None, channel) and (
            self.provider is None or self.provider in providers_of.get(channel, ())
        )

    def has_provider(self, name: str, providers_of: Mapping[str, Sequence[str]]) -> bool:
        return self.provider in (None, name) and (self.channel is None or name in providers_of.get(self.channel, ()))


@dataclass(frozen=True, slots=True)
class JournalHere:
    """The journal, where its folder is on this computer."""

    bytes_waiting: int
    set_aside: int  # files


@dataclass(frozen=True, slots=True)
class Status:
    """One look. `states`: of the channels that were looked into; the books and the lanes count all channels."""

    redis: str
    overview: Overview
    books: Books
    providers: Sequence[Provider]  # as asked for
    channels: Sequence[ChannelBooks]  # as asked for, those with the oldest messages first
    states: Mapping[str, Mapping[str, int]]
    lanes: Lanes
    tokens: Mapping[str, str]  # of the heads' consumers, by id, where the key of the tokens is set
    newest_letter_age: float
    journal: JournalHere | None
    problems: Sequence[str]
    stranded: Sequence[Stranded]
    mailboxes: Sequence[MailboxStatus]
    services: Sequence[Service]


@dataclass(frozen=True, slots=True)
class Stranded:
    """Messages that wait for a channel that is not configured."""

    channel_id: str
    messages: int
    waiting_for: float  # seconds
    exact: bool


async def look(session: Session, wanted: Wanted) -> Status:
    """Read all of it. Some hundred commands, and some thousand where much is in flight, however much that is."""
    redis, configuration = session.ledger.redis, session.configuration
    now = await overview.read(redis, configuration.providers)
    books = await ledger_books.read(redis)
    provider_of = {name: channel.provider for name, channel in configuration.channels.items()}
    providers_of = {name: channel.providers for name, channel in configuration.channels.items()}
    chosen = _chosen(books, wanted, providers_of)
    waiting = [one for one in chosen if one.in_flight][:CHANNELS]
    lanes = await conversations.lanes_of(
        redis,
        now.at,
        [one.channel_id for one in waiting],
        provider_of,
        wanted.heads,
        None if wanted.everything else {one.channel_id for one in chosen},
        sorted(configuration.providers),
    )
    newest = await session.ledger.dead_letters.newest()
    journal = _journal(session.settings)
    stranded = await _stranded(session, now, books)
    services = await session.ledger.services.all()
    recent = await session.ledger.dead_letters.count(now.at - RECENT) if newest else 0
    looked_into = [one for one in await mailboxes(session, now.at) if wanted.has_channel(one.channel_id, providers_of)]
    return Status(
        redis=session.settings.redis_place,
        overview=now,
        books=books,
        providers=[one for one in now.providers if wanted.has_provider(one.name, providers_of)],
        channels=chosen,
        states=await conversations.states_of(redis, {one.channel_id: one.in_flight for one in waiting}),
        lanes=lanes,
        tokens=_tokens(session.settings, lanes.heads),
        newest_letter_age=max(0.0, now.at - newest) if newest else 0.0,
        journal=journal,
        problems=[
            *_of_services(services, now),
            *_problems(now, books, lanes, journal, stranded),
            *_of_letters(recent),
            *_of_night(await session.ledger.nights.last()),
            *(one.problem for one in looked_into if one.problem),
            *await _unsafe(session),
        ],
        stranded=stranded,
        mailboxes=looked_into,
        services=services,
    )


async def _stranded(session: Session, now: Overview, books: Books) -> list[Stranded]:
    """Of channels that no worker knows, or that are not in the bridge.yaml of this command."""
    known = session.configuration.channels
    names = {one.channel_id for one in books.channels if channel_of(one.channel_id) not in known}
    names |= now.unconfigured.keys()
    open_ones = {one.channel_id: one for one in books.channels if one.channel_id in names and one.in_flight}
    few = dict(sorted(open_ones.items(), key=lambda item: -item[1].oldest_age)[:CHANNELS])
    states = await conversations.states_of(session.ledger.redis, {name: one.in_flight for name, one in few.items()})
    found = []
    for name, one in few.items():
        waiting = sum(states[name].get(state, 0) for state in ("accepted", "retry"))
        if waiting:
            since = now.unconfigured.get(name, one.oldest_age)
            found.append(Stranded(name, waiting, since, one.in_flight <= conversations.READ))
    return found


def _chosen(books: Books, wanted: Wanted, providers_of: Mapping[str, Sequence[str]]) -> list[ChannelBooks]:
    """The channels that are asked for. A channel that nobody has written to yet has nothing to tell."""
    found = [one for one in books.channels if wanted.has_channel(channel_of(one.channel_id), providers_of)]
    return sorted(found, key=lambda one: (-max(one.oldest_age, one.oldest_receipt_age), one.channel_id))


def _tokens(settings: Settings, heads: Sequence[Head]) -> dict[str, str]:
    if settings.token_key_is_random:
        return {}
    tokens = Tokens(settings.token_key.get_secret_value().encode())
    return {head.id: tokens.of(head.to) for head in heads if head.to}


def _journal(settings: Settings) -> JournalHere | None:
    folder = Path(settings.journal) if settings.journal else None
    if folder is None or not folder.is_dir():
        return None
    try:
        waiting = sum(path.stat().st_size for path in folder.rglob("*.journal"))
        return JournalHere(waiting, len(list(folder.rglob("*.bad"))))
    except OSError:  # another user's, or a segment that has just been handed over
        return None


async def _unsafe(session: Session) -> list[str]:
    found = await redis_problems(session.ledger.redis, session.settings)
    return [f"redis: {what}" for what in found if what not in NOTES]


# ---------------------------------------------------------------- what is wrong


def _problems(
    now: Overview, books: Books, lanes: Lanes, journal: JournalHere | None, stranded: Sequence[Stranded]
) -> list[str]:
    """In words, the worst first; each says what to look at next."""
    found = []
    if books.difference:
        found.append(f"the books do not balance: {books.difference} unaccounted for; see dcbridge books")
    if books.set_aside:
        found.append(
            f"this version cannot read {books.set_aside} entries and has set them aside: see dcbridge aside list"
        )
    if any(0 < now.store_age < worker.alive_for - NEW for worker in now.workers) and now.store_age < NEWS:
        found.append(
            f"Redis was empty {format_age(now.store_age)} ago, while workers ran: messages accepted before are lost"
        )
    if now.ahead > STEP:
        found.append(
            f"the clock of Redis stepped back: the ledger's time is {format_age(now.ahead)} ahead until both agree"
        )
    if now.suspended:
        found.append("workers take no jobs: rq suspend is in force; end it with rq resume")
    if not now.alive:
        found.append("no worker is running: messages are accepted and wait")
    elif now.uncovered:
        found.append(f"no worker serves {', '.join(now.uncovered)}")
    found += [
        f"worker {worker.name}: last heartbeat {format_age(worker.last_heard)} ago; killed, or it cannot reach Redis"
        for worker in now.workers
        if worker.silent and worker.last_heard < LATELY
    ]
    found += [told(one, now.at) for one in now.controls]
    found += [
        f"worker {worker.name} is of an older version, and sends what is paused: replace it"
        for worker in now.workers
        if now.controls and not worker.silent and not worker.obeys
    ]
    found += [
        f"{one.name}: nothing has been sent for {format_age(one.open_for)} ({code_words(one.why)}); {one.parked} wait;"
        f" next attempt {f'in {format_age(one.next_probe_in)}' if one.next_probe_in else 'is due'}"
        for one in now.providers
        if one.open
    ]
    found += [
        f"{one.name}: {paused_words(one, now.at)}; dcbridge resume {one.name} ends it"
        for one in now.providers
        if one.paused_for > LATE or one.pause.asked > one.paused_for + one.pause.since + LATE
    ]
    found += [
        f"{one.name}: {one.speed.slow} of {one.speed.messages} messages had no delivery update in time; other providers"
        " are chosen before it"
        for one in now.providers
        if one.speed.slow_since is not None
    ]
    found += [
        f"channel {one.channel_id} is not configured: {'' if one.exact else 'about '}{one.messages} messages have"
        f" waited for {format_age(one.waiting_for)}; add it to bridge.yaml again and restart, or fail them with"
        f" dcbridge fail {one.channel_id}"
        for one in stranded
    ]
    found += [
        f"{queue.name}: the first of {queue.depth} jobs has waited for {format_age(queue.oldest_age)}: too few workers"
        for queue in now.queues
        if queue.oldest_age > LATE and now.alive
    ]
    found += [
        f"{one.channel_id}: Digital Channels does not accept receipts: {one.receipts_waiting} are owed,"
        f" the oldest for {format_age(one.oldest_receipt_age)}"
        for one in books.channels
        if one.oldest_receipt_age > LATE
    ]
    found += [
        f"{head.id} and its conversation wait for nothing: a bug, or a damaged Redis"
        for head in lanes.heads
        if head.why == "forgotten"
    ]
    if journal and journal.bytes_waiting:
        found.append(f"the journal has {journal.bytes_waiting} bytes that are not in Redis; is the service running?")
    if journal and journal.set_aside:
        found.append(f"the journal has set aside {journal.set_aside} damaged files: look at *.bad in its folder")
    return found


def _of_services(services: list[Service], now: Overview) -> list[str]:
    found = []
    if not any(not one.silent for one in services):
        found.append("no service is running: webhooks and callbacks get no answer")
    found += [
        f"service {one.name}: last heartbeat {format_age(one.last_heard)} ago; killed, or it cannot reach Redis"
        for one in services
        if one.silent and one.last_heard < LATELY
    ]
    found += [
        f"{endpoint}: {counted(seen.refused, 'webhook')} refused since {utc(seen.refused_since)[:19]}Z ({seen.why}),"
        " and none accepted since then; see docs/runbooks/invalid-signatures.md"
        for endpoint, seen in together(services).items()
        if seen.refused and now.at - seen.refused_at < RECENT
    ]
    old = [one for one in services if not one.silent and now.at - one.started > RECENT]
    versions = {one.version for one in old} | {
        one.version for one in now.workers if one.version and not one.silent and one.alive_for > RECENT
    }
    if len(versions) > 1:
        found.append(f"several versions run: {', '.join(sorted(versions))}; finish the upgrade")
    return found


def _of_letters(recent: int) -> list[str]:
    """Of the last half hour, as the alert rule has it."""
    if not recent:
        return []
    return [f"{counted(recent, 'dead letter')} written in the last {format_age(RECENT)}; see dcbridge dead list"]


def _of_night(last: Compared | None) -> list[str]:
    if last is None or not last.differs:
        return []
    counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in last.counts.items() if name != "both")
    return [f"the messages of {last.day} differ from those that Genesys kept: {counts}; see dcbridge reconcile"]


def code_words(why: str) -> str:
    """Why a breaker is open; a number by itself would say nothing."""
    return f"code {why}" if why.isdecimal() else why


def paused_words(one: Provider, at: float) -> str:
    """ "paused for 59 min, until 03:04:05Z, as it asked (20429)"; with what it asked for, where that was longer."""
    asked, code = one.pause.asked, one.pause.code
    words = f"paused for {format_age(one.paused_for)}, until {utc(at + one.paused_for)[:19]}Z, as it asked"
    words += f" ({code})" if code else ""
    longer = asked > one.paused_for + one.pause.since + 1
    return words + (f"; it asked for {format_age(asked)}, more than longest_pause allows" if longer else "")


# ---------------------------------------------------------------- for machines


def as_json(status: Status) -> dict[str, Any]:
    """As JSON: durations in seconds, and no address."""
    now = status.overview
    return {
        "at": utc(now.at),
        "redis": status.redis,
        "problems": list(status.problems),
        "suspended": now.suspended,
        "controls": [controls_as_json(one) for one in now.controls],
        "services": [asdict(service) for service in status.services],
        "workers": [asdict(worker) for worker in now.workers],
        "queues": [asdict(queue) for queue in now.queues],
        "providers": [asdict(provider) for provider in status.providers],
        "channels": [_channel(status, one) for one in status.channels],
        "mailboxes": [asdict(one) for one in status.mailboxes],
        "unconfigured": [asdict(one) for one in status.stranded],
        "lanes": {
            "count": status.lanes.count,
            "exact": status.lanes.exact,
            "longest_seen": status.lanes.longest,
            "heads": [_head(status, head) for head in status.lanes.heads],
        },
        "tasks_waiting": status.books.tasks,
        "dead_letters": status.books.dead_letters,
        "newest_dead_letter_age": status.newest_letter_age,
        "books_difference": status.books.difference,
        "journal": asdict(status.journal) if status.journal else None,
    }


def _channel(status: Status, one: ChannelBooks) -> dict[str, Any]:
    pace, quiet = status.overview.paces.get(one.channel_id), status.overview.quiet.get(one.channel_id)
    return {
        "channel_id": one.channel_id,
        "in_flight": one.in_flight,
        "oldest_age": one.oldest_age,
        "states": status.states.get(one.channel_id),
        "states_exact": one.in_flight <= conversations.READ,
        "receipts_waiting": one.receipts_waiting,
        "oldest_receipt_age": one.oldest_receipt_age,
        "pace": asdict(pace) if pace else None,
        "quiet": asdict(quiet) if quiet else None,
    }


def _head(status: Status, head: Head) -> dict[str, Any]:
    facts = {name: value for name, value in asdict(head).items() if name != "to"}
    return facts | {"waits_for": conversations.WHY[head.why], "consumer": status.tokens.get(head.id, "")}
