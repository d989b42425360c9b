"""What `dcbridge status` finds: one look at everything, the problems in it, and the same as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dcbridge.address_tokens import address_token
from dcbridge.ledger.refusals import Refusal
from dcbridge.ledger.reports import books as ledger_books
from dcbridge.ledger.reports import conversations, overview
from dcbridge.ledger.reports.books import Books, ChannelBooks
from dcbridge.ledger.reports.conversations import Head, Lanes
from dcbridge.ledger.reports.overview import Overview, Provider
from dcbridge.ledger.reports.unreported import silent_since
from dcbridge.ledger.services import Service
from dcbridge.messages import channel_of
from dcbridge.operations import checks, service_checks
from dcbridge.operations.checks import RECENT, UNREPORTED, Letters, Stranded
from dcbridge.operations.controls import as_json as controls_as_json
from dcbridge.operations.findings import Finding, Severity, in_order
from dcbridge.operations.mailboxes import MailboxStatus, mailboxes
from dcbridge.operations.service_checks import JournalHere, SecretStatus, secrets_of
from dcbridge.operations.session import Session
from dcbridge.operations.wording import utc
from dcbridge.settings.process import Settings

LETTERS = 500  # of the newest dead letters whose kind is told
CHANNELS = 20  # channels whose messages are looked at, those with the oldest first


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
    letters: Letters
    journal: JournalHere | None
    findings: Sequence[Finding]  # the worst first
    stranded: Sequence[Stranded]
    mailboxes: Sequence[MailboxStatus]
    services: Sequence[Service]
    secrets: Sequence[SecretStatus]  # of endpoints that have more than one
    refusals: Sequence[Refusal]

    @property
    def problems(self) -> list[str]:
        """In words, those that make the exit code 1."""
        return [one.says for one in self.findings if one.severity == Severity.PROBLEM]


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
    stranded = await _stranded(session, now, books)
    services = await session.ledger.services.all()
    status = Status(
        redis=session.settings.redis_place,
        overview=now,
        books=books,
        providers=[one for one in now.providers if wanted.has_provider(one.name, providers_of)],
        channels=chosen,
        states=await conversations.states_of(redis, {one.channel_id: one.in_flight for one in waiting}),
        lanes=lanes,
        tokens=_tokens(session.settings, lanes.heads),
        letters=await _letters(session, now.at),
        journal=_journal(session.settings),
        findings=(),
        stranded=stranded,
        mailboxes=[one for one in await mailboxes(session, now.at) if wanted.has_channel(one.channel_id, providers_of)],
        services=services,
        secrets=secrets_of(configuration, await session.ledger.services.secrets(), now.at),
        refusals=await session.ledger.refusals.all(),
    )
    return replace(status, findings=in_order(await _findings(session, status)))


async def _findings(session: Session, of: Status) -> list[Finding]:
    now, configuration = of.overview, session.configuration
    confirmed = {
        name: channel.provider
        for name, channel in configuration.channels.items()
        if name in of.states and channel.delivered_when == "confirmed"
    }
    silent = await silent_since(session.ledger.redis, confirmed, now.at, UNREPORTED)
    called_back = any(one.can.callbacks for one in configuration.build_providers().values())
    return [
        *service_checks.of_services(of.services, now),
        *checks.of_the_ledger(now, of.books),
        *checks.of_workers(now),
        *checks.of_controls(now),
        *checks.of_providers(now),
        *checks.of_reports(silent, now.at),
        *checks.of_channels(of.books, of.stranded, of.lanes),
        *checks.of_platforms(of.refusals, of.books, now.at),
        *service_checks.of_journals(of.services, of.journal, wanted=called_back),
        *service_checks.of_secrets(of.secrets),
        *checks.of_letters(of.letters),
        *checks.of_night(await session.ledger.nights.last()),
        *(one.finding for one in of.mailboxes if one.problem),
        *await checks.of_redis(session),
    ]


async def _letters(session: Session, at: float) -> Letters:
    letters = session.ledger.dead_letters
    count, recent = await letters.count(), await letters.count(at - RECENT)
    if not count:
        return Letters()
    read = [letter async for letter in letters.read(await letters.some_of_the_newest(LETTERS)) if letter is not None]
    kinds = Counter(letter.what for letter in read if not recent or letter.at >= at - RECENT)
    oldest, newest = await letters.oldest() or at, await letters.newest() or at
    return Letters(count, recent, max(0.0, at - oldest), max(0.0, at - newest), dict(kinds.most_common()))


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
    key = settings.token_key.get_secret_value().encode()
    return {head.id: address_token(key, head.to) for head in heads if head.to}


def _journal(settings: Settings) -> JournalHere | None:
    folder = Path(settings.journal) if settings.journal else None
    if folder is None or not folder.is_dir():
        return None
    try:
        waiting = sum(path.stat().st_size for path in folder.rglob("*.journal"))
        return JournalHere(waiting, len(list(folder.rglob("*.bad"))))
    except OSError:  # another user's, or a segment that has just been handed over
        return None


# ---------------------------------------------------------------- for machines


def as_json(status: Status) -> dict[str, Any]:
    """As JSON: durations in seconds, and no address."""
    now = status.overview
    return {
        "at": utc(now.at),
        "redis": status.redis,
        "problems": status.problems,
        "findings": [asdict(one) for one in status.findings],
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
        "dead_letter_kinds": dict(status.letters.kinds),
        "secrets": [asdict(one) for one in status.secrets],
        "refusals": [asdict(one) for one in status.refusals],
        "newest_dead_letter_age": status.letters.newest_age,
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
