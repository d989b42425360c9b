"""What needs attention: each finding of `dcbridge status` with its command, and the page of the console about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dcbridge.operations.findings import Finding, Severity

_KINDS = {Severity.PROBLEM: "bad", Severity.WARNING: "warn", Severity.NOTE: "note"}
# What a key begins with -> the page, and what its link says.
_PLACES = {
    "service.": ("/workers", "Services and workers"),
    "worker": ("/workers", "Services and workers"),
    "versions.": ("/workers", "Services and workers"),
    "queue.": ("/workers", "Services and workers"),
    "signatures.": ("/signatures", "Signature trouble"),
    "provider.": ("/providers", "Providers"),
    "channel.": ("/channels", "Channels"),
    "receipts.": ("/channels", "Channels"),
    "conversation.": ("/conversations", "Conversations"),
    "dead-letters.": ("/dead-letters", "Dead letters"),
    "control.": ("/messages?state=accepted", "Messages that wait"),
    "mailbox": ("/channels", "Channels"),
    "redis.": ("/doctor", "Doctor"),
    "journal.": ("/doctor", "Doctor"),
}


@dataclass(frozen=True, slots=True)
class Line:
    """As a page shows it. `page`: of docs/, for whoever has the repository."""

    sentence: str
    command: str
    kind: str
    href: str
    link: str
    page: str


def lines(findings: Iterable[Finding]) -> list[Line]:
    """In their order: the worst first."""
    return [_line(one) for one in findings]


def _line(one: Finding) -> Line:
    href, link = next((place for key, place in _PLACES.items() if one.key.startswith(key)), ("", ""))
    sentence = one.says.removesuffix(f"; {one.command} ends it")  # it stands below
    sentence = sentence[:1].upper() + sentence[1:]
    return Line(sentence.rstrip(".") + ".", one.command, _KINDS[one.severity], href, link, one.page)
