"""What services tell of: whether one runs, signatures, versions, journals, and which secrets are still used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dcbridge.config.models import Configuration
from dcbridge.config.signing import signing_secrets
from dcbridge.ledger.reports.overview import Overview
from dcbridge.ledger.services import SecretUse, Service, secret_mark, together
from dcbridge.operations.checks import LATELY, RECENT
from dcbridge.operations.findings import Finding, found
from dcbridge.operations.wording import format_age, utc
from dcbridge.settings.problems import counted
from dcbridge.settings.process import DAY

UNUSED = 7 * DAY  # seconds without use after which a secret may go


@dataclass(frozen=True, slots=True)
class JournalHere:
    """The journal, where its folder is on this computer."""

    bytes_waiting: int
    set_aside: int  # files


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


def of_journals(services: Sequence[Service], here: JournalHere | None, *, wanted: bool) -> list[Finding]:
    """Those of the services, and what lies in the folder of this computer where no service tells of it. `wanted`: some
    provider calls us back.
    """
    findings = []
    seen = [(one, one.journal) for one in services if one.journal is not None and not one.silent]
    for service, journal in seen:
        if not journal.configured and wanted:
            says = f"service {service.name} has no journal: while Redis is away, callbacks are answered 503,"
            says += " and most SMS providers do not send them again"
            findings.append(found("journal.none", says, "dcbridge check", service.name))
        if journal.full:
            says = f"service {service.name}: its journal takes no more callbacks: its disk or the journal is full"
            findings.append(found("journal.full", says, "dcbridge check", service.name))
        elif journal.waiting:
            says = f"service {service.name}: its journal holds {counted(journal.waiting, 'callback')} that are not in"
            says += f" Redis, {journal.bytes * 100 // max(1, journal.limit)}% of its limit"
            findings.append(found("journal.holds", says, "dcbridge status --json", service.name))
        if journal.set_aside:
            says = f"service {service.name}: its journal has set aside {counted(journal.set_aside, 'damaged file')};"
            says += " look at *.bad in its folder"
            findings.append(found("journal.set-aside", says, "dcbridge check", service.name))
    told = any(journal.waiting or journal.set_aside for _, journal in seen)
    if here and not told and here.bytes_waiting:
        says = f"the journal has {here.bytes_waiting} bytes that are not in Redis; is the service running?"
        findings.append(found("journal.holds", says, "dcbridge serve"))
    if here and not told and here.set_aside:
        says = f"the journal has set aside {here.set_aside} damaged files: look at *.bad in its folder"
        findings.append(found("journal.set-aside", says, "dcbridge check"))
    return findings


# ---------------------------------------------------------------- secrets


@dataclass(frozen=True, slots=True)
class SecretStatus:
    """One secret of bridge.yaml that signs webhooks. Times in seconds ago; None for never, or not known."""

    at: str  # an endpoint, "interactions/<name>" or "trigger/<name>"
    channel_id: str  # "" where it is not of one channel alone
    place: int
    retired: bool
    mark: str  # tells it from others, as far as needed
    known_for: float | None  # since when services look whether it is used
    unused_for: float | None
    safe_to_remove: bool


def secrets_of(
    configuration: Configuration, uses: Mapping[tuple[str, str], SecretUse], now: float
) -> list[SecretStatus]:
    """Of each endpoint that has more than one; the only one it has cannot be removed."""
    found = []
    for one in signing_secrets(configuration):
        if one.of < 2 and not one.retired:
            continue
        mark = secret_mark(one.value)
        use = uses.get((one.at, mark))
        known = max(0.0, now - use.first_known) if use else None
        unused = max(0.0, now - use.last_used) if use and use.last_used else None
        # One that was never used and is not retired may be the new one, which Genesys has not switched to yet.
        still = unused if unused is not None or not one.retired else known
        safe = still is not None and still >= UNUSED
        found.append(SecretStatus(one.at, one.channel_id, one.place, one.retired, mark, known, unused, safe))
    return found


def of_secrets(secrets: Sequence[SecretStatus]) -> list[Finding]:
    """Retired ones that are still used, and what may be removed."""
    findings = []
    for one in secrets:
        about = one.channel_id or one.at
        whose = f"of channel {one.channel_id}" if one.channel_id else f"of {one.at}"
        name = f"{'retired secret' if one.retired else 'secret'} {one.place} {whose}"
        if one.retired and one.unused_for is not None and one.unused_for < RECENT:
            says = f"{name} signed a request {format_age(one.unused_for)} ago, which was refused"
            findings.append(found("secret.retired-used", says, "dcbridge addresses", about))
        elif one.safe_to_remove:
            since = one.unused_for if one.unused_for is not None else one.known_for or 0.0
            says = f"{name} is safe to remove: not used for {format_age(since)}"
            findings.append(found("secret.unused", says, "dcbridge check", about))
    return findings
