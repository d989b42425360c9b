"""RFC 3464 delivery reports, and the RFC 3461 parameters that ask for them. Written byte by byte."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import formatdate, make_msgid

HOST = "mail.sandbox.invalid"
NOTIFY = ("SUCCESS", "FAILURE", "DELAY")
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")


@dataclass(frozen=True, slots=True)
class Outcome:
    """One recipient's lines of a report. `action` is delivered or failed, `status` like 2.0.0 or 5.1.1."""

    address: str
    original: str
    action: str
    status: str
    diagnostic: str = ""


def decode_xtext(text: str) -> str:
    """Raises ValueError where `text` is not RFC 3461 xtext of UTF-8."""
    if not _XTEXT.fullmatch(text):
        raise ValueError("not xtext")
    plain = re.sub(rb"\+([0-9A-F]{2})", lambda found: bytes.fromhex(found[1].decode()), text.encode())
    return plain.decode()


def read_ret(text: str) -> str:
    """FULL, HDRS, or "" where RET was not given. Raises ValueError."""
    if text.upper() not in ("", "FULL", "HDRS"):
        raise ValueError("RET is FULL or HDRS")
    return text.upper()


def read_envid(text: str) -> str:
    """Raises ValueError."""
    if len(text) > 100:
        raise ValueError("ENVID is 100 characters at most")
    return decode_xtext(text)


def read_notify(text: str) -> tuple[str, ...]:
    """Raises ValueError unless NEVER stands alone or each of SUCCESS, FAILURE, DELAY at most once."""
    words = tuple(text.upper().split(","))
    if words != ("NEVER",) and (set(words) - set(NOTIFY) or len(set(words)) != len(words)):
        raise ValueError("NOTIFY is NEVER, or SUCCESS, FAILURE and DELAY with commas between")
    return words


def read_orcpt(text: str) -> str:
    """ "rfc822;xtext" to "rfc822;text". Raises ValueError."""
    kind, separator, address = text.partition(";")
    if not separator or not re.fullmatch(r"[A-Za-z0-9-]+", kind) or not address:
        raise ValueError("ORCPT is an address type, a semicolon and xtext")
    return f"{kind};{decode_xtext(address)}"


def write(
    mail_from: str, envelope_id: str, original: bytes, full: bool, at: float, outcomes: Sequence[Outcome]
) -> bytes:
    """The whole report as it would travel, CRLF throughout; `original` is returned whole or headers only."""
    names = [outcome.address for outcome in outcomes] + [outcome.original for outcome in outcomes]
    wide = not all(name.isascii() for name in names)
    failed = any(outcome.action == "failed" for outcome in outcomes)
    subject = "Undelivered Mail Returned to Sender" if failed else "Successful Mail Delivery Report"
    boundary = f"report-{time.time_ns():x}"
    headers = [
        f"From: Mail Delivery System <MAILER-DAEMON@{HOST}>",
        f"To: {mail_from}",
        f"Subject: {subject}",
        f"Date: {formatdate(usegmt=True)}",
        f"Message-ID: {make_msgid(domain=HOST)}",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status; boundary="{boundary}"',
        "",
        "This is a MIME-encapsulated message.",
        "",
        f"--{boundary}",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
        "",
        f"This is the mail system at host {HOST}.",
        "",
        *(f"<{outcome.address}>: {outcome.diagnostic or outcome.action}" for outcome in outcomes),
        "",
        f"--{boundary}",
        "Content-Type: message/" + ("global-delivery-status" if wide else "delivery-status"),
        *(["Content-Transfer-Encoding: 8bit"] if wide else []),
        "",
        f"Reporting-MTA: dns; {HOST}",
        *([f"Original-Envelope-Id: {envelope_id}"] if envelope_id else []),
        f"Arrival-Date: {formatdate(at, usegmt=True)}",
    ]
    for outcome in outcomes:
        kind = "rfc822" if outcome.address.isascii() else "utf-8"
        headers += ["", *([f"Original-Recipient: {outcome.original}"] if outcome.original else [])]
        headers += [
            f"Final-Recipient: {kind}; {outcome.address}",
            f"Action: {outcome.action}",
            f"Status: {outcome.status}",
        ]
        headers += [f"Diagnostic-Code: smtp; {outcome.diagnostic}"] if outcome.diagnostic else []
    head = original if full else original.partition(b"\r\n\r\n")[0] + b"\r\n"
    returned = [f"--{boundary}", "Content-Type: " + ("message/rfc822" if full else "text/rfc822-headers"), "", ""]
    return "\r\n".join([*headers, "", *returned]).encode() + head + f"\r\n--{boundary}--\r\n".encode()
