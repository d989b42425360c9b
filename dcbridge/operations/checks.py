"""What is wrong: each check looks at what was read, and tells of it in findings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dcbridge.ledger.nights import Compared
from dcbridge.ledger.refusals import Refusal
from dcbridge.ledger.reports.books import Books
from dcbridge.ledger.reports.conversations import Lanes
from dcbridge.ledger.reports.overview import Overview, Provider, Worker
from dcbridge.operations.controls import ends_it, told
from dcbridge.operations.findings import Finding, found
from dcbridge.operations.session import Session
from dcbridge.operations.wording import format_age, utc
from dcbridge.settings.problems import counted
from dcbridge.store.connection import NOTES, redis_doubts, redis_problems

LATELY = 120.0  # seconds for which a worker that was killed is worth a word; RQ's registry has it for eight minutes
NEW = 30.0  # seconds that a worker must be older than the store, to have seen another one
NEWS = 86400.0  # seconds for which a store that was empty is worth a word
STEP = 5.0  # seconds of a step back of Redis' clock that are worth a word
RECENT = 1800.0  # seconds for which refused signatures, new dead letters and several versions are worth a word
SURE = 30.0  # seconds for which a platform that fails may be away for a moment
UNREPORTED = 900.0  # seconds after which delivery updates are late
FEW = 5  # messages without a delivery update that say nothing yet
LATE = 60.0  # seconds that a receipt may be owed, or a job may wait, before that is worth a word


# Answers that only a person can change: of the account; and, where they are about what dcbridge wrote itself, others.
_OF_THE_ACCOUNT = re.compile(r"http (?:401|403|3[0-9][0-9])\b|address not allowed")
_FINAL = re.compile(r"http (?!408|429)4[0-9][0-9]\b")


@dataclass(frozen=True, slots=True)
class Letters:
    """Dead letters. `kinds`: of the recent ones, or where there are none of all; of many, the newest count."""

    all: int = 0
    recent: int = 0
    oldest_age: float = 0.0
    newest_age: float = 0.0
    kinds: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stranded:
    """Messages that wait for a channel that is not configured."""

    channel_id: str
    messages: int
    waiting_for: float  # seconds
    exact: bool


async def of_redis(session: Session) -> list[Finding]:
    """What can lose or refuse messages, now or soon."""
    redis = session.ledger.redis
    findings = [
        found("redis.unsafe", f"redis: {what}", "dcbridge check")
        for what in await redis_problems(redis, session.settings)
        if what not in NOTES
    ]
    return findings + [found("redis.filling", f"redis: {what}", "dcbridge check") for what in await redis_doubts(redis)]


def of_the_ledger(now: Overview, books: Books) -> list[Finding]:
    """The books, what cannot be read, and Redis' data and clock."""
    findings = []
    if books.difference:
        says = f"the books do not balance: {books.difference} unaccounted for"
        findings.append(found("books.difference", says, "dcbridge books"))
    if books.set_aside:
        says = f"this version cannot read {books.set_aside} entries and has set them aside"
        findings.append(found("entries.set-aside", says, "dcbridge aside list"))
    if any(0 < now.store_age < worker.alive_for - NEW for worker in now.workers) and now.store_age < NEWS:
        says = f"Redis was empty {format_age(now.store_age)} ago, while workers ran: messages accepted before are lost"
        findings.append(found("redis.emptied", says, "dcbridge check"))
    if now.ahead > STEP:
        says = f"the clock of Redis stepped back: the ledger's time is {format_age(now.ahead)} ahead until both agree"
        findings.append(found("redis.clock", says, "dcbridge check"))
    return findings


def of_workers(now: Overview) -> list[Finding]:
    """Whether all queues are served, and in time."""
    findings = []
    if now.suspended:
        says = "workers take no jobs: rq suspend is in force; end it with rq resume"
        findings.append(found("workers.suspended", says, "rq resume"))
    if not now.alive:
        says = "no worker is running: messages are accepted and wait"
        findings.append(found("worker.none", says, "dcbridge worker"))
    elif now.uncovered:
        says = f"no worker serves {', '.join(now.uncovered)}"
        findings.append(found("worker.uncovered", says, f"dcbridge worker {' '.join(now.uncovered)}"))
    findings += [_silent(worker) for worker in now.workers if worker.silent and worker.last_heard < LATELY]
    findings += [
        found(
            "queue.waits",
            f"{one.name}: the first of {one.depth} jobs has waited for {format_age(one.oldest_age)}: too few workers",
            f"dcbridge worker {one.name}",
            one.name,
        )
        for one in now.queues
        if one.oldest_age > LATE and now.alive
    ]
    return findings


def _silent(worker: Worker) -> Finding:
    return found(
        "worker.silent",
        f"worker {worker.name}: last heartbeat {format_age(worker.last_heard)} ago; killed, or it cannot reach Redis",
        "dcbridge status --json",
        worker.name,
    )


def of_controls(now: Overview) -> list[Finding]:
    """What an operator has stopped."""
    findings = [
        found("control.in-force", told(one, now.at), f"dcbridge {ends_it(one.target)}", one.target.name)
        for one in now.controls
    ]
    return findings + [
        found(
            "worker.disobeys",
            f"worker {worker.name} is of an older version, and sends what is paused: replace it",
            f"dcbridge drain worker {worker.name}",
            worker.name,
        )
        for worker in now.workers
        if now.controls and not worker.silent and not worker.obeys
    ]


def of_providers(now: Overview) -> list[Finding]:
    """Breakers, pauses that providers asked for, and slow delivery updates."""
    findings = []
    for one in now.providers:
        more = f"dcbridge status --provider {one.name}"
        if one.open:
            when = f"in {format_age(one.next_probe_in)}" if one.next_probe_in else "is due"
            says = f"{one.name}: nothing has been sent for {format_age(one.open_for)} ({code_words(one.why)});"
            says += f" {one.parked} wait{'s' if one.parked == 1 else ''}; next attempt {when}"
            findings.append(found("provider.breaker-open", says, more, one.name))
        elif one.openings:
            times = "once" if one.openings == 1 else f"{one.openings} times"
            why = f" ({code_words(one.opened_by)})" if one.opened_by else ""
            says = f"{one.name}: its breaker opened {times} within the last hour{why}, and is closed now"
            findings.append(found("provider.breaker-opened", says, more, one.name))
        if one.paused_for > LATE or one.pause.asked > one.paused_for + one.pause.since + LATE:
            says = f"{one.name}: {paused_words(one, now.at)}; dcbridge resume {one.name} ends it"
            findings.append(found("provider.paused", says, f"dcbridge resume {one.name}", one.name))
        if one.speed.slow_since is not None:
            says = f"{one.name}: {one.speed.slow} of {one.speed.messages} messages had no delivery update in time;"
            says += " other providers are chosen before it"
            findings.append(found("provider.slow-updates", says, "dcbridge provider list", one.name))
    return findings


def of_channels(books: Books, stranded: Sequence[Stranded], lanes: Lanes) -> list[Finding]:
    """Messages that wait for a configuration, receipts that wait for the platform, and conversations for nothing."""
    findings = [
        found(
            "channel.unconfigured",
            f"channel {one.channel_id} is not configured: {'' if one.exact else 'about '}{one.messages} messages have"
            f" waited for {format_age(one.waiting_for)}; add it to bridge.yaml again and restart, or fail them with"
            f" dcbridge fail {one.channel_id}",
            f"dcbridge fail {one.channel_id}",
            one.channel_id,
        )
        for one in stranded
    ]
    findings += [
        found(
            "receipts.late",
            f"{one.channel_id}: Digital Channels does not accept receipts: {one.receipts_waiting} are owed,"
            f" the oldest for {format_age(one.oldest_receipt_age)}",
            f"dcbridge status --channel {one.channel_id}",
            one.channel_id,
        )
        for one in books.channels
        if one.oldest_receipt_age > LATE
    ]
    return findings + [
        found(
            "conversation.forgotten",
            f"{head.id} and its conversation wait for nothing: a bug, or a damaged Redis",
            f"dcbridge trace {head.id}",
            head.id,
        )
        for head in lanes.heads
        if head.why == "forgotten"
    ]


def of_platforms(refusals: Sequence[Refusal], books: Books, at: float) -> list[Finding]:
    """Receipts and consumers' messages that are refused now. What a person has to mend is told at once."""
    owing = {one.channel_id for one in books.channels if one.receipts_waiting}
    findings = []
    for one in refusals:
        goes_on = at - one.at < RECENT or (one.what == "receipts" and one.channel_id in owing)
        final = _OF_THE_ACCOUNT.match(one.code) or (one.what == "receipts" and _FINAL.match(one.code))
        if not goes_on or not (final or (one.requests > 1 and at - one.since >= SURE)):
            continue
        says = f"{one.channel_id}: {one.what} are refused ({one.code}) since {utc(one.since)[:19]}Z,"
        says += f" {counted(one.requests, 'request')}, and none was accepted since then"
        key = "platform.refuses-receipts" if one.what == "receipts" else "platform.refuses-messages"
        findings.append(found(key, says, f"dcbridge status --channel {one.channel_id}", one.channel_id))
    return findings


def of_reports(silent: Mapping[str, tuple[float, int]], at: float) -> list[Finding]:
    """Providers that take messages and say nothing more of them."""
    return [
        found(
            "provider.reports-late",
            f"{name}: no delivery update has come for {format_age(at - since)}, and {count} messages sent since then"
            " wait for one; can it reach the address of its callbacks?",
            "dcbridge addresses",
            name,
        )
        for name, (since, count) in sorted(silent.items())
        if count >= FEW
    ]


def of_letters(letters: Letters) -> list[Finding]:
    """New ones, as the alert rule has it; and those that wait for a decision."""
    findings = []
    if letters.recent:
        says = f"{counted(letters.recent, 'dead letter')} written in the last {format_age(RECENT)}"
        findings.append(found("dead-letters.new", says + _kinds(letters.kinds), "dcbridge dead list --since 30m"))
    elif letters.all:
        says = f"{counted(letters.all, 'dead letter')} {'waits' if letters.all == 1 else 'wait'} for a decision,"
        says += f" the oldest for {format_age(letters.oldest_age)}"
        findings.append(found("dead-letters.kept", says + _kinds(letters.kinds), "dcbridge dead list"))
    return findings


def _kinds(kinds: Mapping[str, int]) -> str:
    return f" ({', '.join(f'{what} {count:,}' for what, count in kinds.items())})" if kinds else ""


def of_night(last: Compared | None) -> list[Finding]:
    """Of the last day that was compared."""
    if last is None or not last.differs:
        return []
    counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in last.counts.items() if name != "both")
    says = f"the messages of {last.day} differ from those that Genesys kept: {counts}"
    return [found("reconcile.differs", says, "dcbridge reconcile FILE", last.day)]


# ---------------------------------------------------------------- words


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
