"""What `dcbridge status` and a console tell of: each finding in one sentence, with one command and one page.

A problem is something that is lost, refused, or waits until somebody acts; a warning becomes one, or was one lately; a
note is good to know. Only problems make the exit code 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Severity(StrEnum):
    """The worst first."""

    PROBLEM = "problem"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """`command`: what shows more of it, or ends it. `page`: a path in the repository. `about`: the name of what it is
    about, such as a channel; "" where that is the installation.
    """

    key: str
    severity: Severity
    says: str
    command: str
    page: str
    about: str = ""


@dataclass(frozen=True, slots=True)
class Kind:
    """What all findings of one key have in common."""

    severity: Severity
    page: str


def _problem(page: str) -> Kind:
    return Kind(Severity.PROBLEM, f"docs/{page}")


def _warning(page: str) -> Kind:
    return Kind(Severity.WARNING, f"docs/{page}")


# In the order in which they are shown, within one severity.
KINDS: Final[Mapping[str, Kind]] = {
    "service.none": _problem("runbooks/absent.md"),
    "service.silent": _problem("runbooks/absent.md"),
    "signatures.refused": _problem("runbooks/invalid-signatures.md"),
    "versions.several": _problem("operations/upgrade.md"),
    "books.difference": _problem("runbooks/books-out-of-balance.md"),
    "entries.set-aside": _problem("runbooks/set-aside.md"),
    "redis.emptied": _problem("runbooks/store-changed.md"),
    "redis.clock": _problem("runbooks/store-changed.md"),
    "redis.unsafe": _problem("runbooks/redis-unsafe.md"),
    "workers.suspended": _problem("runbooks/suspended.md"),
    "worker.none": _problem("runbooks/no-worker.md"),
    "worker.uncovered": _problem("runbooks/no-worker.md"),
    "worker.silent": _problem("runbooks/no-worker.md"),
    "worker.disobeys": _problem("operations/upgrade.md"),
    "control.in-force": _problem("operations/controls.md"),
    "provider.breaker-open": _problem("runbooks/breaker-open.md"),
    "provider.paused": _problem("operations/provider-down.md"),
    "provider.reports-late": _problem("operations/delivery-updates.md"),
    "provider.slow-updates": _problem("operations/several-providers.md"),
    "channel.unconfigured": _problem("operations/stuck.md"),
    "queue.waits": _problem("runbooks/work-waits.md"),
    "platform.refuses-receipts": _problem("runbooks/receipts-late.md"),
    "platform.refuses-messages": _problem("runbooks/receipts-late.md"),
    "receipts.late": _problem("runbooks/receipts-late.md"),
    "conversation.forgotten": _problem("operations/stuck.md"),
    "journal.full": _problem("runbooks/journal-holds.md"),
    "journal.holds": _problem("runbooks/journal-holds.md"),
    "journal.set-aside": _problem("runbooks/journal-holds.md"),
    "dead-letters.new": _problem("runbooks/dead-letters.md"),
    "mailbox": _problem("runbooks/mailbox-silent.md"),
    "reconcile.differs": _problem("runbooks/reconcile-differs.md"),
    "redis.filling": _warning("runbooks/redis-unsafe.md"),
    "provider.breaker-opened": _warning("runbooks/breaker-open.md"),
    "journal.none": _warning("operations/recovery.md"),
    "dead-letters.kept": _warning("runbooks/dead-letters.md"),
    "secret.retired-used": _warning("operations/secrets.md"),
    "secret.unused": Kind(Severity.NOTE, "docs/operations/secrets.md"),
}
_PLACE = {key: place for place, key in enumerate(KINDS)}
_WORST = {severity: place for place, severity in enumerate(Severity)}


def found(key: str, says: str, command: str, about: str = "") -> Finding:
    """One of KINDS."""
    kind = KINDS[key]
    return Finding(key, kind.severity, says, command, kind.page, about)


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """The worst first."""
    return sorted(findings, key=lambda one: (_WORST[one.severity], _PLACE[one.key]))
