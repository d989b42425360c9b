"""What the codes of SMTP mean to an agent: reply codes, enhanced status codes, and the words of a report.

RFC 5321, 4.2   reply codes                 RFC 3463, 5248   enhanced status codes
RFC 3464        Action, Status, Diagnostic-Code

Big mailbox hosts use codes outside the letter of RFC 3463, each noted where it stands (2026-11).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from dcbridge.errors import AccountFault, Deferred, Refused, SendError, Throttled
from dcbridge.messages import Reason, UpdateStatus
from dcbridge.providers.base import MailAnswer
from dcbridge.providers.delivery_status import Outcome

# Enhanced status codes without their class: "subject.detail", else "subject".
_REASONS = {
    "1": Reason.INVALID_DESTINATION,
    "1.7": Reason.NOT_ALLOWED,  # the sender's mailbox
    "1.8": Reason.NOT_ALLOWED,  # the sender's domain
    "1.90": Reason.RATE_LIMIT,  # Exchange Online: daily limit of recipients
    "2.1": Reason.INVALID_DESTINATION,
    "2.3": Reason.UNSUPPORTED,  # too big for the mailbox
    "2.121": Reason.RATE_LIMIT,  # Exchange Online: what one sender, or all, may send to this mailbox in an hour
    "2.122": Reason.RATE_LIMIT,
    "3.4": Reason.UNSUPPORTED,  # too big for the system
    "4.1": Reason.INVALID_DESTINATION,  # Exchange Online: no such mailbox ("Recipient address rejected")
    "4.4": Reason.INVALID_DESTINATION,  # Postfix, Exchange Online: no such domain, or it takes no mail
    "4.5": Reason.RATE_LIMIT,  # Gmail: daily limit of the account
    "4.7": Reason.EXPIRED,
    "4.310": Reason.INVALID_DESTINATION,  # Exchange Online: DNS domain does not exist
    **dict.fromkeys(("4.300", "4.312", "4.314", "4.315", "4.316", "4.317", "4.318"), Reason.EXPIRED),  # and "expired"
    "5": Reason.INVALID_STRUCTURE,
    "5.0": Reason.INVALID_DESTINATION,  # outlook.com: "mailbox unavailable"; at MAIL and DATA see below
    "6": Reason.UNSUPPORTED,
    "7": Reason.NOT_ALLOWED,
    "7.17": Reason.INVALID_DESTINATION,  # RFC 7293: the mailbox has another owner now
    "7.18": Reason.INVALID_DESTINATION,
    "7.232": Reason.RATE_LIMIT,  # Exchange Online: daily limits of the tenant
    "7.233": Reason.RATE_LIMIT,
}
# Before and after RCPT nothing is said about the recipient, and 5.5.0 is a fault of the protocol.
_REASONS_ELSEWHERE = _REASONS | {"5.0": Reason.INVALID_STRUCTURE}

# Replies without an enhanced code, at RCPT; a code that is not here: 500.
_BARE_REASONS = {
    **dict.fromkeys((550, 551, 553, 556), Reason.INVALID_DESTINATION),
    **dict.fromkeys((500, 501, 502, 503, 504, 555), Reason.INVALID_STRUCTURE),
}
# At MAIL it is the sender that is refused, after DATA the content, and 552 is about its size.
_BARE_REASONS_ELSEWHERE = _BARE_REASONS | {
    **dict.fromkeys((550, 551, 553, 554), Reason.NOT_ALLOWED),
    552: Reason.UNSUPPORTED,
}
_LOGIN_CODES = frozenset({530, 534, 535, 538})
_LOGIN_STATUSES = frozenset({"7.8", "7.9", "7.11"})
_RATE_STATUSES = frozenset({"2.1", "4.5"})  # with 4.7.x: Gmail's "receiving mail too quickly", congestion
# "454 Throttling failure" is Amazon SES; the others name a rate with a code that does not.
_RATE_WORDS = re.compile(
    r"\bthrottl|\brate[ -]?limit|\bsending rate\b|\btoo (?:fast|quickly|frequently)\b"
    r"|\btoo many (?:messages|emails|mails|connections|concurrent|requests)\b",
    re.IGNORECASE,
)

_ACTIONS = {
    "delivered": UpdateStatus.DELIVERED,
    "relayed": UpdateStatus.SENT,  # to a system that reports nothing further
    "expanded": UpdateStatus.SENT,
    "delayed": UpdateStatus.SENT,
    **dict.fromkeys(("failed", "fail", "failure", "bounced", "rejected", "undeliverable"), UpdateStatus.FAILED),
    "expired": UpdateStatus.FAILED,  # SendGrid; no word of RFC 3464
}

_LONGEST = 2000  # characters of a reply or a diagnostic that are looked at
_CODE = r"[245]\.[0-9]{1,3}\.[0-9]{1,3}(?!\.?[0-9])"
_STATUS = re.compile(rf"\W{{0,3}}({_CODE})", re.ASCII)
_ENHANCED = re.compile(rf"(?<![0-9.])({_CODE})", re.ASCII)
_PAIR = re.compile(rf"(?<![0-9.])([245][0-9][0-9])[ -]+[#(\[<]{{0,2}}({_CODE})", re.ASCII)
_REPLY = re.compile(r"\W{0,3}([245][0-9][0-9])(?![0-9.])", re.ASCII)
_REPLY_IN_A_SENTENCE = re.compile(r":\s{1,4}([245][0-9][0-9])(?=[ -][^0-9])", re.ASCII)
_TELLS_ON = re.compile(r"\bsaid:|\bsmtp error from remote\b", re.IGNORECASE)
_SMTP_TYPES = ("", "smtp", "esmtp", "lmtp", "x-smtp")


class Verdict(NamedTuple):
    """What an outcome comes to: the status, the reason where it is a failure, and the code that said so."""

    status: UpdateStatus
    reason: Reason | None
    code: str


def error_of(answer: MailAnswer) -> SendError:
    """What follows from a server's answer that is not "taken"."""
    text = answer.text[:_LONGEST]
    found = _STATUS.match(text)
    status = found[1][2:] if found and found[1][0] == str(answer.code // 100) else ""
    code = f"{answer.code} {answer.code // 100}.{status}" if status else str(answer.code)
    if answer.code < 500:
        if status.startswith("7.") or status in _RATE_STATUSES or _RATE_WORDS.search(text):
            return Throttled(code)
        return Deferred(code, reason=Reason.EXPIRED if status == "4.7" else Reason.GENERAL)
    if answer.step in ("connect", "auth") or answer.code in _LOGIN_CODES or status in _LOGIN_STATUSES:
        return AccountFault(code)
    at_recipient = answer.step == "rcpt"
    if status:
        reason = _reason(status, _REASONS if at_recipient else _REASONS_ELSEWHERE)
    else:
        reason = (_BARE_REASONS if at_recipient else _BARE_REASONS_ELSEWHERE).get(answer.code, Reason.GENERAL)
    if reason is Reason.RATE_LIMIT:  # of an hour or a day: "no" for now, whatever the class of its code
        return Deferred(code, reason=reason)
    return Refused(code, reason=reason)


def verdict_of(outcome: Outcome) -> Verdict:
    """What a report's words and codes mean."""
    word = re.match(r"[^a-z]*([a-z]*)", outcome.action.lower())
    action = word[1] if word else ""
    status = _ACTIONS.get(action, UpdateStatus.SENT)
    code, reason = _judged(outcome)
    if status is not UpdateStatus.FAILED:
        return Verdict(status, None, code)
    return Verdict(status, Reason.EXPIRED if action == "expired" else reason, code)


def _judged(outcome: Outcome) -> tuple[str, Reason]:
    """The code that counts, and its reason.

    The remote server's own code is nearer to the truth than what the reporter made of it. A failure with a code of
    class 4 was "not now" until the reporter gave up: the time was over.
    """
    found = _ENHANCED.search(outcome.status[:_LONGEST])
    status = found[1] if found else ""
    reply, enhanced = _remote(outcome.diagnostic[:_LONGEST])
    if enhanced:
        return enhanced, _reason_told(enhanced, reply)
    if 400 <= reply < 500:
        return status if _says_something(status) else str(reply), Reason.EXPIRED
    if reply and (not _says_something(status) or status[0] == "4"):
        return str(reply), _BARE_REASONS.get(reply, Reason.GENERAL)
    return status, _reason_told(status, reply)


def _reason_told(status: str, reply: int) -> Reason:
    """The reason of an enhanced code in a report; a bare reply helps where that names no detail."""
    if status[:1] == "4":
        return Reason.EXPIRED
    told = _BARE_REASONS.get(reply)
    if told and (status[2:] in ("2.0", "3.0", "4.0") or (status[2:] == "5.0" and told is Reason.INVALID_STRUCTURE)):
        return told
    return _reason(status[2:], _REASONS) if _says_something(status) else Reason.GENERAL


def _remote(diagnostic: str) -> tuple[int, str]:
    """Reply code and enhanced code that a server gave, 0 and "" where it gave none that says something."""
    kind, semicolon, text = diagnostic.partition(";")
    if not semicolon or _REPLY.match(kind):
        kind, text = "", diagnostic
    if kind.strip().lower() not in _SMTP_TYPES and not _TELLS_ON.search(text):
        return 0, ""
    for reply, enhanced in _PAIR.findall(text):
        if _says_something(enhanced):
            return int(reply), enhanced
    first = _REPLY.match(text) or _REPLY_IN_A_SENTENCE.search(text)
    return int(first[1]) if first else 0, next(filter(_says_something, _ENHANCED.findall(text)), "")


def _says_something(status: str) -> bool:
    """5.0.0 is "other or undefined", and Exchange's 5.0.350 another server's answer told on."""
    return bool(status) and not status[2:].startswith("0.")


def _reason(status: str, table: dict[str, Reason]) -> Reason:
    return table.get(status, table.get(status.partition(".")[0], Reason.GENERAL))
