"""What is wrong: each check looks at what was read, and tells of it in findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dcbridge.ledger.nights import Compared
from dcbridge.ledger.reports.books import Books
from dcbridge.ledger.reports.conversations import Lanes
from dcbridge.ledger.reports.overview import Overview, Provider, Worker
from dcbridge.ledger.services import Service, together
from dcbridge.operations.controls import ends_it, told
from dcbridge.operations.findings import Finding, found
from dcbridge.operations.session import Session
from dcbridge.operations.wording import format_age, utc
from dcbridge.settings.problems import counted
from dcbridge.store.connection import NOTES, redis_problems

LATELY = 120.0  # seconds for which a worker that was killed is worth a word; RQ's registry has it for eight minutes
NEW = 30.0  # seconds that a worker must be older than the store, to have seen another one
NEWS = 86400.0  # seconds for which a store that was empty is worth a word
STEP = 5.0  # seconds of a step back of Redis' clock that are worth a word
RECENT = 1800.0  # seconds for which refused signatures, new dead letters and several versions are worth a word
LATE = 60.0  # seconds that a receipt may be owed, or a job may wait, before that is worth a word


@dataclass(frozen=True, slots=True)
class JournalHere:
    """The journal, where its folder is on this computer."""

    bytes_waiting: int
    set_aside: int  # files


@dataclass(frozen=True, slots=True)
class Stranded:
    """Messages that wait for a channel that is not configured."""

    channel_id: str
    messages: int
    waiting_for: float  # seconds
    exact: bool


async def of_redis(session: Session) -> list[Finding]:
    return [
        found("redis.unsafe", f"redis: {what}", "dcbridge check")
        for what in await redis_problems(session.ledger.redis, session.settings)
        if what not in NOTES
    ]


def of_services(services: Sequence[Service], now: Overview) -> list[Finding]:
    """Whether one runs, and what they see of signatures."""
    findings = []
    if not any(not one.silent for one in services):
        says = "no service is running: webhooks and callbacks get no answer"
        findings.append(found("service.none", says, "dcbridge serve"))
    findings += [
        found(
            "service.silent",
            f"service {one.name}: last heartbeat {format_age(one.last_heard)} ago; killed, or it cannot reach Redis",
            "dcbridge status --json",
            one.name,
        )
        for one in services
        if one.silent and one.last_heard < LATELY
    ]
    findings += [
        found(
            "signatures.refused",
            f"{endpoint}: {counted(seen.refused, 'webhook')} refused since {utc(seen.refused_since)[:19]}Z"
            f" ({seen.why}), and none accepted since then",
            "dcbridge addresses",
            endpoint,
        )
        for endpoint, seen in together(list(services)).items()
        if seen.refused and now.at - seen.refused_at < RECENT
    ]
    old = [one for one in services if not one.silent and now.at - one.started > RECENT]
    versions = {one.version for one in old} | {
        one.version for one in now.workers if one.version and not one.silent and one.alive_for > RECENT
    }
    if len(versions) > 1:
        says = f"several versions run: {', '.join(sorted(versions))}; finish the upgrade"
        findings.append(found("versions.several", says, "dcbridge status --json"))
    return findings


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
            says += f" {one.parked} wait; next attempt {when}"
            findings.append(found("provider.breaker-open", says, more, one.name))
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


def of_journal(journal: JournalHere | None) -> list[Finding]:
    """The one of this computer."""
    findings = []
    if journal and journal.bytes_waiting:
        says = f"the journal has {journal.bytes_waiting} bytes that are not in Redis; is the service running?"
        findings.append(found("journal.holds", says, "dcbridge serve"))
    if journal and journal.set_aside:
        says = f"the journal has set aside {journal.set_aside} damaged files: look at *.bad in its folder"
        findings.append(found("journal.set-aside", says, "dcbridge check"))
    return findings


def of_letters(recent: int) -> list[Finding]:
    """Of the last half hour, as the alert rule has it."""
    if not recent:
        return []
    says = f"{counted(recent, 'dead letter')} written in the last {format_age(RECENT)}"
    return [found("dead-letters.new", says, "dcbridge dead list --since 30m")]


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
